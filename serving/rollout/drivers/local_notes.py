"""Who wrote which stratum into the gateway of this machine, beside the routes that Envoy reads."""

from __future__ import annotations

import json
from dataclasses import dataclass

from model.errors import Fault
from serving.gateway.folder import GatewayFolder
from serving.gateway.split import Split

NOTES_FILE = "rollout.json"
NOTES = 20


@dataclass(frozen=True)
class Note:
    """One write. It is on disk before the routes that it is about."""

    experiment: str
    stratum: int
    run: str
    owner: str


@dataclass(frozen=True)
class LocalNotes:
    """The notes of a gateway's folder."""

    folder: GatewayFolder

    def of(self, split: Split) -> Note | None:
        """The latest note of that stratum; None: no rollout wrote it. Raises Fault."""
        written = (split.experiment, split.phase)
        return next((each for each in self.all() if (each.experiment, each.stratum) == written), None)

    def latest(self) -> Note | None:
        """Of the last write that was begun. Raises Fault."""
        return next(iter(self.all()), None)

    def add(self, note: Note) -> None:
        """Puts it first. Call it under the folder's lock. Raises Fault."""
        found = self.all()
        if found[:1] != (note,):
            notes = (note, *(each for each in found if each != note))[:NOTES]
            self.folder.write(NOTES_FILE, json.dumps([vars(each) for each in notes], indent=1) + "\n")

    def all(self) -> tuple[Note, ...]:
        """Newest first; none where nothing was written yet. Raises Fault."""
        path = self.folder.root / NOTES_FILE
        if not path.exists():
            return ()
        try:
            return tuple(Note(**each) for each in json.loads(self.folder.read(NOTES_FILE)))
        except (ValueError, TypeError) as error:
            raise Fault(f"{path} is not ours: {error}") from error
