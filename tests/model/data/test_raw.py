"""Times of a raw log: numbers in their unit, date-times with and without a zone."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from model.data.raw import in_seconds
from model.data.schema import TimeColumn
from model.errors import UserError

NOON = 1_654_077_600
"""2022-06-01 12:00 in Berlin, two hours ahead of UTC."""


def seconds(values: pl.Series, **options: str) -> list[int]:
    found = in_seconds(pl.DataFrame({"at": values}), TimeColumn.model_validate({"column": "at", **options}))
    return [int(moment) for moment in found]


@pytest.mark.parametrize(("unit", "number"), [("s", NOON), ("ms", NOON * 1_000 + 999), ("us", NOON * 1_000_000 + 1)])
def test_numbers_are_read_in_their_unit(unit: str, number: int) -> None:
    assert seconds(pl.Series([number]), unit=unit) == [NOON]


def test_date_times_without_a_zone_are_read_in_the_logs_and_with_one_in_their_own() -> None:
    noon = pl.Series([datetime(2022, 6, 1, 12)])
    assert seconds(noon, timezone="Europe/Berlin") == [NOON]
    assert seconds(noon.dt.replace_time_zone("UTC"), timezone="Europe/Berlin") == [NOON + 7_200]


@pytest.mark.parametrize(
    "moment", [datetime(2022, 10, 30, 2, 30), datetime(2022, 3, 27, 2, 30)], ids=["twice", "never"]
)
def test_a_local_time_that_the_clocks_skip_or_repeat_is_refused_in_one_line(moment: datetime) -> None:
    with pytest.raises(UserError, match=r"column at cannot be read in Europe/Berlin.*2022.*; write") as refused:
        seconds(pl.Series([moment]), timezone="Europe/Berlin")
    assert "\n" not in str(refused.value)
