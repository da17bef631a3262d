"""The supervisor over small processes: starts, starts again, adopts, ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.stack.folder import StackFolder
from serving.stack.identity import NAME_VARIABLE, STACK_VARIABLE, Identity, is_alive, marked, send
from serving.stack.records import ProcessRecord, Records, read_records
from serving.stack.services import Service
from serving.stack.supervisor import Backoff, Supervisor

QUICK = Backoff(first_s=0.05, most_s=0.2, settled_s=0.2)


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    return StackFolder.at(tmp_path / "stack").made()


def service(name: str, script: str, wave: int = 0, grace_s: float = 2.0) -> Service:
    return Service(name, ("sh", "-c", script), 1, "/", wave, grace_s)


SLEEPS = "exec sleep 60"


def records(folder: StackFolder) -> Records:
    found = read_records(folder)
    assert found is not None
    return found


def record(folder: StackFolder, name: str) -> ProcessRecord | None:
    found = read_records(folder)
    return None if found is None else found.processes.get(name)


def identity(folder: StackFolder, name: str) -> Identity:
    found = record(folder, name)
    assert found is not None
    assert found.identity is not None
    return found.identity


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def runs(folder: StackFolder, name: str) -> bool:
    found = record(folder, name)
    return found is not None and found.state == "runs" and found.identity is not None and is_alive(found.identity)


@contextlib.asynccontextmanager
async def running(folder: StackFolder, *services: Service) -> AsyncIterator[Supervisor]:
    """Everything started; ended in order at the end."""
    supervisor = Supervisor(folder, services, QUICK)
    task = asyncio.create_task(supervisor.run())
    try:
        for one in services:
            if one.command[-1] == SLEEPS:
                await until(lambda name=one.name: runs(folder, name), one.name)  # type: ignore[misc]
        yield supervisor
    finally:
        supervisor.stop.set()
        await asyncio.wait_for(task, 20)
        assert marked(folder.root) == {}


def test_every_process_runs_and_is_noted_with_its_log(folder: StackFolder) -> None:
    async def live() -> None:
        async with running(folder, service("one", SLEEPS), service("two", "echo hello; " + SLEEPS)):
            await until(lambda: runs(folder, "two") and "hello" in folder.log("two").read_text(), "two's log")
            assert records(folder).supervised
            assert set(records(folder).alive()) == {"one", "two"}
        assert records(folder).alive() == {}
        assert {one.state for one in records(folder).processes.values()} == {"stopped"}

    asyncio.run(live())


def test_what_the_caller_sets_for_its_own_commands_reaches_no_process(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGOE_ROLLOUTS", "another.db")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")

    async def live() -> None:
        async with running(folder, service("one", "env > told.new; mv told.new told; " + SLEEPS)):
            told = folder.root / "told"
            await until(told.exists, "the environment")
            variables = dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)
            ours = {name: value for name, value in variables.items() if name.startswith("MGOE_")}
            assert ours == {STACK_VARIABLE: str(folder.root), NAME_VARIABLE: "one"}
            assert variables["MLFLOW_TRACKING_USERNAME"] == "ada"

    asyncio.run(live())


def test_a_killed_process_is_started_again_and_the_others_are_left_alone(folder: StackFolder) -> None:
    async def live() -> None:
        async with running(folder, service("one", SLEEPS), service("two", SLEEPS)):
            first, other = identity(folder, "one"), identity(folder, "two")
            send(first, signal.SIGKILL)
            await until(lambda: runs(folder, "one") and identity(folder, "one") != first, "the next one")
            again = record(folder, "one")
            assert again is not None
            assert (again.restarts, again.last_end) == (1, "signal 9, Killed")
            assert identity(folder, "two") == other

    asyncio.run(live())


def test_a_process_that_keeps_ending_is_started_ever_later(folder: StackFolder) -> None:
    async def live() -> None:
        async with running(folder, service("one", "date +%s.%N >> starts; exit 3")):
            starts = folder.root / "starts"
            await until(lambda: starts.exists() and len(starts.read_text().split()) >= 4, "four starts")
            ended = record(folder, "one")
            assert ended is not None
            assert ended.last_end == "exit code 3"
            moments = [float(word) for word in starts.read_text().split()[:4]]
            waits = [later - before for before, later in itertools.pairwise(moments)]
            for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True):
                assert wait >= least

    asyncio.run(live())


@given(failures=st.integers(1, 10_000))
def test_the_wait_grows_and_has_a_bound(failures: int) -> None:
    backoff = Backoff()
    assert backoff.wait_s(failures) <= backoff.wait_s(failures + 1) <= backoff.most_s
    assert backoff.wait_s(1) == backoff.first_s


def test_a_program_that_is_not_there_is_tried_again_and_the_rest_runs(folder: StackFolder) -> None:
    async def live() -> None:
        missing = Service("missing", ("/no/such/program",), 1, "/", 0)
        async with running(folder, missing, service("one", SLEEPS)):
            await until(lambda: (found := record(folder, "missing")) is not None and found.restarts >= 2, "two tries")
            assert runs(folder, "one")

    asyncio.run(live())


def test_a_process_is_started_once_those_before_it_are_ready(
    folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    async def readiness(services: Sequence[Service]) -> Mapping[str, bool]:
        asked.append([one.name for one in services])
        assert record(folder, "later") is None
        return {one.name: len(asked) > 2 for one in services}

    async def live() -> None:
        monkeypatch.setattr("serving.stack.supervisor.readiness", readiness)
        later = Service("later", ("sh", "-c", SLEEPS), 1, "/", 0, after=("one",))
        async with running(folder, service("one", SLEEPS), later):
            assert asked == [["one"]] * 3

    asyncio.run(live())


def test_processes_end_in_waves_and_one_that_does_not_listen_is_killed(folder: StackFolder) -> None:
    async def live() -> None:
        order = folder.root / "order"
        says = 'trap "echo {0} >> order; exit 0" TERM; while true; do sleep 0.02; done'
        deaf = 'trap "" TERM; echo > deaf; while true; do sleep 0.02; done'
        services = [service("last", says.format("last"), 2), service("first", says.format("first"), 0)]
        async with running(folder, *services, service("deaf", deaf, 1, grace_s=0.2)):
            await until(lambda: all(runs(folder, name) for name in ("last", "first", "deaf")), "all three")
            await until((folder.root / "deaf").exists, "the deaf one")
            stubborn = identity(folder, "deaf")
            await asyncio.sleep(0.2)  # shells have set their traps
        assert order.read_text().split() == ["first", "last"]
        assert not is_alive(stubborn)

    asyncio.run(live())


def test_what_a_killed_supervisor_leaves_goes_on_under_the_next_one(folder: StackFolder) -> None:
    async def live() -> None:
        one = service("one", SLEEPS)
        killed = Supervisor(folder, [one], QUICK)
        task = asyncio.create_task(killed.run())
        await until(lambda: runs(folder, "one"), "one")
        before = record(folder, "one")
        task.cancel()  # it ends nothing
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert runs(folder, "one")
        async with running(folder, one):
            assert record(folder, "one") == before
            send(identity(folder, "one"), signal.SIGKILL)
            await until(
                lambda: runs(folder, "one") and (now := record(folder, "one")) is not None and now.restarts == 1,
                "the next one",
            )

    asyncio.run(live())


def test_a_process_that_was_started_and_never_noted_is_found_by_its_mark(folder: StackFolder) -> None:
    async def live() -> None:
        mark = {**os.environ, STACK_VARIABLE: str(folder.root)}
        started = [
            subprocess.Popen(["sleep", "60"], env=mark | {NAME_VARIABLE: name}, start_new_session=True)
            for name in ("one", "of-an-older-stack")
        ]
        await until(lambda: len(marked(folder.root)) == 2, "both")
        async with running(folder, service("one", SLEEPS)):
            assert identity(folder, "one").pid == started[0].pid
            assert await asyncio.to_thread(started[1].wait, 5) == -signal.SIGTERM
        started[0].wait()

    asyncio.run(live())


def test_a_full_disk_ends_nothing(folder: StackFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    async def live() -> None:
        async with running(folder, service("one", SLEEPS)):
            first = identity(folder, "one")
            monkeypatch.setattr("serving.stack.folder.tempfile.mkstemp", full)
            send(first, signal.SIGKILL)
            await until(lambda: "one" in (now := marked(folder.root)) and now["one"] != first, "the next one")
            monkeypatch.undo()

    asyncio.run(live())
