"""The summary as a person reads it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from serving.traffic.summary import Circumstances, Delivery, summary_json, summary_text
from serving.traffic.tally import Tally

GOLDEN = Path(__file__).parent / "golden" / "summary.txt"
CIRCUMSTANCES = Circumstances(
    log="log",
    gateway="http://127.0.0.1:8000",
    arrivals="poisson at 20/s",
    seed=7,
    plant="candidate:+2%",
    elapsed_s=2.5,
    left_out_rows=12,
    stopped=False,
)
DELIVERY = Delivery(accepted=38, refused={"capped": 2}, unacknowledged=1, retries=3, uncounted={"buy": 4})


def tally() -> Tally:
    made = Tally(("click", "buy"), sent=46, shed=1, put=41)
    for name, gain in (("baseline", 1.2), ("candidate", 1.5)):
        arm = made.of("candidate" if name == "candidate" else "baseline")
        for place in range(20):
            shuffled = np.array([0.5 + place / 40, 0.0])
            arm.earn(f"u{place}", np.array([place % 3, 0]), shuffled * (gain + place % 4 / 100), shuffled)
            arm.latency_s.append((5 + place) / 1000)
        arm.answers.update({"ok": 20})
    made.arms["candidate"].answers.update({"500": 3, "malformed": 1})
    made.nobody.answers.update({"timeout": 2})
    made.behind_s.extend([0.001] * 46)
    return made


def test_the_summary_is_as_in_the_golden_file() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_text(tally(), DELIVERY, CIRCUMSTANCES))
    assert "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n" == GOLDEN.read_text()


def test_the_figures_are_json_and_say_that_feedback_is_simulated() -> None:
    document = json.loads(json.dumps(summary_json(tally(), DELIVERY, CIRCUMSTANCES), allow_nan=False))
    assert "simulated" in document["feedback"]
    assert document["requests"] == {"sent": 46, "shed": 1, "answered": 40, "errors": 6}
    assert document["outcomes"] == {
        "put": 41,
        "accepted": 38,
        "refused": {"capped": 2},
        "unacknowledged": 1,
        "retries": 3,
        "uncounted": {"buy": 4},
    }
    assert [effect["task"] for effect in document["expected_effect"]] == ["click", "buy"]
    assert document["expected_effect"][1]["lift"] is None  # nothing can be earned
    empty = summary_json(Tally(("click",)), None, CIRCUMSTANCES)
    assert json.loads(json.dumps(empty, allow_nan=False))["outcomes"] is None
