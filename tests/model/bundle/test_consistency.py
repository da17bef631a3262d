"""Files that are as their digests say and do not belong together are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from model.artifact.manifest import digest_of_file, digest_of_files, list_files, read_manifest
from model.bundle import bundle as bundle_module
from model.bundle.bundle import open_bundle
from model.errors import UserError
from tests.model.bundle.bundle_world import World

Break = Callable[[Path], None]


def array(name: str, change: Callable[[np.ndarray], Any]) -> Break:
    def spoil(folder: Path) -> None:
        np.save(folder / name, change(np.load(folder / name)))

    return spoil


def document(name: str, change: Callable[[Any], None]) -> Break:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_bytes())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return spoil


def table(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Break:
    def spoil(folder: Path) -> None:
        path = folder / "encoders" / name
        change(pl.read_parquet(path)).write_parquet(path)

    return spoil


def with_entry(values: np.ndarray, value: int) -> np.ndarray:
    wide = values.astype(np.int32)
    wide.flat[-1] = value
    return wide


BROKEN: dict[str, tuple[Break, str]] = {
    "a list of texts": (array("items/trained.npy", lambda old: old.astype("U3")), r"items/trained\.npy"),
    "ids that begin after they end": (
        array("items/id_start.npy", lambda old: np.concatenate([[0, old[-1]], old[2:]]).astype(old.dtype)),
        r"items/id_start\.npy is not ascending",
    ),
    "fewer items": (array("items/trained.npy", lambda old: old[:-2]), r"items/trained\.npy has shape"),
    "fewer features": (array("users/sparse.npy", lambda old: old[:, :0]), r"users/sparse\.npy has shape"),
    "another code": (array("users/sparse.npy", lambda old: with_entry(old, 9999)), r"users/sparse\.npy holds a code"),
    "a code below 0": (array("items/trained.npy", lambda old: with_entry(old, -1)), r"items/trained\.npy holds a code"),
    "codes with fractions": (array("items/trained.npy", lambda old: old.astype(np.float32)), "integers are right"),
    "shorter rates": (array("items/rates.npy", lambda old: old[:3]), r"items/rates\.npy has shape"),
    "a group too many": (array("users/graph/group_n.npy", lambda old: with_entry(old, 99)), r"group_n\.npy holds"),
    "a macro node too many": (array("users/graph/macro1.npy", lambda old: with_entry(old, 99)), r"macro1\.npy holds"),
    "no recents": (array("items/graph/recent.npy", lambda old: old[:0]), r"items/graph/recent"),
    "a graph without groups": (
        lambda folder: (folder / "users/graph/group_n.npy").unlink(),
        r"group_n\.npy is missing",
    ),
    "no multiplier": (array("users/id_base.npy", lambda old: old[:0]), r"id_base\.npy does not fit"),
    "an unknown multiplier": (array("users/id_base.npy", lambda old: old + 9), r"id_base\.npy does not fit"),
    "cut texts": (array("users/id_text.npy", lambda old: old[:-1]), r"id_text\.npy does not fit"),
    "codes of others": (array("items/id_code.npy", lambda old: old + 1), r"id_code\.npy does not fit"),
    "hashes as floats": (array("items/id_hash.npy", lambda old: old.astype(np.float64)), r"id_hash\.npy holds no list"),
    "half a directory": (array("items/id_directory.npy", lambda old: old[::2]), r"id_directory\.npy does not fit"),
    "other tasks": (document("serving.json", lambda old: old["tasks"].reverse()), r"serving\.json has the tasks"),
    "no weights": (document("serving.json", lambda old: old["utility"].clear()), r"serving\.json must weigh"),
    "a foreign probe": (
        document("probe.json", lambda old: old[0]["context"].update(colour="red")),
        r"probe\.json: probe .* names the feature 'colour'",
    ),
    "a probe of no time": (document("probe.json", lambda old: old[0].update(time=-1e30)), r"has the time -1e\+30"),
    "a score less": (array("probe_scores.npy", lambda old: old[:, :-1]), r"probe_scores\.npy does not hold"),
    "a vocabulary too many": (
        table("vocabularies.parquet", lambda old: old.with_columns(feature=pl.lit("colour"))),
        r"vocabularies\.parquet names the feature 'colour'",
    ),
    "another column": (
        table("vocabularies.parquet", lambda old: old.rename({"value": "text"})),
        r"vocabularies\.parquet must have the columns feature, value",
    ),
    "no scales": (table("scales.parquet", lambda old: old.clear()), r"scales\.parquet has no scale"),
    "a gap": (
        table("scales.parquet", lambda old: old.with_columns(mean=pl.lit(None, pl.Float64))),
        r"scales\.parquet must have the columns",
    ),
    "sizes beyond any memory": (
        document("input_spec.json", lambda old: old.update(n_users=10**15)),
        r"weights\.safetensors does not fit",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_does_not_fit_the_others_is_named(name: str, world: World, tmp_path: Path) -> None:
    spoil, words = BROKEN[name]
    folder = world.copy_of("mgoe", tmp_path / "bundle")
    spoil(folder)
    remade(folder)
    with pytest.raises(UserError, match=words) as refused:
        open_bundle(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("how", ["another folder", "another file", "in place"])
def test_a_bundle_that_changes_while_it_is_read_is_refused(
    how: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = world.copy_of("mmoe", tmp_path / "bundle"), world.copy_of("mgoe", tmp_path / "other")
    read = bundle_module.read_verified

    def replaced(where: Path, manifest: Any) -> Any:
        if how == "another folder":
            folder.rename(tmp_path / "old")
            other.rename(folder)
        elif how == "another file":
            (other / "serving.json").replace(folder / "serving.json")
        else:
            with (folder / "weights.safetensors").open("r+b") as file:
                file.seek(-1, 2)
                file.write(b"\0")
        return read(where, manifest)

    monkeypatch.setattr(bundle_module, "read_verified", replaced)
    with pytest.raises(UserError, match=r"was changed while it was read"):
        open_bundle(folder)


def remade(folder: Path) -> None:
    """A manifest that fits the files again."""
    files = {name: digest_of_file(folder / name) for name in list_files(folder)}
    manifest = read_manifest(folder).model_copy(update={"files": files, "digest": digest_of_files(files)})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
