"""Designs from logs."""

from __future__ import annotations

import pytest
import yaml

from model.data.schema import LogSchema
from model.errors import UserError
from serving.experiment.design import Design
from serving.rollout.spec_measures import Metric as RolloutMetric
from serving.traffic.log_design import DesignOptions, design_of, metrics_of, registration, rollout_metrics

OPTIONS = DesignOptions("exp", "salt", "b", "c", maturity_s=90.0)


def schema(tasks: str) -> LogSchema:
    text = f"""
name: shop
interactions: {{path: rows, user: u, item: i, time: {{column: t}}}}
tasks: [{tasks}]
"""
    return LogSchema.model_validate(yaml.safe_load(text))


SHOP = schema(
    "{name: click, level: 1}, {name: like, level: 2}, {name: buy, level: 3, space: conditional, given: click}"
)


def test_every_task_is_measured_and_the_weakest_decides() -> None:
    design = design_of(SHOP, OPTIONS)
    found = [(m.name, m.kind, m.value, m.denominator, m.maturity_s, m.role) for m in design.metrics]
    assert found == [
        ("click_per_exposure", "ratio", "click", "exposures", 0.0, "primary"),
        ("click_units", "proportion", "click", None, 0.0, "secondary"),
        ("like_per_exposure", "ratio", "like", "exposures", 0.0, "secondary"),
        ("buy_per_click", "ratio", "buy", "click", 90.0, "secondary"),
    ]
    assert Design.from_json(registration(design, SHOP)["design"]) == design
    assert registration(design, SHOP)["bounds"].keys() == {"click", "like", "buy"}


def test_a_rollout_takes_the_same_metrics() -> None:
    metrics = metrics_of(SHOP, 90.0)
    read = [RolloutMetric.model_validate(each) for each in rollout_metrics(metrics)]
    assert [(each.name, each.role, each.maturity_seconds) for each in read] == [
        ("click_per_exposure", "Primary", 0),
        ("click_units", "Secondary", 0),
        ("like_per_exposure", "Secondary", 0),
        ("buy_per_click", "Secondary", 90),
    ]


def test_names_are_made_such_that_a_rollout_takes_them() -> None:
    (metric, _) = metrics_of(schema("{name: 'Long View!', level: 1}"))
    assert (metric.name, metric.value) == ("long_view_per_exposure", "Long View!")
    with pytest.raises(UserError, match="a_b_per_exposure"):
        metrics_of(schema("{name: a b, level: 1}, {name: a_b, level: 2}"))


@pytest.mark.parametrize("name", ["", "with space", "a/b", "x" * 65])
def test_a_name_that_no_gateway_takes_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="salt or name"):
        design_of(SHOP, DesignOptions(name, "salt", "b", "c"))


def test_one_model_against_itself_is_no_experiment() -> None:
    with pytest.raises(UserError, match="same digest"):
        design_of(SHOP, DesignOptions("exp", "salt", "b", "b"))
