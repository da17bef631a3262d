"""Stacked nets, Dice, gates, the embedding bundle and the calibrator, each against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.nets.activation import Dice, InputMoments, RunningMoments
from model.nets.aitm import AITM
from model.nets.config import MODEL_CONFIG, HiddenOptions, InputOptions
from model.nets.embedding import FeatureEmbedding
from model.nets.id_table import IdTable, id_penalty
from model.nets.interface import FeatureBatch, FeatureCards
from model.nets.numeric import Ramps
from model.nets.stacked import StackedLinear, StackedMLP
from tests.model.nets.batches import batch_of, spec_of
from tests.model.nets.variants import build


@pytest.mark.parametrize("rows", [2, 64])
def test_the_kernel_of_running_moments_follows_their_definition(rows: int) -> None:
    torch.manual_seed(0)
    found = []
    x, factor = torch.randn(rows, 3, 5) * 4 + 7, torch.randn(rows, 3, 5)
    for forward in (RunningMoments._by_kernel, RunningMoments._by_definition):
        moments, leaf = RunningMoments(3, 5).double(), x.double().requires_grad_()
        torch.autograd.backward((forward(moments, leaf) * factor).sum())
        assert leaf.grad is not None
        found.append((forward(moments, leaf), leaf.grad, moments.mean, moments.var))
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_ids_of_more_nodes_than_rows_are_spread_evenly_and_the_unknown_keeps_its_row() -> None:
    table = IdTable(100_000, 4, InputOptions(id_rows=1001))
    row_N = table.row_of(torch.arange(100_000))
    assert table.weight.shape == (1001, 4)
    assert row_N[0] == 0
    assert (row_N[1:] > 0).all()
    filled = row_N.bincount(minlength=1001)[1:]
    assert 70 < filled.min() <= filled.max() < 130
    assert torch.equal(table.look_up(torch.tensor([7])), table.weight[row_N[7:8]])
    one = torch.ones(1, 1)
    assert torch.equal(table.weighted_sum(torch.tensor([[7]]), one), table.weight[row_N[7:8]])


@given(nodes=st.integers(1, 50), rows=st.integers(2, 60))
def test_with_a_row_for_every_node_an_id_is_its_row(nodes: int, rows: int) -> None:
    table = IdTable(nodes, 4, InputOptions(id_rows=rows))
    row_N = table.row_of(torch.arange(nodes))
    assert row_N.max() < len(table.weight)
    if rows >= nodes:
        assert torch.equal(row_N, torch.arange(nodes))


@torch.no_grad()
def test_stacked_nets_equal_a_loop_over_single_ones() -> None:
    net = StackedMLP(3, 5, (7, 4), HiddenOptions())
    x_BSI = torch.randn(6, 3, 5)
    for s in range(3):
        x = x_BSI[:, s]
        for linear in net.linears:
            assert isinstance(linear, StackedLinear)
            assert linear.bias_SO is not None
            x = torch.relu(x @ linear.weight_SOI[s].T + linear.bias_SO[s])
        torch.testing.assert_close(net(x_BSI)[:, s], x)
    torch.testing.assert_close(net.shared(x_BSI[:, 0]), net(x_BSI[:, :1].expand(-1, 3, -1)))


@torch.no_grad()
def test_dice_uses_the_batch_in_training_and_running_moments_in_evaluation() -> None:
    dice = Dice(4)
    dice.alpha.fill_(0.3)
    x_BD = torch.randn(50, 4) * 3 + 2
    p_BD = torch.sigmoid((x_BD - x_BD.mean(dim=0)) / x_BD.std(dim=0))
    torch.testing.assert_close(dice(x_BD), p_BD * x_BD + 0.3 * (1 - p_BD) * x_BD)
    for _ in range(200):
        dice(x_BD)
    dice.eval()
    torch.testing.assert_close(dice.moments.mean, x_BD.mean(dim=0))
    torch.testing.assert_close(dice(x_BD[:1]), dice(x_BD)[:1])


@torch.no_grad()
def test_moments_of_one_training_row_are_finite() -> None:
    assert RunningMoments(3).train()(torch.randn(1, 3)).isfinite().all()


@torch.no_grad()
def test_a_number_that_never_varied_in_training_is_nothing_in_evaluation() -> None:
    moments = InputMoments(2)
    for _ in range(200):
        moments(torch.stack([torch.zeros(50), torch.randn(50)], dim=1))
    later_BG = moments.eval()(torch.tensor([[3.0, 1.0], [0.0, -1.0]]))
    assert (later_BG[:, 0] == 0).all()
    assert (later_BG[:, 1].abs() > 0.5).all()


@torch.no_grad()
def test_whole_id_dropout_turns_an_id_into_the_unknown_one_in_training_only() -> None:
    torch.manual_seed(0)
    table = IdTable(10, 4, InputOptions(id_dropout=0.5))
    table.weight[0] = 9
    id_B = torch.full((2000,), 3)
    dropped = (table.look_up(id_B) == 9).all(dim=1)
    assert 0.45 < dropped.float().mean() < 0.55
    torch.testing.assert_close(table.eval().look_up(id_B), table.weight[3].expand(2000, -1))


def test_the_id_penalty_is_the_mean_squared_norm_of_the_batch() -> None:
    table = IdTable(10, 4, InputOptions(id_l2=0.5))
    assert id_penalty(table) is None
    id_B = torch.tensor([1, 1, 2])
    table.look_up(id_B)
    torch.testing.assert_close(id_penalty(table), 0.5 * table.weight[id_B].square().sum(dim=1).mean())
    table.eval().look_up(id_B)
    assert id_penalty(table) is None


@torch.no_grad()
def test_features_of_equal_codes_have_embeddings_of_their_own_and_padding_counts_nothing() -> None:
    bundle = FeatureEmbedding(FeatureCards(sparse=(4, 5), multi=(6,), dense=2), InputOptions(feature_dim=3))
    assert bundle.sparse is not None
    codes_BM = torch.tensor([[2, 4, 0, 0], [0, 0, 0, 0]])
    x_BX = bundle(FeatureBatch(torch.tensor([[3, 3], [0, 4]]), torch.ones(2, 2), (codes_BM,)))
    torch.testing.assert_close(x_BX[:, :3], bundle.sparse.weight[[3, 0]])
    torch.testing.assert_close(x_BX[:, 3:6], bundle.sparse.weight[[4 + 3, 4 + 4]])
    mean_D = bundle.multi[0].weight[[2, 4]].mean(dim=0)  # type: ignore[index]
    torch.testing.assert_close(x_BX[:, 6:9], torch.stack([mean_D, torch.zeros(3)]))
    torch.testing.assert_close(x_BX[:, 9:], torch.ones(2, 2))


def test_the_calibrator_charges_only_a_stronger_task_that_is_likelier() -> None:
    model = build({"architecture": "aitm"}, spec_of())
    assert isinstance(model, AITM)
    falling_BT, rising_BT = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([[0.0, 1.0, -1.0]])
    assert model._excess(falling_BT) == 0
    torch.testing.assert_close(model._excess(rising_BT), torch.sigmoid(torch.tensor(1.0)) - 0.5)
    model.train()(batch_of(spec_of()))
    assert model.auxiliary_loss() is not None
    model.eval()(batch_of(spec_of()))
    assert model.auxiliary_loss() is None


def test_a_conditional_task_is_not_calibrated_against_the_one_before_it() -> None:
    model = build({"architecture": "aitm"}, spec_of(given=(None, 0, None)))
    assert isinstance(model, AITM)
    assert model.ordered == []


@pytest.mark.parametrize(
    "mapping",
    [{"architecture": "mmoe", "expert_count": 3}, {"architecture": "nothing"}, {"architecture": "mgoe", "tau": 0}],
)
def test_a_config_with_an_unknown_or_senseless_option_is_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MODEL_CONFIG.validate_python(mapping)


def test_features_are_left_out_whole_in_training_and_none_in_evaluation() -> None:
    options = InputOptions(feature_dropout=0.5, numeric="ramps", numeric_dim=4)
    bundle = FeatureEmbedding(FeatureCards(sparse=(9, 9), dense=3), options)
    batch = FeatureBatch(torch.randint(1, 9, (400, 2)), torch.rand(400, 3) + 0.1)
    whole_BX = bundle.eval()(batch)
    x_BX = bundle.train()(batch)
    widths = [options.feature_dim] * 2 + [1 + options.numeric_dim] * 3
    for kept_BW, all_BW in zip(x_BX.split(widths, dim=1), whole_BX.split(widths, dim=1), strict=True):
        left_out_B = (kept_BW == 0).all(dim=1)
        assert 0.35 < left_out_B.float().mean() < 0.65
        torch.testing.assert_close(kept_BW[~left_out_B], 2 * all_BW[~left_out_B])


def test_a_ramp_is_flat_outside_its_piece_and_straight_inside() -> None:
    ramps = Ramps(6)
    number, *steps = ramps(torch.tensor([[[0.5]]]))[0, 0].tolist()
    assert number == 0.5
    assert steps == pytest.approx([1, 1, 1, 0.5, 0, 0])
    assert ramps(torch.tensor([[[-9.0]]]))[0, 0, 1:].tolist() == [0] * 6
    assert ramps(torch.tensor([[[9.0]]]))[0, 0, 1:].tolist() == [1] * 6
