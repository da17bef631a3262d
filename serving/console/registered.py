"""The registered version behind a bundle, as the model registry tells it; asked aside, so that no page waits for it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from model.errors import Fault
from model.registry.model_registry import BUNDLE_DIGEST
from model.registry.promotion import PROMOTED_BY

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""An alias may move: an answer is asked for again after so long, and shown meanwhile."""
ASK_S = 120.0
"""MLflow's own start is the most of it."""
HTTP_S = 5.0
ASKED = "the registry is being asked"
_API = "/api/2.0/mlflow"


@dataclass(frozen=True)
class Registered:
    """One version. Links are there where the registry is a server with pages."""

    name: str
    number: int
    aliases: tuple[str, ...]
    run: str | None
    """The MLflow run that trained it."""
    promotions: tuple[str, ...] = ()
    """Which rollouts made it the baseline, and when."""
    page: str | None = None
    run_page: str | None = None


Ask = Callable[[str], Registered]
"""By a bundle's digest. Blocks; raises Fault with the reason."""


@dataclass
class RegisteredVersions:
    """Answers at once with what is known, and asks anew in a thread where that is old."""

    ask: Ask
    now: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Registered | str]] = field(default_factory=dict)
    _asking: dict[str, threading.Thread] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, digest: str) -> Registered | str:
        """The version of a bundle, or why it cannot be shown."""
        with self._lock:
            at, known = self._known.get(digest, (float("-inf"), ASKED))
            if self.now() - at > FRESH_S and digest not in self._asking:
                asking = threading.Thread(target=self._learn, args=(digest,), name="registry", daemon=True)
                self._asking[digest] = asking
                asking.start()
            return known

    def _learn(self, digest: str) -> None:
        found: Registered | str
        try:
            found = self.ask(digest)
        except Fault as error:
            found = str(error)
        except Exception as error:  # without an answer every page would ask again
            log.exception("the registry could not be asked")
            found = f"the registry could not be asked: {type(error).__name__}"
        with self._lock:
            del self._asking[digest]
            self._known[digest] = (self.now(), found)


def asked_at(registry: str, user: tuple[str, str] | None = None) -> Ask:
    """The way to a registry: a server's REST interface, or MLflow itself for a database."""
    if registry.startswith(("http://", "https://")):
        client = httpx.Client(base_url=registry, auth=user, timeout=HTTP_S)
        return lambda digest: from_server(client, digest)
    return lambda digest: from_command(registry, digest)


def from_command(registry: str, digest: str) -> Registered:
    """`mgoe registry show` as a process of its own: MLflow needs hundreds of megabytes, and a console must not keep
    them."""
    command = [sys.executable, "-P", "-m", "mgoe", "registry", "show", digest, "--json"]
    environment = {**os.environ, "MGOE_REGISTRY": registry}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=ASK_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise Fault(f"the registry does not answer within {ASK_S:g} s") from None
    if done.returncode != 0:
        raise Fault(_last_line(done.stderr))
    try:
        told = json.loads(done.stdout)
        return Registered(
            told["name"], told["number"], tuple(told["aliases"]), told["tags"].get("run_id"), _promotions(told["tags"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(f"the registry's answer cannot be read: {error!r}") from None


def from_server(client: httpx.Client, digest: str) -> Registered:
    """By MLflow's REST interface, with links to its pages."""
    try:
        found = _get(client, "model-versions/search", filter=filter_of(digest))
        versions = found.get("model_versions", [])
        if not versions:
            raise Fault(f"the registry has no version with the bundle {digest[:12]}")
        version = max(versions, key=lambda each: int(each["version"]))
        name, number, run = str(version["name"]), int(version["version"]), version.get("run_id") or None
        model = _get(client, "registered-models/get", name=name)["registered_model"]
        aliases = tuple(sorted(each["alias"] for each in model.get("aliases", []) if int(each["version"]) == number))
        root = str(client.base_url).rstrip("/")
        run_page = None
        if run is not None:
            experiment = _get(client, "runs/get", run_id=run)["run"]["info"]["experiment_id"]
            run_page = f"{root}/#/experiments/{quote(experiment)}/runs/{quote(run)}"
        tags = {each["key"]: each["value"] for each in version.get("tags", [])}
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(f"the registry's answer cannot be read: {error!r}") from None
    page = f"{root}/#/models/{quote(name)}/versions/{number}"
    return Registered(name, number, aliases, run, _promotions(tags), page, run_page)


def filter_of(digest: str) -> str:
    """In MLflow's language of searches."""
    return f"tags.{BUNDLE_DIGEST} = '{digest}'"


def _get(client: httpx.Client, path: str, **query: str) -> Any:
    try:
        answer = client.get(f"{_API}/{path}", params=query)
        answer.raise_for_status()
        return answer.json()
    except httpx.HTTPError as error:
        raise Fault(f"the registry does not answer: {type(error).__name__}") from None


def _promotions(tags: dict[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{tag.removeprefix(PROMOTED_BY)} at {at}" for tag, at in sorted(tags.items()) if tag.startswith(PROMOTED_BY)
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "the registry was asked, and said nothing"
