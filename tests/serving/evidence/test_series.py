from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from serving.evidence.event import DAY, SECOND
from serving.evidence.readout import read_evidence
from serving.evidence.series import series_json, snapshot, thinned
from serving.experiment.evidence import EvidenceSeries
from tests.serving.evidence.evidence_world import T0, exposure, prepare, send

NOW = 1_700_000_000 * SECOND
AGES = st.lists(st.integers(0, 70 * DAY), max_size=30)


@given(ages=AGES, later=st.integers(0, 40 * DAY))
def test_snapshots_that_are_thinned_step_by_step_are_those_that_are_thinned_once(ages: list[int], later: int) -> None:
    times = {NOW - age for age in ages}
    kept = thinned(times, NOW)
    assert kept <= times
    assert {time for time in times if NOW - time <= 2 * DAY} <= kept
    assert thinned(kept, NOW + later) == thinned(times, NOW + later)


def test_half_a_year_of_hourly_snapshots_is_a_hundred() -> None:
    assert len(thinned({NOW - hour * 3600 * SECOND for hour in range(26 * 7 * 24)}, NOW)) < 105


def test_a_series_is_the_snapshots_and_the_evidence_as_it_is_now(engine: Engine) -> None:
    prepare(engine)
    kept = []
    for number in range(3):
        send(engine, exposure(f"e{number}", f"u{number}", at=number, phase=3, digest="b0"))
        kept.append(snapshot(engine, "ranking", round((T0 + 400 + number) * SECOND)))
    now = read_evidence(engine, "ranking", round((T0 + 500) * SECOND))
    found = EvidenceSeries.from_json(json.loads(b"".join(series_json(engine, "ranking", round((T0 + 500) * SECOND)))))
    assert found.to_json() == EvidenceSeries((*kept, now)).to_json()
