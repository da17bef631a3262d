"""Which moments a graph is taken at, and the leakage rule.

A row at time x reads the last snapshot with as_of <= x, and a snapshot holds only what lies strictly before its as_of:
no interaction ever enters the edges that score it. Grouping is fitted once, on what lies strictly before `fit_cut`.

`single`: two snapshots. The second, taken where validation begins, holds history and all training rows. The first is
for the training rows: history alone where there is one; without history the rows before the fit cut, which then
serve the graph only and must not be trained on (MacGNN's 80 % rule).
`daily`: one snapshot per local day from the first training row to the end of the log.

`trainable_from` is the first moment whose rows have reached nothing that they read, grouping included. With
history that is the first training row (the fit cut is held before it); without, it is the fit cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from model.data.time_counts import TimeCounts
from model.errors import UserError
from model.graph.config import GraphConfig
from model.graph.events import Span


@dataclass(frozen=True)
class Moments:
    """as_of: ascending, unix seconds."""

    fit_cut: int
    trainable_from: int
    as_of: tuple[int, ...]


def moments_of(span: Span, times: TimeCounts, config: GraphConfig) -> Moments:
    """The moments of a log. times: of its events. Raises UserError where the fit cut would leave no training row to
    learn from."""
    fit_cut = _quantile(times, span.validate_from, config.fit_quantile) + 1
    if span.has_history:
        fit_cut = min(fit_cut, span.train_from)
    trainable_from = max(span.train_from, fit_cut)
    if trainable_from >= span.validate_from:
        raise UserError(
            f"fit_quantile={config.fit_quantile}: the grouping would read every training row; use a lower one"
        )
    if config.snapshots == "daily":
        midnights = takewhile(lambda moment: moment < span.end, _midnights(span.train_from, span.timezone))
        return Moments(fit_cut, trainable_from, (span.train_from, *midnights))
    return Moments(fit_cut, trainable_from, (trainable_from, span.validate_from))


def _quantile(times: TimeCounts, before: int, quantile: float) -> int:
    """The event time that `quantile` of the events before `before` do not exceed."""
    early = times.within(int(times.seconds[0]), before) if len(times) else times
    if len(early) == 0:
        raise UserError("the log has no interaction before validation begins")
    return int(early.seconds[np.searchsorted(np.cumsum(early.counts), quantile * len(early), side="left")])


def next_moments(last: int, end: int, timezone: str, config: GraphConfig) -> tuple[int, ...]:
    """The moments that rows from `last` up to, but not including, `end` add to a graph as of `last`: `end` itself
    (single), or the local midnights up to the one at or after `end` (daily)."""
    if config.snapshots == "single":
        return (end,)
    found = list(takewhile(lambda moment: moment < end, _midnights(last, timezone)))
    return (*found, next(_midnights(max([last, *found]), timezone)))


def _midnights(after: int, timezone: str) -> Iterator[int]:
    """Local midnights after a moment."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise UserError(f"timezone: {timezone!r} is no IANA zone, such as Asia/Shanghai") from None
    day = datetime.fromtimestamp(after, zone).date()
    while True:
        day += timedelta(days=1)
        yield int(datetime.combine(day, time(), zone).timestamp())
