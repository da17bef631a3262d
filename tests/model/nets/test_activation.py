"""Standardised inputs: what evaluation shows the net lies within what training has shown it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from model.nets.activation import InputMoments


def trained(*batches: torch.Tensor) -> InputMoments:
    """Moments of so many steps, in evaluation mode."""
    moments = InputMoments(batches[0].shape[1]).train()
    for batch in batches:
        moments(batch)
    return moments.eval()


@given(steps=st.integers(1, 200), constant=st.floats(-100, 100, width=32))
def test_a_number_that_never_varied_says_nothing_from_the_first_step_on(steps: int, constant: float) -> None:
    moments = trained(*[torch.full((8, 1), constant)] * steps)
    assert moments(torch.tensor([[constant], [constant + 1], [1e6]])).abs().max() == 0


@given(scale=st.sampled_from([1e-5, 1e-4, 1e-3]), seed=st.integers(0, 5))
def test_a_number_of_little_variance_is_kept(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = [scale * torch.randn(64, 1, generator=generator) for _ in range(200)]
    moments = trained(*batches)
    x = scale * torch.tensor([[-1.0], [1.0]])
    assert torch.equal(moments(x), (x - moments.mean) * (moments.var + moments.eps).rsqrt())
    assert moments(x).abs().min() > 0


def test_a_rare_value_is_no_larger_in_evaluation_than_training_has_shown_it() -> None:
    rare = torch.zeros(100, 1)
    rare[0] = 1
    shown = InputMoments(1).train()(rare).max()
    moments = trained(rare, *[torch.zeros(100, 1)] * 500)
    assert moments(torch.ones(1, 1)).item() == shown


def test_usual_numbers_are_standardised_by_the_running_moments() -> None:
    batches = [torch.randn(64, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    moments = trained(*batches)
    x = torch.tensor([[0.5, -1.0, 1.5]])
    assert torch.equal(moments(x), (x - moments.mean) * (moments.var + moments.eps).rsqrt())
