from dataclasses import replace

import numpy as np

from model.evaluation.slices import ACTIVITY, names_in, rows_of, slices_of
from tests.model.training.tiny_world import tiny_dataset


def test_a_row_is_cold_exactly_where_its_node_was_never_seen() -> None:
    dataset = tiny_dataset()
    found = slices_of(dataset)
    assert np.array_equal(found["users"] == "users:warm", dataset.users.seen[dataset.test.user])
    assert np.array_equal(found["items"] == "items:warm", dataset.items.seen[dataset.test.item])


def test_activity_never_falls_from_a_lower_to_a_higher_third() -> None:
    dataset = tiny_dataset()
    counts = np.bincount(dataset.train.user, minlength=len(dataset.users))
    if dataset.history is not None:
        counts += np.bincount(dataset.history.user, minlength=len(dataset.users))
    counts[0] = 0
    third = np.array([ACTIVITY.index(name) for name in slices_of(dataset)["activity"]])
    own = counts[dataset.test.user]
    assert len(set(third.tolist())) == 3
    for lower in (0, 1):
        assert own[third == lower].max() <= own[third == lower + 1].min()


def test_days_are_those_of_the_logs_zone() -> None:
    dataset = tiny_dataset()
    column = dataset.schema.interactions.time.model_copy(update={"timezone": "Asia/Shanghai"})
    files = dataset.schema.interactions.model_copy(update={"time": column})
    schema = dataset.schema.model_copy(update={"interactions": files})
    midnight = 1_651_766_400  # in Shanghai: 16:00 UTC of the day before
    late = np.full(len(dataset.test), midnight - 1, dtype=np.int64)
    late[-1] += 1
    days = slices_of(replace(dataset, schema=schema, test=replace(dataset.test, time=late)))["day"]
    assert days[0] == "day:2022-05-05"
    assert days[-1] == "day:2022-05-06"


def test_every_way_of_slicing_covers_every_row_once() -> None:
    dataset = tiny_dataset()
    found = slices_of(dataset)
    rows = len(dataset.test)
    covered = sum(rows_of(name, found, rows).sum() for name in names_in(found))
    assert covered == rows * (1 + len(found))
