"""`mgoe bundle`: package a model for serving, show, verify and sign what was packaged."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.table import Table

from model.artifact.manifest import SIGNATURE_NAME, Manifest
from model.artifact.store import open_store
from model.bundle.bundle import Bundle, open_bundle
from model.bundle.footprint import Footprint, footprint
from model.bundle.reference import probabilities
from model.bundle.signature import (
    CertificateSigner,
    CertificateVerifier,
    KeySigner,
    KeyVerifier,
    Signer,
    Verifier,
    sign_bundle,
)
from model.errors import UserError

app = typer.Typer(
    add_completion=False, help="Package a model for serving; show, verify and sign bundles.", no_args_is_help=True
)

AddressArgument = Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder, file:// or s3:// address of a bundle.")]


@app.command("package")
def package_command(
    model: Annotated[Path, typer.Option("--model", help="Folder of the model artifact.")],
    log: Annotated[Path, typer.Option("--log", help="Folder of the log artifact that it was trained on.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.")],
    graph: Annotated[
        Path | None, typer.Option("--graph", help="Folder of the macro graph, for models with one.")
    ] = None,
    utility: Annotated[
        list[str] | None,
        typer.Option(
            "--utility", help="Weight of a task in the combined score, as task=weight; repeat. [default: 1 each]"
        ),
    ] = None,
    probes: Annotated[int, typer.Option("--probes", min=16, help="Requests of the probe set.")] = 64,
) -> None:
    """Make the bundle of a trained model, proven to score as the trainer does."""
    from model.bundle.package import package  # noqa: PLC0415  # needs the trainer; the other commands do not

    weights = None if utility is None else dict(_weight(text) for text in utility)
    manifest = package(model, log, graph, out, weights, probes=probes)
    console = Console(highlight=False, soft_wrap=True)
    console.print(_description(manifest, open_bundle(out)))
    console.print(f"bundle {manifest.digest[:12]} in {out}", markup=False)


@app.command("show")
def show_command(bundle: AddressArgument) -> None:
    """Show what a bundle holds and where it comes from."""
    with _folder(bundle) as folder:
        opened = open_bundle(folder)
        console = Console(highlight=False, soft_wrap=True)
        console.print(_description(opened.manifest, opened))
        console.print(_memory(footprint(folder, opened)))


@app.command("verify")
def verify_command(
    bundle: AddressArgument,
    key: Annotated[Path | None, typer.Option("--key", help="Public key (PEM file) that must have signed it.")] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", help="Certificate (PEM file) that the signer's must go back to; repeat."),
    ] = None,
    signer: Annotated[
        str | None, typer.Option("--signer", help="Name that the signer's certificate must carry; with --root.")
    ] = None,
) -> None:
    """Compare every digest, check the signature where a key or root is given, and score the probes."""
    verifier = _verifier(key, root or [], signer)
    with _folder(bundle) as folder:
        opened = open_bundle(folder, verifier)
        worst = 0.0
        for probe in opened.probes:
            asked = probe.request
            found = probabilities(opened, asked.user, asked.items, asked.context, asked.time)
            worst = max(worst, probe.check(found, f"bundle {bundle}"))
        signature = _signature_words(folder, key, root)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"digests    {len(opened.manifest.files)} files as {opened.digest[:12]} says", markup=False)
    console.print(f"signature  {signature}", markup=False)
    console.print(f"probes     {len(opened.probes)} requests within {worst:.1e} of the trainer", markup=False)


@app.command("sign")
def sign_command(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    key: Annotated[Path, typer.Option("--key", help="Private key: a PEM file, elliptic curve.")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the key's password, where it has one.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The key's certificate (PEM file); it travels in the signature."),
    ] = None,
    chain: Annotated[
        list[Path] | None, typer.Option("--chain", help="Certificate between it and a root (PEM file); repeat.")
    ] = None,
) -> None:
    """Sign a bundle in OpenSSF's model-signing format; the signature travels with it."""
    if "://" in bundle:
        raise UserError(f"bundle {bundle}: a folder is signed, then put where it is served from; give the folder")
    signer: Signer = KeySigner(key, password_file)
    if certificate is not None:
        if password_file is not None:
            raise UserError(
                "--password-file goes with a key alone: model-signing reads a certificate's key unencrypted"
            )
        signer = CertificateSigner(key, certificate, tuple(chain or ()))
    elif chain:
        raise UserError("--chain goes with --certificate: name the certificate that the chain leads from")
    signature = sign_bundle(Path(bundle), signer)
    Console(highlight=False, soft_wrap=True).print(f"signature in {signature}", markup=False)


