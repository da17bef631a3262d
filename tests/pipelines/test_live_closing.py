"""The last lines of `mgoe run`: what decided, and what came after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.live_progress import closing
from pipelines.live_run import LiveEnd, LiveInputs
from serving.rollout.state import Phase
from serving.rollout.status import ModelRolloutStatus
from serving.stack.folder import StackFolder
from serving.stack.plan import Pair, StackPlan
from serving.stack.stack import View

WON = "win at 50 %: Win: click_per_exposure +7.94% (+0.07% to +16.39%)."
AFTER = "Inconclusive: click_per_exposure +7.63% (-0.18% to +16.03%)."


def told(tmp_path: Path, phase: Phase, message: str, *history: dict[str, Any]) -> str:
    status = ModelRolloutStatus.model_validate(
        {
            "phase": phase,
            "message": message,
            "evidence": {"verdict": "Inconclusive", "words": AFTER},
            "history": [
                {"seq": seq, "at": "2026-01-01T00:00:00Z", "step": 0, "weight": 50, "reason": "Proven", **line}
                for seq, line in enumerate(history, 1)
            ],
        }
    )
    plan = StackPlan(pair=Pair(baseline="file:///baseline", candidate="file:///candidate"))
    end = LiveEnd(phase, (), status, View(StackFolder(tmp_path), plan, None, ()), "experiment")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(closing(end, LiveInputs(tmp_path, tmp_path, tmp_path, tmp_path), kept=False))
    return capture.get()


def test_a_promotion_is_told_with_the_verdict_that_promoted_and_later_evidence_as_such(tmp_path: Path) -> None:
    line = {"origin": "Ramping", "target": "Promoting", "message": WON}
    later = {"origin": "Promoting", "target": "Promoting", "message": "weight goes from 50 to 100"}
    lines = told(tmp_path, "Succeeded", "10 s at 100 % under guard", line, later).splitlines()
    assert f"the candidate is promoted: {WON}" in lines
    assert f"  with what came in until the end: {AFTER}" in lines


def test_a_rollback_is_told_with_what_broke(tmp_path: Path) -> None:
    broke = "guardrail errors is 0.06 over 166 requests, above 0.05; the router has 0 % for the candidate"
    text = told(tmp_path, "RolledBack", broke)
    assert f"the candidate is rolled back: {broke}" in text
    assert "promoted" not in text
