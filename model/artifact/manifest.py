"""The manifest that every artifact folder carries: schema version, digest of every file, what made it, from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from model.errors import UserError, first_mistake

Kind = Literal["log", "macro-graph", "model", "evaluation", "comparison", "bundle", "model-archive", "checkpoint"]
MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "model.sig"
"""A signature over manifest and files (model.bundle.signature); optional."""
_BESIDE = (MANIFEST_NAME, SIGNATURE_NAME)
"""Files of an artifact that its manifest does not list."""
SCHEMA_VERSION = 1


class Source(BaseModel):
    """One input artifact: its kind and digest (lineage)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    digest: str


class Manifest(BaseModel):
    """digest: SHA-256 over the sorted (path, sha256) pairs of `files`: the artifact's identity.

    facts: what a reader wants to know without opening the files (rows, tasks, graph version ...).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    schema_version: Literal[1] = 1
    kind: Kind
    made_by: str
    made_from: tuple[Source, ...] = ()
    files: dict[str, str]
    facts: dict[str, str | int | float | bool | list[str] | dict[str, float]] = {}
    digest: str

    @field_validator("files")
    @classmethod
    def _stay_inside_the_folder(cls, files: dict[str, str]) -> dict[str, str]:
        """A manifest comes from elsewhere: a path in it must not lead out of the artifact's folder."""
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name or name in ("", ".", *_BESIDE):
                raise ValueError(f"{name!r} is not a plain path inside the artifact")
        return files

    def source(self) -> Source:
        """This artifact as an input of another one."""
        return Source(kind=self.kind, digest=self.digest)


def digest_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(files: Mapping[str, str]) -> str:
    """The artifact's identity: SHA-256 over the sorted (path, sha256) pairs, written as compact JSON."""
    pairs = json.dumps(sorted(files.items()), separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(pairs.encode()).hexdigest()


def list_files(folder: Path) -> list[str]:
    """Relative POSIX paths of all files below `folder` that a manifest lists, sorted. Raises UserError on a link."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise UserError(f"artifact {folder}: {path.relative_to(folder)} is a link; an artifact holds plain files")
        if path.is_file():
            names.append(path.relative_to(folder).as_posix())
    return [name for name in names if name not in _BESIDE]


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """The manifest in `text`; `where` names it in errors. Raises UserError: no JSON, another version, a wrong field."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: {MANIFEST_NAME} is not JSON ({error}); make the artifact anew") from None
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{where}: {MANIFEST_NAME} has schema version {version!r}; this mgoe reads version {SCHEMA_VERSION}"
        )
    try:
        manifest = Manifest.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{where}: in {MANIFEST_NAME} {first_mistake(error)}") from None
    if digest_of_files(manifest.files) != manifest.digest:
        raise UserError(f"{where}: digest in {MANIFEST_NAME} does not match its list of files; make the artifact anew")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in `folder`, without reading its files. Raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"artifact {folder}: no such folder")
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        raise UserError(f"artifact {folder}: no {MANIFEST_NAME} in it, so it is not a whole artifact") from None
    return parse_manifest(text, f"artifact {folder}")


def verify(folder: Path) -> Manifest:
    """Reads every file again and compares digests. Raises UserError naming the broken, missing or unlisted file."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"artifact {folder}: file {name} is missing; make or fetch the artifact anew")
        found = digest_of_file(path)
        if found != expected:
            raise UserError(
                f"artifact {folder}: file {name} is broken: sha256 {found[:12]}, expected {expected[:12]};"
                " make or fetch the artifact anew"
            )
    unlisted = [name for name in list_files(folder) if name not in manifest.files]
    if unlisted:
        raise UserError(f"artifact {folder}: file {unlisted[0]} is not listed in {MANIFEST_NAME}; remove it")
    return manifest
