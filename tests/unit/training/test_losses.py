"""Gradients of the focal losses against finite differences in double precision, and what losses say in plain cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from samref.training.losses import (
    EPS_FOCSAM,
    EPS_RITM,
    binary_cross_entropy,
    click_loss,
    dice_loss,
    normalized_focal_loss,
    weighted_focal_loss,
)

SHAPE = (3, 1, 4, 5)
GENERATOR = torch.Generator().manual_seed(7)
GT = (torch.rand(SHAPE, generator=GENERATOR) > 0.5).double()
VALID = (torch.rand(SHAPE, generator=GENERATOR) > 0.2).double()
ATTENTION = (torch.rand(SHAPE, generator=GENERATOR) > 0.5).double()


def frozen_scale(logits: Tensor, eps: float) -> Tensor:
    """The focal scale as the loss holds it fixed: finite differences must not move it either."""
    p_t = torch.where(VALID > 0, 1 - (GT - logits.detach().sigmoid()).abs(), torch.ones_like(logits))
    beta = (1 - p_t) ** 2
    return VALID.sum((1, 2, 3), keepdim=True) / (beta.sum((1, 2, 3), keepdim=True) + eps)


def focal_terms(logits: Tensor, scale: Tensor, eps: float) -> Tensor:
    """NFL's sum, spelled out a second time with a fixed scale."""
    p_t = torch.where(VALID > 0, 1 - (GT - logits.sigmoid()).abs(), torch.ones_like(logits))
    return -0.5 * VALID * scale * (1 - p_t) ** 2 * (p_t + eps).clamp(max=1).log()


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("eps", [EPS_RITM, EPS_FOCSAM])
def test_the_focal_gradient_is_that_of_the_fixed_scale(eps: float) -> None:
    logits = start()
    scale = frozen_scale(logits, eps)

    def spelled_out(x: Tensor) -> Tensor:
        return focal_terms(x, scale, eps).sum((1, 2, 3)) / VALID.sum((1, 2, 3))

    assert torch.autograd.gradcheck(spelled_out, (logits,))
    ours = normalized_focal_loss(logits, GT, VALID, eps=eps, eps_in_count=False)
    torch.testing.assert_close(ours, spelled_out(logits))
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    (expected,) = torch.autograd.grad(spelled_out(logits).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_the_weighted_focal_gradient_is_that_of_the_fixed_scale() -> None:
    logits = start()
    scale = frozen_scale(logits, EPS_RITM)
    importance = 0.5 * ATTENTION + 0.5

    def spelled_out(x: Tensor) -> Tensor:
        return (focal_terms(x, scale, EPS_RITM) * importance).sum() / importance.sum()

    assert torch.autograd.gradcheck(spelled_out, (logits,))
    ours = weighted_focal_loss(logits, GT, VALID, ATTENTION)
    torch.testing.assert_close(ours, spelled_out(logits))
    (gradient,) = torch.autograd.grad(ours, logits)
    (expected,) = torch.autograd.grad(spelled_out(logits), logits)
    torch.testing.assert_close(gradient, expected)


def test_a_sample_without_valid_pixels_costs_nothing_and_moves_nothing() -> None:
    logits = start()
    nothing = torch.zeros_like(GT)
    for loss in (normalized_focal_loss, dice_loss, binary_cross_entropy):
        value = loss(logits, GT, nothing).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.abs() < 1e-9
        assert not gradient.any()


def test_the_click_loss_reads_row_and_column_in_a_frame_that_is_not_square() -> None:
    logits = torch.full((1, 1, 2, 6), -20.0)
    logits[0, 0, 1, 4] = 20.0
    inside = torch.ones(1, 1, dtype=torch.long)
    assert click_loss(logits, torch.tensor([[[4.0, 1.0]]]), inside) < 1e-6
    assert click_loss(logits, torch.tensor([[[1.0, 0.0]]]), inside) > 0.99
    assert click_loss(logits, torch.tensor([[[1.0, 0.0]]]), -inside) == 0
