import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics.auc import auc
from model.metrics.calibration import calibration_ratio, expected_calibration_error
from model.metrics.delong import delong
from model.metrics.grouped_auc import gauc
from model.metrics.interval import percentile_interval
from model.metrics.log_loss import log_loss
from model.metrics.user_bootstrap import METRICS, Sample, _weights, replicates
from model.metrics.weighted_auc import WeightedAuc


def _sample(seed: int, users: int = 40, rows_per_user: int = 6, spread: float = 0.0) -> Sample:
    """Rows of users whose own taste shifts label and score alike by `spread`."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rows_per_user)
    taste = spread * random.normal(size=users)[user]
    signal = random.normal(size=len(user))
    labels = (signal + taste + random.logistic(size=len(user)) > 0).astype(np.uint8)
    return Sample(labels, (1 / (1 + np.exp(-signal - taste))).astype(np.float32), user)


def _repeated(sample: Sample, weight_U: npt.NDArray[np.int32]) -> Sample:
    """The rows written out as often as their user was drawn, every copy a user of its own."""
    rows = np.repeat(np.arange(len(sample.labels)), weight_U[sample.users])
    copy = np.concatenate([np.arange(count) for count in weight_U[sample.users]] or [np.zeros(0)]).astype(np.int64)
    return Sample(sample.labels[rows], sample.scores[rows], sample.users[rows] * 1000 + copy)


row = st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 4))


@given(st.lists(row, min_size=1, max_size=40), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_weighted_auc_is_the_auc_of_rows_written_out_as_often_as_they_weigh(
    data: list[tuple[int, int, int]], weights: list[int]
) -> None:
    labels, scores, users = (np.array(column) for column in zip(*data, strict=True))
    weight_U = np.array(weights, dtype=np.int32)
    rows = np.repeat(np.arange(len(labels)), weight_U[users])
    weighted = WeightedAuc.of(labels, scores.astype(np.float32), users)(weight_U)
    assert weighted == pytest.approx(auc(labels[rows], scores[rows].astype(np.float32)), abs=1e-12, nan_ok=True)


def test_index_zero_holds_the_plain_metrics() -> None:
    sample = _sample(0)
    labels, scores, users = sample.labels, sample.scores, sample.users
    plain = [
        auc(labels, scores),
        gauc(labels, scores, users),
        log_loss(labels, scores),
        expected_calibration_error(labels, scores, 10),
        calibration_ratio(labels, scores),
    ]
    assert replicates([sample], 40, 1, 0, 10)[0, 0] == pytest.approx(plain, abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_replicate_equals_the_metrics_of_its_rows_written_out(seed: int) -> None:
    sample = _sample(seed)
    values = replicates([sample], 40, 3, seed, 10)
    drawn = np.concatenate(list(_weights(40, 3, seed)))
    for number, weight_U in enumerate(drawn):
        out = _repeated(sample, weight_U)
        found = dict(zip(METRICS, values[number, 0], strict=True))
        assert found["auc"] == pytest.approx(auc(out.labels, out.scores), abs=1e-9)
        assert found["gauc"] == pytest.approx(gauc(out.labels, out.scores, out.users), abs=1e-9)
        assert found["log_loss"] == pytest.approx(log_loss(out.labels, out.scores), abs=1e-6)
        assert found["calibration"] == pytest.approx(calibration_ratio(out.labels, out.scores), abs=1e-6)


def test_the_same_seed_draws_the_same_users_and_another_seed_others() -> None:
    first, again, other = (replicates([_sample(1)], 40, 130, seed, 10) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_replicates_are_the_first_of_more() -> None:
    few, many = (replicates([_sample(1)], 40, count, 5, 10) for count in (70, 200))
    assert np.array_equal(few, many[:71])


def test_a_model_against_itself_differs_in_no_replicate() -> None:
    values = replicates([_sample(2), _sample(2)], 40, 50, 0, 10)
    assert np.array_equal(values[:, 0], values[:, 1])


def test_with_independent_rows_the_interval_is_that_of_delong() -> None:
    sample = _sample(3, users=3000, rows_per_user=1)
    lower, upper = percentile_interval(replicates([sample], 3000, 1000, 0, 10)[1:, 0, 0], 0.95)
    reference = delong(sample.labels, sample.scores)
    assert float(upper - lower) == pytest.approx(reference.upper - reference.lower, rel=0.1)


def test_with_rows_that_cluster_in_users_the_interval_is_wider_than_delongs() -> None:
    sample = _sample(4, users=60, rows_per_user=40, spread=2.0)
    lower, upper = percentile_interval(replicates([sample], 60, 400, 0, 10)[1:, 0, 0], 0.95)
    reference = delong(sample.labels, sample.scores)
    assert float(upper - lower) > 1.2 * (reference.upper - reference.lower)


def test_the_interval_of_clustered_rows_covers_the_truth_as_often_as_it_says() -> None:
    truth = auc(
        *(getattr(_sample(99, users=40_000, rows_per_user=4, spread=1.0), part) for part in ("labels", "scores"))
    )
    covered = 0
    for seed in range(150):
        values = replicates([_sample(seed, users=150, rows_per_user=4, spread=1.0)], 150, 200, seed, 10)
        lower, upper = percentile_interval(values[1:, 0, 0], 0.95)
        covered += bool(lower <= truth <= upper)
    assert 0.9 <= covered / 150 <= 0.99


def test_quantiles_leave_undefined_replicates_out() -> None:
    values = np.concatenate([np.arange(95.0), np.full(5, np.nan)])
    lower, upper = percentile_interval(values, 0.9)
    assert (float(lower), float(upper)) == pytest.approx(tuple(np.nanquantile(values, [0.05, 0.95])))


def test_an_interval_is_not_told_where_a_tenth_of_the_replicates_is_undefined() -> None:
    values = np.concatenate([np.arange(80.0), np.full(20, np.nan)])
    assert all(np.isnan(end) for end in percentile_interval(values, 0.9))
