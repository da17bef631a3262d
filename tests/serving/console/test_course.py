"""The course of an experiment: few looks, each analysed once, an old one rather than none."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import Fault
from serving.console import course as course_module
from serving.console.course import LOOKS, Courses, HttpSeries, thinned
from serving.experiment.analysis import analyse
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence
from tests.serving.console.console_under_test import Console
from tests.serving.console.test_pages import ramping


def moments(times: list[float]) -> list[ExperimentEvidence]:
    return [cast("ExperimentEvidence", SimpleNamespace(as_of=time)) for time in times]


@given(st.lists(st.floats(0, 1e8), min_size=1, max_size=400, unique=True).map(sorted))
def test_few_looks_are_kept_among_them_the_latest(times: list[float]) -> None:
    kept = [one.as_of for one in thinned(moments(times))]
    assert len(kept) <= LOOKS
    assert kept == sorted(set(kept) & set(times))
    assert kept[-1] == times[-1]


@given(st.integers(1, 3000))
def test_a_look_that_was_left_out_is_not_asked_for_again(length: int) -> None:
    before = {one.as_of for one in thinned(moments([60.0 * n for n in range(length)]))}
    after = {one.as_of for one in thinned(moments([60.0 * n for n in range(length + 1)]))}
    assert len(after - before) <= 1


class Source:
    """Evidence of a world, read as often as it is asked."""

    def __init__(self, read: Callable[[str, str], EvidenceSeries]) -> None:
        self._read = read
        self.reads = 0
        self.away = False

    def read(self, experiment: str, candidate: str) -> EvidenceSeries:
        self.reads += 1
        if self.away:
            raise Fault("evidence: it does not answer")
        return self._read(experiment, candidate)


def test_a_course_is_read_again_after_a_while_and_its_past_is_not_analysed_again(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramping(console)
    console.world.live(120, units=100)
    assert console.site.courses is not None
    source, now = Source(console.site.courses._source.read), [0.0]
    courses = Courses(source, lambda: now[0])
    run = console.world.status().run
    assert run is not None
    key = (console.world.experiment("feed"), run.candidate)
    analysed: list[float] = []
    real: Any = analyse

    def counted(evidence: ExperimentEvidence, **options: bool) -> object:
        analysed.append(evidence.as_of)
        return real(evidence, **options)

    monkeypatch.setattr(course_module, "analyse", counted)
    first = courses.of(*key)
    assert courses.of(*key) is first
    assert source.reads == 1
    console.world.live(30, units=10)
    now[0] = 1000.0
    analysed.clear()
    second = courses.of(*key)
    assert second.report is not None
    assert first.report is not None
    assert len(second.report.looks) == len(first.report.looks) + 1
    assert len(analysed) <= 3, "the look that was the present one, a new one, and now"


def test_where_the_evidence_does_not_answer_the_old_course_stays_with_the_reason(console: Console) -> None:
    ramping(console)
    assert console.site.courses is not None
    source, now = Source(console.site.courses._source.read), [0.0]
    courses = Courses(source, lambda: now[0])
    run = console.world.status().run
    assert run is not None
    key = (console.world.experiment("feed"), run.candidate)
    first = courses.of(*key)
    source.away, now[0] = True, 1000.0
    later = courses.of(*key)
    assert later.report is first.report is not None
    assert later.problem == "evidence: it does not answer"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(200, text="no"), "without JSON"),
        (httpx.Response(404, json={"error": "nobody registered it"}), r"nobody registered it \(404\)"),
        (httpx.Response(200, json={"design": 1}), "evidence: "),
    ],
)
def test_an_evidence_service_that_says_something_else_is_one_line(answer: httpx.Response, said: str) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda _: answer), base_url="http://evidence")
    with pytest.raises(Fault, match=said) as told:
        HttpSeries(client).read("feed.1", "c")
    assert "\n" not in str(told.value)


def test_an_evidence_service_that_is_gone_is_one_line() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = httpx.Client(transport=httpx.MockTransport(gone), base_url="http://evidence")
    with pytest.raises(Fault, match="does not answer"):
        HttpSeries(client).read("feed.1", "c")
