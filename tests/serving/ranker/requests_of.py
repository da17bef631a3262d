"""Random requests that meet every kind of input: known and unknown ids, contexts, repeated items."""

from __future__ import annotations

from hypothesis import strategies as st

from serving.ranker.request import RankRequest

USERS, ITEMS = 150, 60
"""Of the synthetic log of tests.serving.ranker.bundles."""


def ids(count: int) -> st.SearchStrategy[str]:
    return st.one_of(st.integers(0, count).map(str), st.sampled_from(["never-seen", "\N{SNOWMAN}"]))


def requests(most: int = 40) -> st.SearchStrategy[RankRequest]:
    return st.builds(
        RankRequest,
        user=ids(USERS),
        items=st.lists(ids(ITEMS), min_size=1, max_size=most).map(tuple),
        context=st.one_of(st.just({}), st.fixed_dictionaries({"slot": st.sampled_from(["0", "1", "2", "other", 3])})),
        time=st.floats(0, 2e9),
    )
