from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model.artifact.manifest import SIGNATURE_NAME, verify
from model.artifact.store import FolderStore, open_store
from model.bundle.bundle import open_bundle
from model.bundle.signature import (
    CertificateSigner,
    CertificateVerifier,
    KeySigner,
    KeyVerifier,
    sign_bundle,
    verifier_of,
)
from model.errors import UserError
from tests.model.bundle.bundle_world import World

pytest.importorskip("model_signing", reason="model-signing is not installed: pip install 'mgoe[sign]'")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Keys:
    private: Path
    public: Path


def write_keys(folder: Path, name: str, password: bytes | None = None) -> tuple[Keys, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        hidden = serialization.BestAvailableEncryption(password)
    keys = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    keys.private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    keys.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return keys, key


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path, "maker")[0]


@pytest.fixture
def signed(world: World, tmp_path: Path, keys: Keys) -> Path:
    bundle = world.copy_of("mmoe", tmp_path / "bundle")
    sign_bundle(bundle, KeySigner(keys.private))
    return bundle


def test_a_signed_bundle_opens_under_its_makers_key(signed: Path, keys: Keys) -> None:
    assert open_bundle(signed, KeyVerifier(keys.public)).digest == verify(signed).digest
    assert not list(signed.parent.glob(".bundle.signing-*"))


def test_an_unsigned_bundle_is_refused_where_a_signature_is_required(world: World, keys: Keys) -> None:
    with pytest.raises(UserError, match=r"is not signed \(model\.sig is missing\)"):
        open_bundle(world.bundle("mmoe"), KeyVerifier(keys.public))


def test_another_key_is_not_trusted(signed: Path, tmp_path: Path) -> None:
    other, _ = write_keys(tmp_path, "other")
    with pytest.raises(UserError, match=r"model\.sig does not hold under public key .*other\.pub"):
        open_bundle(signed, KeyVerifier(other.public))


def test_a_bundle_made_anew_under_an_old_signature_is_refused(
    signed: Path, world: World, tmp_path: Path, keys: Keys
) -> None:
    other = world.copy_of("mgoe", tmp_path / "other")
    shutil.copyfile(signed / SIGNATURE_NAME, other / SIGNATURE_NAME)
    verify(other)
    with pytest.raises(UserError, match="does not hold"):
        open_bundle(other, KeyVerifier(keys.public))


