"""A stack for people, and for programs."""

from __future__ import annotations

import json
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from serving.stack.health import Seen
from serving.stack.identity import memory_mb
from serving.stack.records import SUPERVISOR
from serving.stack.stack import View

_COLOURS = {"ready": "green", "starting": "yellow", "waits": "yellow", "ended": "red", "stopped": "dim"}


def overview(view: View) -> RenderableType:
    """One line a process."""
    table = Table("process", "state", "pid", "port", "since", "restarts", "address", box=None, pad_edge=False)
    for one in view.processes:
        record = one.record
        table.add_row(
            one.service.name,
            Text(one.condition, style=_COLOURS[one.condition]),
            "" if one.pid is None else str(one.pid),
            str(one.service.port),
            "" if record is None else _since(record.since),
            "" if record is None else f"{record.restarts}" + (f" ({record.last_end})" if record.restarts else ""),
            one.service.address,
        )
    return Group(table, Text(_supervised(view), style="dim"))


def _supervised(view: View) -> str:
    if view.records is not None and view.records.supervised:
        return f"supervisor {view.records.supervisor.pid}, state in {view.folder.root}"
    if any(one.pid is not None for one in view.processes):
        return f"no supervisor runs: `mgoe up --state {view.folder.root}` takes over what does"
    return f"the stack is down, state in {view.folder.root}"


def as_document(view: View) -> str:
    """JSON."""
    supervised = view.records is not None and view.records.supervised
    document = {
        "ready": view.ready,
        "folder": str(view.folder.root),
        SUPERVISOR: {"runs": supervised, "pid": view.records.supervisor.pid if supervised and view.records else None},
        "bundles": view.plan.pair.model_dump(),
        "processes": {one.service.name: _process(one) for one in view.processes},
    }
    return json.dumps(document, indent=1)


def _process(one: Seen) -> dict[str, object]:
    record = one.record
    return {
        "state": one.condition,
        "pid": one.pid,
        "memory_mb": None if one.pid is None else memory_mb(one.pid),
        "port": one.service.port,
        "address": one.service.address,
        "since": None if record is None else record.since,
        "restarts": 0 if record is None else record.restarts,
        "last_end": None if record is None else record.last_end,
    }


def _since(moment: float) -> str:
    seconds = max(0, round(time.time() - moment))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


class Waiting:
    """Tells while it waits which processes are not ready."""

    def __init__(self, console: Console) -> None:
        self._status = Status("the stack starts", console=console)

    def __enter__(self) -> Waiting:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def show(self, view: View) -> None:
        """Called with every look."""
        late = [one.service.name for one in view.processes if one.condition != "ready"]
        self._status.update(f"the stack starts; not ready yet: {', '.join(late)}")
