"""Do users of one arm come back more often? An effect of the model, not of the split.

A unit's place in 0..9999 is fixed, so of the units that were there before a phase the weight's share is the
candidate's. Those of them that come again are tested against it as new units are in sample_ratio.py; a user returns in
many phases with the same place, so that phases depend on each other and are combined by Bonferroni, the run's phase
number k with share 6 / (pi k)^2 of the level. In a run's first phase, those return who were there in an earlier run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Returns:
    """How return depends on the arm that a unit has in the phase to which it returns."""

    lift: float | None
    """Chance to return of the candidate's units over that of the baseline's, less 1; phases weighted as Mantel &
    Haenszel do (1959). Units just moved to the candidate were brought back by the baseline: it is
    drawn towards 0."""
    p_value: float
    """Always-valid, against a return that does not depend on the arm."""
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
    new = [one.new_units for one in cells if one.new_units is not None]
    if len(new) < len(cells):
        return None
    units, first = total(one.units for one in cells), total(new)
    if units == first:
        return None
    return PhaseReturns(cells[0].phase, cells[0].candidate_weight, units[0] - first[0], units[1] - first[1], number)


def _p_value(phases: tuple[PhaseReturns, ...]) -> float:
    factors = [float(log_bayes_factor(one.baseline, one.candidate, one.candidate_weight)) for one in phases]
    each = [p_value(factor) * (math.pi * one.number) ** 2 / 6 for factor, one in zip(factors, phases, strict=True)]
    return min(1.0, *each) if each else 1.0
