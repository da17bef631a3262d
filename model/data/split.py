"""Global-time split: three parts of a log, cut at moments that all rows share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from model.data.schema import Split
from model.data.time_counts import TimeCounts
from model.errors import UserError

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cuts:
    """Moments in unix seconds: train [start, validate), validate [validate, test), test [test, end)."""

    start: int
    validate: int
    test: int
    end: int

    def spans(self) -> dict[str, tuple[int, int]]:
        """First second of every part, and the first past it."""
        return {
            "train": (self.start, self.validate),
            "validate": (self.validate, self.test),
            "test": (self.test, self.end),
        }

    def parts(self, time_N: Int64) -> dict[str, Bool]:
        """Which rows belong to train, validate and test; rows outside of [start, end) belong to none."""
        return {part: (time_N >= start) & (time_N < stop) for part, (start, stop) in self.spans().items()}


def cut(times: TimeCounts, split: Split, timezone: str) -> Cuts:
    """Cuts of a log with rows at these times.

    Fractions cut at the time of the row at that quantile; rows of equal time stay together, in the later part.
    Raises UserError where a part stays empty.
    """
    zone = ZoneInfo(timezone)
    if len(times) == 0:
        raise UserError("the log has no rows; a split needs some to train, validate and test on")
    start = _seconds(split.train_from, zone) if split.train_from else int(times.seconds[0])
    end = _seconds(split.until, zone) if split.until else int(times.seconds[-1]) + 1
    if split.validate_from and split.test_from:
        cuts = Cuts(start, _seconds(split.validate_from, zone), _seconds(split.test_from, zone), end)
    else:
        kept = times.within(start, end)
        if len(kept) == 0:
            raise UserError("split: no row lies between train_from and until")
        last = len(kept) - 1
        validate = kept.nth(min(last, int(np.ceil(len(kept) * (1 - split.validate_fraction - split.test_fraction)))))
        test = kept.nth(min(last, int(np.ceil(len(kept) * (1 - split.test_fraction)))))
        cuts = Cuts(start, validate, test, end)
    for part, (start, stop) in cuts.spans().items():
        if len(times.within(start, stop)) == 0:
            raise UserError(
                f"split: {part} is empty; the log runs from {_moment(int(times.seconds[0]), zone)} "
                f"to {_moment(int(times.seconds[-1]), zone)}, choose moments inside it"
            )
    return cuts


def day_boundaries(first: int, last: int, timezone: str) -> Int64:
    """`first`, then every midnight of `timezone` in (first, last]: int64 [S], unix seconds, ascending."""
    zone = ZoneInfo(timezone)
    day = datetime.fromtimestamp(first, zone).date()
    stop = datetime.fromtimestamp(last, zone).date()
    midnights = (
        int(datetime.combine(datetime.fromordinal(ordinal), datetime.min.time(), zone).timestamp())
        for ordinal in range(day.toordinal() + 1, stop.toordinal() + 1)
    )
    return np.array([first, *(midnight for midnight in midnights if first < midnight <= last)], dtype=np.int64)


def _seconds(moment: datetime, zone: ZoneInfo) -> int:
    return int(moment.replace(tzinfo=zone).timestamp())


def _moment(seconds: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(seconds, zone):%Y-%m-%d %H:%M:%S}"
