"""The node store gives a model exactly the rows of the arrays that it was made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.errors import UserError
from model.graph.macro_graph import Side
from model.nets.build import build_architecture
from model.nets.config import MODEL_CONFIG
from model.nets.node_store import NodeStore, check_graph_fits
from tests.model.training.tiny_world import DAY, tiny_dataset, tiny_graph

DATASET = tiny_dataset()
GRAPH = tiny_graph(DATASET)
STORE = NodeStore.of(DATASET, GRAPH, history_rates=True)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(0, len(DATASET.train) - 1)))
def test_a_batch_holds_what_a_loop_over_its_rows_finds(rows: np.ndarray) -> None:
    batch = STORE.batch(STORE.rows(DATASET.train), torch.from_numpy(rows))
    assert batch.user.graph is not None
    assert DATASET.rates is not None
    for place, row in enumerate(rows):
        user, time = int(DATASET.train.user[row]), int(DATASET.train.time[row])
        side = GRAPH.snapshots[int(GRAPH.snapshot_of(np.array([time]))[0])].user
        moment = max([k for k, as_of in enumerate(DATASET.rates.as_of) if as_of <= time], default=0)
        dense = [*DATASET.users.features.dense[user], *DATASET.rates.user[moment, user]]
        assert int(batch.user.id_B[place]) == (user if DATASET.users.seen[user] else 0)
        assert batch.user.features.sparse_BF[place].tolist() == DATASET.users.features.sparse[user].tolist()
        assert batch.user.features.multi[0][place].tolist() == DATASET.users.features.multi[0][user].tolist()
        np.testing.assert_array_equal(batch.user.features.dense_BG[place].numpy(), np.array(dense, np.float32))
        assert int(batch.user.graph.group_B[place]) == GRAPH.user_group[user]
        assert batch.user.graph.hop1.macro_Bk[place].tolist() == side.hop1.macro[user].tolist()
        np.testing.assert_array_equal(batch.user.graph.hop2.log_count_Bk[place].numpy(), side.hop2.log_count[user])
        assert batch.user.graph.recent_BL[place].tolist() == side.recent[user].tolist()
        np.testing.assert_array_equal(batch.user.graph.log_degree_BT[place].numpy(), side.log_degree[user])
        assert batch.context.sparse_BF[place].tolist() == DATASET.train.context.sparse[row].tolist()


def test_users_and_items_asked_by_time_are_those_of_the_rows_batch() -> None:
    rows = torch.arange(50)
    batch = STORE.batch(DATASET.validate, rows)
    times = torch.from_numpy(DATASET.validate.time[:50])
    users = STORE.users(torch.from_numpy(DATASET.validate.user[:50]).long(), times)
    items = STORE.items(torch.from_numpy(DATASET.validate.item[:50]).long(), times)
    assert torch.equal(users.features.dense_BG, batch.user.features.dense_BG)
    assert users.graph is not None
    assert batch.user.graph is not None
    assert torch.equal(users.graph.dominant_BT, batch.user.graph.dominant_BT)
    assert torch.equal(items.id_B, batch.item.id_B)


def test_a_time_before_the_first_snapshot_reads_the_first_and_its_own_second_the_new_one() -> None:
    index = torch.tensor([1, 1, 1])
    graph = STORE.users(index, torch.tensor([0, 5 * DAY - 1, 5 * DAY])).graph
    assert graph is not None
    wanted = [GRAPH.snapshots[0], GRAPH.snapshots[0], GRAPH.snapshots[1]]
    assert graph.log_exposure_B.tolist() == [float(snapshot.user.log_exposure[1]) for snapshot in wanted]


def test_neighbour_means_are_those_of_the_rows_own_snapshot_and_counted_by_the_spec() -> None:
    rng = np.random.default_rng(0)

    def with_means(side: Side) -> Side:
        return replace(side, neighbour_mean=rng.normal(size=(len(side.log_exposure), 6)).astype(np.float32))

    snapshots = tuple(replace(one, user=with_means(one.user), item=with_means(one.item)) for one in GRAPH.snapshots)
    store = NodeStore.of(DATASET, replace(GRAPH, snapshots=snapshots))
    graph = store.users(torch.tensor([1, 2]), torch.tensor([0, 5 * DAY])).graph
    assert store.spec.graph is not None
    assert store.spec.graph.means == 6
    assert graph is not None
    assert graph.neighbour_mean_BC is not None
    for place, (snapshot, node) in enumerate([(snapshots[0], 1), (snapshots[1], 2)]):
        assert snapshot.user.neighbour_mean is not None
        np.testing.assert_array_equal(graph.neighbour_mean_BC[place].numpy(), snapshot.user.neighbour_mean[node])
    assert STORE.spec.graph is not None
    assert STORE.spec.graph.means == 0


def test_neighbour_means_that_the_graph_lacks_are_refused() -> None:
    for architecture in ("mmoe", "mgoe"):
        config = MODEL_CONFIG.validate_python({"architecture": architecture, "inputs": {"neighbour_means": True}})
        with pytest.raises(UserError, match="build it with neighbour_means"):
            build_architecture(config, STORE.spec)


def test_counts_by_task_are_gathered_where_the_graph_holds_them() -> None:
    def counted(side: Side) -> Side:
        count = rng.random((*side.hop1.macro.shape, 2)).astype(np.float16)
        return replace(side, task_log_count=count)

    rng = np.random.default_rng(0)
    snapshots = tuple(replace(each, user=counted(each.user), item=counted(each.item)) for each in GRAPH.snapshots)
    store = NodeStore.of(DATASET, replace(GRAPH, snapshots=snapshots))
    graph = store.items(torch.tensor([3, 7, 7]), torch.tensor([0, 0, 5 * DAY])).graph
    assert graph is not None
    assert graph.task_log_count_BkT is not None
    wanted = [
        snapshots[number].item.task_log_count[node]  # type: ignore[index]
        for number, node in ((0, 3), (0, 7), (1, 7))
    ]
    np.testing.assert_array_equal(graph.task_log_count_BkT.numpy(), np.stack(wanted))
    assert store.spec.graph is not None
    assert STORE.spec.graph is not None
    assert (store.spec.graph.task_edges, STORE.spec.graph.task_edges) == (True, False)
    without = STORE.users(torch.tensor([1]), torch.tensor([0])).graph
    assert without is not None
    assert without.task_log_count_BkT is None


def test_targets_are_the_labels_and_where_they_are_known() -> None:
    labels, observed = STORE.targets(DATASET.train, torch.tensor([3, 0]))
    assert labels.tolist() == DATASET.train.labels[[3, 0]].tolist()
    assert observed.tolist() == DATASET.train.observed[[3, 0]].tolist()
    assert labels.dtype == torch.float32


def test_the_spec_counts_codes_dense_inputs_groups_and_conditions() -> None:
    spec = STORE.spec
    assert (spec.n_users, spec.n_items) == (len(DATASET.users), len(DATASET.items))
    assert spec.user.sparse == tuple(1 + DATASET.users.features.sparse.max(axis=0))
    assert spec.user.dense == 3  # one of its own, two rates
    assert spec.context.dense == 1
    assert spec.graph is not None
    assert (spec.graph.n_user_groups, spec.graph.n_item_groups) == (3, 4)
    assert spec.given == (None, 0)


def test_without_graph_and_rates_the_batch_carries_neither() -> None:
    store = NodeStore.of(DATASET, None)
    batch = store.batch(DATASET.train, torch.arange(4))
    assert batch.user.graph is None
    assert batch.user.features.dense_BG.shape == (4, 1)
    assert store.spec.graph is None


def test_tables_rest_in_compact_types() -> None:
    assert STORE.user_table.graph is not None
    assert STORE.user_table.graph.macro1.dtype == torch.int16
    assert STORE.user_table.graph.log_count1.dtype == torch.float16
    assert STORE.user_table.features.sparse_nF.dtype == torch.int32


def test_rates_that_the_log_lacks_are_refused() -> None:
    with pytest.raises(UserError, match="history rates"):
        NodeStore.of(replace(DATASET, rates=None), None, history_rates=True)


def test_a_graph_of_another_log_is_refused() -> None:
    with pytest.raises(UserError, match="another log"):
        check_graph_fits(GRAPH, tiny_dataset(users=41))
