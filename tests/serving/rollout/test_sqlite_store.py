"""The local store has the API server's manners."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from model.errors import Fault, UserError
from serving.rollout.facts import Clock
from serving.rollout.fence import Alone
from serving.rollout.reconcile import Edges, Reconciler
from serving.rollout.sqlite_store import NAMESPACE, SqliteStore
from serving.rollout.store import ConflictError, Key
from tests.serving.rollout.rollout_cluster import Cluster, healthy, winning
from tests.serving.rollout.rollout_world import SPEC, World

KEY = Key(NAMESPACE, "feed")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "controller" / "rollouts.db")
    made.create("feed", SPEC)
    return made


def test_who_watches_waits_for_no_writer(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "controller" / "rollouts.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.read("feed").generation == 1
        assert store.names() == ("feed",)
        assert SqliteStore(path).events("feed") == ()


def test_who_stands_still_in_a_reading_holds_no_abort_up(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "controller" / "rollouts.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM rollouts").fetchone()
        assert store.edit("feed", lambda spec: {**spec, "abort": True}).generation == 2


def test_a_store_that_was_made_without_a_log_is_given_one(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("CREATE TABLE another (n)")
    SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_that_nobody_has_open_says_that_its_disk_is_full(tiny_disk: Path) -> None:
    path = tiny_disk / "alone.db"
    made = subprocess.run([sys.executable, "-c", _CREATE, str(path)], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    with (tiny_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    try:
        with pytest.raises(Fault, match=r"alone\.db: .*full"):
            SqliteStore(path)
    finally:
        (tiny_disk / "filler").unlink()
    assert SqliteStore(path).names() == ()


_CREATE = "import pathlib, sys; from serving.rollout.sqlite_store import SqliteStore as S; S(pathlib.Path(sys.argv[1]))"


def test_a_full_disk_can_be_read_and_a_write_on_it_changes_nothing(tiny_disk: Path) -> None:
    store = SqliteStore(tiny_disk / "rollouts.db")
    store.create("feed", SPEC)
    with (tiny_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    try:
        with pytest.raises(Fault, match="full"):
            store.create("another", {**SPEC, "steps": [{"weight": weight} for weight in range(1, 21)]})
        assert store.names() == ("feed",)
        assert SqliteStore(tiny_disk / "rollouts.db").read("feed").generation == 1
    finally:
        (tiny_disk / "filler").unlink()
    assert store.edit("feed", lambda spec: {**spec, "paused": True}).generation == 2


def test_a_status_on_an_old_version_is_refused(store: SqliteStore) -> None:
    async def run() -> None:
        read = await store.get(KEY)
        assert read is not None
        await store.write_status(read, {"phase": "Validating"})
        with pytest.raises(ConflictError, match="version 1 is no longer the present one"):
            await store.write_status(read, {"phase": "Ramping"})

    asyncio.run(run())
    assert store.read("feed").status == {"phase": "Validating"}


def test_a_persons_edit_makes_the_loops_write_a_conflict(store: SqliteStore) -> None:
    """Invariant 12."""

    async def run() -> None:
        read = await store.get(KEY)
        assert read is not None
        store.edit("feed", lambda spec: {**spec, "paused": True})
        with pytest.raises(ConflictError):
            await store.write_status(read, {})

    asyncio.run(run())
    assert store.read("feed").generation == 2


def test_an_edit_that_changes_nothing_is_no_new_generation(store: SqliteStore) -> None:
    assert store.edit("feed", lambda spec: {**spec, "paused": False}).generation == 1


def test_two_rollouts_of_one_name_are_told_apart(store: SqliteStore) -> None:
    old = store.read("feed")
    store.delete("feed")
    new = store.create("feed", SPEC)
    assert old.identity != new.identity
    with pytest.raises(ConflictError):
        asyncio.run(store.write_status(old, {}))


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda store: store.create("feed", SPEC), "rollout 'feed' is there already"),
        (lambda store: store.read("fed"), "no rollout 'fed' in .*; there are: feed"),
        (lambda store: store.create("x", {**SPEC, "maxWeight": 0}), "spec.maxWeight: Input should be greater than"),
        (lambda store: store.create("x", {**SPEC, "steps": [{"weight": 9}, {"weight": 9}]}), "^spec: the weights"),
        (lambda store: store.edit("feed", lambda spec: {**spec, "pasued": True}), "spec.pasued: unknown field"),
        (lambda store: store.create("x", {**SPEC, "steps": []}), "spec.steps: too few entries: 0, at least 1 are"),
        (lambda store: store.create("x", {**SPEC, "analysis": {(1, 2): 3}}), "^spec: keys must be"),
        (lambda store: store.create("x", {**SPEC, "maxWeight": True}), "spec.maxWeight: .* integer .got True"),
        (lambda store: store.create("x", {**SPEC, "maxWeight": "5"}), "spec.maxWeight: .* integer .got '5'"),
        (lambda store: store.create("x", {**SPEC, "paused": "yes"}), "spec.paused: .* boolean .got 'yes'"),
        (lambda store: store.create("x", {**SPEC, "paused": 1}), "spec.paused: .* boolean .got 1"),
        (lambda store: store.create("x", {**SPEC, "analysis": {"alpha": True}}), "spec.analysis.alpha: .* number"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(store: SqliteStore, act: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        act(store)  # type: ignore[operator]
    assert "\n" not in str(refused.value)


def test_the_experiment_is_fixed_while_it_runs(store: SqliteStore) -> None:
    asyncio.run(store.write_status(store.read("feed"), {"phase": "Ramping"}))
    with pytest.raises(UserError, match=r"rollout 'feed': spec\.steps is fixed while the run goes on"):
        store.edit("feed", lambda spec: {**spec, "steps": [{"weight": 50}]})


def test_a_database_that_cannot_be_opened_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "rollouts.db").write_text("this is no database, but long enough to be taken for one" * 10)
    with pytest.raises(Fault, match="file is not a database"):
        SqliteStore(tmp_path / "rollouts.db")


def test_a_rollout_is_promoted_restarted_at_every_look_and_deleted(store: SqliteStore, tmp_path: Path) -> None:
    """Invariants 14 and 16: nothing is kept but the store."""
    cluster = Cluster(World())

    async def run() -> None:
        edges = Edges(driver=cluster, measures=cluster, models=cluster)
        for happens in (lambda _: None, healthy, healthy, winning, healthy, healthy, healthy):
            happens(cluster)
            for _ in range(3):
                again = SqliteStore(tmp_path / "controller" / "rollouts.db")
                cluster.world.state = dict(again.read("feed").status)
                loop = Reconciler(again, Alone(), lambda *_: edges, lambda _: Clock(cluster.world.now))
                outcome = await loop.reconcile(KEY)
            assert outcome in {"settled", "ended"}
        store.delete("feed")
        assert store.read("feed").deleted_at is not None
        assert await loop.reconcile(KEY) == "released"
        assert await loop.reconcile(KEY) == "gone"

    asyncio.run(run())
    reasons = [event.reason for event in store.events("feed")]
    assert reasons == ["NewRun", "Started", "StepUp", "StepUp", "Proven", "FullWeight", "Succeeded"]
    assert cluster.world.router.weight == 100
