from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, select

from model.errors import Fault
from serving.evidence import bulk, log_files
from serving.evidence.claim import claim
from serving.evidence.deletion import delete_unit
from serving.evidence.engine import reading, writing
from serving.evidence.event import SECOND
from serving.evidence.limits import Limits
from serving.evidence.log_reader import follow
from serving.evidence.registration import PhaseStart, register, start_phase
from serving.evidence.schema import exposures, log_positions, unclaimed, unclaimed_counts
from serving.evidence.telemetry import Telemetry
from serving.gateway.access_log import FORMAT
from tests.serving.evidence.evidence_world import FIRST, T0, prepare, stored


def line(number: int, **changes: Any) -> str:
    """A line as Envoy writes it, of a unit of its own."""
    fields: dict[str, Any] = dict.fromkeys(FORMAT)
    fields |= {"time": f"{T0 + number}.250000", "experiment": "ranking", "phase": 1, "candidate_weight": 1000}
    fields |= {"kind": "rank", "rule": "split", "arm": "baseline", "unit": f"u{number}", "request_id": f"r{number}"}
    fields |= {"digest": "b0", "exposure_id": f"x{number}", "status": 200, "method": "POST"}
    return json.dumps(fields | changes) + "\n"


def leave(path: Path, at: int = 1) -> Path:
    """Nobody has written to it for long."""
    os.utime(path, (at, at))
    return path


