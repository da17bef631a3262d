"""Do users of one arm come back more often? An effect of the model, not of the split.

A unit's place in 0..9999 is fixed, so of the units that were there before a phase the weight's share is the
candidate's. Those of them that come again are tested against it as new units are in sample_ratio.py. Within a phase
their Bayes factor is a test martingale, and one over the largest value that it has had is a p-value for all looks
together, which never rises again (Ville's inequality; Ramdas, Gruenwald, Vovk & Shafer, "Game-theoretic statistics and
safe anytime-valid inference", Statistical Science 2023, section 2.6). The values that it has had are those at the ends
of the phase's time slices, and over a series those of the earlier looks (`running`).

A user returns in many phases with the same place, so that phases depend on each other and their martingales may not be
averaged; they are combined by Bonferroni, the run's phase number k with share 6 / (pi k)^2 of the level. In a run's
first phase, those return who were there in an earlier run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from serving.experiment.counts import total
from serving.experiment.evidence import Exposed
from serving.experiment.sample_ratio import log_bayes_factor, p_value


@dataclass(frozen=True)
class PhaseReturns:
    """Units of a phase that had a row in the experiment before."""

    phase: int
    candidate_weight: float
    baseline: int
    candidate: int
    number: int
    """Of the phase among those of the run, from 1."""
    p_value: float
    """Always-valid, of this phase alone."""


@dataclass(frozen=True)
class Returns:
    """How return depends on the arm that a unit has in the phase to which it returns."""

    lift: float | None
    """Chance to return of the candidate's units over that of the baseline's, less 1; phases weighted as Mantel &
    Haenszel do (1959). Units just moved to the candidate were brought back by the baseline: it is
    drawn towards 0."""
    p_value: float
    """Always-valid, against a return that does not depend on the arm: the smallest up to now."""
    phases: tuple[PhaseReturns, ...]


def returns(exposed: Iterable[Exposed]) -> Returns:
    """From the exposed units of all phases in which somebody returned and new units are counted apart."""
    strata = list(exposed)
    numbers = {phase: number for number, phase in enumerate(sorted({one.phase for one in strata}), start=1)}
    each = (_phase(number, [cell for cell in strata if cell.phase == phase]) for phase, number in numbers.items())
    phases = tuple(one for one in each if one is not None)
    candidate = sum(one.candidate * (1 - one.candidate_weight) for one in phases)
    baseline = sum(one.baseline * one.candidate_weight for one in phases)
    return Returns(candidate / baseline - 1 if baseline > 0 else None, _p_value(phases), phases)


def _phase(number: int, cells: list[Exposed]) -> PhaseReturns | None:
    if any(one.new_units is None for one in cells):
        return None
    came = [_came(one) for one in sorted(cells, key=lambda one: one.slice)]
    if not any(map(any, came)):
        return None
    baseline, candidate = np.cumsum(came, axis=0).T
    weight = cells[0].candidate_weight
    most = float(log_bayes_factor(baseline, candidate, weight).max())
    return PhaseReturns(cells[0].phase, weight, int(baseline[-1]), int(candidate[-1]), number, p_value(most))


def _came(cell: Exposed) -> tuple[int, int]:
    units, first = total([cell.units]), total([cell.new_units or {}])
    return units[0] - first[0], units[1] - first[1]


def _p_value(phases: tuple[PhaseReturns, ...]) -> float:
    return min((1.0, *(one.p_value * (math.pi * one.number) ** 2 / 6 for one in phases)))
