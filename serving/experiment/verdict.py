"""The verdict: win, harm, inconclusive or invalid, in words. Each rule is stated where it is applied."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from serving.experiment.analysis import Analysis, Estimate
from serving.experiment.design import Metric
from serving.experiment.interval import Interval
from serving.experiment.many_metrics import e_bh, e_bonferroni

FEW_CROSSOVERS = 10
"""So few may be a clash of ids, whatever their share of a young experiment."""

Kind = Literal["win", "harm", "inconclusive", "invalid"]
Finding = Literal["better", "worse", "not inferior", "inferior", "open", "not ready"]


@dataclass(frozen=True)
class Verdict:
    """What may be done on this evidence, and why."""

    kind: Kind
    words: str
    """One sentence; a second one where users of one arm come back more often."""
    findings: dict[str, Finding]
    """By metric."""


def verdict(analysis: Analysis) -> Verdict:
    """The verdict on an analysis.

    - invalid: the sample ratio's p-value is below the alarm, more units than the limit changed arms inside a phase, or
      a metric of the design has no evidence at all.
    - harm: a primary or non-inferior metric is proven to be worse than its margin. One of several may be by chance, so
      e-values are held against K / alpha (`e_bonferroni`), with all K of the design, judged yet or not: the chance of
      any false harm, ever, is at most alpha.
    - win: among the primary metrics at least one is found better (`e_bh`; with one metric: its interval lies above 0),
      and every other primary or non-inferior metric is proven not inferior. That is an intersection of tests, each at
      alpha, and needs no correction (Berger 1982).
    - inconclusive: anything else.
    """
    findings = _findings(analysis)
    invalid = _invalid(analysis)
    if invalid:
        return Verdict("invalid", invalid, findings)
    kind, words = _judged(analysis, findings)
    return Verdict(kind, f"{words}{_returning(analysis)}", findings)


def _judged(analysis: Analysis, findings: dict[str, Finding]) -> tuple[Kind, str]:
    decisive = [one for one in analysis.metrics if one.metric.role != "secondary"]
    ready = [(one.metric, one.estimate) for one in decisive if one.estimate is not None]
    harmed = [one for one in ready if findings[one[0].name] in ("worse", "inferior")]
    if harmed:
        return "harm", f"Harm: {_said(harmed)}."
    waiting = [f"{one.metric.name} cannot be judged yet ({one.reason})" for one in decisive if one.estimate is None]
    if waiting:
        return "inconclusive", f"Inconclusive: {_and(waiting)}."
    won = [one for one in ready if findings[one[0].name] == "better"]
    still_open = [one for one in ready if findings[one[0].name] == "open"]
    if won and not still_open:
        rest = [one for one in ready if one not in won]
        held = f"; not inferior: {_said(rest)}" if rest else ""
        return "win", f"Win: {_said(won)}{held}."
    if won:
        return "inconclusive", f"Inconclusive: {_said(won)}, but not yet shown: {_said(still_open)}."
    primary = [one for one in ready if one[0].role == "primary"]
    when = _when([estimate for _, estimate in primary], analysis.design.min_effect)
    return "inconclusive", f"Inconclusive: {_said(primary)}{when}."


def _returning(analysis: Analysis) -> str:
    """An effect in its own right, and a warning: later phases then compare different people."""
    returns = analysis.returns
    if returns.p_value >= analysis.design.sample_ratio_alarm:
        return ""
    proof = f"p = {returns.p_value:.1e}"
    if returns.lift is None:
        came = f"While both arms are shown nobody of the baseline comes back ({proof})"
    else:
        more = "more" if returns.lift > 0 else "less"
        came = f"Users of the candidate come back {abs(returns.lift):.2%} {more} often ({proof})"
    return f" {came}: in later phases the arms are no longer the same people."


def improvement(metric: Metric, interval: Interval) -> Interval:
    """The interval turned so that above 0 is better."""
    return interval if metric.better == "higher" else interval.flipped()


def _invalid(analysis: Analysis) -> str:
    p_value, alarm = analysis.sample_ratio.p_value, analysis.design.sample_ratio_alarm
    if p_value < alarm:
        return (
            f"Invalid: units are not split as the weights say (sample ratio p = {p_value:.1e}, alarm below {alarm:g})."
        )
    limit = analysis.design.crossover_limit
    if analysis.crossovers >= FEW_CROSSOVERS and analysis.crossover_share > limit:
        return (
            f"Invalid: {analysis.crossovers:,} units ({analysis.crossover_share:.2%}, limit {limit:.2%}) were in both "
            f"arms of a phase: users do not stay on their arm."
        )
    if analysis.missing:
        return f"Invalid: no evidence of {_and(list(analysis.missing))}."
    return ""


def _findings(analysis: Analysis) -> dict[str, Finding]:
    alpha = analysis.design.alpha
    # A metric that cannot be judged yet has its share of the level: e-value 0.
    decisive = [(one.metric, one.estimate) for one in analysis.metrics if one.metric.role != "secondary"]
    gains = {metric.name: found.e_value if found else 0.0 for metric, found in decisive if metric.role == "primary"}
    primary = e_bh(gains, alpha)
    harm = e_bonferroni({metric.name: found.e_harm if found else 0.0 for metric, found in decisive}, alpha)
    findings: dict[str, Finding] = {}
    for one in analysis.metrics:
        name = one.metric.name
        if one.estimate is None:
            findings[name] = "not ready"
        else:
            findings[name] = _finding(one.metric, one.estimate, found=name in primary, harmed=name in harm)
    return findings


def _finding(metric: Metric, estimate: Estimate, *, found: bool, harmed: bool) -> Finding:
    gain = improvement(metric, estimate.interval)
    if harmed:
        return "worse" if metric.margin == 0 else "inferior"
    if metric.role == "secondary":
        return "better" if gain.lower > 0 else "worse" if gain.upper < 0 else "open"
    up = estimate.effect > 0 if metric.better == "higher" else estimate.effect < 0
    if metric.role == "primary" and found and up:
        return "better"
    return "not inferior" if estimate.within_margin > 0 else "open"


def _when(primary: list[Estimate], smallest: float) -> str:
    known = [one.days_left for one in primary if one.days_left is not None]
    if len(known) < len(primary):
        return f"; at the present rate an effect of {smallest:.2%} would not be found"
    return f"; an effect of {smallest:.2%} would be known in about {max(known):.1f} days"


def _said(metrics: list[tuple[Metric, Estimate]]) -> str:
    parts = []
    for metric, estimate in metrics:
        margin = f", margin {metric.margin:.2%}" if metric.margin else ""
        parts.append(f"{metric.name} {_change(estimate, margin)}")
    return _and(parts)


def _change(estimate: Estimate, margin: str) -> str:
    """The lift; in the metric's own units where no share of the baseline can be given or bounded."""
    lift, ends = estimate.lift, estimate.lift_interval
    if lift is not None and math.isfinite(ends.lower) and math.isfinite(ends.upper):
        return f"{percent(lift)} ({percent(ends.lower)} to {percent(ends.upper)}{margin})"
    ends = estimate.interval
    from_to = f"from {estimate.baseline:.4g} to {estimate.candidate:.4g}"
    return f"{estimate.effect:+.4g} ({ends.lower:+.4g} to {ends.upper:+.4g}{margin}), {from_to}"


def percent(share: float) -> str:
    """A share as a signed percentage."""
    return f"{share:+.2%}"


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
