"""What outcomes refer to, read from the database. Costs the same however many events share an id."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from serving.evidence import bulk, unit_store
from serving.evidence.event import Exposure, Outcome
from serving.evidence.experiment_store import Experiment
from serving.evidence.reference import References
from serving.evidence.schema import exposures, outcomes

UserRequest = tuple[str, str]
"""(request id, unit)"""


class Requests(NamedTuple):
    """What is known of request ids."""

    first: dict[UserRequest, Exposure]
    users: dict[str, str | None]
    """By request id: the only unit that used it; None: several did."""


class Moved(NamedTuple):
    """Outcomes whose exposure may be another since exposures came."""

    explained: list[Outcome]
    """They named none until now."""
    changed: list[Outcome]
    """They may have counted elsewhere."""
    owners: dict[str, str | None]
    """By event id: the units that they counted for until now."""


def requests_of(
    connection: Connection, experiment: Experiment, pairs: Collection[UserRequest], alone: Collection[str]
) -> Requests:
    """The first exposures of these pairs, and of the only users of the requests in `alone`."""
    users = _users(connection, experiment, alone)
    wanted = {*pairs, *((request, unit) for request, unit in users.items() if unit is not None)}
    keys = [{"request_id": request, "unit": unit} for request, unit in sorted(wanted)]
    rows = _run(connection, experiment, _first(connection.dialect.name), keys)
    found = [unit_store.exposure_of(row, experiment.name) for row in rows]
    return Requests({(str(event.request_id), event.unit): event for event in found}, users)


def references(connection: Connection, experiment: Experiment, events: Iterable[Outcome]) -> References:
    """All exposures that these outcomes name."""
    ids: set[str] = set()
    pairs: set[UserRequest] = set()
    alone: set[str] = set()
    for event in events:
        if event.exposure_id is not None:
            ids.add(event.exposure_id)
        elif event.request_id is not None and event.unit is not None:
            pairs.add((event.request_id, event.unit))
        elif event.request_id is not None:
            alone.add(event.request_id)
    keys = [{"experiment_id": experiment.id, "exposure_id": found} for found in sorted(ids)]
    rows = bulk.fetch(connection, exposures, keys, lead="experiment_id")
    by_id = {row.exposure_id: unit_store.exposure_of(row, experiment.name) for row in rows}
    known = requests_of(connection, experiment, pairs, alone)
    return References(experiment.catalogue, by_id, known.first, known.users)


def moved(connection: Connection, experiment: Experiment, shown: Sequence[Exposure], before: Requests) -> Moved:
    """Earlier outcomes that name these new exposures. before: what was known of their requests without them.

    One that was folded away counts where it was folded, whoever uses the id of its request again.
    """
    by_id, first, sole = _changes(shown, before)
    found = Moved([], [], {})
    units = [{"exposure_id": event.exposure_id, "unit": event.unit} for event in by_id]
    requests = [{"request_id": request, "unit": unit} for request, unit in sorted(first)]
    for keys, where in (
        (units, _NOT_FOLDED),
        ([{"exposure_id": event.exposure_id} for event in by_id], _LONE_EXPOSURE),
        (requests, _LONE_REQUEST),
        ([{"request_id": request} for request in sorted(sole)], _ONLY_REQUEST),
    ):
        named = [{"experiment_id": experiment.id, **key} for key in keys]
        for row in bulk.fetch(connection, outcomes, named, lead="experiment_id", where=where):
            event = unit_store.outcome_of(row, experiment.name)
            if event.event_id in found.owners:
                continue
            found.owners[event.event_id] = row.owner
            key = (str(event.request_id), str(event.unit))
            new = event.exposure_id is not None or (first[key] if event.unit is not None else sole[key[0]])
            (found.explained if new else found.changed).append(event)
    return found


def ambiguous(connection: Connection, experiment: Experiment, shown: Sequence[Exposure]) -> list[str]:
    """Ids of outcomes that nobody owns and that may have followed one of these exposures: they name its request."""
    requests = sorted({event.request_id for event in shown if event.request_id is not None})
    keys = [{"experiment_id": experiment.id, "request_id": request} for request in requests]
    rows = bulk.fetch(connection, outcomes, keys, lead="experiment_id", where=_ONLY_REQUEST)
    return [row.event_id for row in rows if row.owner is None]


def waiting_of(connection: Connection, experiment: Experiment, column: str, names: Collection[str]) -> dict[str, int]:
    """How many outcomes without a unit name each exposure or request."""
    keys = [{"experiment_id": experiment.id, column: name} for name in sorted(names)]
    return bulk.count(connection, outcomes, keys, lead="experiment_id", where=_NO_UNIT)


def _changes(
    shown: Sequence[Exposure], before: Requests
) -> tuple[Sequence[Exposure], dict[UserRequest, bool], dict[str, bool]]:
    """The new exposures; pairs whose first exposure they change; requests that mean another unit or exposure now.
    True: there was none before."""
    first: dict[UserRequest, bool] = {}
    sole: dict[str, bool] = {}
    for event in shown:
        if event.request_id is None:
            continue
        request = event.request_id
        earlier = before.first.get((request, event.unit))
        if earlier is None or (event.time_us, event.exposure_id) < (earlier.time_us, earlier.exposure_id):
            first[request, event.unit] = earlier is None
            if request not in before.users or before.users[request] is not None:
                sole[request] = request not in before.users
    return shown, first, sole


# Conditions are made once: statements are kept by them.
_NO_UNIT = outcomes.c.unit.is_(None)
_NOT_FOLDED = ~outcomes.c.folded
_LONE_EXPOSURE = _NOT_FOLDED & _NO_UNIT
_LONE_REQUEST = _NOT_FOLDED & outcomes.c.exposure_id.is_(None)
_ONLY_REQUEST = _LONE_REQUEST & _NO_UNIT


def _users(connection: Connection, experiment: Experiment, names: Collection[str]) -> dict[str, str | None]:
    keys = [{"request_id": name} for name in sorted(names)]
    rows = _run(connection, experiment, _least_and_greatest(connection.dialect.name), keys)
    known = [row for row in rows if row.least is not None]
    return {row.request_id: row.least if row.least == row.greatest else None for row in known}


def _run(
    connection: Connection, experiment: Experiment, statement: Select[Any], keys: Sequence[bulk.Record]
) -> Sequence[Row[Any]]:
    if not keys:
        return ()
    return connection.execute(statement, {"document": json.dumps(keys), "lead": experiment.id}).all()


@lru_cache(maxsize=2)
def _least_and_greatest(dialect: str) -> Select[Any]:
    """Two look-ups in an index tell whether a request has one user or several."""
    keys, value = bulk.keys_of(dialect, exposures, ("request_id",))
    mine = (exposures.c.experiment_id == bindparam("lead"), exposures.c.request_id == value["request_id"])
    least, greatest = (
        select(end(exposures.c.unit)).where(*mine).correlate(keys).scalar_subquery() for end in (func.min, func.max)
    )
    each = select(value["request_id"].label("request_id"), least.label("least"), greatest.label("greatest"))
    return each.select_from(keys)


@lru_cache(maxsize=2)
def _first(dialect: str) -> Select[Any]:
    keys, value = bulk.keys_of(dialect, exposures, ("request_id", "unit"))
    each = exposures.alias("each")
    mine = (each.c.experiment_id == bindparam("lead"), each.c.request_id == value["request_id"])
    earliest = (
        select(each.c.exposure_id)
        .where(*mine, each.c.unit == value["unit"])
        .order_by(each.c.time_us, each.c.exposure_id)
        .limit(1)
        .correlate(keys)
        .scalar_subquery()
    )
    found = select(earliest.label("exposure_id")).select_from(keys).subquery("found")
    return bulk.joined(found, exposures, exposures.c.exposure_id == found.c.exposure_id, lead="experiment_id")
