from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from model.artifact.manifest import MANIFEST_NAME, read_manifest
from model.artifact.writer import ArtifactWriter
from model.bundle import array_file, bundle
from model.bundle.bundle import open_bundle
from model.bundle.reference import probabilities
from model.errors import UserError
from tests.model.bundle.bundle_world import MODELS, World


def files_of(world: World) -> list[str]:
    return sorted(read_manifest(world.bundle("mgoe")).files)


def remade(folder: Path, out: Path, change: Callable[[Path], None]) -> Path:
    """The bundle with changed content under right digests: what a careless or hostile maker would write."""
    manifest = read_manifest(folder)
    with ArtifactWriter(out, "bundle", "test", manifest.made_from) as writer:
        for name in manifest.files:
            (writer.path / name).parent.mkdir(parents=True, exist_ok=True)
            (writer.path / name).write_bytes((folder / name).read_bytes())
        change(writer.path)
        writer.facts |= manifest.facts
    return out


@pytest.mark.parametrize("name", MODELS)
def test_every_probe_scores_as_the_trainer_said(world: World, name: str) -> None:
    opened = open_bundle(world.bundle(name))
    assert len(opened.probes) == 32
    for probe in opened.probes:
        asked = probe.request
        found = probabilities(opened, asked.user, asked.items, asked.context, asked.time)
        assert probe.difference(found) <= 1e-5


def test_a_candidate_scores_the_same_alone_and_in_any_order(world: World) -> None:
    opened = open_bundle(world.bundle("mgoe"))
    asked = max((probe.request for probe in opened.probes), key=lambda request: len(request.items))
    together = probabilities(opened, asked.user, asked.items, asked.context, asked.time)
    back = probabilities(opened, asked.user, asked.items[::-1], asked.context, asked.time)
    np.testing.assert_allclose(back[::-1], together, atol=1e-6)
    for place, item in enumerate(asked.items):
        alone = probabilities(opened, asked.user, [item], asked.context, asked.time)
        np.testing.assert_allclose(alone[0], together[place], atol=1e-6)


def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(world: World, tmp_path: Path) -> None:
    broken = world.copy_of("mgoe", tmp_path / "bundle")
    for name in files_of(world):
        path = broken / name
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=f"file {name} is broken"):
            open_bundle(broken)
        path.write_bytes(whole)
    open_bundle(broken)


def test_a_missing_file_is_named(world: World, tmp_path: Path) -> None:
    broken = world.copy_of("mgoe", tmp_path / "bundle")
    for name in files_of(world):
        (broken / name).rename(tmp_path / "aside")
        with pytest.raises(UserError, match=f"file {name} is missing"):
            open_bundle(broken)
        (tmp_path / "aside").rename(broken / name)


@pytest.mark.parametrize("name", ["extra.npy", "users/graph/extra.npy", "encoders/code.py"])
def test_an_extra_file_is_named(world: World, tmp_path: Path, name: str) -> None:
    broken = world.copy_of("mgoe", tmp_path / "bundle")
    (broken / name).write_bytes(b"not mine")
    with pytest.raises(UserError, match=f"file {name} is not listed"):
        open_bundle(broken)


def test_nothing_is_read_from_a_bundle_that_does_not_verify(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = world.copy_of("mgoe", tmp_path / "bundle")
    (broken / "users/trained.npy").write_bytes(b"broken")
    touched: list[object] = []
    for module, name in ((np, "load"), (bundle, "load_file"), (pq, "ParquetFile"), (torch, "load")):
        monkeypatch.setattr(module, name, lambda *args, **_: touched.append(args))
    with pytest.raises(UserError, match=r"users/trained\.npy is broken"):
        open_bundle(broken)
    assert not touched


def test_another_layout_is_refused_by_its_version(world: World, tmp_path: Path) -> None:
    def newer(folder: Path) -> None:
        serving = json.loads((folder / "serving.json").read_text())
        (folder / "serving.json").write_text(json.dumps({**serving, "version": 2, "more": "fields"}))

    with pytest.raises(UserError, match=r"serving\.json has version 2, this mgoe reads version 1"):
        open_bundle(remade(world.bundle("mmoe"), tmp_path / "bundle", newer))


def test_another_manifest_version_is_refused(world: World, tmp_path: Path) -> None:
    broken = world.copy_of("mmoe", tmp_path / "bundle")
    manifest = json.loads((broken / MANIFEST_NAME).read_text())
    (broken / MANIFEST_NAME).write_text(json.dumps({**manifest, "schema_version": 9}))
    with pytest.raises(UserError, match="schema version 9; this mgoe reads version 1"):
        open_bundle(broken)


def pickle_in_a_table(folder: Path) -> None:
    np.save(folder / "users/trained.npy", np.array([{"code": "runs"}], dtype=object), allow_pickle=True)


def pickle_for_weights(folder: Path) -> None:
    torch.save({"weight": torch.ones(1)}, folder / "weights.safetensors")


def weights_of_another(folder: Path) -> None:
    safetensors.torch.save_file({"weight": torch.ones(1)}, folder / "weights.safetensors")


def unknown_architecture(folder: Path) -> None:
    (folder / "model.json").write_text('{"architecture": "oracle"}')


def too_few_probe_scores(folder: Path) -> None:
    np.save(folder / "probe_scores.npy", np.zeros((1, 2), np.float32))


def no_probes(folder: Path) -> None:
    (folder / "probe.json").write_text("[]")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pickle_in_a_table, r"users/trained\.npy holds no array"),
        (pickle_for_weights, r"weights\.safetensors is no safetensors file"),
        (weights_of_another, r"weights\.safetensors does not fit the architecture.*train and package the model anew"),
        (unknown_architecture, r"model\.json: .* is wrong"),
        (too_few_probe_scores, r"probe_scores\.npy does not hold one row for every item"),
        (no_probes, r"probe_scores\.npy does not hold one row"),
    ],
)
def test_wrong_content_under_right_digests_is_named_and_never_run(
    world: World, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        open_bundle(remade(world.bundle("mmoe"), tmp_path / "bundle", change))


def test_what_is_no_bundle_is_refused(world: World) -> None:
    with pytest.raises(UserError, match="is a model artifact, not a bundle"):
        open_bundle(world.model("mmoe"))


def test_opening_a_bundle_leaves_the_random_numbers_alone(world: World) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    open_bundle(world.bundle("mgoe"))
    assert torch.equal(torch.rand(3), wanted)


def test_weights_and_tables_stay_on_disk(world: World) -> None:
    opened = open_bundle(world.bundle("mgoe"))
    maps = Path("/proc/self/maps").read_text()
    assert str(world.bundle("mgoe") / "weights.safetensors") in maps
    assert str(world.bundle("mgoe") / "users/graph/recent.npy") in maps
    assert not any(weight.requires_grad for weight in opened.architecture.parameters())
    assert not opened.architecture.training


def test_serving_loads_nothing_that_only_training_needs() -> None:
    """The serve image has no polars, mlflow, ray or scikit-learn."""
    code = (
        "import sys, model.bundle.bundle, model.bundle.reference, model.bundle.utility, model.bundle.signature;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    forbidden = {"polars", "pandas", "mlflow", "ray", "sklearn", "matplotlib", "kfp", "minio", "model_signing"}
    rooms = {"model.training", "model.evaluation", "model.registry", "model.data.encoding", "model.bundle.package"}
    assert not loaded & (forbidden | rooms)
    assert array_file.__name__ in loaded
