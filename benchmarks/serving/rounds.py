"""Rounds in turns: every round loads each server once, one after the other, so that whatever else the machine does
meets all of them alike. What is told of two servers is the median of their ratios round by round, and the range."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.load import Outcome

Figure = Callable[[Outcome], float]


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of several figures."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(float(np.median(values)), min(values), max(values))

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class Rounds:
    """outcomes: by server, one of each round; the first server is what the others are compared with."""

    outcomes: dict[str, list[Outcome]]

    @property
    def base(self) -> str:
        return next(iter(self.outcomes))

    def pooled(self, name: str) -> Outcome:
        return Outcome.pooled(self.outcomes[name])

    def of(self, name: str, figure: Figure) -> Spread:
        return Spread.of([figure(outcome) for outcome in self.outcomes[name]])

    def ratio(self, name: str, figure: Figure) -> Spread:
        """Of the server's figure over the first server's in the same round."""
        pairs = zip(self.outcomes[name], self.outcomes[self.base], strict=True)
        return Spread.of([figure(mine) / figure(theirs) for mine, theirs in pairs])


def in_turns(loads: Mapping[str, Callable[[int], Outcome]], rounds: int) -> Rounds:
    """Calls every load with the number of each round, in the order given."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in loads}
    for turn in range(rounds):
        for name, load in loads.items():
            outcomes[name].append(load(turn))
    return Rounds(outcomes)
