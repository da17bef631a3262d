from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from model.errors import Fault, UserError
from serving.evidence import registration_door
from serving.evidence.commands import app
from serving.evidence.engine import open_engine
from serving.experiment.design import Design
from tests.serving.evidence.evidence_process import ROOT, TOKENS, StoreProcess
from tests.serving.evidence.evidence_world import FIRST, T0, exposure, send, stored

README = (ROOT / "serving" / "evidence" / "README.md").read_text()
(EXAMPLE,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
(CALLS,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def mgoe(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def database(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'evidence.db'}"
    mgoe("migrate", "--database", address)
    return address


def write(folder: Path, document: object) -> str:
    file = folder / "DESIGN.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_a_design_and_its_phase_are_registered_in_the_database(database: str, tmp_path: Path) -> None:
    file = write(tmp_path, FIRST.to_json())
    assert mgoe("register", file, "--database", database).stdout == "experiment ranking is registered\n"
    assert mgoe("register", file, "--database", database).stdout == "experiment ranking is registered, as before\n"
    engine = open_engine(database)
    send(engine, exposure("e1"))
    begin = ("phase", "ranking", "--phase", "1", "--weight", "0.1", "--start", str(T0), "--database", database)
    assert mgoe(*begin).stdout == "phase 1 of experiment ranking is registered\n"
    assert mgoe(*begin).stdout == "phase 1 of experiment ranking is registered, as before\n"
    assert stored(engine, FIRST, T0 + 50)["exposed"] == {"(1, 0, 'baseline')": [1, 1]}
    engine.dispose()


def test_the_same_over_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"sqlite:///{tmp_path / 'evidence.db'}"
    file = write(tmp_path, {"design": FIRST.to_json(), "bounds": {"buy": {"highest": 9}}})
    monkeypatch.setenv("MGOE_EVIDENCE_ADMIN_TOKEN", TOKENS["admin"])
    with StoreProcess(address, tmp_path, "--migrate") as store:
        assert mgoe("register", file, "--url", store.url).stdout == "experiment ranking is registered\n"
        begin = ("--phase", "1", "--weight", "0.1", "--url", store.url)
        assert mgoe("phase", "ranking", *begin).stdout == "phase 1 of experiment ranking is registered\n"
        unknown = mgoe("phase", "none", *begin).exception
        assert isinstance(unknown, UserError)
        assert str(unknown) == f"evidence service {store.url}: experiment 'none': nobody registered it (404)"
        monkeypatch.setenv("MGOE_EVIDENCE_ADMIN_TOKEN", TOKENS["read"])
        refused = mgoe("register", file, "--url", store.url).exception
        assert str(refused).endswith("this token does not have the role admin (403)")
    gone = mgoe("register", file, "--url", store.url).exception
    assert isinstance(gone, Fault)


def test_the_readme_shows_every_field_of_a_design() -> None:
    design, bounds = registration_door.registration_of(json.loads(EXAMPLE))
    assert json.loads(EXAMPLE)["design"].keys() == FIRST.to_json().keys()
    assert isinstance(design, Design)
    assert bounds["buy"].highest == 10_000


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_calls_of_the_readme_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "DESIGN.json").write_text(EXAMPLE)
    with StoreProcess(f"sqlite:///{tmp_path / 'evidence.db'}", tmp_path, "--migrate", "--open") as store:
        calls = CALLS.replace("http://127.0.0.1:8090", store.url).replace("curl -sS", "curl -sS -w '\\n'")
        done = subprocess.run(["bash", "-c", calls], cwd=tmp_path, capture_output=True, text=True, check=True)
    answers: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[:2] == [{"experiment": "ranking"}, {"experiment": "ranking", "phase": 1}]
    assert answers[2:4] == [{"event_id": "e1", "status": "accepted"}, {"event_id": "o1", "status": "accepted"}]
    assert answers[4]["exposed"][0]["units"] == {"baseline": 1, "candidate": 0}
    assert answers[4]["waiting"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["register", "/nowhere.json"], "design /nowhere.json: No such file or directory"),
        (["register", "{file}"], "design.alpha: 'x' is no finite number up to 1e+15"),
        (
            ["phase", "r", "--phase", "1", "--weight", "500"],
            "candidate_weight 500: a share from 0 to 1 is expected; the 500 basis points of a gateway are 0.05",
        ),
        (["phase", "r", "--phase", "1", "--weight", "nan"], "candidate_weight nan: a finite number is expected"),
        (["phase", "r", "--phase", "1", "--weight", "0"], "experiment 'r': nobody registered it"),
        (
            ["phase", "r", "--phase", "-1", "--weight", "0"],
            "phase -1: a whole number from 0 on",
        ),
    ],
)
def test_a_mistaken_registration_is_told_in_one_line(
    arguments: list[str], says: str, database: str, tmp_path: Path
) -> None:
    file = write(tmp_path, {**FIRST.to_json(), "alpha": "x"})
    done = mgoe(*(word.replace("{file}", file) for word in arguments), "--database", database)
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == says


def test_one_way_to_the_evidence_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGOE_EVIDENCE_DATABASE", raising=False)
    error = mgoe("register", write(tmp_path, FIRST.to_json())).exception
    assert str(error) == "--url or --database: one of them is needed"
