"""The strata of a metric as arrays, and which of them count.

Shapes: S strata, 2 arms (baseline, candidate), C columns, K pairs of cells with shared units. Every array may have
leading dimensions (runs of a simulation); they broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.experiment.aggregate import Aggregate, Floats
from serving.experiment.design import ARMS
from serving.experiment.evidence import MetricEvidence

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """Where the columns of a metric are; the value is the first."""

    width: int
    denominator: int | None = None
    covariate: int | None = None

    @staticmethod
    def named(names: tuple[str, ...]) -> Columns:
        """From the columns' names."""
        places = {name: at for at, name in enumerate(names)}
        return Columns(len(names), places.get("denominator"), places.get("covariate"))


@dataclass(frozen=True)
class Shared:
    """Units with a row in two strata: K pairs of cells (stratum, arm)."""

    stratum_a: Integers
    """[K]"""
    arm_a: Integers
    stratum_b: Integers
    arm_b: Integers
    count: Floats
    """[..., K]"""
    sums_a: Floats
    """[..., K, C]"""
    sums_b: Floats
    products: Floats
    """[..., K, C, C]"""


@dataclass(frozen=True)
class Strata:
    """Moments of every cell (stratum, arm)."""

    columns: Columns
    count: Floats
    """[..., S, 2]"""
    mean: Floats
    """[..., S, 2, C]"""
    m2: Floats
    """[..., S, 2, C, C]"""
    shared: Shared | None = None

    def counted(self, burn_in: int) -> NDArray[np.bool_]:
        """[..., S]: strata in which both arms have `burn_in` units and, of a ratio, something in the denominator.

        The rule looks at numbers of units alone, which say nothing about the effect, so it does not bias it.
        """
        enough = (self.count >= max(burn_in, 2)).all(axis=-1)
        return np.asarray(enough & (self.denominators() > 0).all(axis=-1))

    def denominators(self) -> Floats:
        """[..., S, 2]: mean denominator of a unit; 1 where the metric is no ratio."""
        place = self.columns.denominator
        return np.ones_like(self.count) if place is None else self.mean[..., place]


def strata_of(evidence: MetricEvidence) -> Strata:
    """The evidence of one metric as arrays, its strata in their order. Shared units of unknown strata are left out."""
    names = evidence.metric.columns
    empty = Aggregate.empty(names)
    cells = [[stratum.arms.get(arm, empty) for arm in ARMS] for stratum in evidence.strata]
    shape = (len(cells), 2)
    width = len(names)
    return Strata(
        columns=Columns.named(names),
        count=np.array([[cell.count for cell in pair] for pair in cells], dtype=np.float64).reshape(shape),
        mean=np.array([[cell.mean for cell in pair] for pair in cells]).reshape(*shape, width),
        m2=np.array([[cell.m2 for cell in pair] for pair in cells]).reshape(*shape, width, width),
        shared=_shared(evidence, width),
    )


def _shared(evidence: MetricEvidence, width: int) -> Shared | None:
    places = {stratum.key: at for at, stratum in enumerate(evidence.strata)}
    cross = [pair for pair in evidence.cross if pair.stratum_a in places and pair.stratum_b in places]
    if not cross:
        return None
    return Shared(
        stratum_a=np.array([places[pair.stratum_a] for pair in cross]),
        arm_a=np.array([ARMS.index(pair.arm_a) for pair in cross]),
        stratum_b=np.array([places[pair.stratum_b] for pair in cross]),
        arm_b=np.array([ARMS.index(pair.arm_b) for pair in cross]),
        count=np.array([pair.count for pair in cross], dtype=np.float64),
        sums_a=np.array([pair.sums_a for pair in cross]).reshape(-1, width),
        sums_b=np.array([pair.sums_b for pair in cross]).reshape(-1, width),
        products=np.array([pair.products for pair in cross]).reshape(-1, width, width),
    )
