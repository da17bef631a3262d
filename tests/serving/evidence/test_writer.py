from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError

from model.errors import Fault
from serving.evidence import intake
from serving.evidence import writer as writer_module
from serving.evidence.engine import AwayError, reading
from serving.evidence.event import Accepted, Answer, Event
from serving.evidence.limits import Limits
from serving.evidence.schema import outcomes
from serving.evidence.telemetry import Telemetry
from serving.evidence.writer import QueueFullError, Writer
from tests.serving.evidence.evidence_world import outcome, prepare


class Gate:
    """The database: whether a transaction has come to it, and whether it answers."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def take(self, connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
        self.entered.set()
        assert self.opened.wait(60)
        return intake.take(connection, events, limits)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(writer_module, "take", made.take)
    return made


def test_requests_that_wait_share_a_transaction_and_one_too_many_is_told_to_come_again(
    sqlite_engine: Engine, gate: Gate
) -> None:
    prepare(sqlite_engine)
    telemetry = Telemetry()
    writer = Writer(sqlite_engine, Limits(queue_events=4), telemetry)

    async def work() -> list[list[Answer]]:
        first = asyncio.ensure_future(writer.take([outcome("first", unit="u1")]))
        assert await asyncio.to_thread(gate.entered.wait, 60)  # it is at the database now, and no longer waits
        waiting = [asyncio.ensure_future(writer.take([outcome(f"o{n}", unit="u1")])) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="4 events wait already, at most 4 may"):
            await writer.take([outcome("late", unit="u1")])
        gate.opened.set()
        return list(await asyncio.gather(first, *waiting))

    try:
        answers = asyncio.run(work())
    finally:
        gate.opened.set()
        writer.stop()
    assert answers == [[Accepted(name)] for name in ("first", "o0", "o1", "o2", "o3")]
    assert b"mgoe_evidence_transaction_events_count 2.0" in telemetry.render()
    with reading(sqlite_engine) as connection:
        assert connection.execute(select(func.count()).select_from(outcomes)).scalar_one() == 5


def test_what_breaks_one_request_does_not_break_those_that_it_was_joined_with(
    sqlite_engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(sqlite_engine)

    def breaks(connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
        if any(event.event_id == "bad" for event in events):
            raise Fault("database: broken")
        return gate.take(connection, events, limits)

    monkeypatch.setattr(writer_module, "take", breaks)
    writer = Writer(sqlite_engine, Limits(), Telemetry())

    async def work() -> list[object]:
        names = ("first", "good", "bad", "better")
        first = asyncio.ensure_future(writer.take([outcome(names[0], unit="u1")]))
        assert await asyncio.to_thread(gate.entered.wait, 60)
        joined = [asyncio.ensure_future(writer.take([outcome(name, unit="u1")])) for name in names[1:]]
        tasks = [first, *joined]
        await asyncio.sleep(0)  # all of them wait now
        gate.opened.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    try:
        first, good, bad, better = asyncio.run(work())
    finally:
        gate.opened.set()
        writer.stop()
    assert (first, good, better) == ([Accepted("first")], [Accepted("good")], [Accepted("better")])
    assert isinstance(bad, Fault)


def test_a_database_that_is_away_is_waited_for_once_by_all_requests_that_were_joined(
    sqlite_engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(sqlite_engine)
    tried: list[int] = []

    def away(connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
        tried.append(len(events))
        if len(tried) > 1:
            raise OperationalError("", {}, Exception("database is locked"))
        return gate.take(connection, events, limits)

    monkeypatch.setattr(writer_module, "take", away)
    writer = Writer(sqlite_engine, Limits(), Telemetry())

    async def work() -> list[object]:
        first = asyncio.ensure_future(writer.take([outcome("first", unit="u1")]))
        assert await asyncio.to_thread(gate.entered.wait, 60)
        joined = [asyncio.ensure_future(writer.take([outcome(name, unit="u1")])) for name in ("a", "b", "c")]
        await asyncio.sleep(0)  # all of them wait now
        gate.opened.set()
        return list(await asyncio.gather(first, *joined, return_exceptions=True))

    try:
        first, *rest = asyncio.run(work())
    finally:
        gate.opened.set()
        writer.stop()
    assert first == [Accepted("first")]
    assert [type(one) for one in rest] == [AwayError] * 3
    assert tried == [1, 3]


def test_a_writer_that_stops_writes_what_waits_and_takes_no_more(sqlite_engine: Engine) -> None:
    prepare(sqlite_engine)
    writer = Writer(sqlite_engine, Limits(), Telemetry())

    async def work() -> list[Answer]:
        task = asyncio.ensure_future(writer.take([outcome("o", unit="u1")]))
        await asyncio.sleep(0)
        await asyncio.to_thread(writer.stop)
        with pytest.raises(QueueFullError, match="goes away"):
            await writer.take([outcome("o2", unit="u1")])
        return await task

    assert asyncio.run(work()) == [Accepted("o")]
