"""Laws that hold for every architecture and option set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model.errors import UserError
from model.nets.config import MMoEConfig
from model.nets.id_table import IdTable
from model.nets.interface import Architecture, Batch, InputSpec
from tests.model.nets.batches import batch_of, spec_of, take
from tests.model.nets.variants import ALL, GRAPH, PLAIN, Mapping, build

every_variant = pytest.mark.parametrize("mapping", [pytest.param(m, id=name) for name, m in ALL.items()])
every_plain = pytest.mark.parametrize("mapping", [pytest.param(m, id=name) for name, m in PLAIN.items()])
every_graph = pytest.mark.parametrize("mapping", [pytest.param(m, id=name) for name, m in GRAPH.items()])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def with_moments(model: Architecture, spec: InputSpec) -> Architecture:
    """In evaluation mode, with running statistics that a few batches have moved."""
    model.train()
    for seed in range(3):
        model(batch_of(spec, rows=32, seed=seed))
    return model.eval()


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "no gradient at all"
    return parameter.grad


@every_variant
@torch.no_grad()
def test_a_row_scores_the_same_alone_and_in_any_batch(mapping: Mapping) -> None:
    spec = spec_of()
    model = with_moments(build(mapping, spec), spec)
    batch = batch_of(spec, rows=24, seed=9)
    together = model(batch)
    alone = torch.cat([model(take(batch, torch.tensor([row]))) for row in range(24)])
    order = torch.randperm(24)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(take(batch, order)), together[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(model(take(batch, order[:7])), together[order[:7]], atol=1e-5, rtol=0)
    assert together.std() > 1e-4, "all rows score alike, so the law says nothing"


@every_variant
@torch.no_grad()
def test_one_user_half_serves_all_candidates(mapping: Mapping) -> None:
    spec = spec_of()
    model = with_moments(build(mapping, spec), spec)
    batch = batch_of(spec, rows=10, seed=3)
    first = torch.zeros(10, dtype=torch.int64)
    one = model.user_half(take(batch.user, first[:1]))
    user_half = {name: part.expand(10, *part.shape[1:]) for name, part in one.items()}
    item_halves = [model.item_half(take(batch.item, torch.tensor([row]))) for row in range(10)]
    cached = {name: torch.cat([half[name] for half in item_halves]) for name in item_halves[0]}
    pairs = Batch(take(batch.user, first), batch.item, batch.context)
    torch.testing.assert_close(model.score(user_half, cached, batch.context), model(pairs), atol=1e-5, rtol=0)


@every_variant
def test_gradients_reach_every_parameter(mapping: Mapping) -> None:
    spec = spec_of()
    model = build(mapping, spec).train()
    logit_BT = model.training_logits(batch_of(spec, rows=64))
    torch.autograd.backward((logit_BT * torch.randn_like(logit_BT)).sum())
    dead = [name for name, parameter in model.named_parameters() if not gradient(parameter).abs().sum() > 0]
    assert dead == []


@every_variant
def test_a_small_planted_set_is_learned(mapping: Mapping) -> None:
    spec = spec_of()
    model = build(mapping, spec).train()
    batch = batch_of(spec, rows=32)
    ids_B = batch.user.id_B * 3 + batch.item.id_B
    labels_BT = torch.stack([(ids_B % 5 < 4 - task).float() for task in range(3)], dim=1)  # a funnel, as chains want
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(model.training_logits(batch), labels_BT)
        model.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    # The least of them: once the gradients have vanished, Adam may jump, and comes back.
    assert min(losses) < 0.25 * losses[0], f"from {losses[0]:.3f} to {min(losses):.3f}"


@pytest.mark.parametrize("mapping", [ALL["mmoe"], ALL["macgnn"], ALL["mgoe, defaults"]], ids=["mmoe", "macgnn", "mgoe"])
def test_sparse_gradients_of_id_tables_are_the_dense_ones(mapping: Mapping) -> None:
    spec = spec_of()
    model = build(mapping, spec).eval()
    tables = [part for part in model.modules() if isinstance(part, IdTable)]
    found = []
    for is_sparse in (False, True):
        for table in tables:
            table.sparse = is_sparse
        model.zero_grad()
        torch.autograd.backward(model(batch_of(spec)).square().sum())
        found.append([gradient(table.weight) for table in tables])
    assert all(sparse.is_sparse for sparse in found[1])
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse.to_dense(), dense)


@pytest.mark.parametrize("option", ["degrees", "neighbour_means", "groups"])
def test_a_baseline_with_inputs_from_the_graph_reads_it(option: str) -> None:
    assert not MMoEConfig().reads_graph
    assert MMoEConfig.model_validate({"inputs": {option: True}}).reads_graph


@every_variant
def test_one_task_is_enough(mapping: Mapping) -> None:
    spec = spec_of(tasks=1)
    model = build(mapping, spec).train()
    torch.autograd.backward(model.training_logits(batch_of(spec)).sum())
    assert model.eval()(batch_of(spec, rows=5)).shape == (5, 1)
    assert all(parameter.numel() > 0 for parameter in model.parameters())


@every_variant
def test_a_training_batch_of_one_row_is_finite(mapping: Mapping) -> None:
    spec = spec_of()
    model = build(mapping, spec).train()
    logit_BT = model(batch_of(spec, rows=1))
    torch.autograd.backward(logit_BT.sum())
    assert logit_BT.isfinite().all()
    assert all(gradient(parameter).isfinite().all() for parameter in model.parameters())


@every_plain
def test_no_graph_is_needed(mapping: Mapping) -> None:
    spec = spec_of(graph=None)
    assert build(mapping, spec)(batch_of(spec, rows=4)).shape == (4, 3)


@every_graph
def test_without_a_graph_the_error_says_what_to_do(mapping: Mapping) -> None:
    with pytest.raises(UserError, match=r"give one with --graph \(make it with `mgoe graph build`\)"):
        build(mapping, spec_of(graph=None))


@every_graph
def test_a_batch_without_its_graph_is_refused(mapping: Mapping) -> None:
    model = build(mapping, spec_of())
    with pytest.raises(UserError, match="the batch has no macro graph"):
        model(batch_of(spec_of(graph=None)))


@pytest.mark.parametrize("mapping", [pytest.param(m, id=name) for name, m in ALL.items() if "no ids" not in name])
def test_a_log_without_features_works(mapping: Mapping) -> None:
    spec = spec_of(features=False)
    model = build(mapping, spec).train()
    torch.autograd.backward(model.training_logits(batch_of(spec)).sum())
    assert model.eval()(batch_of(spec)).isfinite().all()


def test_a_model_without_any_input_is_refused() -> None:
    with pytest.raises(UserError, match="no inputs"):
        build({"architecture": "mmoe", "inputs": {"ids": False}}, spec_of(features=False))
