"""Imitated coarse masks look like a base's logits, and are wrong or right as promised."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from samref.core.masks import mask_iou
from samref.training.coarse_masks import (
    LogitLook,
    draw_look,
    good_logits,
    perturbed_logits,
    smooth_logits,
    wrong_mask,
)

SIDE = 192
CELLS = (SIDE // 4, SIDE // 4)


def disk(x: int = 96, y: int = 90, radius: int = 40) -> NDArray[np.uint8]:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    return mask


def image(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    rgb[mask > 0] += 120
    return rgb


def shown(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    enlarged: NDArray[np.bool_] = cv2.resize(logits, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0
    return enlarged


def test_smooth_logits_show_the_mask_with_the_slope_and_the_limit_they_are_told() -> None:
    logits = smooth_logits(disk(), CELLS, LogitLook(slope=3.0, limit=12.0, blur=0.0))
    assert logits.dtype == np.float32
    assert mask_iou(shown(logits), disk() > 0) > 0.97
    assert np.abs(logits).max() <= 12.0
    assert logits[22, 24] > 11  # far from the outline the limit is reached
    assert logits[0, 0] < -11
    steepest = np.abs(np.diff(logits, axis=1)).max()
    assert 2.4 < steepest < 3.1


def test_logits_are_continuous_so_that_neighbouring_cells_never_jump_from_sure_to_sure() -> None:
    logits = smooth_logits(disk(), CELLS, LogitLook(slope=2.0, limit=15.0, blur=0.6))
    assert np.abs(np.diff(logits, axis=0)).max() < 3
    assert np.abs(np.diff(logits, axis=1)).max() < 3
    assert 0.02 < np.mean(np.abs(logits) < 4) < 0.6  # a rim of doubt, not a step


def test_a_part_thinner_than_a_cell_is_lost_as_a_base_loses_it() -> None:
    mask = disk()
    cv2.line(mask, (0, 20), (SIDE - 1, 20), 1, 1)
    logits = smooth_logits(mask, CELLS)
    assert not shown(logits)[20, :40].any()
    assert shown(logits)[90, 96]


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_one_value_has_logits_of_one_sign(value: int) -> None:
    logits = smooth_logits(np.full((SIDE, SIDE), value, dtype=np.uint8), CELLS)
    assert np.all(logits > 0) if value else np.all(logits < 0)


def test_an_object_cut_by_the_border_has_no_outline_there() -> None:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[:, :100] = 1
    logits = smooth_logits(mask, CELLS, LogitLook(blur=0.5))
    assert logits[:, 0].min() > 10


def test_good_logits_are_good_whatever_the_look() -> None:
    rng = np.random.default_rng(1)
    ious = [mask_iou(shown(good_logits(disk(), CELLS, rng)), disk() > 0) for _ in range(30)]
    assert min(ious) >= 0.95


def test_perturbed_logits_are_wrong_in_many_degrees_and_never_empty() -> None:
    rng = np.random.default_rng(2)
    answers = [perturbed_logits(disk(), image(disk()), CELLS, rng) for _ in range(60)]
    ious = [mask_iou(shown(logits), disk() > 0) for logits in answers]
    assert 0.6 < float(np.mean(ious)) < 0.95
    assert float(np.std(ious)) > 0.05
    assert min(ious) < 0.75
    assert all(np.isfinite(logits).all() and np.abs(logits).max() <= 20 for logits in answers)


def test_looks_range_from_timid_to_very_sure() -> None:
    rng = np.random.default_rng(3)
    limits = [draw_look(rng).limit for _ in range(200)]
    assert min(limits) < 4
    assert max(limits) > 16


@pytest.mark.parametrize("radius", [1, 3, 12, 60, 150])
def test_wrong_masks_of_objects_of_every_size_keep_some_pixels(radius: int) -> None:
    gt = disk(radius=radius)
    for seed in range(15):
        wrong = wrong_mask(gt, image(gt), np.random.default_rng(seed))
        assert wrong.shape == gt.shape
        assert wrong.dtype == np.uint8
        assert wrong.any()
        assert set(np.unique(wrong)) <= {0, 1}


def test_the_same_seed_gives_the_same_mistakes() -> None:
    one, two = (perturbed_logits(disk(), image(disk()), CELLS, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, two)