@contextmanager
def _folder(address: str) -> Iterator[Path]:
    """The bundle's own folder, or one that it is fetched to and that goes with the context."""
    parts = urlsplit(address)
    if parts.scheme == "file" or "://" not in address:
        yield Path(unquote(parts.path) if parts.scheme == "file" else address)
        return
    if parts.scheme != "s3":
        raise UserError(f"bundle {address}: unknown scheme {parts.scheme!r}; give a folder, file:// or s3://bucket/key")
    root, _, key = address.rstrip("/").rpartition("/")
    if not parts.netloc or not parts.path.strip("/"):
        raise UserError(f"bundle {address!r} names no key; write s3://bucket/key")
    with TemporaryDirectory(prefix="mgoe-bundle-") as aside:
        folder = Path(aside) / "bundle"
        open_store(root).get_tree(key, folder)
        yield folder


def _weight(text: str) -> tuple[str, float]:
    task, _, weight = text.partition("=")
    try:
        return task, float(weight)
    except ValueError:
        raise UserError(f"--utility {text!r}: write task=weight, such as click=1") from None


def _verifier(key: Path | None, roots: list[Path], signer: str | None) -> Verifier | None:
    if key is not None and roots:
        raise UserError("--key and --root exclude each other: a bundle has one signature")
    if signer is not None and not roots:
        raise UserError("--signer goes with --root: name the certificate that the signer's goes back to")
    if key is not None:
        return KeyVerifier(key)
    return CertificateVerifier(tuple(roots), signer) if roots else None


def _signature_words(bundle: Path, key: Path | None, root: list[Path] | None) -> str:
    if key is not None or root:
        return "trusted"
    return "not checked (give --key or --root)" if (bundle / SIGNATURE_NAME).is_file() else "none"


def _description(manifest: Manifest, bundle: Bundle) -> Table:
    facts, serving = manifest.facts, bundle.serving
    table = Table(show_header=False, box=None, pad_edge=False)
    utility = ", ".join(f"{task} {weight:g}" for task, weight in serving.utility.items())
    context = ", ".join(bundle.context.accepted) or "none"
    lines = {
        "digest": manifest.digest,
        "model": f"{facts['architecture']} {str(facts['model_digest'])[:12]}",
        "run": facts["run_id"] or "not tracked",
        "tasks": " < ".join(bundle.tasks),
        "utility": f"{utility} ({serving.combine.replace('_', ' ')})",
        "users": f"{facts['users']:,}",
        "items": f"{facts['items']:,}",
        "context": context,
        "graph": f"{serving.graph_version} as of {serving.graph_as_of}" if serving.graph_version else "none",
        "history": "none" if serving.rates_as_of is None else f"rates as of {serving.rates_as_of}",
        "probes": len(bundle.probes),
        "made from": ", ".join(f"{source.kind} {source.digest[:12]}" for source in manifest.made_from),
        "signature": "yes" if (bundle.folder / SIGNATURE_NAME).is_file() else "none",
    }
    for name, value in lines.items():
        table.add_row(f"[dim]{name}[/]", str(value))
    return table


def _memory(found: Footprint) -> Table:
    table = Table("MB", "files", "per million", box=None, pad_edge=False, header_style="dim")
    for part, megabytes, per_million in found.lines():
        table.add_row(part, f"{megabytes:,.1f}", "" if per_million is None else f"{per_million:,.0f}")
    return table
