"""Every parameter has one optimiser; sparse ones touch the rows of a batch only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.errors import UserError
from model.training.config import TrainingConfig
from model.training.optimiser import clip_gradients, load_state, make_optimisers, scale_rates, state_tensors
from model.training.rowwise_adagrad import RowWiseAdagrad


class Net(nn.Module):
    """A large table, a small one and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Embedding(50, 3)
        self.small = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, index_B: torch.Tensor) -> torch.Tensor:
        return self.head(self.large(index_B) + self.small(index_B % 4)).sum()  # type: ignore[no-any-return]


def sparse(name: str, **more: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"sparse_optimiser": name, "sparse_from_rows": 10, **more})


@pytest.mark.parametrize("name", ["none", "sparse_adam", "rowwise_adagrad"])
def test_every_parameter_is_in_exactly_one_optimiser(name: str) -> None:
    net = Net()
    optimisers = make_optimisers(net, sparse(name))
    moved = [id(p) for optimiser in optimisers for group in optimiser.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in net.parameters())
    assert net.large.sparse == (name != "none")
    assert not net.small.sparse


@pytest.mark.parametrize("name", ["sparse_adam", "rowwise_adagrad"])
def test_a_sparse_step_leaves_rows_outside_the_batch_alone(name: str) -> None:
    net = Net()
    optimisers = make_optimisers(net, sparse(name, table_weight_decay=0.0))
    before = net.large.weight.detach().clone()
    net(torch.tensor([7, 7, 9])).backward()
    for optimiser in optimisers:
        optimiser.step()
    changed = (net.large.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [7, 9]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 0.1))
def test_row_wise_adagrad_follows_its_formula_sparse_and_dense(seed: int, decay: float) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(6, 4))
    literal, total = weight.copy(), np.zeros(6)
    tables = [nn.Embedding(6, 4, sparse=sparse, _weight=torch.tensor(weight)) for sparse in (True, False)]
    optimisers = [RowWiseAdagrad(table.parameters(), lr=0.1, weight_decay=decay) for table in tables]
    for _ in range(3):
        index = np.arange(6) if decay else rng.integers(0, 6, 5)  # dense decay touches all rows, sparse those met
        factor = rng.normal(size=(len(index), 4))
        gradient = np.zeros((6, 4))
        np.add.at(gradient, index, factor)
        for row in np.unique(index):
            g = gradient[row] + decay * literal[row]
            total[row] += np.mean(g**2)
            literal[row] -= 0.1 * g / (np.sqrt(total[row]) + 1e-8)
        for table, optimiser in zip(tables, optimisers, strict=True):
            optimiser.zero_grad()
            (table(torch.tensor(index)) * torch.tensor(factor)).sum().backward()
            optimiser.step()
    for table in tables:
        np.testing.assert_allclose(table.weight.detach().numpy(), literal, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["none", "sparse_adam", "rowwise_adagrad"])
@pytest.mark.parametrize("dense", ["adam", "adamw", "adagrad", "sgd"])
def test_state_comes_back_from_its_tensors(name: str, dense: str) -> None:
    config = sparse(name, optimiser=dense)
    torch.manual_seed(0)
    net = Net()
    optimisers = make_optimisers(net, config)
    twin = Net()
    others = make_optimisers(twin, config)

    def step(net: Net, optimisers: list[torch.optim.Optimizer]) -> None:
        for optimiser in optimisers:
            optimiser.zero_grad()
        net(torch.tensor([1, 2, 2, 30])).backward()
        for optimiser in optimisers:
            optimiser.step()

    step(net, optimisers)
    twin.load_state_dict(net.state_dict())
    load_state(others, {name: tensor.clone() for name, tensor in state_tensors(optimisers).items()})
    step(net, optimisers)
    step(twin, others)
    for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_tables_have_their_own_rate_and_decay() -> None:
    config = TrainingConfig(learning_rate=0.1, table_learning_rate=0.01, weight_decay=0.5, table_weight_decay=0.0)
    net = Net()
    (optimiser,) = make_optimisers(net, config)
    scale_rates([optimiser], 0.5)
    options = {id(p): (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    assert options[id(net.head.weight)] == (0.05, 0.5)
    assert options[id(net.large.weight)] == (0.005, 0.0)


def test_sparse_adam_refuses_a_decay_that_it_cannot_give() -> None:
    with pytest.raises(UserError, match="rowwise_adagrad"):
        make_optimisers(Net(), sparse("sparse_adam", table_weight_decay=0.1))


@pytest.mark.parametrize("largest", [1e-3, 1e3])
def test_sparse_gradients_are_clipped_as_dense_ones_are(largest: float) -> None:
    found = []
    for name in ("none", "rowwise_adagrad"):
        torch.manual_seed(0)
        net = Net()
        make_optimisers(net, sparse(name))
        net(torch.tensor([7, 7, 9])).backward()
        wanted = [parameter.grad.to_dense().clone() for parameter in net.parameters() if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in wanted]))
        clip_gradients(net, largest)
        clipped = [parameter.grad.to_dense() for parameter in net.parameters() if parameter.grad is not None]
        for mine, gradient in zip(clipped, wanted, strict=True):
            torch.testing.assert_close(mine, gradient * min(1.0, largest / float(norm)), rtol=1e-3, atol=0)
        found.append(clipped)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
