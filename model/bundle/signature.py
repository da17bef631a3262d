"""Signatures of bundles in OpenSSF's model-signing format: who made this, beside the digests' what is this.

The signature travels in the bundle as `model.sig`, a Sigstore bundle over the digest of every file, manifest included;
OpenSSF's own command verifies it as well. Keys and certificates are files: their text never stands in an argument.
"""
# ruff: noqa: PLC0415  # model-signing is an extra of its own, loaded only where a signature is made or asked for

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from model.artifact.manifest import SIGNATURE_NAME, verify
from model.artifact.staging import as_fault
from model.errors import UserError


class Signer(Protocol):
    """Makes signatures."""

    def sign(self, folder: Path, signature: Path) -> None:
        """Writes the signature of all files in `folder` to `signature`. Raises UserError on an unfit key."""


class Verifier(Protocol):
    """Checks signatures against what it trusts."""

    def check(self, folder: Path, signature: Path) -> None:
        """Raises UserError unless `signature` is a trusted one of exactly the files in `folder`."""


def sign_bundle(folder: Path, signer: Signer) -> Path:
    """Signs a verified bundle, replacing the signature that it had; returns the signature's path."""
    _whole_bundle(folder)
    place = folder / SIGNATURE_NAME
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.signing-", dir=folder.parent) as aside:
            made = Path(aside) / SIGNATURE_NAME
            signer.sign(folder, made)
            made.replace(place)
    except OSError as error:
        raise as_fault(place, error) from error
    return place


def require_signature(folder: Path, verifier: Verifier) -> None:
    """Raises UserError unless the bundle in `folder` carries a signature that `verifier` trusts."""
    signature = folder / SIGNATURE_NAME
    if not signature.is_file():
        raise UserError(f"bundle {folder} is not signed ({SIGNATURE_NAME} is missing), and a signature is required")
    verifier.check(folder, signature)


@dataclass(frozen=True)
class KeySigner:
    """Signs with an elliptic curve private key (PEM; P-256, P-384 or P-521), by path."""

    key: Path
    password: Path | None = None
    """File that holds the key's password, where it is encrypted."""

    def sign(self, folder: Path, signature: Path) -> None:
        with _unfit(f"private key {self.key}"):
            secret = None if self.password is None else self.password.read_bytes().strip()
            config = _library("signing").Config().use_elliptic_key_signer(private_key=self.key, password=secret)
        config.set_hashing_config(_all_files()).sign(folder, signature)


@dataclass(frozen=True)
class CertificateSigner:
    """Signs with the private key of a certificate; the certificate travels in the signature. All PEM files."""

    key: Path
    certificate: Path
    chain: tuple[Path, ...] = ()
    """Certificates between the signing one and a root that verifiers trust."""

    def sign(self, folder: Path, signature: Path) -> None:
        with _unfit(f"private key {self.key} with certificate {self.certificate}"):
            config = (
                _library("signing")
                .Config()
                .use_certificate_signer(
                    private_key=self.key, signing_certificate=self.certificate, certificate_chain=self.chain
                )
            )
        config.set_hashing_config(_all_files()).sign(folder, signature)


@dataclass(frozen=True)
class KeyVerifier:
    """Trusts one public key (PEM), by path."""

    key: Path

    def check(self, folder: Path, signature: Path) -> None:
        with _unfit(f"public key {self.key}"):
            config = _library("verifying").Config().use_elliptic_key_verifier(public_key=self.key)
        with _distrusted(folder, f"public key {self.key}"):
            config.set_hashing_config(_all_files()).verify(folder, signature)


