"""Sequential test of the sample ratio: were units split as the weights say?

Source: Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS'22, eq. 6: with a Dirichlet prior
around the intended shares, the Bayes factor of the counts is a test martingale, and its inverse a p-value that may be
looked at all the time. The prior's concentration sets how large a deviation it looks for; the average over several is a
test martingale too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from serving.experiment.aggregate import Floats
from serving.experiment.counts import Counts
from serving.experiment.design import BASELINE, CANDIDATE
from serving.experiment.evidence import Exposed

CONCENTRATIONS = (100.0, 1_000.0, 10_000.0, 100_000.0)
"""Of the Dirichlet priors that are averaged: deviations of about 5, 1.6, 0.5 and 0.16 points at an even split."""

TILTS: Floats = np.outer([-1.0, 1.0], np.geomspace(0.002, 2.0, 40)).ravel()
"""Logarithms of the odds by which an arm may be favoured, the same in all phases."""


@dataclass(frozen=True)
class SampleRatio:
    """Whether units came as split, and the counts of each phase."""

    p_value: float
    """Always-valid at this moment; `running` makes it so over a series."""
    phases: tuple[PhaseSplit, ...]


@dataclass(frozen=True)
class PhaseSplit:
    """A phase's counts against its weight."""

    phase: int
    candidate_weight: float
    baseline: int
    candidate: int
    p_value: float
    """Always-valid, of this phase alone."""


def log_bayes_factor(baseline: ArrayLike, candidate: ArrayLike, candidate_weight: ArrayLike) -> Floats:
    """[...]: log of the averaged Bayes factor against the weight. A unit in an arm of weight 0 makes it infinite."""
    n_b, n_c = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    share = np.asarray(candidate_weight, dtype=np.float64)
    n_b, n_c, share = np.broadcast_arrays(n_b, n_c, share)
    inside = (share > 0) & (share < 1)
    p = np.where(inside, share, 0.5)
    factors = [
        special.betaln(k * p + n_c, k * (1 - p) + n_b)
        - special.betaln(k * p, k * (1 - p))
        - n_c * np.log(p)
        - n_b * np.log1p(-p)
        for k in CONCENTRATIONS
    ]
    average = special.logsumexp(np.stack(factors), axis=0) - math.log(len(CONCENTRATIONS))
    impossible = np.where(share <= 0, n_c, n_b) > 0
    return np.where(inside, average, np.where(impossible, np.inf, 0.0))


def log_tilt_factor(baseline: ArrayLike, candidate: ArrayLike, candidate_weight: ArrayLike) -> float:
    """Log of the likelihood ratio of phases with different weights, [K] each, averaged over `TILTS`: one arm lost the
    same share of its units in all phases. A mixture of likelihood ratios is a test martingale (Robbins 1970)."""
    n_b, n_c, share = (np.asarray(one, dtype=np.float64) for one in (baseline, candidate, candidate_weight))
    candidate_share = share[:, None] * np.exp(TILTS)
    logs = n_c @ np.broadcast_to(TILTS, (len(n_c), len(TILTS))) - (n_b + n_c) @ np.log(
        1 - share[:, None] + candidate_share
    )
    return float(special.logsumexp(logs) - math.log(len(TILTS)))


def sample_ratio(exposed: Iterable[Exposed]) -> SampleRatio:
    """The test over all phases, whose weights differ.

    Where there are several, two tests share the level. One takes each unit once, in the phase in which it first came:
    those are independent, and `log_tilt_factor` gathers them over the phases. The other takes all units of one phase,
    so it also sees returning units get lost; as a unit keeps its place in all phases, these depend on each other and
    are combined by Bonferroni, phase number k with share 6 / (pi k)^2.
    """
    strata = list(exposed)
    phases = tuple(_split(phase, [one for one in strata if one.phase == phase]) for phase in _phases(strata))
    if len(phases) < 2:
        return SampleRatio(min((split.p_value for split in phases), default=1.0), phases)
    by_phase = min(split.p_value * (math.pi * number) ** 2 / 6 for number, split in enumerate(phases, start=1))
    if any(one.new_units is None for one in strata):
        return SampleRatio(min(1.0, by_phase), phases)
    new = [_sum(one.new_units or {} for one in strata if one.phase == split.phase) for split in phases]
    baseline, candidate = np.transpose(new)
    tilt = log_tilt_factor(baseline, candidate, [split.candidate_weight for split in phases])
    return SampleRatio(min(1.0, 2 * by_phase, 2 * _p_value(tilt)), phases)


def running(p_values: Iterable[float]) -> list[float]:
    """The smallest p-value up to each look: an alarm once raised stays (Lindon & Malek, eq. 8)."""
    return list(itertools.accumulate(p_values, min))


def _phases(strata: list[Exposed]) -> list[int]:
    return sorted({one.phase for one in strata})


def _split(phase: int, strata: list[Exposed]) -> PhaseSplit:
    baseline, candidate = _sum(one.units for one in strata)
    weight = strata[0].candidate_weight
    p_value = _p_value(float(log_bayes_factor(baseline, candidate, weight)))
    return PhaseSplit(phase, weight, baseline, candidate, p_value)


def _sum(counts: Iterable[Counts]) -> tuple[int, int]:
    listed = list(counts)
    return sum(one.get(BASELINE, 0) for one in listed), sum(one.get(CANDIDATE, 0) for one in listed)


def _p_value(log_factor: float) -> float:
    return min(1.0, math.exp(-log_factor))
