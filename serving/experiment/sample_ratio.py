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
from serving.experiment.counts import total
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
    """A phase's new units against its weight."""

    phase: int
    candidate_weight: float
    baseline: int
    """Units whose first row in the experiment is in this phase."""
    candidate: int
    log_factor: float
    """Of `log_bayes_factor`."""
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
    """The test over all phases, whose weights differ, by each unit's first row in the experiment.

    Only those: that a unit comes at all is the split's doing, that it comes again may be the model's (returns.py). They
    are independent of each other, so that these are test martingales, and their weighted mean is one from the start:
    half for `log_tilt_factor`, which gathers what is the same in all phases; half for each of the run's phases by
    itself, number k with share 6 / (pi k)^2, and 1 for those to come. Where new units are not counted apart, the run's
    first phase alone is tested, in which all units are new.
    """
    strata = list(exposed)
    found = sorted({one.phase for one in strata})
    whole = [(phase, [one for one in strata if one.phase == phase]) for phase in found]
    tested = [(phase, cells[0].candidate_weight, _new(cells, phase == found[0])) for phase, cells in whole]
    counted = [(phase, weight, new) for phase, weight, new in tested if new is not None]
    phases = tuple(_split(phase, weight, new) for phase, weight, new in counted)
    return SampleRatio(p_value(_log_evidence(phases)), phases)


def running(p_values: Iterable[float]) -> list[float]:
    """The smallest p-value up to each look: an alarm once raised stays (Lindon & Malek, eq. 8)."""
    return list(itertools.accumulate(p_values, min))


def p_value(log_factor: float) -> float:
    """Always-valid: the inverse of a test martingale, given its logarithm."""
    return math.exp(-max(log_factor, 0.0))


def _new(cells: list[Exposed], first: bool) -> tuple[int, int] | None:
    counted = [one.new_units for one in cells if one.new_units is not None]
    if len(counted) == len(cells):
        return total(counted)
    return total(one.units for one in cells) if first else None


def _split(phase: int, weight: float, new: tuple[int, int]) -> PhaseSplit:
    log_factor = float(log_bayes_factor(*new, weight))
    return PhaseSplit(phase, weight, *new, log_factor, p_value(log_factor))


def _log_evidence(phases: tuple[PhaseSplit, ...]) -> float:
    shares = [6 / (math.pi * number) ** 2 for number in range(1, len(phases) + 1)]
    each = [math.log(share) + split.log_factor for share, split in zip(shares, phases, strict=True)]
    by_phase = special.logsumexp([*each, math.log(1 - sum(shares))])
    tilt = log_tilt_factor(
        [split.baseline for split in phases],
        [split.candidate for split in phases],
        [split.candidate_weight for split in phases],
    )
    return float(special.logsumexp([tilt, by_phase]) - math.log(2))
