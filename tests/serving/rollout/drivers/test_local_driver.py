"""Whose weights stand in the gateway's folder, where two rollouts of one machine write at the same moment."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model.errors import Fault
from serving.gateway.config import GatewayConfig
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.rollout.actions import SetWeights
from serving.rollout.driver import StaleWriteError
from serving.rollout.drivers import local
from serving.rollout.drivers.local import LocalDriver
from serving.rollout.drivers.local_notes import LocalNotes, Note
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.judgement import Naming
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.store import Stored
from tests.serving.rollout.whole import SPEC

RUN = f"{'b' * 12}-{'c' * 12}-1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayFolder:
    """Rendered, with no Envoy before it: what is written stays written, and nobody takes it."""
    monkeypatch.setattr(local, "APPLY_S", 0.05)
    made = GatewayFolder(tmp_path / "gateway")
    arms: dict[str, Any] = {
        arm: {"endpoints": [{"host": "127.0.0.1", "http": port}]} for arm, port in (("baseline", 1), ("candidate", 2))
    }
    made.prepare(GatewayConfig.model_validate({"experiment": {"id": "none", "salt": "none"}, **arms}))
    return made


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "rollouts.db")


def driver_of(read: Stored, folder: GatewayFolder, store: SqliteStore, kind: type[LocalDriver] = LocalDriver) -> Any:
    unused: Any = None
    naming, services = Naming(read.identity, read.identity), {"baseline": "mmoe", "candidate": "mgoe"}
    return kind(LiveSplit(folder), naming, Ownership(read, store), unused, services, {})  # type: ignore[arg-type]


def outcome(driver: LocalDriver, weight: int, stratum: int) -> str:
    try:
        asyncio.run(driver.set_weights(SetWeights(candidate=weight, stratum=stratum, run=RUN)))
    except Fault as error:
        return str(error)
    raise AssertionError("no Envoy runs, and it was taken")


def test_of_two_rollouts_that_find_a_free_gateway_at_once_one_gets_it(
    folder: GatewayFolder, store: SqliteStore
) -> None:
    together = threading.Barrier(2)

    class Meeting(LocalDriver):
        """Has seen that the gateway is nobody's when the other has seen it too."""

        def _written(self) -> Any:
            found = super()._written()
            if found.claim is None:
                together.wait(10)
            return found

    first, second = (store.create(name, SPEC) for name in ("first", "second"))
    drivers = [driver_of(read, folder, store, Meeting) for read in (first, second)]
    with ThreadPoolExecutor(2) as threads:
        told = list(threads.map(lambda each: outcome(each, 20, 2), drivers))
    taken = [text for text in told if "Envoy has not taken it" in text]
    refused = [text for text in told if "which is still going on" in text]
    assert len(taken) == len(refused) == 1
    note = LocalNotes(folder).of(folder.split())
    assert note is not None
    assert note.owner in refused[0]
    assert [each.owner for each in LocalNotes(folder).all()] == [note.owner]


def test_weights_of_another_rollout_that_goes_on_are_not_written_over(
    folder: GatewayFolder, store: SqliteStore
) -> None:
    first, second = (driver_of(store.create(name, SPEC), folder, store) for name in ("first", "second"))
    outcome(first, 20, 2)
    before = folder.split()
    for weight, stratum in ((0, 1), (0, 3), (50, 9)):
        assert "belongs to local/first/" in outcome(second, weight, stratum)
    assert folder.split() == before
    store.delete("first")
    outcome(second, 50, 9)
    assert folder.split().candidate_weight == 5000


def test_an_older_stratum_of_the_same_rollout_is_stale_in_another_experiment_too(
    folder: GatewayFolder, store: SqliteStore
) -> None:
    driver = driver_of(store.create("first", SPEC), folder, store)
    outcome(driver, 20, 5)
    with pytest.raises(StaleWriteError, match="stratum 4 is not written"):
        asyncio.run(driver.set_weights(SetWeights(candidate=50, stratum=4, run=RUN[:-1] + "2")))
    assert folder.split().phase == 5


def test_notes_are_kept_newest_first_and_the_oldest_go(tmp_path: Path) -> None:
    notes = LocalNotes(GatewayFolder(tmp_path))
    for stratum in (*range(25), 24):
        notes.add(Note("e", stratum, "run", "owner"))
    assert [each.stratum for each in notes.all()] == list(range(24, 4, -1))
