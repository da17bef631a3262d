"""Planted effects."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import UserError
from serving.traffic.click_model import ClickModel, ClickModelConfig
from serving.traffic.plant import Plant, parse_plants

MODEL = ClickModel(ClickModelConfig(), np.array([0.2, 0.05, 0.3]), (None, None, 0))


def test_a_planted_lift_changes_all_that_an_arm_is_expected_to_earn_by_just_that() -> None:
    plant = parse_plants(["candidate:+2%", "baseline:-5%"], 0.9)
    attraction, order = np.random.default_rng(0).random((6, 3)) * 0.9, np.arange(6)
    plain = MODEL.expected(attraction, order)
    for arm, factor in (("candidate", 1.02), ("baseline", 0.95)):
        planted = MODEL.expected(
            plant.attraction(attraction, "candidate" if arm == "candidate" else "baseline", MODEL), order
        )
        assert planted == pytest.approx(plain * factor)
    assert str(plant) == "candidate:+2%, baseline:-5%"


def test_an_a_a_shows_both_arms_the_list_as_it_was_sent() -> None:
    order = np.array([2, 0, 1])
    assert parse_plants(["aa"], 0.9).shown(order).tolist() == [0, 1, 2]
    assert Plant().shown(order).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "text", ["", "AA", "candidate:2%", "candidate:+2", "both:+2%", "candidate:+x%", "candidate:+nan%"]
)
def test_what_is_no_plant_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"candidate:\+2%"):
        parse_plants([text], 0.9)


def test_a_lift_that_no_probability_can_take_is_refused_and_not_clipped() -> None:
    with pytest.raises(UserError, match=r"-100% to \+11.11%"):
        parse_plants(["candidate:+12%"], 0.9)
    with pytest.raises(UserError, match="-100%"):
        parse_plants(["candidate:-101%"], 0.9)
    assert parse_plants(["candidate:+11%"], 0.9).lifts == {"candidate": pytest.approx(0.11)}


def test_two_lifts_of_one_arm_are_refused() -> None:
    with pytest.raises(UserError, match="one an arm"):
        parse_plants(["candidate:+1%", "candidate:+2%"], 0.9)
