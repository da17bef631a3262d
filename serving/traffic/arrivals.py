"""When requests arrive: moments that no answer can delay (an open loop). Pure.

A closed loop, which sends when the last answer came, sends least to the slowest server and so hides what it should
measure (Schroeder, Wierman, Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Process = Literal["poisson", "constant", "log"]
PROCESSES: tuple[Process, ...] = get_args(Process)

_CHUNK = 1024


def poisson(rate: float, seed: int) -> Iterator[float]:
    """Seconds after the start, without end, at `rate` a second: gaps are exponential."""
    rng = np.random.default_rng([seed, 0])
    at = 0.0
    while True:
        for gap in rng.exponential(1.0 / rate, _CHUNK).tolist():
            at += gap
            yield at


def constant(rate: float) -> Iterator[float]:
    """Seconds after the start, without end: equal gaps of 1 / rate."""
    return (place / rate for place in itertools.count(1))


def logged(time_S: npt.NDArray[np.int64], speed: float) -> Iterator[float]:
    """Seconds after the start of arrivals at the logged unix seconds (ascending), `speed` times as fast."""
    first = int(time_S[0]) if len(time_S) else 0
    return ((int(time) - first) / speed for time in time_S)
