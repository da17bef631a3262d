"""The manifest that every artifact folder carries: schema version, digest of every file, what made it, from what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["log", "macro-graph", "model", "evaluation", "comparison", "bundle"]
MANIFEST_NAME = "manifest.json"


class Source(BaseModel):
    """One input artifact: its kind and digest (lineage)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    digest: str


class Manifest(BaseModel):
    """digest: SHA-256 over the sorted (path, sha256) pairs of `files`: the artifact's identity.

    facts: what a reader wants to know without opening the files (rows, tasks, graph version ...).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    kind: Kind
    made_by: str
    made_from: tuple[Source, ...] = ()
    files: dict[str, str]
    facts: dict[str, str | int | float | bool | list[str] | dict[str, float]] = {}
    digest: str


def read_manifest(folder: Path) -> Manifest:
    raise NotImplementedError
