"""The quickest fault, by every run of the tests: small rankers, everything else real."""

from __future__ import annotations

import time
from pathlib import Path

from tests.serving.rollout.whole import whole


def test_a_candidate_that_is_killed_loses_its_traffic_and_takes_no_request_of_the_other_arm_along(
    tmp_path: Path,
) -> None:
    with whole(tmp_path) as machine:
        machine.create(tmp_path, steps=[{"weight": 50, "minSeconds": 3600}], guardrails=[])
        with machine.visitors(baseline=0.2, candidate=0.2) as visitors:
            machine.wait(lambda: machine.routed() == 50, "the first step")
            machine.wait(lambda: visitors.candidate_after(0) > 20, "answers of the candidate")
            machine.rankers[1].kill()
            machine.wait(lambda: machine.status().phase == "RolledBack", "the end of the rollback")
            assert machine.routed() == 0
            settled = time.monotonic()
            machine.wait(lambda: visitors.statuses[-1][0] > settled + 1, "more answers")
            assert visitors.candidate_after(settled + 0.1) == 0
        assert machine.reasons()[-2:] == ["CandidateLost", "RolledBack"]
        answered = {status for _, arm, status in visitors.statuses if arm == "baseline"}
        assert answered == {200}
