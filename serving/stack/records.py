"""What the supervisor notes of its processes, for whoever asks and for the supervisor that follows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import Fault
from serving.stack.folder import StackFolder
from serving.stack.identity import Identity, boot, is_alive, marked

SUPERVISOR = "supervisor"
"""Its own name among the processes."""
ProcessState = Literal["runs", "waits", "stopped"]
"""waits: it has ended and is started again after a while."""


class ProcessRecord(BaseModel):
    """One process."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: ProcessState
    pid: int | None = None
    start: int | None = None
    since: float
    """Unix seconds since which it is in this state."""
    restarts: int = 0
    last_end: str | None = None
    """How it ended last, in words."""

    @property
    def identity(self) -> Identity | None:
        return None if self.pid is None or self.start is None else Identity(self.pid, self.start)


class Records(BaseModel):
    """The supervisor and all its processes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    boot: str
    supervisor: ProcessRecord
    processes: dict[str, ProcessRecord]

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this runs."""
        return runs(self, self.supervisor)

    def alive(self) -> dict[str, Identity]:
        """The processes that run, supervised or not."""
        return {name: one.identity for name, one in self.processes.items() if one.identity and runs(self, one)}


def runs(records: Records, record: ProcessRecord) -> bool:
    """Whether the process of a record runs at this moment."""
    return records.boot == boot() and record.identity is not None and is_alive(record.identity)


def read_records(folder: StackFolder) -> Records | None:
    """None: no supervisor has ever run here. Raises Fault for a file that is none of ours."""
    try:
        return Records.model_validate_json(folder.records.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise Fault(f"{folder.records} cannot be read: {said}; `mgoe down` and then removing it helps") from None


def living(folder: StackFolder) -> dict[str, Identity]:
    """Every process of the stack that runs, the supervisor among them: noted ones, and those that carry its mark.

    A process that was started in the moment before its supervisor was killed was never noted; one that is just becoming
    another program carries no mark in that moment.
    """
    records = read_records(folder)
    noted = {} if records is None else records.alive()
    if records is not None and records.supervised and records.supervisor.identity is not None:
        noted[SUPERVISOR] = records.supervisor.identity
    return {**noted, **marked(folder.root)}


def write_records(folder: StackFolder, records: Records) -> None:
    """Replaces the file at once. Raises Fault."""
    folder.write(folder.records, records.model_dump_json(indent=1) + "\n")
