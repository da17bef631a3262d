"""The rules of the spec, asked twice: of the models, and of the CEL that the API server evaluates."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serving.rollout import crd
from serving.rollout.spec import ModelRolloutSpec, changed_while_running
from tests.manifests.structural_schema import errors
from tests.serving.rollout.cel_rules import broken, rules, with_defaults
from tests.serving.rollout.rollout_world import CANDIDATE, SPEC

SCHEMA = crd.schema()
PRIMARY = {"name": "clicks", "value": "click", "role": "Primary"}


def resource(spec: dict[str, Any], name: str = "feed", phase: str | None = None) -> dict[str, Any]:
    """The object as the API server has it."""
    status = {} if phase is None else {"status": {"phase": phase}}
    made: dict[str, Any] = with_defaults(SCHEMA, {"metadata": {"name": name}, "spec": spec, **status})
    return made


def schema_errors(spec: dict[str, Any]) -> list[str]:
    return errors(resource(spec), SCHEMA)


def model_errors(spec: dict[str, Any]) -> str:
    try:
        ModelRolloutSpec.model_validate(spec)
    except ValidationError as error:
        return str(error)
    return ""


def metric(**changes: Any) -> dict[str, Any]:
    return {"metrics": [PRIMARY, {"name": "gmv", "value": "pay", **changes}]}


def guardrail(**changes: Any) -> dict[str, Any]:
    return {"guardrails": [{"name": "g", "type": "PromQL", "query": "up", "max": 1, **changes}]}


BUNDLE = {"bundle": "s3://b/mgoe", "digest": CANDIDATE}
SENTENCES: dict[str, dict[str, Any]] = {
    "name either a bundle (with digest) or a model (with alias)": {"candidate": {}},
    "bundle and digest go together: content is pinned": {"candidate": {"bundle": "s3://b/mgoe"}},
    "model and alias go together": {"candidate": {"model": "shop"}},
    "the arms need a service each": {"driver": {"services": {"baseline": "a", "candidate": "a"}}},
    "the drivers gateway and local need services (the two arms), and no other has them": {"driver": {"type": "local"}},
    "the kserve drivers need inferenceService (with both arms in it), and no other has it": {
        "driver": {"type": "kserve-standard"}
    },
    "gateway is a field of the driver gateway": {
        "driver": {"type": "kserve-knative", "inferenceService": "shop", "gateway": "g"}
    },
    "baseline and candidate name the same model": {"baseline": BUNDLE, "candidate": BUNDLE},
    "the weights of the steps must rise": {"steps": [{"weight": 5}, {"weight": 5}]},
    "the first step is above maxWeight": {"steps": [{"weight": 20}], "maxWeight": 10},
    "exactly one metric has the role Primary": {"metrics": [{"name": "clicks", "value": "click"}]},
    "a Ratio, and only a Ratio, has a denominator": metric(kind="Ratio"),
    "a Proportion is 0 or 1 and has no cap": metric(kind="Proportion", cap=2),
    "only a NonInferior metric has a margin": metric(margin=0.1),
    "exposures are counted in a denominator alone": metric(value="exposures"),
    "a PromQL guardrail, and only that, has a query": guardrail(type="P99"),
    "only a PromQL guardrail has a countQuery": {
        "guardrails": [{"name": "g", "type": "P99", "max": 1, "countQuery": "up"}]
    },
    "ErrorRate and P99 have a max alone": {"guardrails": [{"name": "g", "type": "P99", "max": 2, "min": 1}]},
    "a guardrail needs max or min": {"guardrails": [{"name": "g", "type": "PromQL", "query": "up"}]},
    "min must be below max": guardrail(min=2),
    "with a kserve driver requests do not pass our gateway: write PromQL in place of ErrorRate and P99": {
        "driver": {"type": "kserve-standard", "inferenceService": "shop"},
        "guardrails": [{"name": "g", "type": "P99", "max": 50}],
    },
    "max of an ErrorRate is a share between 0 and 1": {"guardrails": [{"name": "g", "type": "ErrorRate", "max": 5}]},
}
"""What is wrong, by the sentence that says so."""


@pytest.mark.parametrize("sentence", SENTENCES)
def test_cel_and_model_refuse_the_same_with_the_same_sentence(sentence: str) -> None:
    spec = {**SPEC, **SENTENCES[sentence]}
    assert sentence in broken(SCHEMA, resource(spec))
    assert sentence in model_errors(spec)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guardrails": []},
        metric(kind="Ratio", denominator="exposures", role="NonInferior", margin=0.01, better="Lower"),
        guardrail(min=0.5, countQuery="sum(up)"),
        {"driver": {"type": "kserve-knative", "inferenceService": "shop"}, **guardrail()},
        {"driver": {"type": "kserve-knative", "inferenceService": "shop"}, "guardrails": []},
        {"candidate": {"model": "shop", "alias": "candidate"}},
        {"steps": [{"weight": 100}]},
        {"weightOverride": {"weight": 0, "run": f"{'a' * 12}-{'b' * 12}-1"}},
    ],
)
def test_cel_and_model_accept_the_same(changes: dict[str, Any]) -> None:
    spec = {**SPEC, **changes}
    assert broken(SCHEMA, resource(spec)) == []
    assert schema_errors(spec) == []
    assert model_errors(spec) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"maxWeight": 0},
        {"maxWeight": 101},
        {"steps": []},
        {"steps": [{"weight": 0}]},
        {"steps": [{"weight": 1.5}]},
        {"metrics": []},
        {"analysis": {"alpha": 0}},
        {"analysis": {"alpha": 0.5}},
        {"promotion": {"mode": "auto"}},
        {"promote": "latest"},
        {"pasued": True},
        {"candidate": {"bundle": "http://b/mgoe", "digest": CANDIDATE}},
        {"candidate": {"bundle": "s3://b/mgoe", "digest": "latest"}},
        {"attempt": 0},
        metric(value=""),
        metric(cap=0, kind="Mean"),
        metric(value="pa\ty"),
        {"analysis": {"alpha": 1e-300}},
        {"analysis": {"salt": "a b"}},
        metric(cap=1e13),
        metric(cap=1e-7),
        metric(standardDeviation=1e16),
        metric(standardDeviation=1e-10),
    ],
)
def test_schema_and_model_refuse_the_same_values(changes: dict[str, Any]) -> None:
    spec = {**SPEC, **changes}
    assert schema_errors(spec) != []
    assert model_errors(spec) != ""


def test_every_rule_is_tried() -> None:
    """A rule that no example breaks may be one that cannot be broken."""
    tried = set(SENTENCES) | {
        "attempt only rises",
        "the name has at most 52 characters: names of children add to it",
    }
    messages = {each["message"] for _, at, _ in rules(SCHEMA) for each in at["x-kubernetes-validations"]}
    assert {each for each in messages if "is fixed while the run goes on" not in each} == tried


# Updates


@pytest.mark.parametrize("phase", ["Validating", "Ramping", "Paused", "Promoting", "RollingBack"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("baseline", BUNDLE | {"digest": "a" * 64}),
        ("steps", [{"weight": 50}]),
        ("metrics", [PRIMARY]),
        ("analysis", {"alpha": 0.1}),
        ("capacity", {"replicas": 2}),
        ("driver", {"services": {"baseline": "mmoe", "candidate": "other"}}),
    ],
)
def test_what_makes_the_experiment_is_fixed_while_it_runs(phase: str, name: str, value: Any) -> None:
    old, new = resource(SPEC, phase=phase), resource({**SPEC, name: value}, phase=phase)
    sentence = f"spec.{name} is fixed while the run goes on; abort it, or bring a new candidate or attempt"
    assert broken(SCHEMA, new, old) == [sentence]
    before, after = ModelRolloutSpec.model_validate(SPEC), ModelRolloutSpec.model_validate({**SPEC, name: value})
    assert changed_while_running(before, after, phase) == sentence
    for over in ("Pending", "RolledBack", None):
        assert broken(SCHEMA, resource({**SPEC, name: value}, phase=over), resource(SPEC, phase=over)) == []
        assert changed_while_running(before, after, over) is None


@pytest.mark.parametrize("new_run", [{"attempt": 2}, {"candidate": {"bundle": "s3://b/x", "digest": "e" * 64}}])
def test_a_new_run_may_bring_another_experiment(new_run: dict[str, Any]) -> None:
    changed = {**SPEC, "steps": [{"weight": 50}], **new_run}
    assert broken(SCHEMA, resource(changed, phase="Ramping"), resource(SPEC, phase="Ramping")) == []
    before, after = ModelRolloutSpec.model_validate(SPEC), ModelRolloutSpec.model_validate(changed)
    assert changed_while_running(before, after, "Ramping") is None


@pytest.mark.parametrize(
    "wish",
    [
        {"paused": True},
        {"abort": True},
        {"maxWeight": 5},
        {"promote": f"{'b' * 12}-{'c' * 12}-1"},
        {"acknowledge": "x"},
        {"guardrails": []},
        {"deadlineSeconds": 60},
        {"whenBlind": {"action": "Hold"}},
    ],
)
def test_people_may_steer_a_run_at_any_time(wish: dict[str, Any]) -> None:
    assert broken(SCHEMA, resource({**SPEC, **wish}, phase="Ramping"), resource(SPEC, phase="Ramping")) == []


def test_attempts_only_rise() -> None:
    old, new = resource({**SPEC, "attempt": 2}), resource({**SPEC, "attempt": 1})
    assert broken(SCHEMA, new, old) == ["attempt only rises"]
    before = ModelRolloutSpec.model_validate({**SPEC, "attempt": 2})
    assert (
        changed_while_running(before, ModelRolloutSpec.model_validate(SPEC), None) == "spec.attempt: attempt only rises"
    )


def test_a_name_leaves_room_for_its_childrens() -> None:
    assert broken(SCHEMA, resource(SPEC, name="f" * 52)) == []
    assert broken(SCHEMA, resource(SPEC, name="f" * 53)) == [
        "the name has at most 52 characters: names of children add to it"
    ]
