from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from model.errors import Fault, UserError
from serving.evidence.commands import app
from serving.evidence.engine import open_engine
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence
from tests.serving.evidence.evidence_world import T0, exposure, outcome, prepare, send
from tests.serving.evidence.test_log_reader import line


def mgoe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_commands_from_an_empty_database_to_a_deleted_unit(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'evidence.db'}"
    assert mgoe("migrate", "--database", database).stdout == "at revision 0004\n"
    engine = open_engine(database)
    prepare(engine, covariates=False)
    send(engine, exposure("e1"), outcome("o1", at=1, unit="u1"))
    engine.dispose()
    log = tmp_path / "access.log"
    log.write_text(line(1))
    assert mgoe("ingest-log", str(log), "--database", database).stdout.endswith("bytes: 1 accepted\n")
    exported = mgoe("export", "ranking", "--candidate", "c1", "--database", database)
    evidence = ExperimentEvidence.from_json(json.loads(exported.stdout))
    assert evidence.exposed[0].units == {"baseline": 1, "candidate": 0}  # u1 by both ways
    series = mgoe("export", "ranking", "--series", "--database", database)
    assert EvidenceSeries.from_json(json.loads(series.stdout)).last.design.candidate_digest == "c2"
    assert mgoe("delete-unit", "u1", "--database", database).stdout == "3 events deleted\n"
    done = mgoe("prune", "ranking", "--days", "1", "--database", database)
    assert (done.stdout, done.stderr) == ("0 events deleted\n", "")
    told = mgoe("prune", "ranking", "--days", "0.001", "--database", database).stderr
    assert told.startswith("warning: experiment 'ranking': raw events are kept for 86.4 s, and a metric waits 300 s")


def test_reading_a_log_fails_where_somebody_can_help_and_only_there(tmp_path: Path) -> None:
    database, log = f"sqlite:///{tmp_path / 'evidence.db'}", tmp_path / "access.log"
    mgoe("migrate", "--database", database)
    arguments = ("ingest-log", str(log), "--database", database)
    log.write_text(line(1) + "{broken\n")
    done = mgoe(*arguments)
    assert "kept aside until somebody does" in done.stdout
    assert isinstance(done.exception, Fault)
    assert str(done.exception) == f"access log {log}: 1 malformed, 1 unknown of the lines were refused"
    engine = open_engine(database)
    prepare(engine, covariates=False)
    engine.dispose()
    assert mgoe(*arguments).exit_code == 0
    with log.open("a") as more:
        more.write(line(2) + line(1 - T0))  # too old: nobody can help
    done = mgoe(*arguments)
    assert (done.exit_code, "1 accepted, 1 too_old" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "none"], "experiment 'none': nobody registered it"),
        (["ingest-log", "/nowhere.log"], "access log /nowhere.log does not exist"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'evidence.db'}"
    mgoe("migrate", "--database", database)
    done = mgoe(*arguments, "--database", database)
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == says


def test_a_database_that_is_not_there_is_a_fault_in_one_line_without_its_password() -> None:
    error = mgoe("export", "x", "--database", "postgresql://u:secret@127.0.0.1:1/none").exception
    assert isinstance(error, Fault)
    assert "\n" not in str(error)
    assert "secret" not in str(error)