@dataclass(frozen=True)
class CertificateVerifier:
    """Trusts what these certificates (PEM) issued. A certificate counts that was valid when it began: expiry is not
    looked at, since a signature has no proof of its time."""

    roots: Sequence[Path]
    signer: str | None = None
    """Who must have signed: the certificate's common name, or an e-mail, address or host of its alternative names.
    None: whoever the roots issued one for."""

    def check(self, folder: Path, signature: Path) -> None:
        names = ", ".join(str(path) for path in self.roots)
        with _unfit(f"certificates {names}"):
            config = _library("verifying").Config().use_certificate_verifier(certificate_chain=self.roots)
        with _distrusted(folder, f"certificates {names}"):
            config.set_hashing_config(_all_files()).verify(folder, signature)
            identities = _identities(signature)
        if self.signer is not None and self.signer not in identities:
            raise UserError(
                f"bundle {folder} is signed by {', '.join(identities) or 'nobody by name'}, not by {self.signer}"
            )


def verifier_of(files: Sequence[Path], signer: str | None = None) -> Verifier:
    """Trusts one public key, or what certificates issued: PEM files, told apart by what they hold.

    Raises UserError where they are neither, or both, or a signer's name is given with a key, which has none.
    """
    kinds = {_kind_of_pem(path) for path in files}
    if kinds == {"certificate"}:
        return CertificateVerifier(tuple(files), signer)
    if kinds != {"key"} or len(files) > 1:
        raise UserError(
            "a signature is checked with one public key or with certificates, not with several keys or both"
        )
    if signer is not None:
        raise UserError(
            f"public key {files[0]} names no signer; ask for {signer!r} with the certificate that issued it"
        )
    return KeyVerifier(files[0])


def _kind_of_pem(path: Path) -> str:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"signature file {path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in text:
        raise UserError(f"{path} holds a private key; a signature is checked with the public one")
    if b"-----BEGIN CERTIFICATE-----" in text:
        return "certificate"
    if b"-----BEGIN PUBLIC KEY-----" in text:
        return "key"
    raise UserError(f"{path} holds neither a public key nor a certificate; give a PEM file")


def _identities(signature: Path) -> list[str]:
    """What the certificate in a signature calls its holder."""
    from cryptography import x509

    document = json.loads(signature.read_bytes())
    first = document["verificationMaterial"]["x509CertificateChain"]["certificates"][0]
    certificate = x509.load_der_x509_certificate(base64.b64decode(first["rawBytes"]))
    names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return names + [str(name) for kind in kinds for name in found.get_values_for_type(kind)]


def _library(module: str) -> Any:
    """A module of model-signing, which is loaded where a signature is made or asked for."""
    return import_module(f"model_signing.{module}")


def _all_files() -> Any:
    """Every file but the signature itself, those that look like git's among them."""
    return _library("hashing").Config().set_ignored_paths(paths=[SIGNATURE_NAME], ignore_git_paths=False)


def _whole_bundle(folder: Path) -> None:
    kind = verify(folder).kind
    if kind != "bundle":
        raise UserError(f"{folder} is a {kind} artifact, not a bundle")


@contextmanager
def _unfit(what: str) -> Iterator[None]:
    """Turns errors of reading key material into one line. The key's content never enters it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"signatures need the package {error.name!r}: pip install 'mgoe[sign]'") from None
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError) as error:  # no PEM, a wrong password, another kind of key
        raise UserError(f"{what} is not usable: {str(error).splitlines()[0]}") from None


@contextmanager
def _distrusted(folder: Path, what: str) -> Iterator[None]:
    """Turns whatever a wrong signature makes the libraries say into one line.

    The signature comes from elsewhere: where it is malformed, parsing fails in ways of its own.
    """
    from cryptography.exceptions import InvalidSignature
    from OpenSSL import crypto

    try:
        yield
    except InvalidSignature:
        reason = "it was made with another key, or changed"
    except crypto.X509StoreContextError as error:
        reason = f"its certificate is not trusted: {error}"
    except (ValueError, LookupError, TypeError, AttributeError, crypto.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        return
    raise UserError(f"bundle {folder}: {SIGNATURE_NAME} does not hold under {what}: {reason}")
