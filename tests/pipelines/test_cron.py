from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from pipelines.cron import check_cron, check_timezone


@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * * *",
        "*/15 0-6,22 1,15 * ?",
        "59 23 31 12 6",
        "0 4 * jan-MAR mon-fri",
        "5/10 8-18/2 * * SUN,sat",
    ],
)
def test_what_argo_reads_is_accepted(cron: str) -> None:
    check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("99 3 * * *", "minute '99'; use [*], or 0-59,"),
        ("0 24 * * *", "hour '24'; use [*], or 0-23,"),
        ("0 3 0 * *", "day of month '0'; use [*], or 1-31,"),
        ("0 3 * 13 *", "month '13'; use [*], or 1-12 or jan-dec,"),
        ("0 3 * * 7", "day of week '7'; use [*], or 0-6 or sun-sat,"),
        ("0 3 * * moon", "day of week 'moon'"),
        ("0 18-6 * * *", "hour '18-6'"),
        ("*/0 3 * * *", "minute '[*]/0'"),
        ("1, 3 * * *", "minute '1,'"),
        ("-1 3 * * *", "minute '-1'"),
        ("³ 3 * * *", "minute '³'"),
        ("@daily", "five fields"),
        ("0 0 3 * * *", "five fields"),
    ],
)
def test_what_argo_does_not_read_is_refused_by_its_field_and_range(cron: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_cron(cron)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 20))
def test_a_range_is_right_where_it_ascends_within_bounds_by_a_step(first: int, last: int, step: int) -> None:
    cron = f"0 {first}-{last}/{step} * * *"
    if first <= last <= 23 and step > 0:
        check_cron(cron)
    else:
        with pytest.raises(UserError, match="hour"):
            check_cron(cron)


@given(st.text(max_size=12))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    with suppress(UserError):
        check_cron(f"{text} 3 * * *")


def test_a_number_too_long_for_python_is_refused() -> None:
    with pytest.raises(UserError, match="minute"):
        check_cron(f"{'9' * 5000} 3 * * *")


def test_a_timezone_is_one_of_the_iana_database() -> None:
    check_timezone("UTC")
    check_timezone("Europe/Berlin")
    for wrong in ("Mars/X", "America", "", "../etc/passwd"):
        with pytest.raises(UserError, match=f"timezone '{wrong}' is unknown: use an IANA name"):
            check_timezone(wrong)
