"""The design that the README shows is one, has every field, and its tables tell the defaults."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from serving.experiment import design
from serving.experiment.design import Design, Metric

README = Path(design.__file__).with_name("README.md").read_text(encoding="utf-8")

WORDS: dict[object, object] = {dataclasses.MISSING: "", None: "none"}


def _shown() -> dict[str, object]:
    found = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert found
    document: dict[str, object] = json.loads(found[1])
    return document


def _told(of: type, field: str) -> str:
    tables = dict(zip((Design, Metric), README.split("| field of a metric |"), strict=True))
    found = re.search(rf"^\| [^|]*`{field}`[^|]* \| ([^|]*)\|", tables[of], re.MULTILINE)
    assert found, field
    return found[1].strip().strip("`")


def test_the_design_is_read_and_shows_every_field() -> None:
    shown = _shown()
    read = Design.from_json(shown)
    assert set(shown) == {field.name for field in dataclasses.fields(Design)}
    metrics = shown["metrics"]
    assert isinstance(metrics, list)
    assert {name for metric in metrics for name in metric} == {field.name for field in dataclasses.fields(Metric)}
    assert {metric.kind for metric in read.metrics} == {"mean", "proportion", "ratio"}
    assert {metric.role for metric in read.metrics} == {"primary", "non_inferior", "secondary"}


@pytest.mark.parametrize(
    ("of", "field"),
    [(of, field) for of in (Design, Metric) for field in dataclasses.fields(of)],
    ids=lambda one: one.__name__ if isinstance(one, type) else one.name,
)
def test_every_field_is_told_with_its_default(of: type, field: dataclasses.Field[object]) -> None:
    told = _told(of, field.name)
    if field.name == "sd":
        assert told == "estimated"
    elif isinstance(field.default, float | int):
        assert float(told) == field.default
    else:
        assert told == WORDS.get(field.default, field.default)
