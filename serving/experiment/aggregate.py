"""Sufficient statistics of units: count, means and centred products, mergeable in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.experiment.design import ARMS, Arm
from serving.experiment.document import LARGEST, ExperimentError, Reader, short

Floats = NDArray[np.float64]
LARGEST_SUM = 1e30
"""Beyond it no mean, sum or product of a document lies."""
StratumKey = tuple[int, int]
"""(phase, slice)."""


@dataclass(frozen=True, eq=False)
class Aggregate:
    """Units of one arm in one stratum. C columns: value, denominator, covariate, as far as the metric has them."""

    names: tuple[str, ...]
    count: int
    mean: Floats
    """[C]"""
    m2: Floats
    """[C, C]: sums over the units of the products of deviations from the mean."""

    def __post_init__(self) -> None:
        columns = len(self.names)
        if self.mean.shape != (columns,) or self.m2.shape != (columns, columns):
            raise ExperimentError(
                f"aggregate of {self.names}: mean {self.mean.shape} and m2 {self.m2.shape} are not "
                f"{(columns,)} and {(columns, columns)}"
            )
        if self.count < 0:
            raise ExperimentError(f"aggregate of {self.names}: {self.count} units")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.m2).all()):
            raise ExperimentError(f"aggregate of {self.names}: a mean or product is not finite")
        if (np.diagonal(self.m2) < 0).any():
            raise ExperimentError(f"aggregate of {self.names}: a sum of squares is below 0")

    @staticmethod
    def empty(names: tuple[str, ...]) -> Aggregate:
        """No unit."""
        return Aggregate(names, 0, np.zeros(len(names)), np.zeros((len(names), len(names))))

    @staticmethod
    def of(names: tuple[str, ...], values: ArrayLike) -> Aggregate:
        """values: [units, C]."""
        rows = np.asarray(values, dtype=np.float64).reshape(-1, len(names))
        if not len(rows):
            return Aggregate.empty(names)
        mean = rows.mean(axis=0)
        centred = rows - mean
        return Aggregate(names, len(rows), mean, centred.T @ centred)

    def merge(self, other: Aggregate) -> Aggregate:
        """The aggregate of both sets of units. Order does not matter."""
        if self.names != other.names:
            raise ExperimentError(f"aggregates of {self.names} and of {other.names} do not merge")
        count = np.array([self.count, other.count], dtype=np.float64)
        mean, m2 = merged(count, np.stack([self.mean, other.mean]), np.stack([self.m2, other.m2]))
        return Aggregate(self.names, self.count + other.count, mean, m2)

    def to_json(self) -> dict[str, object]:
        """The aggregate as a JSON object."""
        return {"names": list(self.names), "count": self.count, "mean": self.mean.tolist(), "m2": self.m2.tolist()}

    @staticmethod
    def from_json(document: object, place: str = "aggregate") -> Aggregate:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        names = read.many("names", column_name)
        aggregate = Aggregate(
            names, read.whole("count"), numbers(read.inner("mean"), place), numbers(read.inner("m2"), place)
        )
        read.done()
        return aggregate


@dataclass(frozen=True, eq=False)
class CrossAggregate:
    """Units that are in two strata: what both rows of such a unit share.

    A unit has at most one row in a phase, so the two strata are of different phases. Each pair is kept once, the
    earlier stratum first, whichever arms the unit had (a ramp moves units from baseline to candidate between phases).
    """

    stratum_a: StratumKey
    arm_a: Arm
    stratum_b: StratumKey
    arm_b: Arm
    count: int
    sums_a: Floats
    """[C]: sums, over the shared units, of their columns in stratum a."""
    sums_b: Floats
    """[C]"""
    products: Floats
    """[C, C]: sums of the products, column of a by column of b."""

    def __post_init__(self) -> None:
        place = f"cross aggregate {self.stratum_a} {self.arm_a}, {self.stratum_b} {self.arm_b}"
        if self.stratum_a >= self.stratum_b:
            raise ExperimentError(f"{place}: the strata are not in rising order")
        columns = self.sums_a.size
        if self.sums_a.ndim != 1 or self.sums_b.shape != (columns,) or self.products.shape != (columns, columns):
            raise ExperimentError(f"{place}: sums and products have different numbers of columns")
        if self.count < 0:
            raise ExperimentError(f"{place}: {self.count} units")
        if not all(np.isfinite(array).all() for array in (self.sums_a, self.sums_b, self.products)):
            raise ExperimentError(f"{place}: a sum or product is not finite")

    def to_json(self) -> dict[str, object]:
        """The aggregate as a JSON object."""
        return {
            "stratum_a": list(self.stratum_a),
            "arm_a": self.arm_a,
            "stratum_b": list(self.stratum_b),
            "arm_b": self.arm_b,
            "count": self.count,
            "sums_a": self.sums_a.tolist(),
            "sums_b": self.sums_b.tolist(),
            "products": self.products.tolist(),
        }

    @staticmethod
    def from_json(document: object, place: str = "cross aggregate") -> CrossAggregate:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        cross = CrossAggregate(
            stratum_a=stratum_key(read.inner("stratum_a"), f"{place}.stratum_a"),
            arm_a=arm_named(read.inner("arm_a"), f"{place}.arm_a"),
            stratum_b=stratum_key(read.inner("stratum_b"), f"{place}.stratum_b"),
            arm_b=arm_named(read.inner("arm_b"), f"{place}.arm_b"),
            count=read.whole("count"),
            sums_a=numbers(read.inner("sums_a"), place),
            sums_b=numbers(read.inner("sums_b"), place),
            products=numbers(read.inner("products"), place),
        )
        read.done()
        return cross


def merged(count: Floats, mean: Floats, m2: Floats) -> tuple[Floats, Floats]:
    """Mean [..., C] and centred products [..., C, C] of P parts together (Chan, Golub & LeVeque 1979, eq. 2.1).

    count: [..., P]; mean: [..., P, C]; m2: [..., P, C, C].
    """
    total = np.maximum(count.sum(axis=-1), 1.0)
    middle = (count[..., None] * mean).sum(axis=-2) / total[..., None]
    gap = mean - middle[..., None, :]
    between = count[..., None, None] * gap[..., :, None] * gap[..., None, :]
    return middle, (m2 + between).sum(axis=-3)


def column_name(value: object, place: str) -> str:
    """The name of a column."""
    if not isinstance(value, str):
        raise ExperimentError(f"{place}: {short(value)} is no column's name")
    return value


def arm_named(value: object, place: str) -> Arm:
    """The arm of that name."""
    for arm in ARMS:
        if value == arm:
            return arm
    raise ExperimentError(f"{place}: {short(value)} is neither baseline nor candidate")


def stratum_key(value: object, place: str) -> StratumKey:
    """(phase, slice) of a list of two whole numbers."""
    if isinstance(value, Sequence) and len(value) == 2:
        phase, slice_ = value
        if type(phase) is type(slice_) is int and max(abs(phase), abs(slice_)) <= LARGEST:
            return phase, slice_
    raise ExperimentError(f"{place}: {short(value)} is no [phase, slice]")


def numbers(value: object, place: str) -> Floats:
    """An array of numbers up to LARGEST_SUM; null, text and ragged lists are refused."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ExperimentError(f"{place}: a list of numbers is ragged") from error
    if array.dtype.kind not in "iuf":
        raise ExperimentError(f"{place}: {short(value)} is no list of numbers")
    found = array.astype(np.float64)
    if (np.abs(found) > LARGEST_SUM).any():  # NaN is refused where the array is used
        raise ExperimentError(f"{place}: a number is beyond {LARGEST_SUM:g}, or not finite")
    return found
