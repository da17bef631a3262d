"""78 real experiments (ASOS Digital Experiments Dataset, CC BY 4.0): a peeking z-test against the sequence.

Liu, Cardoso, Couturier & McCoy, "Datasets for online controlled experiments", NeurIPS'21. Snapshots are cumulative and
have no strata: count, mean and variance of each arm by time. Values still grow between snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.results import Row
from benchmarks.statistics.errors import ALPHA, Z
from model.errors import UserError
from serving.experiment import fixed_horizon, sequence
from serving.experiment.aggregate import Floats
from serving.experiment.strata import Columns, Strata
from serving.experiment.stratified import stratified_score

PLANNED = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Series:
    """One metric of one variant of one experiment, L looks."""

    z: Floats
    """[L]"""
    clock: dict[int, Floats]
    """planned units -> [L]"""

    def peeking(self) -> np.ndarray:
        """Looks at which |z| is above 1.96."""
        return np.abs(self.z) > Z

    def always_valid(self, planned: int) -> np.ndarray:
        """Looks at which the sequence leaves 0 out."""
        return np.abs(self.z) > sequence.multiplier(self.clock[planned], ALPHA)


def read_series(folder: Path) -> list[Series]:
    """Every series of the dataset with at least two looks. Raises UserError where the file is not there."""
    path = folder / "ab_asos.parquet"
    if not path.exists():
        raise UserError(f"{path} is not there: MGOE_DATA names the folder that holds ab_asos/")
    keys = ["experiment_id", "variant_id", "metric_id"]
    frame = pl.read_parquet(path).drop_nulls().sort([*keys, "time_since_start"])
    frame = frame.filter((pl.col("count_c") > 1) & (pl.col("count_t") > 1) & (pl.col("variance_c") > 0))
    parts = frame.partition_by(keys, maintain_order=True)
    return [_series(part) for part in parts if len(part) > 1]


def _series(part: pl.DataFrame) -> Series:
    def pair(name: str) -> Floats:
        return part.select(f"{name}_c", f"{name}_t").to_numpy().astype(np.float64)[:, None, :]

    count = pair("count")
    strata = Strata(Columns(1), count, pair("mean")[..., None], (pair("variance") * (count - 1))[..., None, None])
    score = stratified_score(strata, strata.counted(100))
    variance = sequence.difference_variance(sequence.variance_of(score))
    z = np.where(score.weight > 0, fixed_horizon.effect(score) / fixed_horizon.standard_error(score), 0.0)
    clocks = {units: np.nan_to_num(sequence.clock(score, variance, units, ALPHA)) for units in PLANNED}
    return Series(z, clocks)


def asos_rows(series: list[Series]) -> list[Row]:
    """How many series, and how many of them with what."""
    peeked = [one.peeking() for one in series]
    ever = [bool(one.any()) for one in peeked]
    end = [bool(one[-1]) for one in peeked]
    rows: list[Row] = []
    for planned in PLANNED:
        valid = [one.always_valid(planned) for one in series]
        valid_ever = [bool(one.any()) for one in valid]
        valid_end = [bool(one[-1]) for one in valid]
        rows.append(
            {
                "sequence tightest at": f"{planned:,} units",
                "series": len(series),
                "z ever rejects": sum(ever),
                "z rejects, not at the last look": sum(a and not b for a, b in zip(ever, end, strict=True)),
                "sequence ever rejects": sum(valid_ever),
                "sequence rejects, not at the last look": sum(
                    a and not b for a, b in zip(valid_ever, valid_end, strict=True)
                ),
                "z ever, sequence never": sum(a and not b for a, b in zip(ever, valid_ever, strict=True)),
                "of these, z not at the last look": sum(
                    a and not b and not c for a, b, c in zip(ever, valid_ever, end, strict=True)
                ),
                "sequence ever, z never": sum(b and not a for a, b in zip(ever, valid_ever, strict=True)),
            }
        )
    return rows
