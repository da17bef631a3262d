"""What mgoe asks of a model registry: versions of a name, with tags, and aliases that point at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

DEFAULT_NAME = "mgoe"
"""Name that versions belong to where none is given."""
MODEL_DIGEST = "model_digest"
"""Tag that identifies a version: the digest in the model artifact's manifest."""
BUNDLE_DIGEST = "bundle_digest"
"""Tag with the digest of the version's bundle: what a server that serves it answers with."""
BUNDLE_URI = "bundle_uri"
"""Tag with the place that servers load the bundle from."""


@dataclass(frozen=True)
class Version:
    """One registered model. number counts from 1 within `name`; tags lead back to where it comes from."""

    name: str
    number: int
    uri: str
    """Where the model artifact is."""
    created: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The model artifact's digest."""
        return self.tags[MODEL_DIGEST]

    def __str__(self) -> str:
        return str(self.number)


class ModelRegistry(Protocol):
    """Keeps versions of models. Raises UserError on a name or number that is not there, Fault when it is down."""

    def register(self, name: str, uri: str, tags: Mapping[str, str]) -> Version:
        """A new version, or the one that already has this `model_digest`, which then gets `tags` as well."""

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Points the alias at that version, away from whichever it pointed at."""

    def drop_alias(self, name: str, alias: str) -> None:
        """Leaves the alias pointing at nothing."""

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that the alias points at, or None."""

    def versions(self, name: str) -> list[Version]:
        """All versions of the name, oldest first; empty where there is no such name."""

    def get(self, name: str, number: int) -> Version:
        """One version."""

    def names(self) -> list[str]:
        """All names that have versions, sorted."""
