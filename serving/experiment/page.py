"""The report as one self-contained HTML page, readable offline, on a phone, by day or night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from serving.experiment import words
from serving.experiment.analysis import Estimate, MetricAnalysis
from serving.experiment.chart import (
    Band,
    Chart,
    Mark,
    Whisker,
    forest_chart,
    probability_chart,
    sequence_chart,
)
from serving.experiment.design import DAY_S, Metric
from serving.experiment.interval import Interval
from serving.experiment.report import Report


@dataclass(frozen=True)
class MetricCard:
    """One metric on the page."""

    one: MetricAnalysis
    finding: str
    tone: str
    sign: str
    sequence: Markup | None
    forest: Markup | None


def page(report: Report, note: str | None = None) -> str:
    """The whole page. note: a sentence at its head, such as that feedback was simulated."""
    environment = Environment(
        loader=PackageLoader("serving.experiment"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    filters = (
        words.change,
        words.comeback,
        words.share,
        words.part,
        words.span,
        words.level,
        words.count,
        words.looks,
        words.probability,
        words.e_value,
        words.days,
    )
    environment.filters |= {one.__name__: one for one in (*filters, words.moment)}
    design = report.evidence.design
    return environment.get_template("experiment.html.j2").render(
        report=report,
        note=note,
        design=design,
        evidence=report.evidence,
        cards=[_card(report, place) for place in range(len(design.metrics))],
        ratio=report.last.sample_ratio,
        ratio_chart=_ratio_chart(report),
        kinds={"win": "better", "harm": "worse", "inconclusive": "unclear", "invalid": "worse"},
    )


def _card(report: Report, place: int) -> MetricCard:
    one = report.last.metrics[place]
    finding = report.verdict.findings[one.metric.name]
    sign, word = words.FINDING_WORDS[finding]
    estimate = one.estimate
    return MetricCard(
        one=one,
        finding=word,
        tone=words.FINDING_TONES[finding],
        sign=sign,
        sequence=None if estimate is None or estimate.lift is None else _sequence(report, place),
        forest=None if estimate is None or estimate.lift is None else _forest(one.metric, estimate, estimate.lift),
    )


def _day(report: Report, as_of: float) -> float:
    """Days since the first look, which is day 1 where looks are daily."""
    return (as_of - report.looks[0].as_of) / DAY_S + 1


def _sequence(report: Report, place: int) -> Markup:
    metric = report.last.metrics[place].metric
    found = [(_day(report, look.as_of), look.metrics[place].estimate) for look in report.looks]
    ready = [(day, estimate) for day, estimate in found if estimate is not None]
    bands = [
        Band(day, one.lift, one.lift_interval.lower, one.lift_interval.upper)
        for day, one in ready
        if one.lift is not None
    ]
    pooled = [(day, one.pooled_lift) for day, one in ready if one.pooled_lift is not None]
    chart = Chart(f"sequence-{place}", f"Lift of {metric.name} over time", "day", _phases(report, bands[0].x))
    return sequence_chart(chart, bands, pooled, _marks(metric))


def _marks(metric: Metric) -> list[Mark]:
    marks = [Mark(0.0, "no effect", "ink")]
    if metric.margin:
        worst = -metric.margin if metric.better == "higher" else metric.margin
        marks.append(Mark(worst, "margin", "worse"))
    return marks


def _phases(report: Report, first: float) -> Sequence[tuple[float, str]]:
    """Where a phase was first seen, with its weight; phases over before `first` are left out."""
    starts: dict[int, tuple[float, float]] = {}
    for look in report.looks:
        for split in look.sample_ratio.phases:
            starts.setdefault(split.phase, (_day(report, look.as_of), split.candidate_weight))
    ordered = [starts[phase] for phase in sorted(starts)]
    ends = [*(start for start, _ in ordered[1:]), float("inf")][: len(ordered)]
    return [
        (max(start, first), f"{100 * weight:g} %")
        for (start, weight), end in zip(ordered, ends, strict=True)
        if end > first
    ]


def _forest(metric: Metric, estimate: Estimate, lift: float) -> Markup:
    def whisker(label: str, middle: float, interval: Interval, tone: str) -> Whisker:
        return Whisker(label, middle, interval.lower, interval.upper, tone)

    whiskers = [
        whisker("stratified, always-valid", lift, estimate.lift_interval, "candidate"),
        whisker("stratified, valid for one look only", lift, estimate.fixed_lift, "muted"),
    ]
    if estimate.pooled_lift is not None and estimate.pooled_lift_interval is not None:
        pooled = whisker(
            "pooled (phases ignored), one look only", estimate.pooled_lift, estimate.pooled_lift_interval, "baseline"
        )
        whiskers.append(pooled)
    chart = Chart(f"forest-{metric.name}", f"Lift of {metric.name}, stratified and pooled", "")
    return forest_chart(chart, whiskers, _marks(metric))


def _ratio_chart(report: Report) -> Markup:
    points = [
        (_day(report, look.as_of), p_value) for look, p_value in zip(report.looks, report.sample_ratio_p, strict=True)
    ]
    chart = Chart("sample-ratio", "Sample-ratio p-value over time", "day", _phases(report, points[0][0]))
    return probability_chart(chart, points, report.evidence.design.sample_ratio_alarm)