def cut_short(text: str) -> str:
    return text[: len(text) // 2]


def emptied(_: str) -> str:
    return "{}"


def other_payload(text: str) -> str:
    payload = json.loads(text)["dsseEnvelope"]["payload"]
    swapped = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    return text.replace(payload, swapped)


@pytest.mark.parametrize("change", [cut_short, emptied, other_payload, lambda _: "", lambda _: "[1, 2]"])
def test_a_broken_signature_is_one_line(signed: Path, keys: Keys, change: Callable[[str], str]) -> None:
    path = signed / SIGNATURE_NAME
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(UserError, match=r"model\.sig does not hold under") as caught:
        open_bundle(signed, KeyVerifier(keys.public))
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_named_before_any_signature_is_read(signed: Path, keys: Keys) -> None:
    (signed / "schema.yaml").write_text("other: 1\n")
    with pytest.raises(UserError, match=r"file schema\.yaml is broken"):
        open_bundle(signed, KeyVerifier(keys.public))


def test_a_broken_bundle_is_not_signed(world: World, tmp_path: Path, keys: Keys) -> None:
    broken = world.copy_of("mmoe", tmp_path / "bundle")
    (broken / "schema.yaml").write_text("other: 1\n")
    with pytest.raises(UserError, match=r"schema\.yaml is broken"):
        sign_bundle(broken, KeySigner(keys.private))
    assert not (broken / SIGNATURE_NAME).exists()


def test_what_is_no_bundle_is_not_signed(world: World, keys: Keys) -> None:
    with pytest.raises(UserError, match="is a model artifact, not a bundle"):
        sign_bundle(world.model("mmoe"), KeySigner(keys.private))


def test_signing_again_replaces_the_signature(signed: Path, tmp_path: Path) -> None:
    other, _ = write_keys(tmp_path, "other")
    sign_bundle(signed, KeySigner(other.private))
    open_bundle(signed, KeyVerifier(other.public))


def test_a_key_with_a_password_takes_it_from_a_file(world: World, tmp_path: Path) -> None:
    hidden, _ = write_keys(tmp_path, "hidden", b"secret")
    (tmp_path / "password").write_text("secret\n")
    bundle = world.copy_of("mmoe", tmp_path / "bundle")
    sign_bundle(bundle, KeySigner(hidden.private, tmp_path / "password"))
    open_bundle(bundle, KeyVerifier(hidden.public))
    with pytest.raises(UserError, match=r"hidden\.pem is not usable") as caught:
        sign_bundle(bundle, KeySigner(hidden.private))
    assert "secret" not in str(caught.value)


def test_unfit_keys_are_one_line_without_their_content(world: World, tmp_path: Path, keys: Keys) -> None:
    bundle = world.copy_of("mmoe", tmp_path / "bundle")
    weak = tmp_path / "rsa.pem"
    weak.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for key in (keys.public, weak, tmp_path / "absent.pem", bundle / "schema.yaml"):
        with pytest.raises(UserError, match="private key") as caught:
            sign_bundle(bundle, KeySigner(key))
        assert "\n" not in str(caught.value)
        assert "BEGIN PRIVATE" not in str(caught.value)
    with pytest.raises(UserError, match=r"public key .*absent\.pub cannot be read"):
        KeyVerifier(tmp_path / "absent.pub").check(bundle, bundle / SIGNATURE_NAME)


def certificate_of(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, is_root: bool
) -> bytes:
    now = datetime.now(UTC)
    others = (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("crl_sign", "encipher_only", "decipher_only"),
    )
    usage = dict.fromkeys(others, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=is_root, **usage), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def test_a_certificate_that_goes_back_to_a_trusted_root_is_trusted(world: World, tmp_path: Path) -> None:
    (_, root), (maker, leaf), (_, stranger) = (write_keys(tmp_path, name) for name in ("root", "maker", "stranger"))
    (tmp_path / "root.crt").write_bytes(certificate_of("root", root, "root", root, True))
    (tmp_path / "leaf.crt").write_bytes(certificate_of("maker", leaf, "root", root, False))
    (tmp_path / "stranger.crt").write_bytes(certificate_of("stranger", stranger, "stranger", stranger, True))
    bundle = world.copy_of("mmoe", tmp_path / "bundle")
    sign_bundle(bundle, CertificateSigner(maker.private, tmp_path / "leaf.crt", (tmp_path / "root.crt",)))
    open_bundle(bundle, CertificateVerifier((tmp_path / "root.crt",)))
    with pytest.raises(UserError, match="its certificate is not trusted"):
        open_bundle(bundle, CertificateVerifier((tmp_path / "stranger.crt",)))
    open_bundle(bundle, CertificateVerifier((tmp_path / "root.crt",), signer="maker"))
    with pytest.raises(UserError, match="is signed by maker, not by somebody"):
        open_bundle(bundle, CertificateVerifier((tmp_path / "root.crt",), signer="somebody"))


def test_a_verifier_is_told_by_what_its_files_hold(tmp_path: Path, keys: Keys) -> None:
    _, root = write_keys(tmp_path, "root")
    crt = tmp_path / "root.crt"
    crt.write_bytes(certificate_of("root", root, "root", root, True))
    (tmp_path / "text").write_text("hello")
    assert verifier_of([keys.public]) == KeyVerifier(keys.public)
    assert verifier_of([crt], "maker") == CertificateVerifier((crt,), "maker")
    wrong = [
        ([keys.private], None, "holds a private key"),
        ([tmp_path / "text"], None, "holds neither a public key nor a certificate"),
        ([tmp_path / "absent"], None, "cannot be read"),
        ([keys.public, crt], None, "not with several keys or both"),
        ([keys.public, keys.public], None, "not with several keys or both"),
        ([keys.public], "maker", "names no signer"),
    ]
    for files, signer, words in wrong:
        with pytest.raises(UserError, match=words):
            verifier_of(files, signer)


def test_a_signature_travels_through_a_folder(signed: Path, tmp_path: Path, keys: Keys) -> None:
    store = FolderStore(tmp_path / "store")
    store.put_tree(signed, "bundles/mmoe")
    store.get_tree("bundles/mmoe", tmp_path / "fetched")
    open_bundle(tmp_path / "fetched", KeyVerifier(keys.public))


@pytest.mark.s3
def test_a_signature_travels_through_s3(signed: Path, world: World, tmp_path: Path, keys: Keys, s3_bucket: str) -> None:
    store = open_store(f"s3://{s3_bucket}/artifacts")
    store.put_tree(signed, "mmoe")
    store.get_tree("mmoe", tmp_path / "fetched")
    open_bundle(tmp_path / "fetched", KeyVerifier(keys.public))
    store.put_tree(world.bundle("mmoe"), "mmoe")
    store.get_tree("mmoe", tmp_path / "fetched")
    assert not (tmp_path / "fetched" / SIGNATURE_NAME).exists()
