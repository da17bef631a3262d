"""A bundle that is not as it was made, or does not score as it was trained, is not served."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.artifact.manifest import digest_of_file, digest_of_files, list_files, read_manifest
from model.bundle.signature import KeySigner, sign_bundle
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings, RequiredSignature


def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def resigned(folder: Path) -> None:
    """A manifest that fits the files again, as one who changes a bundle on purpose would write it."""
    files = {name: digest_of_file(folder / name) for name in list_files(folder)}
    manifest = read_manifest(folder).model_copy(update={"files": files, "digest": digest_of_files(files)})
    (folder / "manifest.json").write_text(manifest.model_dump_json())


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "probe_scores.npy", "serving.json", "items/trained.npy", "encoders/scales.parquet"]
)
def test_a_flipped_byte_is_named_by_its_file(
    name: str, bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings
) -> None:
    folder = copied(bundles["mgoe"], tmp_path)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(NotReady, match=name):
        Ranker.load(folder, quick)


@pytest.mark.parametrize("name", ["weights.safetensors", "users/trained.npy", "manifest.json"])
def test_a_missing_file_is_named(name: str, bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings) -> None:
    folder = copied(bundles["mgoe"], tmp_path)
    (folder / name).unlink()
    with pytest.raises(NotReady, match=name):
        Ranker.load(folder, quick)


@pytest.mark.parametrize("name", ["mmoe", "mgoe", "target"])
def test_a_probe_that_scores_otherwise_than_in_training_is_named(
    name: str, bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings
) -> None:
    folder = copied(bundles[name], tmp_path)
    scores = np.load(folder / "probe_scores.npy")
    scores[-1, 0] += 2e-5
    np.save(folder / "probe_scores.npy", scores)
    resigned(folder)
    with pytest.raises(NotReady, match=r"probe '15: .*differs from the trainer's score by 2\.0e-05"):
        Ranker.load(folder, quick)


def test_changed_weights_do_not_pass_the_probes(
    bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings
) -> None:
    folder = copied(bundles["mgoe"], tmp_path)
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 0x40
    (folder / "weights.safetensors").write_bytes(bytes(content))
    resigned(folder)
    with pytest.raises(NotReady, match="probe"):
        Ranker.load(folder, quick)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path, world_log: Path, quick: RankerSettings) -> None:
    with pytest.raises(NotReady, match="no such folder"):
        Ranker.load(tmp_path / "absent", quick)
    with pytest.raises(NotReady, match="not a bundle"):
        Ranker.load(world_log, quick)
    with pytest.raises(NotReady, match=r"no such folder"):
        Ranker.load("ftp://host/bundle", quick)


def test_a_required_signature_decides_what_is_loaded(
    bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings
) -> None:
    pytest.importorskip("model_signing", reason="model-signing is not installed: pip install 'mgoe[sign]'")
    private, public = key_pair(tmp_path, "maker")
    _, other = key_pair(tmp_path, "other")
    folder = copied(bundles["mmoe"], tmp_path)
    wanted = quick.model_copy(update={"signature": RequiredSignature(files=(public,))})
    with pytest.raises(NotReady, match=r"is not signed \(model\.sig is missing\), and a signature is required"):
        Ranker.load(folder, wanted)
    sign_bundle(folder, KeySigner(private))
    assert Ranker.load(folder, wanted).digest == read_manifest(folder).digest
    stranger = quick.model_copy(update={"signature": RequiredSignature(files=(other,))})
    with pytest.raises(NotReady, match=r"model\.sig does not hold under public key .*other\.pub"):
        Ranker.load(folder, stranger)


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_file_uri_names_a_folder(bundles: dict[str, Path], quick: RankerSettings) -> None:
    ranker = Ranker.load(bundles["mmoe"].as_uri(), quick)
    assert ranker.rank(RankRequest("1", ("2", "3"))).digest == read_manifest(bundles["mmoe"]).digest


def test_a_bundle_on_s3_needs_a_key(quick: RankerSettings) -> None:
    for uri in ("s3://", "s3://bucket", "s3://bucket/"):
        with pytest.raises(NotReady, match="names no key"):
            Ranker.load(uri, quick)


def test_a_cache_that_others_can_write_to_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(NotReady, match="written by others"):
        Ranker.load(bundles["mmoe"], RankerSettings(cache=tmp_path, scorers=("factorised",)))


def test_without_a_cache_folder_tables_stay_in_memory(bundles: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ranker = Ranker.load(
        bundles["mgoe"], RankerSettings(cache=tmp_path / "file" / "below", scorers=("factorised", "onnx"))
    )
    assert set(ranker.describe().scorers.values()) <= {"factorised"} | {
        f"factorised, blocks of {n}" for n in (64, 128, 256, 512)
    }
