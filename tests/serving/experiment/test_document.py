"""Documents that somebody else wrote: any value at any place is read, or refused in one line."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from model.errors import UserError
from serving.experiment.aggregate import Aggregate, stratum_key
from serving.experiment.commands import app
from serving.experiment.design import Design
from serving.experiment.document import ExperimentError, short
from serving.experiment.evidence import EvidenceSeries
from serving.experiment.page import page
from serving.experiment.report import report_json, report_of
from tests.serving.experiment.trials import design, evidence, simulate

HUGE = 10**400
WRONG: tuple[object, ...] = (
    *(None, True, "", "x" * 501, "a\nb", "a\x00b", "\ud800", [], {}, [[]], [1, 2], [[1.0], [1.0, 2.0]], {"a": 1}),
    *(0, -1, 1, 2, 1e-320, 1e308, -1e308, float("inf"), float("nan"), HUGE, -HUGE, [HUGE, HUGE], 2**63, 0.5, 10**15),
    *("baseline", "ratio", "sha256:5f1c", "click", [0, 1], [[0, 1]]),
)
values = st.one_of(
    st.sampled_from(WRONG),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=8
    ),
)


@functools.cache
def _text() -> str:
    return json.dumps(evidence(simulate(users=2_000, days=1), design()).to_json())


def _places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    members = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, member in members:
        found += _places(member, (*path, name))
    return found


def _with(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    changed = copy.deepcopy(document)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


@functools.cache
def _design_places() -> list[tuple[str | int, ...]]:
    return _places(design().to_json())


@functools.cache
def _evidence_places() -> list[tuple[str | int, ...]]:
    return _places(json.loads(_text()))


def _is_one_line(error: ExperimentError) -> None:
    said = str(error)
    assert "\n" not in said
    assert len(said) < 1_500
    said.encode()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_design_with_anything_anywhere_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    document = json.loads(json.dumps(design().to_json()))
    try:
        read = Design.from_json(_with(document, data.draw(st.sampled_from(_design_places())), data.draw(values)))
    except ExperimentError as error:
        _is_one_line(error)
        return
    assert Design.from_json(json.loads(json.dumps(read.to_json(), allow_nan=False).encode())) == read


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_evidence_with_anything_anywhere_has_a_report_or_is_refused_in_one_line(data: st.DataObject) -> None:
    changed = _with(json.loads(_text()), data.draw(st.sampled_from(_evidence_places())), data.draw(values))
    try:
        read = EvidenceSeries.from_json(changed)
    except ExperimentError as error:
        _is_one_line(error)
        return
    with np.errstate(all="ignore"):
        report = report_of(read)
        page(report).encode()
    json.dumps(report_json(report), allow_nan=False)


@pytest.mark.parametrize("value", [HUGE, [HUGE], {"a": HUGE}, "x" * 900, None])
def test_a_value_is_shown_short(value: object) -> None:
    assert len(short(value)) <= 60


def test_sums_and_strata_beyond_all_measure_are_refused() -> None:
    document = Aggregate.of(("value",), np.ones(3)).to_json()
    with pytest.raises(ExperimentError, match=r"beyond 1e\+30"):
        Aggregate.from_json({**document, "mean": [1e31]})
    with pytest.raises(ExperimentError, match="no list of numbers"):
        Aggregate.from_json({**document, "mean": [HUGE]})
    with pytest.raises(ExperimentError, match=r"no \[phase, slice"):
        stratum_key([HUGE, 0], "stratum")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("exposed",), [], r"units of the baseline in stratum \(0, 0\), of whom only 0 are in `exposed`"),
        (("exposed", 0, "units", "candidate"), 3, "units of the candidate in stratum .*, of whom only 3 are"),
        (("metrics", 1, "strata", 0, "arms", "baseline", "mean"), [5.0], r"a proportion of 5 is not in \[0, 1\]"),
        (("metrics", 1, "strata", 0, "arms", "candidate", "mean"), [-0.1], r"a proportion of -0.1 is not in"),
        (("crossovers",), -5, "-5 crossovers"),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(path: tuple[str | int, ...], value: object, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        EvidenceSeries.from_json(_with(json.loads(_text()), path, value))


@pytest.mark.parametrize(
    ("text", "said"), [("[" * 200_000, "brackets within brackets"), ("[" + "1" * 5_000 + "]", "Exceeds the limit")]
)
def test_json_that_python_itself_cannot_hold_is_refused_in_one_line(text: str, said: str) -> None:
    error = CliRunner().invoke(app, ["report", "-"], input=text).exception
    assert isinstance(error, UserError)
    assert said in str(error)
    assert "\n" not in str(error)
