"""The model archive (MAR) that TorchServe loads: a three-line handler, its settings, and a bundle or where it lies.

Equal bundles and options give equal bytes. The archive holds no pickle and no TorchScript; whoever loads it runs the
handler of the installed package.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from model.artifact.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest, list_files, verify
from model.artifact.writer import ArtifactWriter
from model.errors import UserError
from serving.ranker.settings import RankerSettings

HANDLER = "mgoe_handler.py"
CONFIG = "model-config.yaml"
BUNDLE = "bundle"
"""Folder of the bundle inside the archive."""

_HANDLER_TEXT = '''"""TorchServe looks for one class in this file."""

from serving.ranker.torchserve.handler import RankerHandler


class Handler(RankerHandler):
    """The ranker's handler."""
'''
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment that a zip file can name."""

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\z", max_length=100)]
"""Of a model: it stands in paths, file names and TorchServe's configuration."""


class ArchiveOptions(BaseModel):
    """How TorchServe runs the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = "ranker"
    """Name of the model in the server's paths: /v2/models/<name>/infer."""
    version: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")] = "1.0"
    """TorchServe's number for it; answers name the bundle's digest."""
    workers: Count = 1
    """Processes that score; they map the same files."""
    batch: Count = 8
    """Calls scored together at most."""
    batch_delay_ms: Count = 1
    """How long TorchServe waits for more calls (0 would mean its default, 100)."""
    queue: Count = 256
    """Calls that may wait; one more is answered with 503."""
    deadline_ms: Count = 1000
    """A call that waited longer is dropped unscored."""
    answer_s: Count = 30
    """A worker that takes longer for one batch counts as hung and is started anew."""
    start_s: Count = 600
    """A worker may take so long to fetch, verify and measure its bundle."""
    retry_s: Count = 300
    """For so long a worker that does not start is tried again."""
    ranker: RankerSettings = RankerSettings()
    """Settings of the ranker in every worker."""


def write_archive(bundle: Path, out: Path, options: ArchiveOptions, uri: str | None = None) -> Manifest:
    """Writes `<name>.mar` into the artifact folder `out`.

    uri: where workers fetch the bundle from (s3://bucket/key, file://); None packs it into the archive. Either way
    `bundle` is verified first. Raises UserError where it is no whole bundle.
    """
    whole = verify(bundle)
    if whole.kind != "bundle":
        raise UserError(f"{bundle} is a {whole.kind} artifact; an archive is made of a bundle")
    with ArtifactWriter(out, "model-archive", "mgoe torchserve archive", [whole.source()]) as writer:
        with zipfile.ZipFile(writer.path / f"{options.name}.mar", "w", zipfile.ZIP_STORED) as archive:
            for name, content in _entries(bundle, options, uri):
                _add(archive, name, content)
        writer.facts |= {"name": options.name, "bundle": whole.digest, "source": uri or "inside"}
    return writer.manifest


def archive_in(folder: Path) -> Path:
    """The archive of an artifact that `write_archive` made, its digest compared. Raises UserError where it differs."""
    found = verify(folder)
    if found.kind != "model-archive":
        raise UserError(f"{folder} is a {found.kind} artifact, not a model archive")
    name = f"{found.facts.get('name')}.mar"
    if name not in found.files:
        raise UserError(f"{folder} holds no archive {name!r}; make it anew")
    return folder / name


def manifest_of(options: ArchiveOptions) -> dict[str, Any]:
    """MAR-INF/MANIFEST.json as torch-model-archiver 0.12 writes it, without the hour of its making."""
    return {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": options.name,
            "handler": HANDLER,
            "modelVersion": options.version,
            "configFile": CONFIG,
        },
        "archiverVersion": "0.12.0",
    }


def config_of(options: ArchiveOptions, uri: str | None) -> dict[str, Any]:
    """model-config.yaml: TorchServe's own settings of a model, and those that the handler reads."""
    return {
        "minWorkers": options.workers,
        "maxWorkers": options.workers,
        "batchSize": options.batch,
        "maxBatchDelay": options.batch_delay_ms,
        "jobQueueSize": options.queue,
        "clientTimeoutInMills": options.deadline_ms,
        "responseTimeout": options.answer_s,
        "startupTimeout": options.start_s,
        "maxRetryTimeoutInSec": options.retry_s,
        "bundle": uri or BUNDLE,
        "ranker": options.ranker.model_dump(mode="json"),
    }


def _entries(bundle: Path, options: ArchiveOptions, uri: str | None) -> Iterator[tuple[str, bytes | Path]]:
    yield "MAR-INF/MANIFEST.json", json.dumps(manifest_of(options), indent=2).encode()
    yield HANDLER, _HANDLER_TEXT.encode()
    yield CONFIG, yaml.safe_dump(config_of(options, uri), sort_keys=False).encode()
    if uri is None:
        signature = [SIGNATURE_NAME] if (bundle / SIGNATURE_NAME).is_file() else []
        for name in sorted([MANIFEST_NAME, *signature, *list_files(bundle)]):
            yield f"{BUNDLE}/{name}", bundle / name


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=isinstance(content, Path)) as target:
        if isinstance(content, bytes):
            target.write(content)
            return
        with content.open("rb") as source:
            while block := source.read(2**20):
                target.write(block)
