"""Moments, spans and numbers as the pages write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_LATEST = 253_402_300_799.0
"""Last second of the year 9999."""


def moment(seconds: float | None) -> str:
    """A unix time in UTC; a dash for none."""
    found = _time(seconds)
    return "–" if found is None else found.strftime("%Y-%m-%d %H:%M:%S UTC")


def machine_time(seconds: float | None) -> str:
    """A unix time for `<time datetime>`; empty for none."""
    found = _time(seconds)
    return "" if found is None else found.isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """A span in its largest unit, with a half where that says more: `90 seconds`, `2.5 hours`."""
    if not math.isfinite(seconds):
        return "for ever"
    for size, name in _UNITS:
        # 119 seconds say more than 2 minutes.
        if seconds >= 2 * size or size == 1.0:
            number = seconds / size
            text = f"{number:.0f}" if number >= 10 or size == 1.0 else f"{number:.1f}".removesuffix(".0")
            return f"{text} {name}" if text == "1" else f"{text} {name}s"
    raise AssertionError("the last unit takes every span")


def ago(seconds: float) -> str:
    """How long since a moment."""
    return "just now" if seconds < 2 else f"{duration(seconds)} ago"


def percent(value: float | None) -> str:
    """A whole number of percent; `unknown` for none."""
    return "unknown" if value is None else f"{value:g} %"


def number(value: float | None) -> str:
    """Four significant digits, thousands separated; `unknown` for none."""
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def lift(value: float | None) -> str:
    """A signed percentage; `open` for a bound that is not there."""
    return "open" if value is None or not math.isfinite(value) else f"{value:+.2%}"


def _time(seconds: float | None) -> datetime | None:
    if seconds is None or not 0 <= seconds <= _LATEST:  # NaN is neither
        return None
    return datetime.fromtimestamp(seconds, UTC)
