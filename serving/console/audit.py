"""The audit: one row when a wish is asked for, one more with what came of it, and a JSON line in the log for each."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sqlalchemy import Engine, insert, select

from model.errors import Fault
from serving.console.schema import audit
from serving.evidence.engine import reading, writing

log = logging.getLogger("mgoe.audit")

Result = Literal["asked", "written", "refused", "failed"]
LONGEST_REASON = 500
SHOWN = 100


@dataclass(frozen=True)
class Record:
    """Who, when, what, from what to what, why, and what came of it."""

    attempt: str
    at: float
    who: str
    role: str
    client: str
    """Address that the request came from."""
    rollout: str
    uid: str
    run: str
    generation: int
    """That the person looked at."""
    wish: str
    change: str
    reason: str
    result: Result = "asked"
    words: str = ""


class Audit:
    """The table. Rows are added and read, never changed."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now

    def now(self) -> float:
        """Unix seconds."""
        return round(self._now(), 3)

    def add(self, record: Record) -> Record:
        """Writes a row and a line of the log; the line comes first, and stays where the row fails. Raises Fault."""
        log.info("%s", json.dumps({"audit": asdict(record)}, ensure_ascii=True))
        with writing(self._engine) as connection:
            connection.execute(insert(audit), asdict(record))
        return record

    def came_of(self, record: Record, result: Result, words: str) -> Record:
        """The end of an attempt. That it cannot be written is said in the log alone: the wish itself has been."""
        ended = replace(record, at=self.now(), result=result, words=words)
        try:
            return self.add(ended)
        except Fault as error:
            log.critical("%s", json.dumps({"audit_not_written": asdict(ended), "error": str(error)}))
            return ended

    def of(self, uid: str, most: int = SHOWN) -> tuple[Record, ...]:
        """The latest attempts on a rollout with what came of each, the newest first. Raises Fault."""
        query = select(audit).where(audit.c.uid == uid).order_by(audit.c.id.desc()).limit(2 * most)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return _ends(map(_record, rows))[:most]

    def attempt(self, name: str) -> Record | None:
        """What came of one attempt. Raises Fault."""
        query = select(audit).where(audit.c.attempt == name).order_by(audit.c.id.desc()).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _record(row)


def new_attempt() -> str:
    """A name that no other attempt has."""
    return uuid.uuid4().hex


def _record(row: Any) -> Record:
    return Record(**{name: value for name, value in row.items() if name != "id"})


def _ends(newest_first: Iterable[Record]) -> tuple[Record, ...]:
    """Of each attempt the last row alone; one that has only been asked for was cut short."""
    found: dict[str, Record] = {}
    for record in newest_first:
        found.setdefault(record.attempt, record)
    return tuple(found.values())
