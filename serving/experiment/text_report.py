"""The report in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from serving.experiment import words
from serving.experiment.analysis import MetricAnalysis
from serving.experiment.report import Report
from serving.experiment.verdict import Finding

_TONES = {"win": "bold green", "harm": "bold red", "inconclusive": "bold", "invalid": "bold red"}
_STYLES = {"better": "green", "worse": "red", "unclear": ""}


def text_report(report: Report) -> Group:
    """Verdict, metrics, stratified against pooled, prospect, units, sample ratio, counts."""
    design = report.evidence.design
    head = Text(f"{design.experiment}: {design.candidate_digest} against {design.baseline_digest}")
    parts: list[RenderableType] = [
        head,
        Text(f"as of {words.moment(report.evidence.as_of)}, {words.looks(len(report.looks))}", style="dim"),
        Text(report.verdict.words, style=_TONES[report.verdict.kind]),
        _metrics(report),
        _comparison(report),
        _prospect(report),
        _units(report),
        _sample_ratio(report),
        Text(words.comeback(report.last.returns)),
        Text(_counts(report), style="dim"),
    ]
    return Group(*parts)


def _finding(finding: Finding) -> Text:
    sign, word = words.FINDING_WORDS[finding]
    return Text(f"{sign} {word}", style=_STYLES[words.FINDING_TONES[finding]])


def _metrics(report: Report) -> Table:
    table = _table("lift, stratified; intervals hold at every look", ("lift", "always-valid interval", "e-value"))
    table.add_column("")
    for one in report.last.metrics:
        estimate = one.estimate
        finding = _finding(report.verdict.findings[one.metric.name])
        if estimate is None:
            table.add_row(Text(one.metric.name), "–", Text(one.reason), "–", finding)
        else:
            numbers = (*words.change(estimate), words.e_value(estimate.e_value))
            table.add_row(_named(one), *numbers, finding)
    return table


def _named(one: MetricAnalysis) -> Text:
    role = "" if one.metric.role == "primary" else f" ({one.metric.role.replace('_', '-')}"
    margin = f", {one.metric.margin:.2%}" if one.metric.margin else ""
    return Text(f"{one.metric.name}{role}{margin}{')' if role else ''}")


def _comparison(report: Report) -> Table:
    columns = ("baseline", "candidate", "one look", "pooled", "pooled, one look")
    table = _table("for one look at the end, and pooled (phases ignored)", columns)
    for one in report.last.metrics:
        estimate = one.estimate
        if estimate is not None:
            table.add_row(
                Text(one.metric.name),
                words.level(estimate.baseline),
                words.level(estimate.candidate),
                words.span(estimate.fixed_lift),
                words.share(estimate.pooled_lift),
                words.span(estimate.pooled_lift_interval),
            )
    return table


def _prospect(report: Report) -> Table:
    smallest = report.evidence.design.min_effect
    columns = ("power left", "known in", "covariate takes out", "returning users add")
    table = _table(f"chance to find {smallest:.2%}; shares of the variance", columns)
    for one in report.last.metrics:
        estimate = one.estimate
        if estimate is not None:
            table.add_row(
                Text(one.metric.name),
                words.probability(estimate.power_left),
                words.days(estimate.days_left),
                words.part(estimate.variance_reduction),
                words.part(estimate.returning),
            )
    return table


def _units(report: Report) -> Table:
    columns = ("baseline", "candidate", "not mature", "strata", "in burn-in", "late outcomes")
    table = _table("units that count", columns)
    for one in report.last.metrics:
        numbers = (
            one.units["baseline"],
            one.units["candidate"],
            sum(one.immature.values()),
            one.strata,
            one.strata_waiting,
            sum(one.late.values()),
        )
        table.add_row(Text(one.metric.name), *map(words.count, numbers))
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _sample_ratio(report: Report) -> Table:
    ratio = report.last.sample_ratio
    table = Table(title=f"sample ratio, always-valid p = {words.probability(ratio.p_value)}", title_justify="left")
    for name in ("phase", "candidate weight", "new, baseline", "new, candidate", "candidate share", "p"):
        table.add_column(name, justify="right")
    for phase in ratio.phases:
        total = phase.baseline + phase.candidate
        table.add_row(
            str(phase.phase),
            f"{phase.candidate_weight:.2%}",
            words.count(phase.baseline),
            words.count(phase.candidate),
            f"{phase.candidate / total:.3%}" if total else "–",
            words.probability(phase.p_value),
        )
    return table


def _counts(report: Report) -> str:
    evidence = report.evidence
    return (
        f"left out: {words.count(evidence.crossovers)} units in both arms of a phase, {words.count(evidence.forced)} "
        f"forced exposures, {words.count(evidence.foreign)} exposures of another model, "
        f"{words.count(evidence.mismatch)} with another propensity than their phase's weight, "
        f"{words.count(evidence.early)} from before their phase; waiting for their exposure: "
        f"{words.count(evidence.waiting)} outcomes; at the cap of events: {words.count(evidence.capped)} units"
    )