def rotate(path: Path, at: int) -> None:
    """Renames a log and those that were renamed before, as logrotate does."""
    for number in (2, 1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    leave(path.rename(path.with_name(f"{path.name}.1")), at)


def read(engine: Engine, path: Path, telemetry: Telemetry | None = None) -> list[str]:
    """Reads all that is there; returns the ids of all exposures that are stored."""
    while follow(engine, path, Limits(), telemetry):
        pass
    with reading(engine) as connection:
        return sorted(connection.execute(select(exposures.c.exposure_id)).scalars())


@pytest.fixture
def path(engine: Engine, tmp_path: Path) -> Path:
    prepare(engine)
    return tmp_path / "access.log"


def test_lines_become_exposures_and_reading_goes_on_where_it_stopped(engine: Engine, path: Path) -> None:
    assert read(engine, path) == []
    path.write_text(line(1) + line(2))
    assert read(engine, path) == ["x1", "x2"]
    with path.open("a") as log:
        log.write(line(3, arm="candidate", digest="c1"))
    assert follow(engine, path, Limits()) == len(line(3, arm="candidate", digest="c1"))
    assert follow(engine, path, Limits()) == 0
    assert stored(engine, FIRST, T0 + 50)["exposed"] == {"(1, 0, 'baseline')": [2, 2], "(1, 0, 'candidate')": [1, 1]}


def test_a_last_line_without_its_end_waits_for_it(engine: Engine, path: Path) -> None:
    whole = line(1) + line(2)
    path.write_text(whole[:-30])
    assert read(engine, path) == ["x1"]
    path.write_text(whole)
    assert read(engine, path) == ["x1", "x2"]


def test_the_rest_of_a_rotated_log_is_read_before_the_new_one(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    assert read(engine, path) == ["x1"]
    with path.open("a") as log:
        log.write(line(2))
    leave(path.rename(path.with_name("access.log.1")))
    path.write_text(line(3))
    assert read(engine, path) == ["x1", "x2", "x3"]


@pytest.mark.parametrize("times", [(5, 9), (1, 1)])
def test_logs_that_were_rotated_while_nobody_read_are_read_in_their_order(
    engine: Engine, path: Path, times: tuple[int, int]
) -> None:
    path.write_text(line(0))
    rotate(path, 1)  # before the first reading: not ours
    path.write_text(line(1))
    telemetry = Telemetry()
    assert read(engine, path, telemetry) == ["x1"]
    with path.open("a") as log:
        log.write(line(2))
    rotate(path, times[0])
    path.write_text(line(3))
    rotate(path, times[1])
    path.write_text(line(4))
    path.with_name("access.log.0.gz").write_bytes(b"\x1f\x8b\n")
    path.with_name("access.log2").write_text(line(5))  # another log
    order = [follow(engine, path, Limits(), telemetry) for _ in range(4)]
    assert order == [len(line(2)), len(line(3)), len(line(4)), 0]
    assert read(engine, path, telemetry) == ["x1", "x2", "x3", "x4"]
    assert telemetry.refusals == {}
    assert b"mgoe_evidence_log_gone_total 0.0" in telemetry.render()


@pytest.mark.parametrize("begin", ["", "{broken\n" + "x" * 700 + "\n", '{"time": "nan"}\n{"time": null}\n[]\n'])
def test_a_log_that_is_written_to_after_its_successor_was_renamed_hides_no_other(
    engine: Engine, path: Path, begin: str
) -> None:
    path.write_text(begin + line(1))
    assert read(engine, path) == ["x1"]
    rotate(path, 1)
    path.write_text(begin + line(3))
    rotate(path, 5)
    with path.with_name("access.log.2").open("a") as log:  # by a request that took long
        log.write(line(2))
    leave(path.with_name("access.log.2"), 9)
    path.write_text(line(4))
    assert read(engine, path) == ["x1", "x2", "x3", "x4"]


def test_a_renamed_log_without_a_line_that_has_a_time_is_as_old_as_its_last_change(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    assert read(engine, path) == ["x1"]
    rotate(path, T0 + 5)
    path.write_text("{broken\n")
    rotate(path, T0 + 9)
    path.write_text(line(2))
    telemetry = Telemetry()
    assert read(engine, path, telemetry) == ["x1", "x2"]
    assert telemetry.lines_read == {"accepted": 1, "malformed": 1}


def test_a_file_that_was_read_and_is_gone_is_told_and_all_that_lies_there_is_read(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    read(engine, path)
    rotate(path, 1)
    path.write_text(line(2))
    rotate(path, 5)
    path.with_name("access.log.2").unlink()
    path.write_text(line(3))
    telemetry = Telemetry()
    assert read(engine, path, telemetry) == ["x1", "x2", "x3"]
    why = f"the file that was read to byte {len(line(1))} is gone from beside access.log, with what came after"
    assert telemetry.refusals == {"gone": why}
    assert b"mgoe_evidence_log_gone_total 1.0" in telemetry.render()


def test_a_log_that_is_copied_and_cut_loses_nothing(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    read(engine, path)
    with path.open("a") as log:
        log.write(line(2))
    shutil.copy(path, path.with_name("access.log.1"))
    leave(path.with_name("access.log.1"))
    path.write_text(line(3))
    assert read(engine, path) == ["x1", "x2", "x3"]


def test_lines_that_are_written_to_a_rotated_log_after_the_new_one_began_are_read(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    read(engine, path)
    aside = path.rename(path.with_name("access.log.1"))
    path.write_text(line(3))
    assert read(engine, path) == ["x1"]  # someone may still write to the old one
    with aside.open("a") as log:
        log.write(line(2) + line(4)[:-30])  # the writer ended amid its last line
    leave(aside)
    assert read(engine, path) == ["x1", "x2", "x3"]


def test_a_new_log_that_has_the_number_of_a_deleted_one_is_read_from_its_beginning(engine: Engine, path: Path) -> None:
    path.write_text(line(1))
    read(engine, path)
    with path.open("w") as log:  # the same inode, and longer than what was read
        log.write(line(2) + line(3))
    assert read(engine, path) == ["x1", "x2", "x3"]


def test_logs_of_one_name_on_two_machines_have_a_place_each(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = path.with_name("elsewhere") / path.name
    elsewhere.parent.mkdir()
    for host, file, first in (("a", path, 1), ("b", elsewhere, 3), ("a", path, 2), ("b", elsewhere, 4)):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        monkeypatch.setattr(Path, "absolute", lambda _: Path("/var/log/access.log"))
        with file.open("a") as log:
            log.write(line(first))
        assert follow(engine, file, Limits()) == len(line(first))
        assert follow(engine, file, Limits()) == 0


def test_a_log_that_cannot_be_looked_at_is_a_fault(engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(line(1))

    def closed(*_: object, **__: object) -> None:
        raise PermissionError("closed to us")

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(Fault, match=r"access log .*closed to us"):
        follow(engine, path, Limits())


def test_a_log_that_was_cut_is_read_from_its_beginning(engine: Engine, path: Path) -> None:
    path.write_text(line(1) + line(2))
    read(engine, path)
    path.write_text(line(3))
    assert read(engine, path) == ["x1", "x2", "x3"]


def test_reading_again_after_the_place_was_lost_changes_nothing(engine: Engine, path: Path) -> None:
    path.write_text(line(1) + line(2))
    read(engine, path)
    before = stored(engine, FIRST, T0 + 50)
    with engine.begin() as connection:
        connection.execute(log_positions.delete())
    assert read(engine, path) == ["x1", "x2"]
    assert stored(engine, FIRST, T0 + 50) == before


def test_the_place_is_kept_only_together_with_the_events(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(line(1))

    def killed_at_the_place(connection: Connection, table: Table, records: Sequence[bulk.Record]) -> None:
        if table is log_positions:
            raise RuntimeError("killed here")
        upsert(connection, table, records)

    upsert = bulk.upsert
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "upsert", killed_at_the_place)
        with pytest.raises(RuntimeError):
            follow(engine, path, Limits())
    with reading(engine) as connection:
        assert connection.execute(select(exposures)).all() == []
    assert read(engine, path) == ["x1"]


def test_what_is_no_evidence_is_counted_and_forced_answers_are_tallied(engine: Engine, path: Path) -> None:
    lines = [
        line(1),
        line(2, status=503),
        line(3, shadow="1"),
        line(4, unit=None),
        line(5, rule="forced"),
        line(6, kind=None),
        line(7, unit="a\u0001"),
        "{broken\n",
        line(8, time="9999999999.0"),
    ]
    path.write_text("".join(lines))
    telemetry = Telemetry()
    assert read(engine, path, telemetry) == ["x1", "x5"]
    assert telemetry.lines_read == {"accepted": 2, "excluded": 3, "other": 1, "malformed": 3}
    begin = sum(map(len, lines[:6]))
    assert telemetry.refusals["malformed"].startswith(f"the line at byte {begin}: unit")
    assert stored(engine, FIRST, T0 + 50)["forced"] == 1


def test_exposures_of_an_experiment_that_is_registered_later_are_not_lost(engine: Engine, tmp_path: Path) -> None:
    path, telemetry = tmp_path / "access.log", Telemetry()
    three_days = 3 * 86_400
    path.write_text("".join(line(number - three_days) for number in range(4)) + line(0, experiment="else"))
    assert read(engine, path, telemetry) == []
    assert telemetry.lines_read == {"unknown": 5}
    why = "experiment 'ranking': nobody registered it; kept aside until somebody does"
    assert telemetry.refusals == {"unknown": why}
    assert claim(engine, Limits()) == {}
    delete_unit(engine, f"u{3 - three_days}", T0 * SECOND)
    with writing(engine) as connection:
        register(connection, FIRST, {}, T0 * SECOND)
    assert claim(engine, Limits()) == {"accepted": 3}
    assert claim(engine, Limits()) == {}
    with writing(engine) as connection:
        start_phase(connection, PhaseStart("ranking", 1, (T0 - three_days) * SECOND, 0.1))
    assert stored(engine, FIRST, T0)["exposed"] == {"(1, 0, 'baseline')": [3, 3]}
    with reading(engine) as connection:
        assert connection.execute(select(unclaimed.c.experiment)).scalars().all() == ["else"]


def test_where_there_is_no_room_to_keep_aside_reading_waits_for_it(engine: Engine, tmp_path: Path) -> None:
    path, limits = tmp_path / "access.log", Limits(unclaimed_name_events=1)
    path.write_text(line(1) + "{broken\n" + line(2))
    nobody = "experiment 'ranking': nobody registered it"
    full = f"{nobody}; and there is no room: 0 exposures of it wait, at most 1 may"
    with pytest.raises(Fault, match=f"^access log {path}: reading stops at byte 0 of access.log: {full}$"):
        follow(engine, path, limits)
    waiting = aside(engine)
    path.write_text(line(1) + "{broken\n" + line(2) + line(3, experiment="else"))
    telemetry = Telemetry()
    assert follow(engine, path, limits, telemetry)  # another one can be taken
    assert (telemetry.lines_read, telemetry.refusals["no_room"]) == ({"no_room": 2, "malformed": 1, "unknown": 1}, full)
    assert (waiting, aside(engine)) == ({}, {"else": ["x3"]})


def test_one_name_leaves_room_for_others_and_all_together_have_a_largest_number(engine: Engine, path: Path) -> None:
    limits = Limits(unclaimed_name_events=2, unclaimed_events=3)
    for name, number in (("a", 1), ("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)):
        path.write_text(line(number, experiment=name) + line(9))
        follow(engine, path, limits)
    assert aside(engine) == {"a": ["x1", "x2"], "b": ["x4"]}


def test_what_is_kept_aside_has_an_age(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(line(1) + line(2))
    assert follow(engine, path, Limits())
    assert claim(engine, Limits()) == {}
    assert aside(engine) == {"ranking": ["x1", "x2"]}
    assert claim(engine, Limits(unclaimed_s=-1)) == {}
    assert aside(engine) == {}


def aside(engine: Engine) -> dict[str, list[str]]:
    """Ids of the exposures that wait, by experiment; as many as are counted."""
    found: dict[str, list[str]] = {}
    with reading(engine) as connection:
        for row in connection.execute(select(unclaimed).order_by(unclaimed.c.exposure_id)):
            found.setdefault(row.experiment, []).append(row.exposure_id)
        counts = {row.experiment: row.events for row in connection.execute(select(unclaimed_counts))}
    assert counts == {name: len(ids) for name, ids in found.items()}
    return found


def test_a_line_longer_than_a_chunk_does_not_stop_the_reader(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "CHUNK", 1000)
    path.write_text(line(1) + "x" * 3500 + "\n" + line(2))
    assert read(engine, path) == ["x1", "x2"]
