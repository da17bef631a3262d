"""A rollout has put a model into production: its version becomes the baseline, once, with a note of who did it."""

from __future__ import annotations

from datetime import datetime

from model.errors import UserError
from model.registry.alias import move
from model.registry.model_registry import BUNDLE_DIGEST, ModelRegistry, Version

PROMOTED_BY = "promoted_by."
"""What tags of promotions begin with."""


def promotion_tag(run: str) -> str:
    """Tag on a version: when that run of a rollout promoted it."""
    return PROMOTED_BY + run


def of_bundle(registry: ModelRegistry, digest: str) -> Version:
    """The version that serves this bundle, under whichever name; the latest of several. Raises UserError."""
    found = [
        version
        for name in registry.names()
        for version in registry.versions(name)
        if version.tags.get(BUNDLE_DIGEST) == digest
    ]
    if not found:
        raise UserError(f"the registry has no version with the bundle {digest[:12]}; `mgoe registry list` shows all")
    return max(found, key=lambda version: version.created)


def promote(registry: ModelRegistry, bundle: str, run: str, at: datetime) -> Version:
    """Points the alias `baseline` at the version of a bundle. bundle: its digest. run: the rollout's, a name that no
    other run has.

    A run promotes once: what was done before, whatever the alias says since, is not done again. The note is written
    after the alias, so that a process that dies in between does the same once more, which changes nothing.
    Raises UserError where no version has this bundle.
    """
    version = of_bundle(registry, bundle)
    tag = promotion_tag(run)
    if tag in version.tags:
        return version
    moved = move(registry, "baseline", version)
    noted = {**moved.tags, tag: f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    return registry.register(moved.name, moved.uri, noted)
