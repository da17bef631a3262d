"""Designs and evidence: both ways through JSON, and every mistake in one line."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from serving.experiment.design import Design, Metric
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence, MetricEvidence
from tests.serving.experiment.trials import BUYERS, CLICKS, design, evidence, series, simulate


def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(design().to_json()))
    return found


def test_a_design_reads_as_it_was_written() -> None:
    assert Design.from_json(_document()) == design()


def test_what_is_left_out_of_a_design_has_its_default() -> None:
    metric = {"name": "ctr", "kind": "mean", "value": "click"}
    names = {"experiment": "e", "salt": "s", "baseline_digest": "a", "candidate_digest": "b"}
    assert Design.from_json({**names, "metrics": [metric]}) == Design(
        "e", "s", "a", "b", (Metric("ctr", "mean", "click"),)
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "median", "'median' is none of mean, proportion, ratio"),
        ("better", "more", "none of higher, lower"),
        ("role", "main", "none of primary"),
        ("denominator", None, "a ratio names its denominator"),
        ("cap", -1, "cap: -1.0 is not a number above 0"),
        ("cap", True, "True is no finite number"),
        ("sd", 0, "sd"),
        ("margin", 1, "share of the baseline"),
        ("maturity_s", -5, "seconds, 0 or more"),
        ("maturity_s", float("nan"), "no finite number"),
        ("name", "", "is no text"),
        ("weight", 1, "no field 'weight'"),
    ],
)
def test_a_wrong_metric_is_refused_in_words(field: str, value: object, said: str) -> None:
    document = _document()
    document["metrics"][0][field] = value
    with pytest.raises(ExperimentError, match=said) as refused:
        Design.from_json(document)
    assert "\n" not in str(refused.value)


def test_only_ratios_have_denominators_and_proportions_take_no_cap() -> None:
    with pytest.raises(ExperimentError, match="has no denominator"):
        Metric("m", "mean", "click", denominator="exposures")
    with pytest.raises(ExperimentError, match="takes no cap"):
        Metric("m", "proportion", "click", cap=1.0)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("metrics", [], "there is no metric"),
        ("metrics", "ctr", "is no list"),
        ("alpha", 0.7, "between 0 and 0.5"),
        ("burn_in", 1, "at least 2 units"),
        ("burn_in", 1.5, "no whole number"),
        ("slice_s", 1, "at least 60 seconds"),
        ("candidate_digest", "sha256:5f1c", "the same digest"),
        ("salt", None, "is no text"),
        ("experiment", "x" * 501, "501 characters, at most 500"),
        ("experiment", "home\nfeed", "control character or half a letter"),
        ("experiment", "home \ud83d", "control character or half a letter"),
        ("alpha", 10**400, "alpha: a number too large to show is no finite number"),
        ("planned_units", 10**400, "planned_units: a number too large to show is no whole number"),
        ("planned_units", 10**14, "up to 1e12"),
        ("slice_s", 1e12, "at most a year"),
        ("crossover_limit", 0, "a share above 0"),
    ],
)
def test_a_wrong_design_is_refused_in_words(field: str, value: object, said: str) -> None:
    document = {**_document(), field: value}
    with pytest.raises(ExperimentError, match=said):
        Design.from_json(document)


def test_a_missing_field_and_no_object_are_named() -> None:
    document = _document()
    del document["salt"]
    with pytest.raises(ExperimentError, match="design: the field 'salt' is missing"):
        Design.from_json(document)
    with pytest.raises(ExperimentError, match="is no JSON object"):
        Design.from_json([1, 2] * 60)


def test_a_metric_twice_or_none_primary_is_refused() -> None:
    with pytest.raises(ExperimentError, match="'buyers' is there twice"):
        design(metrics=(CLICKS, BUYERS, BUYERS))
    with pytest.raises(ExperimentError, match="nothing can be won"):
        design(metrics=(BUYERS,))


def test_a_design_knows_its_run_and_its_metrics() -> None:
    assert design().run == ("home feed, MGOE", "sha256:5f1c", "sha256:a907")
    with pytest.raises(ExperimentError, match="no metric 'cvr'; there are clicks per view, buyers, stay time"):
        design().metric("cvr")


def test_evidence_and_series_read_as_they_were_written() -> None:
    made = series(design(), simulate(users=300, days=1))
    text = json.dumps(made.to_json())
    assert json.dumps(EvidenceSeries.from_json(json.loads(text)).to_json()) == text
    one = json.loads(json.dumps(made.last.to_json()))
    assert EvidenceSeries.from_json(one).last.to_json() == made.last.to_json()
    assert ExperimentEvidence.from_json(one).as_of == made.last.as_of


def _change(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> None:
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("as_of",), "now", "no finite number"),
        (("as_of",), 1e15, "no unix time in seconds"),
        (("exposed", 1, "phase"), 0, "a phase has two weights"),
        (("metrics", 0, "metric"), "cvr", "no metric 'cvr'"),
        (("metrics", 1, "metric"), "clicks per view", "columns"),
        (("metrics", 0, "strata", 1, "candidate_weight"), 1.5, "not in"),
        (("metrics", 0, "strata", 0, "arms", "third"), {}, "no field 'third'"),
        (("metrics", 0, "cross", 0, "products"), [[1.0]], "different numbers"),
        (("exposed", 0, "units", "baseline"), -1, "-1 is below 0"),
        (("exposed", 0, "candidate_weight"), -0.1, "not in"),
        (("crossovers",), 1.5, "no whole number"),
        (("foreign",), -1, "-1 foreign"),
        (("metrics", 0, "cross", 0, "sums_a"), 0, "different numbers"),
        (("nothing",), 1, "no field 'nothing'"),
    ],
)
def test_wrong_evidence_is_refused_in_words(path: tuple[str | int, ...], value: object, said: str) -> None:
    document = json.loads(json.dumps(evidence(simulate(users=300, days=1), design()).to_json()))
    _change(document, path, value)
    with pytest.raises(ExperimentError, match=said):
        ExperimentEvidence.from_json(document)


def test_a_stratum_or_a_pair_of_cells_twice_is_refused() -> None:
    made = evidence(simulate(users=300, days=1), design())
    with pytest.raises(ExperimentError, match="a cross aggregate is there twice"):
        dataclasses.replace(made.metrics[0], cross=made.metrics[0].cross[:1] * 2)
    with pytest.raises(ExperimentError, match="exposed units of a stratum are there twice"):
        dataclasses.replace(made, exposed=made.exposed[:1] * 2)
    with pytest.raises(ExperimentError, match="a stratum is there twice"):
        dataclasses.replace(made.metrics[0], strata=made.metrics[0].strata[:1] * 2)


def test_a_cross_aggregate_of_other_columns_is_refused() -> None:
    made = evidence(simulate(users=300, days=1), design())
    with pytest.raises(ExperimentError, match="a cross aggregate has 1 columns, not 3"):
        dataclasses.replace(made.metrics[0], cross=made.metrics[1].cross)


def test_a_metric_twice_or_defined_otherwise_is_refused() -> None:
    made = evidence(simulate(users=300, days=1), design())
    with pytest.raises(ExperimentError, match="a metric is there twice"):
        dataclasses.replace(made, metrics=(*made.metrics, made.metrics[0]))
    other = MetricEvidence(dataclasses.replace(BUYERS, margin=0.2), ())
    with pytest.raises(ExperimentError, match="define it differently"):
        dataclasses.replace(made, metrics=(other,))


def test_a_series_rises_and_has_one_design() -> None:
    made = series(design(), simulate(users=300, days=1))
    with pytest.raises(ExperimentError, match="does not come after"):
        EvidenceSeries((made.last, made.last))
    other = dataclasses.replace(made.last, design=design(alpha=0.1), as_of=made.last.as_of + 1)
    with pytest.raises(ExperimentError, match="different designs"):
        EvidenceSeries((made.last, other))
    with pytest.raises(ExperimentError, match="without a snapshot"):
        EvidenceSeries(())
    assert [one.as_of for one in made] == [one.as_of for one in made.snapshots]
    document = copy.deepcopy(made.to_json())
    assert EvidenceSeries.from_json(document).design == made.design
