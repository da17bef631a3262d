"""Counts of both arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from serving.experiment.aggregate import arm_named
from serving.experiment.design import ARMS, BASELINE, CANDIDATE, Arm
from serving.experiment.document import ExperimentError, Reader

Counts = Mapping[Arm, int]


def counts(value: object, place: str) -> dict[Arm, int]:
    """Counts by arm from a document, none below 0. Raises ExperimentError in one line."""
    read = Reader(value, place)
    found: dict[Arm, int] = {arm_named(arm, place): read.whole(arm, 0) for arm in ARMS}
    read.done()
    for arm, count in found.items():
        if count < 0:
            raise ExperimentError(f"{place}.{arm}: {count} is below 0")
    return found


def total(many: Iterable[Counts]) -> tuple[int, int]:
    """Baseline's and candidate's sums."""
    listed = list(many)
    return sum(one.get(BASELINE, 0) for one in listed), sum(one.get(CANDIDATE, 0) for one in listed)
