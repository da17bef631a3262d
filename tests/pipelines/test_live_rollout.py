"""The rollout that `mgoe run` ends with: a valid resource, whatever the log's tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.data.schema import LogSchema, Task
from model.data.schema_file import load_schema
from pipelines.live_rollout import LiveBundle, LiveSettings, rollout_spec
from serving.rollout.sqlite_store import checked

SHIPPED = Path(__file__).parents[2] / "model/data/schemas/kuairand_pure.yaml"
ARMS = LiveBundle("file:///a", "a" * 64), LiveBundle("file:///b", "b" * 64)


def spec_of(schema: LogSchema, **changes: int) -> dict[str, object]:
    return rollout_spec(*ARMS, schema, LiveSettings(**changes))


def schema_with(*tasks: Task) -> LogSchema:
    return load_schema(SHIPPED).model_copy(update={"tasks": tasks})


@pytest.mark.parametrize(
    "tasks",
    [
        (Task(name="click", level=1),),
        (Task(name="click", level=1), Task(name="buy", level=2, space="conditional", given="click")),
        (Task(name="click", level=1), Task(name="cart", level=2), Task(name="buy", level=3)),
    ],
)
def test_the_resource_is_one_that_the_controller_takes(tasks: tuple[Task, ...]) -> None:
    spec = checked(spec_of(schema_with(*tasks)))
    assert [one.name for one in spec.metrics if one.role == "Primary"] == ["click_per_exposure"]
    assert sum(one.role == "NonInferior" for one in spec.metrics) == (1 if len(tasks) == 3 else 0)


def test_the_shipped_schema_s_tasks_make_one_too() -> None:
    spec = checked(spec_of(load_schema(SHIPPED)))
    assert [one.value for one in spec.metrics if one.role == "Primary"] == [load_schema(SHIPPED).task_names[0]]


def test_the_candidate_is_rolled_back_where_time_is_up() -> None:
    spec = checked(spec_of(schema_with(Task(name="click", level=1)), deadline_s=90))
    assert (spec.deadline_seconds, spec.on_deadline) == (90, "RollBack")


def test_the_arms_are_pinned_by_their_digests() -> None:
    spec = checked(spec_of(schema_with(Task(name="click", level=1))))
    assert (spec.baseline.digest, spec.candidate.digest) == ("a" * 64, "b" * 64)
