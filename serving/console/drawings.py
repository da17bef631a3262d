"""The charts of a rollout's page, each with its numbers as a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from serving.console.latency import ARMS, Latency
from serving.console.split_record import GAP_S, Stretch
from serving.console.time_axis import TimeAxis
from serving.console.words import duration, lift, moment, number
from serving.experiment.analysis import Estimate
from serving.experiment.chart import Band, Chart, Line, Mark, level_chart, probability_chart, sequence_chart
from serving.experiment.design import Metric
from serving.experiment.report import Report
from serving.experiment.verdict import Finding
from serving.experiment.words import FINDING_TONES, FINDING_WORDS
from serving.rollout.state import Transition

ROWS = 40
"""Of a chart's table: the latest."""


@dataclass(frozen=True)
class Drawing:
    """A chart, its legend, and the same as a table."""

    id: str
    title: str
    hint: str
    svg: Markup | None
    legend: tuple[tuple[str, str], ...] = ()
    """(tone, name) of the lines."""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    finding: tuple[str, str, str] | None = None
    """(sign, word, tone)."""
    reason: str = ""
    """Why there is nothing to draw yet."""


def split_drawing(
    axis: TimeAxis, history: Sequence[Transition], stretches: Sequence[Stretch], shown_until: float
) -> Drawing:
    """Wanted by the history, observed by what this console has seen itself."""
    wanted: list[tuple[float, float | None]] = [(axis.place(axis.start), 0.0)]
    wanted += [(axis.place(line.at), float(line.weight)) for line in history if line.at >= axis.start]
    wanted.append((axis.place(shown_until), wanted[-1][1]))
    observed: list[tuple[float, float | None]] = []
    for stretch in stretches:
        if stretch.until < axis.start:
            continue
        if observed and axis.place(stretch.since) - observed[-1][0] > GAP_S:
            observed.append((observed[-1][0], None))
        value = None if stretch.observed is None else float(stretch.observed)
        observed += [(axis.place(stretch.since), value), (axis.place(stretch.until), value)]
    notes = tuple((axis.place(line.at), _told(line)) for line in history if line.at >= axis.start)
    chart = Chart(
        "split", "Traffic of the candidate over time", axis.label, span=axis.span, x_ticks=axis.ticks, notes=notes
    )
    lines = [Line("wanted-line", wanted, stepped=True), Line("steps", observed, stepped=True)]
    return Drawing(
        id="split",
        title="Traffic of the candidate",
        hint="What the router had, as far as this console has seen it, and what the rollout wanted.",
        svg=level_chart(chart, lines, 100.0, "%"),
        legend=(("steps", "observed"), ("wanted-line", "wanted")),
        head=("time", "what", "wanted"),
        rows=tuple((moment(line.at), f"{line.target}: {line.reason}", f"{line.weight} %") for line in history[-ROWS:]),
    )


def _told(line: Transition) -> str:
    return f"{moment(line.at)}\n{line.weight} % · {line.target} · {line.reason}\n{line.message}"


def metric_drawing(axis: TimeAxis, report: Report, place: int) -> Drawing:
    """A confidence sequence over time, with the bounds that decide."""
    one = report.last.metrics[place]
    finding: Finding = report.verdict.findings[one.metric.name]
    sign, word = FINDING_WORDS[finding]
    tone = {"better": "good", "worse": "bad"}.get(FINDING_TONES[finding], "calm")
    found = [(look.as_of, look.metrics[place].estimate) for look in report.looks]
    ready = [(as_of, estimate) for as_of, estimate in found if estimate is not None and estimate.lift is not None]
    return Drawing(
        id=f"metric-{place}",
        title=one.metric.name,
        hint=_judged_by(one.metric, report.last.design.min_effect),
        svg=_sequence(axis, one.metric, ready, report.last.design.min_effect) if ready else None,
        legend=(("estimate", "lift"), ("band", "always-valid interval"), ("pooled", "phases ignored")) if ready else (),
        head=("time", "lift", "from", "to"),
        rows=tuple(_row(as_of, estimate) for as_of, estimate in ready[-ROWS:]),
        finding=(sign, word, tone),
        reason=one.reason or "the baseline's level is not above 0: there are no shares of it",
    )


def _judged_by(metric: Metric, min_effect: float) -> str:
    better = "above" if metric.better == "higher" else "below"
    match metric.role:
        case "primary":
            return f"Primary: better once the whole interval lies {better} 0. {min_effect:.2%} is worth finding."
        case "non_inferior":
            bound = -metric.margin if metric.better == "higher" else metric.margin
            return f"Must not suffer: shown once the whole interval lies {better} {bound:+.2%}."
        case _:
            return "Secondary: looked at, decides nothing."


