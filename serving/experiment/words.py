"""Numbers and findings as the reports write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from serving.experiment.analysis import Estimate
from serving.experiment.interval import Interval
from serving.experiment.returns import Returns
from serving.experiment.verdict import Finding, percent

FINDING_WORDS: dict[Finding, tuple[str, str]] = {
    "better": ("▲", "better"),
    "worse": ("▼", "worse"),
    "not inferior": ("✓", "not inferior"),
    "inferior": ("▼", "inferior"),
    "open": ("◆", "open"),
    "not ready": ("–", "not ready"),
}
FINDING_TONES: dict[Finding, str] = {
    "better": "better",
    "worse": "worse",
    "not inferior": "better",
    "inferior": "worse",
    "open": "unclear",
    "not ready": "unclear",
}


def share(value: float | None) -> str:
    """A signed percentage; a dash for nothing."""
    return "–" if value is None else percent(value)


def part(value: float | None) -> str:
    """A share of a whole, as a percentage; a dash for nothing."""
    return "–" if value is None else f"{value:.1%}"


def span(interval: Interval | None) -> str:
    """Both ends as signed percentages; `unbounded` where nothing bounds them."""
    if interval is None:
        return "–"
    if not (math.isfinite(interval.lower) and math.isfinite(interval.upper)):
        return "unbounded"
    return f"{percent(interval.lower)} to {percent(interval.upper)}"


def change(estimate: Estimate) -> tuple[str, str]:
    """The lift and its interval; the effect in the metric's own units where the baseline gives no shares."""
    if estimate.lift is None:
        return f"{estimate.effect:+.4g}", f"{estimate.interval.lower:+.4g} to {estimate.interval.upper:+.4g}"
    return share(estimate.lift), span(estimate.lift_interval)


def comeback(returns: Returns) -> str:
    """How return depends on the arm."""
    if not returns.phases:
        return "return by arm: nobody has come back in a later phase"
    lift = None if returns.lift is None else f"{percent(returns.lift)} for the candidate"
    came = lift or "nobody of the baseline while both arms are shown"
    return f"return by arm: {came}, always-valid p = {probability(returns.p_value)}"


def level(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def count(value: int) -> str:
    """With thousands separated."""
    return f"{value:,}"


def looks(number: int) -> str:
    """How often the evidence was looked at."""
    return "1 look" if number == 1 else f"{count(number)} looks"


def probability(value: float | None) -> str:
    """A p-value or a chance, short at both ends; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def e_value(value: float) -> str:
    """Short; beyond a million its power of ten is enough."""
    return f"{value:.3g}" if value < 1e6 else f"{value:.0e}"


def days(value: float | None) -> str:
    """Days ahead; a dash where it is not in sight."""
    if value is None:
        return "not in sight"
    return "now" if value == 0 else f"{value:.1f} days"


def moment(seconds: float) -> str:
    """A unix time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
