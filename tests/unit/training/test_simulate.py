from __future__ import annotations

import cv2
import numpy as np
import pytest

from samref.core.prompts import Click, Scribble
from samref.training import simulate


def disk(radius: int = 20, side: int = 80) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.uint8)
    cv2.circle(mask, (side // 2, side // 2), radius, 1, -1)
    return mask


@pytest.mark.parametrize("seed", range(8))
def test_clicks_fall_inside_and_strokes_nearly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = disk()
    click = simulate.click_in(region, True, rng)
    stroke = simulate.scribble_in(region, False, rng)
    assert click is not None
    assert stroke is not None
    assert region[int(click.y), int(click.x)] == 1
    assert not stroke.positive
    inside = [region[round(y), round(x)] for x, y in stroke.points]
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("seed", range(8))
def test_careless_shapes_still_resemble_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = disk()
    box = simulate.careless_box(region, rng)
    polygon = simulate.careless_polygon(region, rng)
    rough = simulate.careless_mask(region, rng)
    assert box is not None
    assert polygon is not None
    assert abs((box.x1 - box.x0) - 41) <= 10
    assert len(polygon.points) >= 3
    assert (rough & region).sum() / (rough | region).sum() > 0.3


def test_nothing_to_click_gives_nothing() -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    rng = np.random.default_rng(0)
    assert simulate.click_in(empty, True, rng) is None
    assert simulate.scribble_in(empty, True, rng) is None
    assert simulate.careless_box(empty, rng) is None
    assert simulate.careless_polygon(empty, rng) is None
    assert simulate.correction(disk(), disk(), empty.repeat(8, 0).repeat(8, 1), rng) is None


def test_a_correction_goes_to_the_deeper_mistake_and_never_to_ignored_pixels() -> None:
    rng = np.random.default_rng(0)
    gt, ignore = disk(20), np.zeros((80, 80), dtype=np.uint8)
    missing = simulate.correction(np.zeros_like(gt), gt, ignore, rng)
    too_much = simulate.correction(np.ones_like(gt), gt, ignore, rng)
    assert isinstance(missing, Click | Scribble)
    assert missing.positive
    assert isinstance(too_much, Click | Scribble)
    assert not too_much.positive
    assert simulate.correction(np.ones_like(gt), gt, 1 - gt, rng) is None
