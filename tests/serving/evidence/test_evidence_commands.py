from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.evidence.engine import open_engine
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence
from tests.serving.evidence.evidence_world import T0, exposure, outcome, prepare, send
from tests.serving.evidence.test_log_reader import line


def mgoe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import mgoe; mgoe.main()", "evidence", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_commands_from_an_empty_database_to_a_deleted_unit(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'evidence.db'}"
    assert mgoe("migrate", "--database", database).stdout == "at revision 0001\n"
    engine = open_engine(database)
    prepare(engine, covariates=False)
    send(engine, exposure("e1"), outcome("o1", at=1, unit="u1"))
    engine.dispose()
    log = tmp_path / "access.log"
    log.write_text(line(1))
    assert mgoe("ingest-log", str(log), "--database", database).stdout.endswith("bytes: 1 exposure\n")
    exported = mgoe("export", "ranking", "--candidate", "c1", "--database", database)
    evidence = ExperimentEvidence.from_json(json.loads(exported.stdout))
    assert evidence.exposed[0].units == {"baseline": 1, "candidate": 0}  # u1 by both ways
    series = mgoe("export", "ranking", "--series", "--database", database)
    assert EvidenceSeries.from_json(json.loads(series.stdout)).last.design.candidate_digest == "c2"
    assert mgoe("delete-unit", "u1", "--database", database).stdout == "3 events deleted\n"
    assert mgoe("prune", "ranking", "--days", "1", "--database", database).stdout == "0 events deleted\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "none"], "mgoe: experiment 'none': nobody registered it\n"),
        (["ingest-log", "/nowhere.log"], "mgoe: access log /nowhere.log does not exist\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'evidence.db'}"
    mgoe("migrate", "--database", database)
    done = mgoe(*arguments, "--database", database)
    assert (done.returncode, done.stderr) == (2, says)


def test_a_database_that_is_not_there_is_a_fault_in_one_line() -> None:
    done = mgoe("export", "x", "--database", f"postgresql://u:secret{T0}@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
