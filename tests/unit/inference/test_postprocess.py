"""The mask of an image is that of upsampled logits above 0, however little of it is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samref.core.geometry import Frame, ImageSize
from samref.core.masks import MaskWindow, Rle, encode_object
from samref.inference.postprocess import mask_from_logits
from samref.models.interface import Patch

NEAR_ZERO = 1e-4
"""Logits so small that the order of float operations may decide their sign."""


def smooth_logits(seed: int, cells: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, cells, cells, generator=generator) * 8
    return F.interpolate(noise, size=(side, side), mode="bicubic")


def resize_all(logits: torch.Tensor, frame: Frame) -> NDArray[np.float64]:
    """Every pixel, by torch in double precision."""
    size = (frame.padded.height, frame.padded.width)
    padded = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False)
    cut = padded[..., : frame.resized.height, : frame.resized.width]
    image = (frame.image.height, frame.image.width)
    return F.interpolate(cut, size=image, mode="bilinear", align_corners=False)[0, 0].numpy()


def assert_same(mask: Rle, logits: NDArray[np.float64]) -> None:
    different = mask.to_mask() != (logits > 0)
    assert np.abs(logits[different]).max(initial=0.0) < NEAR_ZERO
    assert different.sum() <= max(2, different.size // 10_000)


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([16, 33, 64]),
    st.integers(1, 20),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_any_image_gets_the_pixels_of_the_full_upsampling(
    height: int, width: int, side: int, cells: int, stretched: bool, seed: int
) -> None:
    size = ImageSize(height, width)
    frame = Frame.stretch(size, side) if stretched else Frame.letterbox(size, side)
    logits = smooth_logits(seed, cells, max(1, side // 4))
    assert_same(mask_from_logits(logits, frame), resize_all(logits, frame))


@pytest.mark.parametrize("cells", [4, 40])
def test_a_twelve_megapixel_image_gets_the_pixels_of_the_full_upsampling(cells: int) -> None:
    frame = Frame.letterbox(ImageSize(3000, 4000), 512, 16)
    logits = smooth_logits(cells, cells, 128)[..., : frame.padded.height // 4, :]
    assert_same(mask_from_logits(logits, frame), resize_all(logits, frame))


@pytest.mark.parametrize(("value", "area"), [(1.0, 30 * 41), (-1.0, 0), (0.0, 0)])
def test_flat_logits_give_all_or_nothing(value: float, area: int) -> None:
    frame = Frame.letterbox(ImageSize(30, 41), 64)
    mask = mask_from_logits(torch.full((1, 1, 16, 16), value), frame)
    assert mask.area == area
    assert mask == Rle.from_mask(np.full((30, 41), area > 0))


def test_half_precision_logits_are_thresholded_in_single_precision() -> None:
    frame = Frame.letterbox(ImageSize(300, 400), 64)
    logits = smooth_logits(1, 6, 16).bfloat16()
    assert mask_from_logits(logits, frame) == mask_from_logits(logits.float(), frame)


def test_logits_are_left_as_they_are() -> None:
    frame = Frame.letterbox(ImageSize(30, 40), 16)
    logits, patch = smooth_logits(1, 6, 16), smooth_logits(2, 3, 8)
    before = logits.clone(), patch.clone()
    mask_from_logits(logits, frame, Patch((2, 2, 9, 9), patch))
    assert torch.equal(logits, before[0])
    assert torch.equal(patch, before[1])


def test_a_patch_replaces_exactly_the_pixels_whose_middle_it_covers() -> None:
    frame = Frame.letterbox(ImageSize(64, 64), 64)
    outside, inside = torch.full((1, 1, 16, 16), 5.0), torch.full((1, 1, 7, 7), -5.0)
    mask = mask_from_logits(outside, frame, Patch((10.5, 20.4, 30.6, 40.0), inside)).to_mask()
    expected = np.ones((64, 64), dtype=np.bool_)
    expected[20:40, 10:31] = False
    assert np.array_equal(mask, expected)


def test_a_patch_with_a_cell_for_each_pixel_is_pasted_as_it_is() -> None:
    frame = Frame.letterbox(ImageSize(64, 64), 64)
    cells = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(3))
    mask = mask_from_logits(torch.full((1, 1, 16, 16), -1.0), frame, Patch((8, 4, 28, 24), cells)).to_mask()
    assert np.array_equal(mask[4:24, 8:28], (cells[0, 0] > 0).numpy())
    assert mask.sum() == (cells > 0).sum()


def test_a_patch_is_upsampled_bilinearly_to_its_rectangle_of_the_image() -> None:
    frame = Frame.letterbox(ImageSize(600, 800), 64)
    cells = smooth_logits(4, 4, 24)
    mask = mask_from_logits(torch.full((1, 1, 16, 16), -1.0), frame, Patch((8.0, 4.0, 40.0, 36.0), cells))
    expected = np.full((600, 800), -1.0)
    window = F.interpolate(cells.double(), size=(400, 400), mode="bilinear", align_corners=False)
    expected[50:450, 100:500] = window[0, 0].numpy()
    assert_same(mask, expected)


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.3, 0.3), (63.9, 10.0, 64.0, 20.0)])
def test_a_patch_that_covers_no_pixel_changes_nothing(box: tuple[float, float, float, float]) -> None:
    frame = Frame.letterbox(ImageSize(64, 64), 64)
    logits = smooth_logits(5, 5, 16)
    patch = Patch(box, torch.full((1, 1, 4, 4), 9.0))
    assert mask_from_logits(logits, frame, patch) == mask_from_logits(logits, frame)


def test_a_patch_beside_the_object_widens_the_window() -> None:
    frame = Frame.letterbox(ImageSize(64, 64), 64)
    logits = torch.full((1, 1, 64, 64), -1.0)
    logits[..., 2:5, 2:5] = 1.0
    mask = mask_from_logits(logits, frame, Patch((40, 50, 60, 64), torch.ones(1, 1, 4, 4))).to_mask()
    assert mask[2:5, 2:5].all()
    assert mask[50:64, 40:60].all()
    assert mask.sum() == 9 + 14 * 20


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_run_lengths_of_a_window_are_those_of_the_whole_mask(
    seed: int, height: int, width: int, density: float
) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < density
    left, top = int(random.integers(0, width)), int(random.integers(0, height))
    right, bottom = int(random.integers(left, width + 1)), int(random.integers(top, height + 1))
    whole = np.zeros_like(mask)
    whole[top:bottom, left:right] = mask[top:bottom, left:right]
    window = np.ascontiguousarray(mask[top:bottom, left:right].T)
    assert Rle.from_window(window, left, top, ImageSize(height, width)) == Rle.from_mask(whole)
    expected = Rle.from_mask(whole)
    assert encode_object(window, left, top, ImageSize(height, width)) == (expected, MaskWindow.from_rle(expected))
