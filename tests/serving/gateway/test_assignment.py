"""The assignment as a function: pure, monotone, even, and refusing what the gateway refuses."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from serving.gateway.assignment import BUCKETS, SALT, UNIT, arm, bucket, check_unit

salts = st.from_regex(re.compile(SALT), fullmatch=True).filter(lambda salt: not salt.endswith("\n"))
units = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(0x21)), "\x7f", ","]),
    min_size=1,
    max_size=256,
)
weights = st.integers(0, BUCKETS)


@given(salts, units, weights, weights)
def test_raising_the_weight_only_moves_units_to_the_candidate(salt: str, unit: str, one: int, other: int) -> None:
    lower, higher = sorted((one, other))
    place = bucket(salt, unit)
    if arm(place, lower) == "candidate":
        assert arm(place, higher) == "candidate"


@given(salts, units)
def test_at_0_everybody_is_on_the_baseline_and_at_10000_nobody(salt: str, unit: str) -> None:
    place = bucket(salt, unit)
    assert 0 <= place < BUCKETS
    assert (arm(place, 0), arm(place, BUCKETS)) == ("baseline", "candidate")


def test_buckets_are_even_and_salts_are_independent() -> None:
    count = 100_000
    first = [bucket("one", f"user-{place}") for place in range(count)]
    second = [bucket("two", f"user-{place}") for place in range(count)]
    # Binomial(100000, 0.05) has a standard deviation of 69; five of them.
    assert abs(sum(place < 500 for place in first) - 5000) < 345
    both = sum(a < 5000 and b < 5000 for a, b in zip(first, second, strict=True))
    assert abs(both - 25_000) < 5 * 137


@given(st.text(max_size=300))
def test_the_pattern_that_envoy_gets_takes_what_the_words_say(unit: str) -> None:
    right = 1 <= len(unit) <= 256 and not re.search("[\x00-\x20\x7f,\ud800-\udfff]", unit)
    try:
        check_unit(unit)
    except UserError:
        assert not right
    else:
        assert right


@given(st.binary(min_size=1, max_size=8))
def test_bytes_that_are_no_utf_8_never_match(raw: bytes) -> None:
    matched = re.fullmatch(UNIT.encode("ascii"), raw) is not None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        assert not matched
    else:
        assert matched == (not re.search("[\x00-\x20\x7f,]", text))


@pytest.mark.parametrize(
    ("salt", "unit", "said"),
    [
        ("", "u", "salt or name ''"),
        ("a b", "u", "salt or name 'a b'"),
        ("\\1", "u", "salt"),
        ("s\n", "u", "salt"),
        ("s", "", "unit id ''"),
        ("s", "a,b", "without ASCII white space, ASCII controls and commas"),
        ("s", "x" * 257, "1 to 256 characters"),
        ("s", "a\ud800", "unit id"),
    ],
)
def test_what_cannot_be_assigned_is_refused_in_words(salt: str, unit: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        bucket(salt, unit)


@pytest.mark.parametrize("weight", [-1, BUCKETS + 1])
def test_a_weight_outside_the_buckets_is_refused(weight: int) -> None:
    with pytest.raises(UserError, match="write 0 to 10000"):
        arm(0, weight)
