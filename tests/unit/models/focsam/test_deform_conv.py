from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samref.models.focsam.network import TAPS, DeformableConv, deform_conv2d

Array = NDArray[np.float64]


def by_definition(x: Array, offset: Array, modulation: Array, weight: Array) -> Array:
    """Every output pixel by itself, with the four neighbours of each tap looked up one by one."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, weight.shape[0], height, width))

    def pixel(b: int, c: int, row: int, column: int) -> float:
        inside = 0 <= row < height and 0 <= column < width
        return float(x[b, c, row, column]) if inside else 0.0

    def bilinear(b: int, c: int, row: float, column: float) -> float:
        top, left = int(np.floor(row)), int(np.floor(column))
        down, right = row - top, column - left
        return (
            (1 - down) * (1 - right) * pixel(b, c, top, left)
            + (1 - down) * right * pixel(b, c, top, left + 1)
            + down * (1 - right) * pixel(b, c, top + 1, left)
            + down * right * pixel(b, c, top + 1, left + 1)
        )

    for b, row, column in np.ndindex(batch, height, width):
        for tap in range(9):
            kernel_row, kernel_column = divmod(tap, 3)
            at_row = row + kernel_row - 1 + offset[b, 2 * tap, row, column]
            at_column = column + kernel_column - 1 + offset[b, 2 * tap + 1, row, column]
            for c in range(channels):
                value = modulation[b, tap, row, column] * bilinear(b, c, at_row, at_column)
                out[b, :, row, column] += weight[:, c, kernel_row, kernel_column] * value
    return out


def inputs(
    batch: int = 2, channels: int = 3, height: int = 5, width: int = 4, out: int = 2, reach: float = 2.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, height, width))
    offset = reach * rng.standard_normal((batch, 2 * TAPS, height, width))
    modulation = rng.uniform(0, 1, (batch, TAPS, height, width))
    weight = rng.standard_normal((out, channels, 3, 3))
    return tuple(torch.from_numpy(value) for value in (x, offset, modulation, weight))  # type: ignore[return-value]


@pytest.mark.parametrize("reach", [0.0, 0.3, 2.0, 20.0])
@pytest.mark.parametrize("size", [(5, 4), (1, 6), (3, 1)])
def test_it_is_what_the_definition_says(reach: float, size: tuple[int, int]) -> None:
    given = inputs(height=size[0], width=size[1], reach=reach)
    expected = by_definition(*(value.numpy() for value in given))
    np.testing.assert_allclose(deform_conv2d(*given).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_single_precision_is_as_near_as_it_can_be() -> None:
    given = inputs(height=16, width=16, reach=1.0)
    expected = by_definition(*(value.numpy() for value in given))
    single = deform_conv2d(*(value.float() for value in given)).numpy()
    assert np.abs(single - expected).max() < 2e-5 * expected.std()


def test_without_offsets_and_with_full_weight_it_is_an_ordinary_convolution() -> None:
    x, offset, modulation, weight = inputs()
    out = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(modulation), weight)
    torch.testing.assert_close(out, F.conv2d(x, weight, padding=1))


def test_offsets_are_rows_first_and_belong_to_their_tap() -> None:
    x, offset, modulation, weight = inputs(batch=1, channels=1, out=1)
    offset, weight = torch.zeros_like(offset), torch.zeros_like(weight)
    weight[0, 0, 1, 2] = 1  # tap 5 looks one column to the right
    offset[:, 2 * 5] = 1  # and now one row further down
    out = deform_conv2d(x, offset, torch.ones_like(modulation), weight)
    assert torch.equal(out[..., :-1, :-1], x[..., 1:, 1:])
    assert out[..., -1, :].abs().max() == 0
    assert out[..., -1].abs().max() == 0


def test_half_a_pixel_outside_half_is_left_and_one_pixel_outside_nothing() -> None:
    x = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    weight[0, 0, 1, 1] = 1
    modulation = torch.ones(1, TAPS, 3, 3, dtype=torch.float64)
    for up, left in ((0.5, 0.5), (1.0, 0.0), (7.0, 0.0)):
        offset = torch.zeros(1, 2 * TAPS, 3, 3, dtype=torch.float64)
        offset[:, 8] = -up
        assert float(deform_conv2d(x, offset, modulation, weight)[0, 0, 0, 1]) == pytest.approx(left)


def test_its_gradients_are_right() -> None:
    given = tuple(value.requires_grad_() for value in inputs(batch=1, channels=2, height=3, width=2, reach=0.7))
    assert torch.autograd.gradcheck(deform_conv2d, given)


def test_the_layer_learns_where_to_look_and_how_much_to_trust() -> None:
    layer = DeformableConv(4).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    offset, modulation = layer.dcn_offset(x)[:, :18], layer.dcn_offset(x)[:, 18:].sigmoid()
    torch.testing.assert_close(layer(x), deform_conv2d(x, offset, modulation, layer.dcn.weight))
    layer(x).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
