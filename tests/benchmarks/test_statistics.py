"""The statistics benchmark in small: error rates over seeded A/A experiments, and its literal peer."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.statistics import __main__ as command
from benchmarks.statistics import asos, errors, growing, literal, power, rare, verdicts
from benchmarks.statistics.verdict_time import large_evidence
from benchmarks.statistics.world import MANY, RAMP, World, simulate
from model.errors import UserError
from serving.experiment.analysis import analyse
from serving.experiment.stratified import stratified_score
from serving.experiment.verdict import verdict

RUNS = 200
SEED = 7


def _shares(world: World) -> tuple[dict[str, float], dict[str, float]]:
    small = dataclasses.replace(world, rows_a_day=1_200, batches_a_day=2)
    found = errors.ever_and_last(small, RUNS, SEED)
    return (
        {name: float(ever.mean()) for name, (ever, _) in found.items()},
        {name: float(last.mean()) for name, (_, last) in found.items()},
    )


def test_under_a_ramp_and_a_drift_only_the_stratified_sequence_may_be_watched() -> None:
    ever, last = _shares(World("", phases=RAMP, drift=0.05))
    assert ever["always-valid"] <= 0.05
    assert ever["z"] > 0.15
    assert ever["always-valid, pooled"] > 0.5
    assert last["z"] < 0.10


def test_users_who_return_make_variances_too_small_unless_they_are_followed() -> None:
    ever, last = _shares(World("", phases=MANY, returning=True))
    assert ever["always-valid"] <= 0.05
    assert ever["always-valid, shared units ignored"] > 0.15
    assert last["z"] < 0.10
    assert last["z, shared units ignored"] > 0.25


@pytest.mark.parametrize("lift", [0.05, -0.9])
def test_the_interval_covers_a_true_lift_at_all_looks(lift: float) -> None:
    ever, _ = _shares(World("", phases=RAMP, drift=0.05, returning=True, lift=lift))
    assert ever["always-valid"] <= 0.05


def test_units_whose_values_grow_do_not_break_a_planned_scale() -> None:
    row = growing.growing_row(7, True, RUNS, SEED)
    for name in ("scale estimated", "scale planned (`sd`)"):
        assert float(row[name].split(" ")[0]) <= 5


@pytest.mark.parametrize(("share", "sigma"), [(0.0005, None), (0.01, 1.5)])
def test_rare_and_skewed_outcomes_are_judged_when_there_are_enough(share: float, sigma: float | None) -> None:
    row = rare.rare_row(share, sigma, RUNS, SEED)
    assert float(row["always-valid"].split(" ")[0]) <= 5


@pytest.mark.parametrize("truth", verdicts.TRUTHS)
def test_a_verdict_is_wrong_at_most_as_often_as_said(truth: verdicts.Truth) -> None:
    row = verdicts.verdict_error_row(truth, 40, SEED)
    for name, share in row.items():
        if name != "truth" and "(right)" not in share:
            assert float(share.split(" ")[0]) <= 5, name


def test_a_verdict_finds_what_is_there() -> None:
    better, worse = (
        next(one for one in verdicts.TRUTHS if one.name == name) for name in ("clicks +15 %", "buyers -95 %")
    )
    assert float(verdicts.verdict_error_row(better, 20, SEED)["ever win"].split(" ")[0]) > 30
    assert float(verdicts.verdict_error_row(worse, 20, SEED)["ever harm"].split(" ")[0]) > 80


def test_power_is_that_of_the_literal_sequence_and_of_the_plan() -> None:
    row = power.power_row(0.06, RUNS, SEED)
    assert row["width over literal, last look"] == pytest.approx(1, abs=0.02)
    assert row["power"] == pytest.approx(row["power, literal"], abs=0.03)
    assert row["power"] == pytest.approx(row["power, planned"], abs=0.1)
    assert row["power"] < row["power, t-test once"]


def test_a_simulated_batch_is_all_there() -> None:
    world = World("", phases=RAMP, returning=True, rows_a_day=100, batches_a_day=2)
    looks = list(simulate(world, 3, np.random.default_rng(0)))
    assert len(looks) == 24
    totals = [look.count.sum(axis=(1, 2)) for look in looks]
    np.testing.assert_array_equal(np.stack(totals)[:, 0], 50 * np.arange(1, 25))
    shared = looks[-1].shared
    assert shared is not None
    assert (shared.count >= 0).all()
    pairs = shared.count.sum(axis=1)  # 375 users, 300 of them in each of four phases: 240 in two on average, six pairs
    assert pairs == pytest.approx(6 * 240, rel=0.05)


def test_the_peers_two_forms_are_one() -> None:
    rng = np.random.default_rng(1)
    value, candidate = rng.normal(size=1_000), (rng.random(1_000) < 0.5).astype(float)
    _, radius = literal.sequence(literal.pseudo_outcomes(value, candidate, 0.5), 500, 0.05)
    arms = [value[candidate == arm] for arm in (0, 1)]
    count, m2 = np.array([len(arm) for arm in arms], dtype=float), np.array([arm.var() * len(arm) for arm in arms])
    assert literal.radius_of_moments(count, m2, 0.5, 500, 0.05) == pytest.approx(radius, rel=1e-9)


def test_a_hundred_million_units_have_a_verdict() -> None:
    evidence = large_evidence(1)
    assert sum(sum(one.units.values()) for one in evidence.exposed) > 99_000_000
    assert verdict(analyse(evidence)).kind in ("win", "harm", "inconclusive")


@pytest.fixture
def real() -> Path:
    folder = Path(os.environ.get("MGOE_DATA", ".")) / "ab_asos"
    if not (folder / "ab_asos.parquet").exists():
        pytest.skip("MGOE_DATA names no folder with ab_asos/")
    return folder


def test_on_real_experiments_peeking_rejects_what_the_sequence_does_not(real: Path) -> None:
    rows = asos.asos_rows(asos.read_series(real))
    for row in rows:
        assert row["z ever rejects"] > 2 * row["sequence ever rejects"] > 0
        assert row["sequence ever, z never"] == 0


def test_the_command_writes_all_tables_and_goes_on_from_what_is_kept(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "WORLDS", (World("tiny", rows_a_day=400, batches_a_day=1),))
    monkeypatch.setattr(growing, "ENTRY_DAYS", (1,))
    monkeypatch.setattr(power, "LIFTS", (0.05,))
    monkeypatch.setattr(rare, "CASES", ((0.01, 1.0),))
    monkeypatch.setattr(verdicts, "TRUTHS", verdicts.TRUTHS[:1])
    monkeypatch.setattr(command, "verdict_rows", lambda: [{"metrics": 1}])
    command.main(runs=10, out=tmp_path, data=real.parent, keep=tmp_path / "kept")
    first = json.loads((tmp_path / "statistics.json").read_text())
    assert len(first["tables"]) == 8
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [
        "errors-0-10.json",
        "growing-1-False-10.json",
        "growing-1-True-10.json",
        "power-0.05-10.json",
        "rare-0.01-1.0-10.json",
        "verdicts-0-10.json",
    ]
    monkeypatch.setattr(errors, "error_row", lambda *_: pytest.fail("what is kept is measured again"))
    command.main(runs=10, out=tmp_path, data=real.parent, keep=tmp_path / "kept")


def test_absent_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MGOE_DATA names the folder"):
        asos.read_series(tmp_path)


def test_before_its_burn_in_no_stratum_counts() -> None:
    first = next(simulate(World("", phases=RAMP, rows_a_day=100), 2, np.random.default_rng(0)))
    assert (stratified_score(first, first.counted(errors.BURN_IN)).weight == 0).all()
