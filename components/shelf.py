"""Where steps put their artifacts and find the ones that need not be made again.

An artifact is known by the key of the step that makes it: the step's name, its options, the digests of its inputs and
the version of the code. Equal keys mean equal work, on any machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model.artifact.manifest import MANIFEST_NAME, Manifest, verify
from model.artifact.store import Store
from model.errors import UserError

SHELF_VARIABLE = "MGOE_SHELF"
"""Environment variable that names the local shelf (`mgoe run` sets it); in a cluster there is none."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What a step is asked to do; `key` is its identity."""

    step: str
    code: str
    inputs: Mapping[str, str]
    """Digest of every input, by the input's name."""
    options: Mapping[str, object]
    """Everything else that changes the result, as JSON."""

    @property
    def key(self) -> str:
        """`<step>/<digest>`, a valid key of a store."""
        text = json.dumps(
            [self.step, self.code, dict(self.inputs), dict(self.options)], sort_keys=True, separators=(",", ":")
        )
        return f"{self.step}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class Shelf:
    """A local folder of artifacts by key, a store behind it, either, or none."""

    local: Path | None
    store: Store | None
    damaged: set[str] = field(default_factory=set)
    """Keys whose artifact in the store was found broken."""

    def place(self, key: str, given: Path) -> Path:
        """The folder to make the artifact in: the shelf's own where there is one, else the `given` one."""
        return given if self.local is None else self.local / key

    def bring(self, key: str, folder: Path) -> Manifest | None:
        """The whole artifact of `key`, now in `folder`; None where it has to be made.

        A damaged one is left to be replaced. Raises Fault when the store does not answer.
        """
        if (folder / MANIFEST_NAME).is_file():
            try:
                return verify(folder)
            except UserError as damage:
                _log.warning("made again: %s", damage)
        if self.store is not None and self.store.exists(key):
            try:
                return self.store.get_tree(key, folder)
            except UserError as damage:
                _log.warning("made again: %s", damage)
                self.damaged.add(key)
        return None

    def publish(self, key: str, folder: Path) -> None:
        """Hand the artifact on to the store, unless it is there and whole."""
        if self.store is not None and (key in self.damaged or not self.store.exists(key)):
            self.store.put_tree(folder, key)
            self.damaged.discard(key)


def local_shelf() -> Path | None:
    """The shelf that the surrounding run names, if any."""
    path = os.environ.get(SHELF_VARIABLE)
    return None if path is None else Path(path)
