"""Losses against values and gradients of the published code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from samref.training.losses import EPS_FOCSAM, click_loss, normalized_focal_loss, weighted_focal_loss
from tests.parity.recordings import files, load

VALUE_LIMIT, VALUE_FLOOR = 1e-5, 1e-6
GRADIENT_LIMIT, GRADIENT_FLOOR = 1e-4, 1e-9

LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "segnext_nfl": lambda x, y, valid, _: normalized_focal_loss(x, y, valid),
    "ritm_nfl_alpha25": lambda x, y, valid, _: normalized_focal_loss(x, y, valid, alpha=0.25),
    "focsam_nfl": lambda x, y, valid, _: normalized_focal_loss(x, y, valid, eps=EPS_FOCSAM, eps_in_count=False),
    "focalclick_wfnl": weighted_focal_loss,
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_equal_the_published_ones(name: str) -> None:
    for path in files("losses*.npz"):
        case = load(path)
        if f"{name}_value" not in case:
            continue
        logits = torch.from_numpy(case["logits"]).requires_grad_()
        gt = torch.from_numpy(case["label"]).float()
        valid = 1 - torch.from_numpy(case["ignored"]).float()
        value = LOSSES[name](logits, gt, valid, torch.from_numpy(case["weight_map"]).float())
        torch.autograd.backward(value.mean())
        assert logits.grad is not None
        np.testing.assert_allclose(
            value.detach().numpy(), case[f"{name}_value"], rtol=VALUE_LIMIT, atol=VALUE_FLOOR, err_msg=path.name
        )
        reference = case[f"{name}_grad"]
        off = np.abs(logits.grad.numpy() - reference).max()
        assert off <= GRADIENT_LIMIT * reference.std() + GRADIENT_FLOOR, (path.name, off)


def test_the_click_loss_equals_the_published_one() -> None:
    for path in files("losses*.npz"):
        case = load(path)
        if "click_value" not in case:
            continue
        side = case["click_grad"].shape[-1]
        logits = torch.from_numpy(case["logits"])[..., :side].clone().requires_grad_()
        value = click_loss(logits, torch.from_numpy(case["click_xy"]), torch.from_numpy(case["click_label"]))
        torch.autograd.backward(value)
        assert logits.grad is not None
        np.testing.assert_allclose(
            value.item(), case["click_value"], rtol=VALUE_LIMIT, atol=VALUE_FLOOR, err_msg=path.name
        )
        off = np.abs(logits.grad.numpy() - case["click_grad"]).max()
        assert off <= GRADIENT_LIMIT * case["click_grad"].std() + GRADIENT_FLOOR, (path.name, off)
