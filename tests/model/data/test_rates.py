from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.dataset import Columns, HistoryRates, Interactions
from model.data.rates import history_rates

N_USERS, N_ITEMS = 5, 4
AS_OF = np.array([10, 20, 30])


def log(seed: int, rows: int = 60, tasks: int = 2) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions(
        user=rng.integers(0, N_USERS, rows).astype(np.int32),
        item=rng.integers(0, N_ITEMS, rows).astype(np.int32),
        time=np.sort(rng.integers(0, 40, rows)),
        labels=rng.integers(0, 2, (rows, tasks)).astype(np.uint8),
        observed=rng.random((rows, tasks)) < 0.8,
        context=Columns(np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.float32), ()),
    )


def rates_of(*parts: Interactions) -> HistoryRates:
    return history_rates(parts, AS_OF, N_USERS, N_ITEMS, tasks=("click", "buy"))


@given(st.integers(0, 1000), st.integers(0, 2))
def test_labels_at_or_after_a_moment_never_change_its_values(seed: int, place: int) -> None:
    before = log(seed)
    late = before.time >= AS_OF[place]
    labels, observed = before.labels.copy(), before.observed.copy()
    labels[late] = 1 - labels[late]
    observed[late] = ~observed[late]
    user, item = before.user.copy(), before.item.copy()
    user[late], item[late] = 1, 1
    after = Interactions(user, item, before.time, labels, observed, before.context)
    first, second = rates_of(before), rates_of(after)
    np.testing.assert_array_equal(first.user[: place + 1], second.user[: place + 1])
    np.testing.assert_array_equal(first.item[: place + 1], second.item[: place + 1])


@given(st.integers(0, 1000))
def test_rates_equal_a_literal_count(seed: int) -> None:
    rows = log(seed)
    rates = rates_of(rows)
    assert rates.names[:3] == ("log_impressions:click", "log_positives:click", "centred_logit:click")
    for place, moment in enumerate(AS_OF):
        for task in range(2):
            known = [r for r in range(len(rows)) if rows.time[r] < moment and rows.observed[r, task]]
            total = (sum(int(rows.labels[r, task]) for r in known) + 0.5) / (len(known) + 1)
            for user in range(1, N_USERS):
                own = [r for r in known if rows.user[r] == user]
                positive = sum(int(rows.labels[r, task]) for r in own)
                rate = (positive + 10 * total) / (len(own) + 10)
                logit = math.log(rate / (1 - rate)) - math.log(total / (1 - total))
                expected = [math.log1p(len(own)), math.log1p(positive), logit]
                np.testing.assert_allclose(rates.user[place, user, 3 * task : 3 * task + 3], expected, atol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 59))
def test_rates_do_not_depend_on_how_the_rows_are_parted(seed: int, at: int) -> None:
    rows = log(seed)

    def part(place: slice) -> Interactions:
        context = Columns(rows.context.sparse[place], rows.context.dense[place], ())
        return Interactions(
            rows.user[place], rows.item[place], rows.time[place], rows.labels[place], rows.observed[place], context
        )

    whole, parted = rates_of(rows), rates_of(part(slice(at)), part(slice(at, None)))
    np.testing.assert_array_equal(whole.user, parted.user)
    np.testing.assert_array_equal(whole.item, parted.item)


def test_the_unknown_node_and_nodes_without_rows_have_no_rates() -> None:
    rates = history_rates([log(3)], AS_OF, N_USERS + 1, N_ITEMS, tasks=("click", "buy"))
    assert not rates.user[:, 0].any()
    assert not rates.user[:, N_USERS].any()
