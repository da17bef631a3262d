"""What is opened is what was checked, whatever happens to the place that it came from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.artifact.manifest import read_manifest
from model.bundle.signature import KeySigner, sign_bundle
from serving.ranker.bundle_place import bundle_folder
from serving.ranker.cache import DerivedCache, evict
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings, RequiredSignature
from tests.serving.ranker.test_load import key_pair

ASKED = RankRequest("3", ("1", "2", "3"), time=0.0)


def signed(bundle: Path, tmp_path: Path) -> tuple[Path, RankerSettings]:
    pytest.importorskip("model_signing", reason="model-signing is not installed: pip install 'mgoe[sign]'")
    private, public = key_pair(tmp_path, "maker")
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    sign_bundle(folder, KeySigner(private))
    signature = RequiredSignature(files=(public,))
    return folder, RankerSettings(cache=tmp_path / "cache", scorers=("factorised",), signature=signature)


def test_what_is_written_into_a_signed_bundle_after_it_was_checked_is_not_served(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder, settings = signed(bundles["mmoe"], tmp_path)
    ranker = Ranker.load(folder, settings)
    before = ranker.rank(ASKED).probabilities
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-4000, 2)
        file.write(b"\x3f" * 4000)
    np.testing.assert_array_equal(ranker.rank(ASKED).probabilities, before)
    with pytest.raises(NotReady, match=r"weights\.safetensors is broken"):
        Ranker.load(folder, settings)
    assert [path.name for path in (tmp_path / "cache" / "bundles").iterdir() if path.name.startswith(".coming")] == []


def test_copies_of_two_bundles_at_one_address_have_folders_of_their_own(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder, settings = signed(bundles["mmoe"], tmp_path)
    with bundle_folder(folder, settings) as first:
        shutil.rmtree(folder)
        shutil.copytree(bundles["mgoe"], folder)
        with bundle_folder(folder, settings) as second:
            assert read_manifest(first).digest == read_manifest(bundles["mmoe"]).digest
            assert read_manifest(second).digest == read_manifest(bundles["mgoe"]).digest
    with bundle_folder(folder, settings) as again:
        assert again == second


def test_a_copy_that_is_broken_is_made_anew(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder, settings = signed(bundles["mmoe"], tmp_path)
    with bundle_folder(folder, settings) as copy:
        (copy / "probe.json").write_text("[]")
    with bundle_folder(folder, settings) as copy:
        assert (copy / "probe.json").read_bytes() == (folder / "probe.json").read_bytes()


def test_a_full_disk_is_a_sentence_of_readiness(bundles: dict[str, Path], full_disk: Path, tmp_path: Path) -> None:
    folder, settings = signed(bundles["mmoe"], tmp_path)
    with pytest.raises(NotReady, match="no space left on the disk"):
        Ranker.load(folder, settings.model_copy(update={"cache": full_disk}))


def test_old_bundles_leave_the_cache_and_young_ones_stay(tmp_path: Path) -> None:
    folders = [DerivedCache(tmp_path, f"{place:064x}"[::-1]).folder for place in range(7)]
    for place, folder in enumerate(folders):
        os.utime(folder, (place * 1000, place * 1000))
    (tmp_path / "bundles").mkdir()
    evict(tmp_path, 4, now=3600 + 2500)
    assert [folder.exists() for folder in folders] == [False] * 3 + [True] * 4
    assert (tmp_path / "bundles").is_dir(), "what is no bundle's folder is let be"
    evict(tmp_path, 1, now=3600 + 4500)
    assert [folder.exists() for folder in folders] == [False] * 5 + [True] * 2, "young ones stay beyond the number"
