"""A rollout that has succeeded on this machine moves the registry's alias, once, and nothing else does."""

from __future__ import annotations

import asyncio
import errno
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.status_text import status_of
from serving.stack import promotions
from serving.stack.folder import StackFolder
from serving.stack.pair import kept
from serving.stack.promotions import Promotion, follow, succeeded
from tests.serving.rollout.whole import SPEC

RUN = {
    "id": f"{'a' * 12}-{'b' * 12}-1",
    "attempt": 1,
    "baseline": "a" * 64,
    "candidate": "b" * 64,
    "startedAt": "2026-11-22T12:00:00Z",
}


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    return StackFolder.at(tmp_path / "stack").made()


def rollout(folder: StackFolder, name: str, phase: str, minute: int = 0, **changes: object) -> None:
    """One that is in this phase since then, of a run of its own."""
    store = SqliteStore(folder.rollouts)
    store.create(name, {**SPEC, **changes})

    async def turn() -> None:
        read = await store.get(store.key(name))
        assert read is not None
        status: Mapping[str, Any] = status_of(read).to_json() | {
            "phase": phase,
            "run": RUN,
            "enteredAt": f"2026-11-22T13:{minute:02}:00Z",
        }
        await store.write_status(read, status)

    asyncio.run(turn())


def test_only_what_has_succeeded_is_promoted(folder: StackFolder) -> None:
    assert succeeded(folder) == set()
    for name, phase in (("one", "Succeeded"), ("two", "RolledBack"), ("three", "Promoting")):
        rollout(folder, name, phase)
    (found,) = succeeded(folder)
    assert found.bundle == "b" * 64
    assert found.run.startswith("one")
    assert found.run.endswith(".1")


def test_a_rollout_that_reads_the_alias_does_not_move_it(folder: StackFolder) -> None:
    rollout(folder, "feed", "Succeeded", baseline={"model": "mgoe", "alias": "baseline"})
    assert succeeded(folder) == set()


def test_each_run_is_promoted_once_and_a_registry_that_is_away_is_asked_again(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    away = [1, 1, 0]

    async def answer(promotion: Promotion, registry: str) -> tuple[int, str]:
        assert registry == "sqlite:///registry.db"
        asked.append(promotion.run)
        return (away.pop(0) if away else 2), "said"

    monkeypatch.setattr(promotions, "asked", answer)
    monkeypatch.setattr(promotions, "LOOK_S", 0.001)
    monkeypatch.setattr(promotions, "AGAIN_S", 0.001)

    async def live() -> None:
        following = asyncio.create_task(follow(folder, "sqlite:///registry.db"))
        while len(asked) < 3:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(rollout, folder, "second", "Succeeded")
        while len(asked) < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)  # nothing more is asked: the second one is unknown to the registry for good
        following.cancel()

    rollout(folder, "first", "Succeeded")
    asyncio.run(live())
    assert [run.partition("-")[0].partition(".")[0] for run in asked] == ["first"] * 3 + ["second"]


def test_of_several_the_latest_is_promoted_last(folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []

    async def answer(promotion: Promotion, _: str) -> tuple[int, str]:
        moved.append(promotion.run.partition("-")[0].partition(".")[0])
        return 0, "said"

    monkeypatch.setattr(promotions, "asked", answer)
    for name, minute in (("a", 30), ("b", 10), ("c", 20)):
        rollout(folder, name, "Succeeded", minute)
    asyncio.run(until(folder, lambda: len(moved) == 3))
    assert moved == ["b", "c", "a"]


def test_an_error_that_nobody_foresaw_is_logged_and_the_promotion_tried_again(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def answer(promotion: Promotion, _: str) -> tuple[int, str]:
        asked.append(promotion.run)
        if len(asked) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return 0, "moved"

    monkeypatch.setattr(promotions, "asked", answer)
    monkeypatch.setattr(promotions, "LOOK_S", 0.001)
    monkeypatch.setattr(promotions, "AGAIN_S", 0.001)
    rollout(folder, "feed", "Succeeded")
    asyncio.run(until(folder, lambda: len(asked) == 2))
    assert "Too many open files" in caplog.text


async def until(folder: StackFolder, over: Callable[[], bool]) -> None:
    """Follows until it is over, or the following has ended."""
    following = asyncio.create_task(follow(folder, "sqlite:///registry.db"))
    while not over():
        await asyncio.wait({following}, timeout=0.001)
        if following.done():
            following.result()
    following.cancel()
    await asyncio.wait({following})


def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry's command that never answers; the file names its process and that process' own child."""
    script, told = tmp_path / "python", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $$ $! >{told}.new\nmv {told}.new {told}\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return told


def assert_ended(told: Path) -> None:
    for pid in map(int, told.read_text().split()):
        state = Path(f"/proc/{pid}/stat")
        deadline = time.monotonic() + 60
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z", pid


def test_a_registry_that_hangs_is_given_up_and_its_command_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = hanging(tmp_path, monkeypatch)
    monkeypatch.setattr(promotions, "PROMOTE_S", 2.0)
    code, said = promotions.promoted(Promotion("b" * 64, "feed.1", 0.0), "sqlite:///r.db")
    assert (code, said) == (1, "the registry does not answer within 2 s")
    if told.exists():  # a machine that needs 2 s for a shell has ended it before it could say
        assert_ended(told)


def test_whoever_stops_following_ends_the_command_that_is_under_way(
    folder: StackFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = hanging(tmp_path, monkeypatch)
    rollout(folder, "feed", "Succeeded")
    asyncio.run(until(folder, told.exists))
    assert_ended(told)


def test_a_command_that_cannot_be_started_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    code, said = promotions.promoted(Promotion("b" * 64, "feed.1", 0.0), "sqlite:///r.db")
    assert (code, said) == (1, "`mgoe registry promote` cannot be started: No such file or directory")


def test_what_the_command_says_is_its_last_line_and_the_address_is_not_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho first; echo "$MGOE_REGISTRY $*"; exit 3\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    code, said = promotions.promoted(Promotion("b" * 64, "feed.1", 0.0), "sqlite:///r.db")
    assert (code, said) == (3, f"sqlite:///r.db -P -m mgoe registry promote {'b' * 64} --run feed.1")


def test_an_address_with_a_password_is_not_kept() -> None:
    assert kept("sqlite:////runs/registry.db") == "sqlite:////runs/registry.db"
    assert kept("http://mlflow:5000") == "http://mlflow:5000"
    assert kept("postgresql://me:secret@db/mlflow") is None
    assert kept("postgresql://db/mlflow?user=me&password=secret") is None
