"""The part of a rollout's page that is drawn, and when the verdict will be known. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.console.course import Course
from serving.console.drawings import (
    Drawing,
    expected,
    latency_drawing,
    metric_drawing,
    ratio_drawing,
    split_drawing,
)
from serving.console.latency import Latency
from serving.console.split_record import Stretch
from serving.console.time_axis import TimeAxis
from serving.console.wish import Sight
from serving.rollout.state import UNDER_TRAFFIC, Transition


@dataclass(frozen=True)
class ChartsView:
    """Charts, and what is said beside them."""

    drawings: tuple[Drawing, ...]
    problem: str | None


def charts_of(
    sight: Sight,
    history: Sequence[Transition],
    *,
    stretches: Sequence[Stretch],
    course: Course | None,
    latency: Sequence[Latency],
    now: float,
) -> ChartsView:
    """history: oldest first."""
    status = sight.status
    if status.run is None:
        return ChartsView((), None)
    report = course.report if course is not None else None
    mine = [line for line in history if line.at >= status.run.started_at - 1]
    end = mine[-1].at if sight.over and mine else now
    looks = [look.as_of for look in report.looks] if report is not None else []
    axis = TimeAxis(status.run.started_at, max([end, status.run.started_at + 1, *looks]))
    drawings = [split_drawing(axis, mine, stretches, max(end, axis.start))]
    if report is not None:
        drawings += [metric_drawing(axis, report, place) for place in range(len(report.last.metrics))]
        drawings.append(ratio_drawing(axis, report))
    measured = latency_drawing(latency, now) if status.phase in UNDER_TRAFFIC else None
    drawings += [measured] if measured is not None else []
    return ChartsView(tuple(drawings), _problem(course))


def _problem(course: Course | None) -> str | None:
    if course is None:
        return "This console was started without --evidence: there are no charts of metrics."
    return None if course.problem is None else f"The evidence cannot be read: {course.problem}"


def known_in(sight: Sight, course: Course | None) -> tuple[str, str]:
    """When the verdict will be known: value, sentence."""
    if sight.status.run is None:
        return "unknown", "there is no run yet"
    if sight.over:
        return "decided", f"the run has ended: {sight.status.phase}"
    if course is None or course.report is None:
        return "unknown", "the evidence cannot be read here"
    kind = course.report.verdict.kind
    if kind in {"win", "harm"}:
        return "now", f"the verdict on the evidence is {kind}"
    return expected(course.report)
