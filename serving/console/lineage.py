"""Where the two models come from: what the resource, the registry and a bundle's manifest say."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model.artifact.manifest import MANIFEST_NAME, Manifest
from serving.console.registered import Registered, RegisteredVersions
from serving.console.wish import Sight
from serving.gateway.assignment import Arm
from serving.rollout.spec import ModelSource

LARGEST = 4 * 2**20


@dataclass(frozen=True)
class Fact:
    """One line: what it is, and its value."""

    name: str
    value: str
    code: bool = False
    """Whether it is a digest or an address."""
    link: str | None = None
    """A page about it."""


@dataclass(frozen=True)
class ArmLineage:
    """One arm's model."""

    arm: Arm
    facts: tuple[Fact, ...]
    problem: str | None = None
    """Why there is no more to tell."""


@dataclass
class Lineages:
    """Lineage of both arms. Manifests are read once: content is pinned by its digest. registered: None without a
    registry."""

    registered: RegisteredVersions | None = None
    _manifests: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, sight: Sight) -> tuple[ArmLineage, ArmLineage]:
        """Baseline and candidate."""
        run = sight.status.run
        return (
            self._arm("baseline", sight.spec.baseline, run.baseline if run else None),
            self._arm("candidate", sight.spec.candidate, run.candidate if run else None),
        )

    def _arm(self, arm: Arm, source: ModelSource, digest: str | None) -> ArmLineage:
        facts = []
        if source.model is not None:
            facts.append(Fact("registered model", f"{source.model}, alias {source.alias}"))
        wanted = digest or source.digest
        if wanted is not None:
            facts.append(Fact("bundle digest", wanted, code=True))
            facts.extend(self._registered(wanted))
        if source.bundle is None:
            return ArmLineage(arm, tuple(facts))
        facts.append(Fact("bundle", source.bundle, code=True))
        manifest = self._manifest(source.bundle, wanted or "")
        if isinstance(manifest, str):
            return ArmLineage(arm, tuple(facts), manifest)
        told = {fact.value for fact in facts}
        return ArmLineage(arm, (*facts, *(fact for fact in _facts(manifest) if fact.value not in told)))

    def _registered(self, digest: str) -> tuple[Fact, ...]:
        if self.registered is None:
            return ()
        found = self.registered.of(digest)
        return (Fact("registry", found),) if isinstance(found, str) else _of_registry(found)

    def _manifest(self, bundle: str, digest: str) -> Manifest | str:
        """The manifest, or why it cannot be shown."""
        with self._lock:
            known = self._manifests.get((bundle, digest))
        if known is not None:
            return known
        found = _read(bundle)
        if isinstance(found, str):
            return found
        if found.digest != digest:
            return f"the folder now holds another bundle ({found.digest[:12]})"
        with self._lock:
            self._manifests[bundle, digest] = found
        return found


def _read(bundle: str) -> Manifest | str:
    parts = urlsplit(bundle)
    if parts.scheme != "file":
        return "its manifest is not on this machine"
    file = Path(unquote(parts.path)) / MANIFEST_NAME
    try:
        if file.stat().st_size > LARGEST:
            return "its manifest is too large to be one"
        return Manifest.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({type(error).__name__})"


def _of_registry(found: Registered) -> tuple[Fact, ...]:
    aliases = f", alias {' and '.join(found.aliases)}" if found.aliases else ", no alias"
    facts = [Fact("registry", f"{found.name} version {found.number}{aliases}", link=found.page)]
    if found.run is not None:
        facts.append(Fact("MLflow run", found.run, code=True, link=found.run_page))
    return (*facts, *(Fact("made the baseline by", promotion) for promotion in found.promotions))


_SOURCES: Mapping[str, str] = {"macro-graph": "graph digest", "log": "data digest", "model": "model digest"}


def _facts(manifest: Manifest) -> tuple[Fact, ...]:
    """Sources first; a fact that says nothing, or a source again, is left out."""
    sources = [Fact(_SOURCES.get(one.kind, f"{one.kind} digest"), one.digest, code=True) for one in manifest.made_from]
    shown = {fact.value for fact in sources}
    told = [(name.replace("_", " "), _text(value)) for name, value in sorted(manifest.facts.items())]
    facts = [Fact(name, value) for name, value in told if value and value not in shown]
    return (*sources, *facts, Fact("made by", manifest.made_by))


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    return str(value)
