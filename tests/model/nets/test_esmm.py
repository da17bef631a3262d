"""ESMM's products along the chain of tasks."""

from __future__ import annotations

import pytest
import torch

from model.nets.esmm import ESMM, logit_of_log
from tests.model.nets.batches import batch_of, spec_of
from tests.model.nets.variants import build


def esmm(chain: str, given: tuple[int | None, ...]) -> ESMM:
    torch.manual_seed(0)
    model = build({"architecture": "esmm", "chain": chain}, spec_of(given=given)).eval()
    assert isinstance(model, ESMM)
    return model


@pytest.mark.parametrize(
    ("chain", "given", "products"),
    [
        ("given", (None, None, None), [(0,), (1,), (2,)]),
        ("given", (None, 0, 1), [(0,), (0, 1), (0, 1, 2)]),
        ("given", (None, None, 1), [(0,), (1,), (1, 2)]),
        ("first", (None, None, None), [(0,), (0, 1), (0, 2)]),
        ("ordered", (None, None, None), [(0,), (0, 1), (0, 1, 2)]),
        ("ordered", (None, None, 0), [(0,), (0, 1), (0, 2)]),
    ],
)
def test_a_probability_is_the_product_along_its_chain(
    chain: str, given: tuple[int | None, ...], products: list[tuple[int, ...]]
) -> None:
    model = esmm(chain, given)
    own_BT = torch.randn(6, 3)
    expected = torch.stack([own_BT.sigmoid()[:, list(tasks)].prod(dim=1) for tasks in products], dim=1)
    torch.testing.assert_close(model.entire(own_BT).sigmoid(), expected)


@torch.no_grad()
def test_a_conditional_task_is_trained_on_the_product_and_predicted_given_its_condition() -> None:
    model = esmm("given", (None, 0, None))
    batch = batch_of(spec_of())
    predicted_BT, trained_BT = model(batch).sigmoid(), model.training_logits(batch).sigmoid()
    torch.testing.assert_close(trained_BT[:, 1], predicted_BT[:, 0] * predicted_BT[:, 1])
    torch.testing.assert_close(trained_BT[:, [0, 2]], predicted_BT[:, [0, 2]])


def test_a_logit_from_log_space_keeps_its_digits_at_both_ends() -> None:
    logit = torch.tensor([-80.0, -20.0, -1.0, 0.0, 1.0, 12.0, 40.0], requires_grad=True)
    back = logit_of_log(torch.nn.functional.logsigmoid(logit))
    torch.testing.assert_close(back, logit, rtol=1e-4, atol=1e-5)
    torch.autograd.backward(back.sum())
    assert logit.grad is not None
    torch.testing.assert_close(logit.grad, torch.ones(7), rtol=1e-3, atol=1e-3)
