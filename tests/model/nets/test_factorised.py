"""The factorised form scores what the architecture scores, for every architecture and option."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.nets.factorise import factorise
from model.nets.factorised import Factorised
from model.nets.folded_transfer import FoldedTransfer
from model.nets.information_transfer import InformationTransfer
from model.nets.interface import Architecture, Batch, InputSpec
from model.nets.stacked import StackedLinear
from tests.model.nets.batches import batch_of, spec_of, take
from tests.model.nets.variants import ALL, Mapping, build

PAIRED = {"mgoe, target attention", "mgoe, target attention, shared ids", "macgnn, target attention"}
"""Their pairs meet before any linear map."""
factorised_variants = pytest.mark.parametrize(
    "mapping", [pytest.param(mapping, id=name) for name, mapping in ALL.items() if name not in PAIRED]
)


def trained(mapping: Mapping, spec: InputSpec) -> Architecture:
    """Weights and running statistics as large as after training, so that no part of a score is near 0."""
    torch.manual_seed(0)
    model = build(mapping, spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.train()
    with torch.no_grad():
        for seed in range(3):
            model(batch_of(spec, rows=32, seed=seed))
    return model.eval()


def logits_of(form: Factorised, model: Architecture, batch: Batch, owners: list[int]) -> torch.Tensor:
    """Pairs (owners[n], n): the user and context of row owners[n] with the item of row n."""
    users = sorted(set(owners))
    rows = torch.tensor(users)
    user_RP = form.user_part(model.user_half(take(batch.user, rows)), take(batch.context, rows))
    owner_N = torch.tensor([users.index(owner) for owner in owners])
    logit_NT: torch.Tensor = form(user_RP, owner_N, form.item_part(model.item_half(batch.item)))
    return logit_NT


def expected(model: Architecture, batch: Batch, owners: list[int]) -> torch.Tensor:
    rows = torch.tensor(owners)
    logit_NT: torch.Tensor = model(Batch(take(batch.user, rows), batch.item, take(batch.context, rows)))
    return logit_NT


@factorised_variants
@pytest.mark.parametrize("wide_items", [True, False])
@torch.no_grad()
def test_the_factorised_form_scores_what_the_architecture_scores(mapping: Mapping, wide_items: bool) -> None:
    spec = spec_of()
    model = trained(mapping, spec)
    form = factorise(model, wide_items)
    assert form is not None
    batch = batch_of(spec, rows=24, seed=9)
    for owners in ([3] * 24, list(range(24)), [5] * 12 + [0] * 12):
        found, wanted = logits_of(form, model, batch, owners), expected(model, batch, owners)
        torch.testing.assert_close(torch.sigmoid(found), torch.sigmoid(wanted), atol=5e-6, rtol=0)
        assert wanted.std() > 1e-2, "all pairs score alike, so the law says nothing"


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_target_attention_has_no_factorised_form(name: str) -> None:
    assert factorise(build(ALL[name], spec_of())) is None


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize("architecture", ["mmoe", "mgoe", "aitm", "esmm"])
@torch.no_grad()
def test_any_number_of_tasks_factorises(architecture: str, tasks: int) -> None:
    spec = spec_of(tasks=tasks)
    model = trained({"architecture": architecture}, spec)
    form = factorise(model)
    assert form is not None
    batch = batch_of(spec, rows=8, seed=1)
    found = torch.sigmoid(logits_of(form, model, batch, [0] * 8))
    torch.testing.assert_close(found, torch.sigmoid(expected(model, batch, [0] * 8)), atol=5e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 4), dim=st.integers(1, 12), seed=st.integers(0, 2**16), scale=st.floats(0.05, 1.0))
@torch.no_grad()
def test_folded_transfer_is_transfer_and_logit(steps: int, dim: int, seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    info, logit = InformationTransfer(steps + 1, dim), StackedLinear(steps + 1, dim, 1)
    for parameter in [*info.parameters(), *logit.parameters()]:
        parameter.copy_(torch.randn_like(parameter) * scale)
    q_NTD = torch.randn(9, steps + 1, dim)
    wanted = torch.sigmoid(logit.double()(info.double()(q_NTD.double())).squeeze(-1)).float()
    folded = FoldedTransfer(info.float(), logit.float())
    torch.testing.assert_close(torch.sigmoid(folded(q_NTD)), wanted, atol=1e-4, rtol=0)
