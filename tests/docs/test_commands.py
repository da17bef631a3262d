"""What the documents tell a reader to type and to open is there; every alert has its words in the runbook."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from mgoe import ROOMS
from serving.gateway.config import parse_config
from serving.gateway.desired import KEY, parse_desired
from serving.gateway.routes import routes, split_of
from serving.gateway.split import Split

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_CALL = re.compile(r"(?<![\w./-])mgoe (?=[a-z])(?!against )")  # `mgoe against mmoe` is how a comparison begins
_METRIC = re.compile(r"\bmgoe_(?:rank|rollout|gateway|evidence)_\w+")
_SUFFIX = r"_(total|bucket|sum|count)$"
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _code(text: str) -> Iterator[str]:
    """Lines of blocks, fenced or indented, with continued ones joined; then `spans` of the rest."""
    fenced, prose, code = False, [], []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(line.strip())
        else:
            prose.append(line)
    yield from "\n".join(code).replace("\\\n", " ").splitlines()
    yield from _SPAN.findall("\n".join(prose))


def _calls(text: str) -> list[str]:
    """Every `mgoe ...` in the code of a page, up to where the shell ends it."""
    calls = []
    for line in _code(text):
        for part in re.split(r"\s[;&|]+(?=\s|$)|\s#\s|\$\(", line):
            match = _CALL.search(part)
            # What a page shows of an output is no command.
            if match and re.fullmatch(r"(\$ |[A-Z_]+=\S+ |\S+/)*", part[: match.start()].lstrip()):
                calls.append(part[match.end() :].strip().rstrip(");"))
    return calls


@cache
def _room(name: str) -> Any:
    """A room's click command, as mgoe.py mounts it."""
    if name not in ROOMS:
        pytest.fail(f"there is no command mgoe {name}")
    room = ROOMS[name]
    app: Any = get_command(importlib.import_module(room.module).app)
    return app.commands[name] if room.inline and hasattr(app, "commands") else app


def _refused(call: str) -> str | None:
    """Why the command would be refused as it stands; None: it would not. A|B is either of two, ... is anything."""
    words = shlex.split(call, comments=True)
    faults = [_refused_by(_room(name), name, words[1:]) for name in words[0].split("|")]
    return next((fault for fault in faults if fault), None)


def _refused_by(command: Any, path: str, words: list[str]) -> str | None:
    if hasattr(command, "commands"):
        if not words or words[0].startswith(("-", "...")):
            return None  # a group by itself shows its help
        names = words[0].split("|")
        missing = [name for name in names if name not in command.commands]
        if missing:
            return f"there is no command mgoe {path} {missing[0]}"
        found = (_refused_by(command.commands[name], f"{path} {name}", words[1:]) for name in names)
        return next((fault for fault in found if fault), None)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return f"mgoe {path} has no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    faults = {call: fault for call in _calls(page.read_text(encoding="utf-8")) if (fault := _refused(call))}
    assert not faults


def test_commands_are_found_on_the_pages_that_consist_of_them() -> None:
    found = {page.name: len(_calls(page.read_text(encoding="utf-8"))) for page in PAGES}
    assert found["README.md"] > 30
    assert found["tutorial.md"] > 20
    assert found["runbook.md"] > 20


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("mgoe rollout pause feed --dry-run", None),
        ("mgoe rollout pause|resume feed", None),
        ("mgoe rollout stop feed", "there is no command mgoe rollout stop"),
        ("mgoe rollout pause|stop feed", "there is no command mgoe rollout stop"),
        ("mgoe rollout pause feed --now", "mgoe rollout pause has no option --now"),
        ("mgoe status ; mgoe logs gateway -x", "mgoe logs has no option -x"),
        ("X=$(mgoe gateway weights --jason)", "mgoe gateway weights has no option --jason"),
        ("mgoe up --wrong \\\n      # nothing", "mgoe up has no option --wrong"),
    ],
)
def test_a_wrong_command_is_found(line: str, fault: str | None) -> None:
    faults = [each for call in _calls(f"```\n{line}\n```\n") if (each := _refused(call))]
    assert faults == ([fault] if fault else [])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [each for each in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in each]
    lost = [each for each in targets if not _leads(page, each)]
    assert not lost


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path) if path else page
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(file: Path) -> set[str]:
    """Ids of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in headings}


def test_every_alert_of_the_chart_has_a_heading_in_the_runbook() -> None:
    rules = yaml.safe_load((ROOT / "helm/mgoe/files/alerts.yaml").read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (Mgoe\w+)$", runbook, flags=re.MULTILINE))
    assert headings == set(alerts)


def test_every_metric_that_a_sample_or_the_runbook_asks_for_is_one_of_ours() -> None:
    asked = [ROOT / "docs/runbook.md", *(ROOT / "manifests/samples").glob("*.yaml")]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py"))
    names = {name for page in asked for name in _METRIC.findall(page.read_text(encoding="utf-8"))}
    assert names
    assert not {name for name in names if f'"{re.sub(_SUFFIX, "", name)}"' not in code}


GATEWAY = """
experiment: {id: feed.1, salt: feed}
baseline: {endpoints: [{host: 127.0.0.1, http: 8080, grpc: 8081}]}
candidate: {endpoints: [{host: 127.0.0.1, http: 8082, grpc: 8083}]}
"""


def test_the_runbooks_script_takes_every_route_to_the_baseline_as_the_next_phase(tmp_path: Path) -> None:
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    script = _block(runbook, "python")
    config, file = parse_config(GATEWAY, "test"), tmp_path / "routes.json"
    file.write_text(json.dumps(routes(config, Split("feed.1", "feed", phase=7, candidate_weight=2500))))
    subprocess.run([sys.executable, "-I", "-c", script, str(file)], check=True)
    back = Split("feed.1", "feed", phase=8, candidate_weight=0)
    written = json.loads(file.read_text())
    assert split_of(written["resources"][0]) == back
    assert written == routes(config, back)


def test_the_runbooks_jq_makes_a_split_that_agents_take() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    found = re.search(r"^ *jq '(.+)' split\.json", runbook, flags=re.MULTILINE)
    assert found
    split = {"experiment": "feed.1", "salt": "feed", "stratum": 7, "weight": 2500, "run": "r", "owner": "o"}
    split["services"] = {"baseline": "mmoe", "candidate": "mgoe"}
    stored = json.dumps({"kind": "ConfigMap", "data": {KEY: json.dumps(split)}})
    if (jq := shutil.which("jq")) is None:
        pytest.skip("jq is not installed")
    done = subprocess.run([jq, found[1]], input=stored, capture_output=True, text=True, check=True)
    wanted = parse_desired(json.loads(done.stdout)["data"][KEY], "back.json")
    assert wanted == parse_desired(json.dumps(split | {"stratum": 8, "weight": 0}), "by hand")


def _block(page: str, language: str) -> str:
    """The first block of a language, without its indentation."""
    found = re.search(rf"^( *)```{language}\n(.*?)^\1```", page, flags=re.MULTILINE | re.DOTALL)
    assert found
    return textwrap.dedent(found[2])
