"""Laws of the click model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from serving.traffic.click_model import ClickModel, ClickModelConfig, Float64, Int64, is_order, positive_share

TASKS = 3
"""click; like, entire-space; buy, conditional on click."""

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 12)
severities = st.floats(0, 3)


def model_of(severity: float = 1.0, **options: float) -> ClickModel:
    return ClickModel(ClickModelConfig(severity, **options), np.array([0.2, 0.05, 0.3]), (None, None, 0))


def lists(seed: int, n: int) -> tuple[Float64, Int64, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.random((n, TASKS)), rng.permutation(n), rng


@given(seeds, sizes, severities)
def test_an_item_that_attracts_more_never_earns_less_further_up(seed: int, n: int, severity: float) -> None:
    attraction, order, rng = lists(seed, n)
    upper, lower = np.sort(rng.integers(n, size=2))
    attraction[order[lower]] = np.maximum(attraction[order[lower]], attraction[order[upper]])
    better = order.copy()
    better[[upper, lower]] = order[[lower, upper]]
    model = model_of(severity)
    assert (model.expected(attraction, better) >= model.expected(attraction, order) - 1e-12).all()
    drawn = [model.draw(attraction, each, np.random.default_rng(seed)) for each in (better, order)]
    assert abs(drawn[0] - drawn[1]).max() <= 2  # only the two that changed places may differ


@given(seeds, sizes, severities)
def test_no_order_is_expected_to_earn_more_clicks_than_the_one_by_attraction(
    seed: int, n: int, severity: float
) -> None:
    attraction, order, _ = lists(seed, n)
    model = model_of(severity)
    best = model.expected(attraction, np.argsort(-attraction[:, 0]))
    worst = model.expected(attraction, np.argsort(attraction[:, 0]))
    assert worst[0] - 1e-12 <= model.expected(attraction, order)[0] <= best[0] + 1e-12
    assert worst[0] - 1e-12 <= model.shuffled(attraction)[0] <= best[0] + 1e-12


@given(seeds, sizes)
def test_without_position_bias_every_order_earns_the_same(seed: int, n: int) -> None:
    attraction, order, _ = lists(seed, n)
    model = model_of(0.0)
    assert model.expected(attraction, order) == pytest.approx(model.expected(attraction, np.arange(n)))
    assert model.expected(attraction, order) == pytest.approx(model.shuffled(attraction))
    assert model.expected(attraction, order)[0] == pytest.approx(attraction[:, 0].sum())


@given(seeds, sizes, severities)
def test_the_same_seed_draws_the_same_and_conditional_outcomes_need_the_other(
    seed: int, n: int, severity: float
) -> None:
    attraction, order, _ = lists(seed, n)
    model = model_of(severity)
    drawn = model.draw(attraction, order, np.random.default_rng(seed))
    assert (drawn == model.draw(attraction, order, np.random.default_rng(seed))).all()
    assert 0 <= drawn[2] <= drawn[0] <= n
    assert 0 <= drawn[1] <= n


def test_draws_have_the_expected_mean() -> None:
    attraction, order, rng = lists(7, 8)
    model = model_of()
    drawn = np.stack([model.draw(attraction, order, rng) for _ in range(4000)])
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (abs(drawn.mean(axis=0) - model.expected(attraction, order)) < 4 * error).all()


def test_the_mean_over_all_orders_is_what_a_random_order_earns() -> None:
    attraction, _, rng = lists(8, 6)
    model = model_of()
    mean = np.mean([model.expected(attraction, rng.permutation(6)) for _ in range(4000)], axis=0)
    assert mean == pytest.approx(model.shuffled(attraction), rel=0.02)


def test_labels_decide_what_attracts() -> None:
    model = model_of(relevant=0.8, noise=0.1, extra_relevance=0.5)
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 0]], np.uint8)
    observed = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]], np.bool_)
    found = model.attraction(labels, observed, np.array([True, True, False]))
    noise = 0.8 * 0.1 * model.share_T
    assert found[0] == pytest.approx([0.8, noise[1], 0.8])
    average = noise + (0.8 - noise) * model.share_T  # a cell that the log did not observe
    assert found[1] == pytest.approx([noise[0], noise[1], average[2]])
    assert found[2] == pytest.approx(noise + (0.8 - noise) * 0.5 * model.share_T)


def test_the_positive_share_is_of_observed_labels_alone() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 0]], np.uint8)
    observed = np.array([[1, 0], [0, 0], [1, 0]], np.bool_)
    assert positive_share(labels, observed).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"severity": -1}, "severity -1"),
        ({"relevant": 0}, "relevant 0"),
        ({"noise": float("nan")}, "noise nan"),
        ({"extra_relevance": 2}, "extra relevance 2"),
    ],
)
def test_a_behaviour_that_cannot_be_is_refused_by_name(options: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=named):
        ClickModelConfig(**options)


def test_an_order_names_every_candidate_once() -> None:
    assert is_order([2, 0, 1], 3)
    assert not any(is_order(wrong, 3) for wrong in ([0, 1], [0, 1, 1], [1, 2, 3], [-1, 0, 1]))
