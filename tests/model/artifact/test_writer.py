from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from model.artifact.manifest import Source, read_manifest, verify
from model.artifact.staging import Staging
from model.artifact.writer import ArtifactWriter
from model.errors import Fault, UserError

WRITER_THAT_HANGS = """
import sys, time
from pathlib import Path
from model.artifact.writer import ArtifactWriter
with ArtifactWriter(Path(sys.argv[1]), "log", "test") as writer:
    (writer.path / "half").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


def write(out: Path, content: str = "rows") -> None:
    with ArtifactWriter(out, "log", "test") as writer:
        (writer.path / "rows").write_text(content)


def break_off(out: Path) -> None:
    with ArtifactWriter(out, "log", "test") as writer:
        (writer.path / "rows").write_text("half")
        raise ZeroDivisionError


def test_what_was_written_stands_at_its_place_with_its_facts_and_sources(tmp_path: Path) -> None:
    source = Source(kind="log", digest="abc")
    with ArtifactWriter(tmp_path / "new" / "graph", "macro-graph", "mgoe graph", [source]) as writer:
        (writer.path / "edges").write_text("edges")
        writer.facts["groups"] = 3
        writer.facts["auc"] = {"click": 0.5}
        writer.facts["loss"] = math.nan
    manifest = read_manifest(tmp_path / "new" / "graph")
    assert manifest.facts["groups"] == 3
    assert manifest.facts["auc"] == {"click": 0.5}
    assert isinstance(loss := manifest.facts["loss"], float)
    assert math.isnan(loss)
    assert manifest.made_from == (source,)
    assert manifest.digest == writer.manifest.digest
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["graph"]


def test_nothing_is_visible_before_the_end_of_the_block(tmp_path: Path) -> None:
    out = tmp_path / "log"
    with ArtifactWriter(out, "log", "test") as writer:
        (writer.path / "rows").write_text("rows")
        assert not out.exists()
    assert verify(out).files.keys() == {"rows"}


def test_the_same_content_has_the_same_digest_whoever_made_it(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert read_manifest(tmp_path / "one").digest == read_manifest(tmp_path / "two").digest


def test_an_error_inside_the_block_leaves_nothing_and_passes_on(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        break_off(tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_the_block_leaves_the_old_artifact_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "log"
    write(out, "old")
    with pytest.raises(ZeroDivisionError):
        break_off(out)
    verify(out)
    assert (out / "rows").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_an_artifact_of_the_same_kind_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    out = tmp_path / "log"
    out.mkdir()
    write(out, "old")
    write(out, "new")
    verify(out)
    assert (out / "rows").read_text() == "new"
    assert list(tmp_path.iterdir()) == [out]


def test_an_artifact_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "log"
    write(out)
    with pytest.raises(UserError, match="holds a log artifact, and a model one would replace it"):
        ArtifactWriter(out, "model", "test").__enter__()


def test_a_broken_artifact_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "log"
    write(out)
    (out / "manifest.json").write_text("{")
    write(out)
    verify(out)


def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds files that are not an artifact"):
        write(tmp_path)
    with pytest.raises(UserError, match=r"thesis\.tex is a file; name a folder"):
        write(tmp_path / "thesis.tex")


def test_a_killed_writer_leaves_nothing_visible_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    out = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER_THAT_HANGS, str(out)], stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert len(list(tmp_path.iterdir())) == 1  # what it had written so far, under a hidden name
    write(out)
    verify(out)
    assert list(tmp_path.iterdir()) == [out]


def test_cleaning_up_spares_what_a_living_writer_is_writing(tmp_path: Path) -> None:
    out = tmp_path / "log"
    with ArtifactWriter(out, "log", "test") as slow:
        (slow.path / "rows").write_text("slow")
        write(out, "quick")
    verify(out)
    assert (out / "rows").read_text() == "slow"
    assert list(tmp_path.iterdir()) == [out]


def test_an_artifact_that_was_moved_aside_by_a_killed_writer_comes_back(tmp_path: Path) -> None:
    out = tmp_path / "log"
    write(out, "old")
    out.rename(tmp_path / ".log.replaced-x")
    with pytest.raises(ZeroDivisionError):
        break_off(out)
    verify(out)
    assert (out / "rows").read_text() == "old"


def test_a_replaced_artifact_that_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "log"
    write(out, "old")
    out.rename(tmp_path / ".log.replaced-x")
    (tmp_path / ".log.replaced-x").rename(tmp_path / ".log.replaced-y")
    (tmp_path / ".log.replaced-z").mkdir()
    write(out, "new")
    assert list(tmp_path.iterdir()) == [out]


def fill_plain(folder: Path) -> None:
    (folder / "rows").write_bytes(os.urandom(1 << 20))


def fill_numpy(folder: Path) -> None:
    np.save(folder / "rows.npy", np.random.default_rng(0).random(1 << 17), allow_pickle=False)


def fill_parquet(folder: Path) -> None:
    pl.DataFrame({"x": np.random.default_rng(0).random(1 << 17)}).write_parquet(folder / "rows.parquet")


def fill_pyarrow(folder: Path) -> None:
    pl.DataFrame({"x": np.random.default_rng(0).random(1 << 17)}).write_parquet(folder / "r.parquet", use_pyarrow=True)


def fill_safetensors(folder: Path) -> None:
    save_file({"w": np.random.default_rng(0).random(1 << 17)}, folder / "weights.safetensors")


@pytest.mark.parametrize("fill", [fill_plain, fill_numpy, fill_parquet, fill_pyarrow, fill_safetensors])
def test_a_full_disk_is_one_clear_line_and_nothing_is_kept(tiny_disk: Path, fill: Callable[[Path], None]) -> None:
    with (
        pytest.raises(Fault, match="no space left on the disk while writing"),
        ArtifactWriter(tiny_disk / "log", "log", "test") as writer,
    ):
        fill(writer.path)
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_the_manifest_is_written_keeps_the_old_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "log"
    write(out, "old")

    def full(_: Staging) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Staging, "commit", full)
    with pytest.raises(Fault, match="no space left on the disk") as caught:
        write(out, "new")
    assert caught.value.exit_code == 1
    verify(out)
    assert (out / "rows").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match=r"cannot write .*/file/log: (File exists|Not a directory)"):
        write(tmp_path / "file" / "log")
