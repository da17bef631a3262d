"""The log as a spool: nothing is skipped, nothing grows without end, and what is dropped is counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.folder import GatewayFolder
from serving.gateway.log_spool import CHUNK, PLACE_FILE, LogSpool


class Writer:
    """Envoy's part: an open file, opened anew when it is told to."""

    def __init__(self, root: Path, **options: float) -> None:
        self.folder = GatewayFolder(root)
        self.reopened = 0
        self.file = self.folder.access_log.open("ab", buffering=0)
        self.spool = LogSpool(self.folder, self.reopen, **{"linger_s": 0.0, **options})  # type: ignore[arg-type]

    def reopen(self) -> None:
        self.reopened += 1
        self.file.close()
        self.file = self.folder.access_log.open("ab", buffering=0)

    def write(self, text: str) -> None:
        self.file.write(text.encode())

    def take(self) -> str:
        """All that there is."""
        told = b""
        while (found := self.spool.chunk()) is not None:
            told += found[0]
            self.spool.taken(found[1])
        return told.decode()


@given(steps=st.lists(st.sampled_from(["write", "half", "end", "take", "tend", "restart"]), max_size=40))
def test_every_whole_line_is_taken_once_and_in_order(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    writer = Writer(tmp_path_factory.mktemp("spool"), file_bytes=30, files=100)
    written, taken = "", ""
    for number, step in enumerate(steps):
        if step == "tend":
            # Envoy's lines end before it opens a log anew.
            writer.write("\n")
            written += "\n"
            writer.spool.tend()
        elif step == "take":
            taken += writer.take()
        elif step == "restart":
            writer.spool = LogSpool(writer.folder, writer.reopen, 30, 100, 0.0)
        else:
            text = {"write": f"line {number}\n", "half": f"half {number} ", "end": "\n"}[step]
            writer.write(text)
            written += text
    taken += writer.take()
    assert taken == written[: written.rfind("\n") + 1]
    assert writer.spool.lost_bytes == 0
    assert writer.spool.waiting_bytes == len(written) - len(taken)


def test_lines_that_come_late_to_a_renamed_file_are_taken_before_the_new_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path, file_bytes=5, linger_s=60)
    late = os.dup(writer.file.fileno())
    writer.write("first\n")
    writer.spool.tend()
    writer.write("third\n")
    assert writer.take() == "first\n"
    os.write(late, b"second\n")
    assert writer.take() == "second\n"
    [renamed] = tmp_path.glob("access.log.0*")
    os.utime(renamed, (time.time() - 61, time.time() - 61))
    assert writer.take() == "third\n"
    writer.spool.tend()
    assert not renamed.exists()


def test_without_a_reader_the_oldest_goes_and_is_counted(tmp_path: Path) -> None:
    writer = Writer(tmp_path, file_bytes=9, files=2)
    for number in range(5):
        writer.write(f"line-{number:04d}\n")
        writer.spool.tend()
    assert sorted(path.name for path in tmp_path.glob("access.log.0*")) == [
        "access.log.000000004",
        "access.log.000000005",
    ]
    assert writer.spool.lost_bytes == 3 * 10
    assert writer.take() == "line-0003\nline-0004\n"


def test_a_log_that_envoy_did_not_open_anew_is_asked_for_again(tmp_path: Path) -> None:
    writer = Writer(tmp_path, file_bytes=5)
    writer.write("a long line\n")
    writer.spool.reopen = lambda: None
    writer.spool.tend()
    assert not writer.folder.access_log.exists()
    writer.spool.reopen = writer.reopen
    writer.spool.tend()
    assert writer.folder.access_log.exists()


def test_a_place_that_is_none_is_read_from_the_beginning(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write("one\n")
    for content in ("", "{}", "[1]", '{"file": "gone", "position": 3}'):
        (tmp_path / PLACE_FILE).write_text(content)
        assert writer.spool.chunk() is not None
        assert writer.take() == "one\n"


def test_a_line_without_an_end_does_not_stop_those_behind_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write("x" * (CHUNK + 10) + "\nnext\n")
    assert writer.take().endswith("\nnext\n")


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    spool = LogSpool(GatewayFolder(tmp_path), lambda: None)
    assert spool.chunk() is None
    spool.tend()
    assert spool.waiting_bytes == 0
