"""A process is known by its number and its beginning, and nothing else is ever signalled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.stack.identity import (
    NAME_VARIABLE,
    STACK_VARIABLE,
    Identity,
    ended,
    identity_of,
    is_alive,
    marked,
    memory_mb,
    send,
    wait_ended,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def identity(process: subprocess.Popen[bytes]) -> Identity:
    found = identity_of(process.pid)
    assert found is not None
    return found


def test_a_process_that_runs_is_alive_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    found = identity(sleeper)
    assert is_alive(found)
    sleeper.kill()
    assert wait_ended(found, 5)
    assert not is_alive(found)  # though nobody has asked for its exit code yet
    sleeper.wait()
    assert identity_of(sleeper.pid) is None


def test_the_same_number_with_another_beginning_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    other = Identity(sleeper.pid, identity(sleeper).start - 1)
    assert not is_alive(other)
    assert not send(other, signal.SIGKILL)
    assert wait_ended(other, 0)
    assert sleeper.poll() is None


def test_a_signal_reaches_the_process_that_is_meant(sleeper: subprocess.Popen[bytes]) -> None:
    assert send(identity(sleeper), signal.SIGTERM)
    assert sleeper.wait(5) == -signal.SIGTERM


def test_a_process_that_goes_on_is_waited_for_no_longer_than_asked(sleeper: subprocess.Popen[bytes]) -> None:
    assert not wait_ended(identity(sleeper), 0.05)


def test_the_end_of_a_process_that_is_no_child_is_heard() -> None:
    """A shell starts it and goes away, so that the machine's first process inherits it."""
    told = subprocess.run(
        ["sh", "-c", "sleep 60 </dev/null >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    found = identity_of(int(told.stdout))
    assert found is not None

    async def heard() -> None:
        waiting = asyncio.create_task(ended(found))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        send(found, signal.SIGKILL)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(heard())


def test_processes_of_a_stack_are_found_by_their_mark_and_their_children_are_not(tmp_path: Path) -> None:
    mark = {**os.environ, STACK_VARIABLE: str(tmp_path), NAME_VARIABLE: "one"}
    # The shell's own child carries the same environment, in the same session.
    leader = subprocess.Popen(["sh", "-c", "sleep 60; true"], env=mark, start_new_session=True)
    elsewhere = subprocess.Popen(["sleep", "60"], env=mark | {STACK_VARIABLE: "/other"}, start_new_session=True)
    try:
        deadline = time.monotonic() + 5
        while "one" not in marked(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert marked(tmp_path) == {"one": identity(leader)}
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        elsewhere.kill()
        leader.wait()
        elsewhere.wait()
    assert marked(tmp_path) == {}


def test_a_process_has_memory_and_one_that_has_ended_has_none(sleeper: subprocess.Popen[bytes]) -> None:
    mine, small = memory_mb(os.getpid()), memory_mb(sleeper.pid)
    assert mine is not None
    assert small is not None
    assert 0 < small < mine
    sleeper.kill()
    sleeper.wait()
    assert memory_mb(sleeper.pid) is None
