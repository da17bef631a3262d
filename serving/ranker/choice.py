"""Which scorer serves how many candidates, by measurement at load.

Every scorer is timed at 50, 500 and 2,000 pairs of one request, whole and in blocks; the least of a few runs counts,
for whatever else runs on the machine only adds. A size takes the first scorer, in order of simplicity, that is within
5 % of the quickest: noise picks no complexity.
Sizes between take the nearest measured one (bounds are geometric means). Legend: N pairs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.nets.interface import Half
from serving.ranker.scorer import Scorer, score_in_blocks

SIZES = (50, 500, 2000)
BOUNDS = (158, 1000)
"""Largest number of pairs that the first and the second size stand for."""
BLOCKS = (64, 128, 256, 512)
WHOLE = 2**20
RUNS = 7
NEAR = 1.05
SIMPLEST_FIRST = ("eager", "factorised", "onnx", "aoti", "native")

IN_BLOCKS = ("native",)
"""Scorers that take blocks of their own: smaller calls can only seem quicker."""


@dataclass(frozen=True)
class Way:
    """A scorer and how many pairs it scores at a time."""

    scorer: Scorer
    block: int = WHOLE

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        return score_in_blocks(self.scorer, users, owner_N, item_N, self.block)

    @property
    def name(self) -> str:
        return self.scorer.name if self.block == WHOLE else f"{self.scorer.name}, blocks of {self.block}"


@dataclass(frozen=True)
class Choice:
    """The way of each size. seconds: what was measured, by size and way, for logs and metadata."""

    ways: tuple[Way, Way, Way]
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)

    def for_pairs(self, count: int) -> Way:
        return self.ways[sum(count > bound for bound in BOUNDS)]

    @staticmethod
    def only(way: Way) -> Choice:
        """One way for all sizes."""
        return Choice((way, way, way))


@dataclass(frozen=True)
class Trial:
    """A scorer with the parts of one request in its form."""

    scorer: Scorer
    users: Half


def choose(trials: Sequence[Trial], items: int) -> Choice:
    """The choice among `trials` (at least one) on random items of a catalogue of `items`."""
    trials = sorted(trials, key=lambda trial: SIMPLEST_FIRST.index(trial.scorer.name))
    generator = torch.Generator().manual_seed(0)
    ways, seconds = [], {}
    for size in SIZES:
        item_N = torch.randint(0, items, (size,), generator=generator)
        measured = [quickest(trial, item_N) for trial in trials]
        best = min(took for _, took in measured)
        ways.append(next(way for way, took in measured if took <= NEAR * best))
        seconds[size] = {way.name: took for way, took in measured}
    return Choice((ways[0], ways[1], ways[2]), seconds)


def quickest(trial: Trial, item_N: Tensor) -> tuple[Way, float]:
    """The scorer's best block, and its seconds. Whole unless a block is clearly quicker."""
    blocks = () if trial.scorer.name in IN_BLOCKS else BLOCKS
    sizes = [block for block in reversed((*blocks, WHOLE)) if block < len(item_N) or block == WHOLE]
    measured = [(way := Way(trial.scorer, block), least_seconds(way, trial.users, item_N)) for block in sizes]
    best = min(took for _, took in measured)
    return next((way, took) for way, took in measured if took <= NEAR * best)


@torch.inference_mode()
def least_seconds(way: Way, users: Half, item_N: Tensor) -> float:
    owner_N = torch.zeros_like(item_N)
    way.score(users, owner_N, item_N)
    took = []
    for _ in range(RUNS):
        start = time.perf_counter()
        way.score(users, owner_N, item_N)
        took.append(time.perf_counter() - start)
    return min(took)
