"""Several metrics at once, whatever their dependence."""

from __future__ import annotations

from collections.abc import Mapping


def e_bh(e_values: Mapping[str, float], alpha: float) -> frozenset[str]:
    """Names whose hypotheses are rejected with a false discovery rate of at most alpha, under any dependence.

    Wang & Ramdas, "False discovery rate control with e-values", JRSS-B 2022, section 4: with the e-values in falling
    order, all up to the largest k with k e_(k) / K >= 1 / alpha.
    """
    ordered = sorted(e_values, key=lambda name: -e_values[name])
    passing = [k for k, name in enumerate(ordered, start=1) if k * e_values[name] * alpha >= len(ordered)]
    return frozenset(ordered[: max(passing, default=0)])


def e_bonferroni(e_values: Mapping[str, float], alpha: float) -> frozenset[str]:
    """Names rejected so that the chance of any false rejection is at most alpha: e >= K / alpha (Markov's inequality
    and the union bound; Vovk & Wang, Annals of Statistics 2021, section 3)."""
    return frozenset(name for name, value in e_values.items() if value * alpha >= len(e_values))
