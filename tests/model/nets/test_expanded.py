"""The factorised form computes what the literal one computes, in values and in gradients."""

from __future__ import annotations

import pytest
import torch

from model.nets.expanded import expanded
from model.nets.macgnn import MacGNN
from model.nets.mgoe import MGOE
from tests.model.nets.batches import batch_of, spec_of
from tests.model.nets.variants import GRAPH, Mapping, build

BOTH_FORMS = [pytest.param(m, id=n) for n, m in GRAPH.items() if m["architecture"] != "mmoe"]


@pytest.mark.parametrize("mapping", BOTH_FORMS)
def test_factorised_aggregation_equals_the_expanded_one(mapping: Mapping) -> None:
    torch.manual_seed(0)
    spec = spec_of()
    model = build(mapping, spec).eval()
    assert isinstance(model, MGOE | MacGNN)
    literal = expanded(model)
    batch = batch_of(spec, rows=12)
    logit_BT, expected_BT = model(batch), literal(batch)
    torch.testing.assert_close(logit_BT, expected_BT, atol=1e-5, rtol=1e-5)
    out_BT = torch.randn_like(logit_BT)
    torch.autograd.backward((logit_BT * out_BT).sum())
    torch.autograd.backward((expected_BT * out_BT).sum())
    for parameter, other in zip(model.parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, atol=1e-5, rtol=1e-4)
