"""A person's wish on its way to the desk: checked against what they saw, recorded before and after."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from model.errors import Fault, MgoeError, UserError
from serving.console.audit import LONGEST_REASON, Audit, Record, new_attempt
from serving.console.person import Person
from serving.console.rollouts import Rollouts, sight_of
from serving.console.wish import Seen, Sight, Wish, stale
from serving.rollout import steering
from serving.rollout.sqlite_store import checked

log = logging.getLogger(__name__)


class StaleError(UserError):
    """The page that the wish was made on is too old."""


@dataclass(frozen=True)
class Asked:
    """A wish as it came in."""

    wish: Wish
    seen: Seen
    weight: int | None
    reason: str
    person: Person
    client: str


def steer(rollouts: Rollouts, audit: Audit, name: str, asked: Asked) -> Record:
    """Writes a wish. Raises UserError where it is refused, StaleError where its page is too old, else Fault; each of
    them is recorded too.

    Where the audit cannot be written, only a wish that takes from the candidate goes through.
    """
    read = rollouts.desk.read(name)
    sight = sight_of(read)
    record = Record(
        attempt=new_attempt(),
        at=audit.now(),
        who=asked.person.name,
        role=asked.person.role,
        client=asked.client,
        rollout=name,
        uid=read.uid,
        run=asked.seen.run,
        generation=asked.seen.generation,
        wish=asked.wish.name,
        change=_told(sight, asked),
        reason=" ".join(asked.reason.split())[:LONGEST_REASON],
    )
    try:
        audit.add(record)
    except Fault as error:
        if not asked.wish.urgent:
            raise Fault(f"nothing was changed, for the audit cannot be written: {error}") from error
        log.critical("%s of %s goes through without an audit row: %s", asked.wish.name, name, error)
    try:
        generation = _write(rollouts, name, asked)
    except MgoeError as error:
        audit.came_of(record, "refused" if isinstance(error, UserError) else "failed", str(error))
        raise
    finally:
        rollouts.forget()
    return audit.came_of(record, "written", f"generation {generation}")


def _write(rollouts: Rollouts, name: str, asked: Asked) -> int:
    """The generation that the wish made. What the person saw is compared in the same transaction as the write."""
    read = rollouts.desk.read(name)
    sight = sight_of(read)
    _require_fit(sight, asked)
    status = sight.status

    def change(spec: dict[str, Any]) -> dict[str, Any]:
        if not asked.wish.urgent and checked(spec) != sight.spec:
            now = replace(sight.seen, generation=sight.generation + 1)
            raise StaleError(stale(asked.wish, asked.seen, now) or "Nothing was changed: somebody else was faster.")
        return asked.wish.change(spec, status, asked.weight)

    return rollouts.desk.edit(name, change).generation


def _require_fit(sight: Sight, asked: Asked) -> None:
    too_old = stale(asked.wish, asked.seen, sight.seen)
    if too_old is not None:
        raise StaleError(too_old)
    unfit = asked.wish.unfit(sight)
    if unfit is not None:
        raise UserError(f"Nothing was changed: {unfit}.")


def _told(sight: Sight, asked: Asked) -> str:
    """From what to what; empty where the wish cannot even be said."""
    old = sight.spec.to_json()
    try:
        new = checked(asked.wish.change(dict(old), sight.status, asked.weight)).to_json()
    except UserError:
        return ""
    return "; ".join(steering.changes(old, new))
