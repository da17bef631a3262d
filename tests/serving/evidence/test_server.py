"""The store as a process: what it acknowledged is there after it was killed."""

from __future__ import annotations

import itertools
import signal
import threading
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select

from benchmarks.evidence.postgres import PostgresServer
from serving.evidence import server
from serving.evidence.engine import open_engine, reading
from serving.evidence.schema import outcomes, snapshots
from serving.evidence.server import ServerSettings
from serving.evidence.telemetry import Telemetry
from serving.evidence.tokens import Tokens
from tests.serving.evidence.evidence_process import StoreProcess
from tests.serving.evidence.evidence_world import FIRST, T0, exposure, prepare, send
from tests.serving.evidence.test_log_reader import line


def register(store: StoreProcess) -> None:
    with store.client("admin") as admin:
        assert admin.post("/v1/experiments", json={"design": FIRST.to_json()}).status_code == 201
        start = {"phase": 1, "start": T0, "candidate_weight": 0.1}
        assert admin.post("/v1/experiments/ranking/phases", json=start).status_code == 201


def send_until_it_dies(store: StoreProcess, acknowledged: list[str], enough: threading.Event) -> None:
    """Sends batches of outcomes, and notes the ids of those that were acknowledged."""
    with store.client("write") as writer:
        for number in itertools.count():
            batch = [
                {"experiment": "ranking", "event_id": f"{number}-{n}", "metric": "click", "time": T0, "unit": f"u{n}"}
                for n in range(20)
            ]
            try:
                answer = writer.post("/v1/outcomes", json=batch)
            except httpx.TransportError:
                return
            acknowledged += [each["event_id"] for each in answer.json()["answers"] if each["status"] == "accepted"]
            if number == 10:
                enough.set()


def crash(address: str, folder: Path) -> list[str]:
    """Kills the store amid its work; returns what it had acknowledged."""
    acknowledged: list[str] = []
    enough = threading.Event()
    with StoreProcess(address, folder, "--migrate") as store:
        register(store)
        sender = threading.Thread(target=send_until_it_dies, args=(store, acknowledged, enough))
        sender.start()
        assert enough.wait(240)
        store.process.send_signal(signal.SIGKILL)
        store.process.wait()
        sender.join()
    return acknowledged


def kept(address: str) -> tuple[set[str], int]:
    """Ids of the outcomes in the database, and how many of them wait for an exposure by the store's own count."""
    engine = open_engine(address)
    with reading(engine) as connection:
        ids = set(connection.execute(select(outcomes.c.event_id)).scalars())
        assert connection.execute(select(func.count()).select_from(outcomes)).scalar_one() == len(ids)
    engine.dispose()
    return ids, len(ids)


def test_acknowledged_events_survive_a_kill_of_the_store(address: str, tmp_path: Path) -> None:
    acknowledged = crash(address, tmp_path)
    ids, count = kept(address)
    assert len(acknowledged) >= 220
    assert set(acknowledged) <= ids
    with StoreProcess(address, tmp_path) as store, store.client("read") as reader:
        assert reader.get("/v1/experiments/ranking/evidence").json()["waiting"] == count


def test_acknowledged_events_survive_a_crash_of_postgresql(postgres_server: PostgresServer, tmp_path: Path) -> None:
    address = postgres_server.make_database()
    acknowledged = crash(address, tmp_path)
    postgres_server.crash()
    assert set(acknowledged) <= kept(address)[0]


def test_while_the_database_is_away_the_store_says_so_and_recovers(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with StoreProcess(postgres_server.make_database(), tmp_path, "--migrate") as store:
        register(store)
        event = {"experiment": "ranking", "event_id": "e", "metric": "click", "time": T0, "unit": "u"}
        with store.client("write") as writer, store.client("read") as reader:
            postgres_server.kill()
            try:
                refused = writer.post("/v1/outcomes", json=event)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert reader.get("/v1/experiments").status_code == 503
                assert writer.get("/health/ready").status_code == 503
                assert writer.get("/health/live").status_code == 200
            finally:
                postgres_server.start_again()
            assert writer.post("/v1/outcomes", json=event).json() == {"event_id": "e", "status": "accepted"}
            assert writer.get("/health/ready").status_code == 200


def test_the_work_beside_requests_is_done_and_tells_what_is_no_evidence(sqlite_engine: Engine, tmp_path: Path) -> None:
    prepare(sqlite_engine)
    send(sqlite_engine, exposure("e1", propensity=0.7))
    log = tmp_path / "access.log"
    log.write_text(line(2))
    settings = ServerSettings("", Tokens.open(), access_logs=(log,), retention_s=86_400)
    telemetry = Telemetry()
    works = {work.name: work for work in server._works(sqlite_engine, settings, telemetry)}
    assert {name: work.step() for name, work in works.items()} == {
        "settle": False,
        "claim": False,
        "snapshot": False,
        "prune": False,
        "follow": True,
    }
    assert [name for name, work in works.items() if work.essential] == ["settle"]
    assert 'mgoe_evidence_set_aside{experiment="ranking",kind="mismatch"} 1.0' in telemetry.render().decode()
    with reading(sqlite_engine) as connection:
        assert connection.execute(select(func.count()).select_from(snapshots)).scalar_one() == 1


def test_on_sigterm_the_store_ends_by_itself(tmp_path: Path) -> None:
    with StoreProcess(f"sqlite:///{tmp_path / 'evidence.db'}", tmp_path, "--migrate") as store:
        register(store)
        store.process.send_signal(signal.SIGTERM)
        assert store.process.wait(120) in {0, -signal.SIGTERM}
        assert "Traceback" not in store.log


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--open", "--address", "0.0.0.0"], "--open: without tokens it listens on loopback alone"),  # noqa: S104
        (["--tokens", "/nowhere"], "tokens /nowhere"),
        ([], "is at revision none, not 0004: run `mgoe evidence migrate`"),
    ],
)
def test_a_store_that_cannot_start_says_why_in_one_line(options: list[str], says: str, tmp_path: Path) -> None:
    store = StoreProcess(f"sqlite:///{tmp_path / 'evidence.db'}", tmp_path, *options)
    with pytest.raises(AssertionError), store:
        pass
    assert says in store.log
    assert store.log.count("\n") == 1
