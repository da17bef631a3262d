"""The x axis of all charts of a page: time since the run began, in the unit that fits. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(_MINUTE * each for each in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * each for each in (1, 2, 3, 6, 12)),
    *(_DAY * each for each in (1, 2, 7, 14, 28, 56, 182, 364)),
)
_TICKS = 7


@dataclass(frozen=True)
class TimeAxis:
    """start, end: unix seconds."""

    start: float
    end: float

    def place(self, at: float) -> float:
        """Seconds since the start, inside the axis."""
        return min(max(at, self.start), self.end) - self.start

    @property
    def span(self) -> tuple[float, float]:
        """Ends of the axis."""
        return 0.0, max(1.0, self.end - self.start)

    @property
    def step(self) -> float:
        """Between two ticks."""
        return next((step for step in _STEPS if self.span[1] / step <= _TICKS), self.span[1] / _TICKS)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """(place, label) of each."""
        size, _ = self._unit()
        count = int(self.span[1] / self.step)
        return tuple((number * self.step, f"{number * self.step / size:g}") for number in range(count + 1))

    @property
    def label(self) -> str:
        """What the numbers are."""
        return f"{self._unit()[1]} since the run began"

    def _unit(self) -> tuple[float, str]:
        sizes = ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes"), (1.0, "seconds"))
        return next(unit for unit in sizes if self.step >= unit[0] or unit[0] == 1.0)
