from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model.data.schema import LogSchema
from tests.model.data.raw_logs import schema, schema_content

CLICK = {"name": "click", "level": 1}


def feature(**options: Any) -> dict[str, Any]:
    return {"features": [{"name": "f", "of": "context", "kind": "sparse", "column": "f", **options}]}


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"tasks": []}, ["tasks is empty"]),
    ({"tasks": [CLICK, CLICK]}, ["task click", "twice"]),
    ({"tasks": [{"name": "a", "level": 1, "column": "x"}, {"name": "b", "level": 1, "column": "x"}]}, ["x", "twice"]),
    ({"tasks": [{"name": "buy", "level": 2}, CLICK]}, ["click", "level 1", "buy", "weakest"]),
    ({"tasks": [CLICK, {"name": "buy", "level": 2, "space": "conditional"}]}, ["buy", "given"]),
    ({"tasks": [CLICK, {"name": "buy", "level": 2, "given": "click"}]}, ["buy", "space: conditional"]),
    (
        {"tasks": [CLICK, {"name": "buy", "level": 2, "space": "conditional", "given": "clik"}]},
        ["buy", "clik", "earlier ones are: click"],
    ),
    ({"history": {**schema_content()["history"], "tasks": ["like"]}}, ["history.tasks", "like", "click, buy"]),
    ({"features": [feature()["features"][0]] * 2}, ["feature f", "twice"]),
    (feature(column=None), ["feature f", "column", "derive"]),
    (feature(derive="hour_of_day"), ["feature f", "one of the two"]),
    (feature(column=None, derive="hour_of_day", kind="dense"), ["hour_of_day", "kind: sparse"]),
    (feature(separator=","), ["separator", "kind: multi"]),
    (feature(kind="multi", separator=""), ["empty separator"]),
    (feature(transform="log1p"), ["log1p", "kind: dense"]),
    (feature(column="buy"), ["label column buy", "never an input"]),
    ({"users": None}, ["city", "`users` file"]),
    ({"items": None}, ["tags", "`items` file"]),
    ({"split": {"validate_from": "2024-01-07"}}, ["test_from", "together"]),
    ({"split": {"validate_from": "2024-01-09", "test_from": "2024-01-07"}}, ["2024-01-07", "later"]),
    ({"split": {"validate_fraction": 0.5, "test_fraction": 0.5}}, ["below 1"]),
    ({"split": {"train_from": "2024-01-01T00:00:00+08:00"}}, ["+08:00", "without an offset"]),
]


@pytest.mark.parametrize(
    ("changes", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_schema_is_refused_in_words_that_name_what_is_wrong(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        schema(**changes)
    said = str(refused.value)
    assert all(word in said for word in words), said


def test_an_unknown_time_zone_is_refused() -> None:
    content = schema_content()
    content["interactions"]["time"]["timezone"] = "Asia/Nowhere"
    with pytest.raises(ValidationError, match=r"Asia/Nowhere.*IANA"):
        LogSchema.model_validate(content)


def test_tied_levels_are_allowed() -> None:
    assert schema(tasks=[CLICK, {"name": "buy", "level": 1}]).task_names == ("click", "buy")


def test_a_label_column_is_the_name_of_the_task_unless_given() -> None:
    tasks = [{"name": "click", "level": 1}, {"name": "buy", "level": 2, "column": "is_buy"}]
    assert schema(tasks=tasks).label_columns == ("click", "is_buy")


def test_features_of_an_owner_come_in_file_order() -> None:
    assert [f.name for f in schema().features_of("context")] == ["slot", "hour"]
    assert [f.name for f in schema().features_of("item", "dense")] == ["price"]