def _sequence(axis: TimeAxis, metric: Metric, ready: Sequence[tuple[float, Estimate]], min_effect: float) -> Markup:
    bands = [
        Band(axis.place(as_of), one.lift, one.lift_interval.lower, one.lift_interval.upper)
        for as_of, one in ready
        if one.lift is not None
    ]
    pooled = [(axis.place(as_of), one.pooled_lift) for as_of, one in ready if one.pooled_lift is not None]
    notes = tuple((axis.place(as_of), " · ".join(_row(as_of, one))) for as_of, one in ready)
    chart = Chart(
        metric.name,
        f"Lift of {metric.name} over time with its always-valid interval",
        axis.label,
        span=axis.span,
        x_ticks=axis.ticks,
        notes=notes,
    )
    return sequence_chart(chart, bands, pooled, _marks(metric, min_effect))


def _marks(metric: Metric, min_effect: float) -> list[Mark]:
    sign = 1 if metric.better == "higher" else -1
    marks = [Mark(0.0, "no effect", "ink")]
    if metric.role == "primary":
        marks.append(Mark(sign * min_effect, "worth finding", "better"))
    if metric.margin:
        marks.append(Mark(-sign * metric.margin, "margin", "worse"))
    return marks


def _row(as_of: float, estimate: Estimate) -> tuple[str, ...]:
    ends = estimate.lift_interval
    return moment(as_of), lift(estimate.lift), lift(ends.lower), lift(ends.upper)


def ratio_drawing(axis: TimeAxis, report: Report) -> Drawing:
    """The sample ratio's p-value over the alarm's line."""
    alarm = report.last.design.sample_ratio_alarm
    points = list(zip((look.as_of for look in report.looks), report.sample_ratio_p, strict=True))
    rows = tuple((moment(as_of), number(p_value)) for as_of, p_value in points[-ROWS:])
    notes = tuple((axis.place(as_of), f"{moment(as_of)} · p = {number(p_value)}") for as_of, p_value in points)
    chart = Chart(
        "ratio", "p-value of the sample ratio over time", axis.label, span=axis.span, x_ticks=axis.ticks, notes=notes
    )
    return Drawing(
        id="ratio",
        title="Sample ratio",
        hint=f"Were users split as the weights say? An alarm is raised below p = {number(alarm)} and stays.",
        svg=probability_chart(chart, [(axis.place(as_of), p_value) for as_of, p_value in points], alarm),
        head=("time", "p"),
        rows=rows,
    )


def latency_drawing(course: Sequence[Latency], now: float) -> Drawing | None:
    """p99 of both arms over the last hour, as far as this console has measured it."""
    measured = [place for place, one in enumerate(course) if any(arm.p99 is not None for arm in one.arms.values())]
    if len(measured) < 2:
        return None
    course = course[measured[0] :]
    seen = [one for one in course if one.problem is None]
    axis = TimeAxis(seen[0].at, now)
    lines = [
        Line("baseline-line" if arm == "baseline" else "steps", [(axis.place(o.at), o.arms[arm].p99) for o in course])
        for arm in ARMS
    ]
    most = max((value for line in lines for value in line.values), default=0.0)
    if most <= 0:
        return None
    chart = Chart(
        "latency",
        "99th percentile of latency over time",
        axis.label.replace("the run began", "the first request here"),
        span=axis.span,
        x_ticks=axis.ticks,
    )
    return Drawing(
        id="latency",
        title="Latency, p99",
        hint=f"Over the last minute each, for {duration(now - seen[0].at)}.",
        svg=level_chart(chart, lines, 1.1 * most, "ms"),
        legend=(("baseline-line", "baseline"), ("steps", "candidate")),
        head=("time", "baseline p99, ms", "candidate p99, ms"),
        rows=tuple((moment(one.at), *(number(one.arms[arm].p99) for arm in ARMS)) for one in seen[-ROWS:]),
    )


def expected(report: Report) -> tuple[str, str]:
    """(value, sentence) of when the verdict will be known; honest where that is not known itself."""
    findings, effect = report.verdict.findings, report.last.design.min_effect
    primary = [one for one in report.last.metrics if one.metric.role == "primary"]
    waiting = [one for one in primary if one.estimate is None]
    if waiting:
        return "unknown", f"{waiting[0].metric.name} cannot be judged yet: {waiting[0].reason}"
    still = [one for one in primary if findings[one.metric.name] == "open"]
    if not still:
        rest = [name for name, found in findings.items() if found in {"open", "not ready"}]
        if not rest:
            return "now", "every metric is decided"
        return "unknown", f"the primary metric is decided; still open, without a forecast: {', '.join(rest)}"
    days = [one.estimate.days_left for one in still if one.estimate is not None]
    if any(each is None for each in days):
        return "not in sight", f"at the present rate of users an effect of {effect:.2%} would not be found"
    longest = 86_400 * max(each for each in days if each is not None)
    if longest <= 0:
        return "due", f"an effect of {effect:.2%} would probably have been found by now"
    return f"in about {duration(longest)}", f"if the effect is {effect:.2%} and users come as now"
