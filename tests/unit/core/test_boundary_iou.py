from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from samref.core.masks import Mask, boundary_iou, mask_iou


def disk(radius: float, height: int = 90, width: int = 120, x: float = 60, y: float = 45) -> Mask:
    rows, columns = np.indices((height, width))
    inside: Mask = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return inside


def band_as_published(mask: Mask, ratio: float) -> Mask:
    """Pad by one, erode ``width`` times with 3 x 3, take away what is left."""
    width = max(1, round(ratio * math.hypot(*mask.shape)))
    padded = np.pad(mask.astype(np.uint8), 1)
    core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    band: Mask = mask & (core == 0)
    return band


@pytest.mark.parametrize("ratio", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (40, 30), (60, 45)])
def test_it_is_the_iou_of_the_published_boundary_bands(ratio: float, shift: tuple[int, int]) -> None:
    gt = disk(30)
    pred = disk(28, x=60 + shift[0], y=45 + shift[1])
    expected = mask_iou(band_as_published(pred, ratio), band_as_published(gt, ratio))
    assert boundary_iou(pred, gt, dilation_ratio=ratio) == expected


def test_the_same_mask_gives_one_and_two_empty_masks_give_nan() -> None:
    assert boundary_iou(disk(20), disk(20)) == 1.0
    empty = np.zeros((9, 9), dtype=np.bool_)
    assert math.isnan(boundary_iou(empty, empty))


def test_it_sees_a_ragged_outline_that_iou_hardly_sees() -> None:
    gt = disk(40)
    assert mask_iou(disk(38), gt) > 0.89
    assert boundary_iou(disk(38), gt) < 0.5


def test_spilling_into_ignored_pixels_costs_nothing() -> None:
    gt = disk(20)
    around = disk(30) & ~gt
    assert boundary_iou(disk(28), gt, around) == 1.0
    assert boundary_iou(disk(28), gt) < 1.0
