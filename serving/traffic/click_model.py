"""The click model: which outcomes a ranked list earns, and how many are to be expected. Pure.

Position-based model: an outcome needs that the place is looked at and that the item attracts, and the two are
independent (Craswell et al., "An Experimental Comparison of Click Position-Bias Models", WSDM 2008; Chuklin, Markov, de
Rijke, "Click Models for Web Search", 2015). The place k = 1, 2, ... is looked at with probability k^-severity, and a
relevant and an irrelevant item attract with probabilities of their own, as in the simulations of Joachims,
Swaminathan, Schnabel, "Unbiased Learning-to-Rank with Biased Feedback" (WSDM 2017, arXiv 1608.04468). What is relevant
is what the log's labels say; several tasks, and conditional ones, are this project's addition.

Legend: N candidates, T tasks in the schema's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import UserError

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClickModelConfig:
    """How the simulated users behave. Raises UserError for a value out of its range."""

    severity: float = 1.0
    """Position bias: the place k is looked at with probability k^-severity. 0: every place is."""
    relevant: float = 0.9
    """Probability that a looked-at item with a positive label earns the task's outcome."""
    noise: float = 0.1
    """The same without a positive label, as a share of `relevant` times the log's positive share: no task's noise is
    above its signal, however rare the task."""
    extra_relevance: float = 0.5
    """How relevant items are that the user was not shown, as a share of the log's positive share; the labels do not
    say."""

    def __post_init__(self) -> None:
        for name, lowest, highest in (
            ("severity", 0.0, 10.0),
            ("relevant", 1e-6, 1.0),
            ("noise", 0.0, 1.0),
            ("extra_relevance", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not lowest <= value <= highest:  # NaN is refused too
                raise UserError(f"{name.replace('_', ' ')} {value:g}: write {lowest:g} to {highest:g}")


@dataclass(frozen=True)
class ClickModel:
    """share_T: the log's positive share of each task where it is observed. given: of each task the one that it is
    conditional on, by its place, or None."""

    config: ClickModelConfig
    share_T: Float64
    given: tuple[int | None, ...]

    def attraction(self, labels_NT: UInt8, observed_NT: Bool, shown_N: Bool) -> Float64:
        """Probability [N, T] that a looked-at item earns each outcome; of a conditional task: if it earned the other.

        shown_N: False for extras. A cell that the log did not observe is as relevant as the log's average.
        """
        irrelevant_T = self.config.relevant * self.config.noise * self.share_T
        relevance_NT = np.where(observed_NT, labels_NT.astype(np.float64), self.share_T)
        relevance_NT = np.where(shown_N[:, None], relevance_NT, self.config.extra_relevance * self.share_T)
        return irrelevant_T + (self.config.relevant - irrelevant_T) * relevance_NT

    def examination(self, n: int) -> Float64:
        """Probability [n] that each place is looked at, the first one first."""
        return np.arange(1, n + 1, dtype=np.float64) ** -self.config.severity

    def expected(self, attraction_NT: Float64, order_N: Int64) -> Float64:
        """Expected outcomes [T] of the list in this order (indices, best first)."""
        chance_NT = self._unconditional(attraction_NT)
        return np.asarray(self.examination(len(order_N)) @ chance_NT[order_N])

    def shuffled(self, attraction_NT: Float64) -> Float64:
        """Expected outcomes [T] over all orders of the list: what a user earns whatever the ranking."""
        chance_NT = self._unconditional(attraction_NT)
        return np.asarray(self.examination(len(chance_NT)).mean() * chance_NT.sum(axis=0))

    def draw(self, attraction_NT: Float64, order_N: Int64, rng: np.random.Generator) -> Int64:
        """Outcomes [T] of the list. Draws go with candidates, not with places: the same rng and a better order never
        earn less, and the arms of an A/A earn the same."""
        looks_N = np.empty(len(order_N))
        looks_N[order_N] = self.examination(len(order_N))
        looked_N = rng.random(len(order_N)) < looks_N
        earned_NT = rng.random(attraction_NT.shape) < attraction_NT
        earned_NT &= looked_N[:, None]
        for task, given in enumerate(self.given):
            if given is not None:
                earned_NT[:, task] &= earned_NT[:, given]
        return np.asarray(earned_NT.sum(axis=0, dtype=np.int64))

    def _unconditional(self, attraction_NT: Float64) -> Float64:
        chance_NT = attraction_NT.copy()
        for task, given in enumerate(self.given):  # a task comes after the one it is conditional on
            if given is not None:
                chance_NT[:, task] *= chance_NT[:, given]
        return chance_NT


def positive_share(labels_NT: UInt8, observed_NT: Bool) -> Float64:
    """Share [T] of positive labels among the observed ones; 0 where there are none."""
    observed_T = observed_NT.sum(axis=0)
    positive_T = (labels_NT * observed_NT).sum(axis=0, dtype=np.int64)
    return np.asarray(positive_T / np.maximum(observed_T, 1))


def is_order(order: Sequence[int] | Int64, n: int) -> bool:
    """Whether `order` puts n candidates in order, each once."""
    return len(order) == n and np.array_equal(np.sort(np.asarray(order)), np.arange(n))
