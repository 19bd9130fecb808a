"""Simulated people: where points and corrections may fall, how many there are, and what they overwrite."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from samref.core.prompts import Click, Scribble
from samref.training import clicks
from samref.training.clicks import Points, correct_points, geometric, plan_session, sample_points
from samref.training.recipes import CornerClicks, SessionClicks

RULES = CornerClicks()


def disk(x: int, y: int, radius: int = 14, side: int = 96) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), dtype=np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    return mask


def inside(points: NDArray[np.float32], mask: NDArray[np.uint8]) -> list[bool]:
    return [bool(mask[int(y), int(x)]) for x, y in points if not np.isnan(x)]


@pytest.mark.parametrize("seed", range(12))
def test_positives_fall_inside_and_negatives_outside_the_object(seed: int) -> None:
    mask, other = disk(30, 40), disk(70, 60) > 0
    points = sample_points([mask], other, RULES, np.random.default_rng(seed))
    positives, negatives = inside(points.positive, mask), inside(points.negative, mask)
    assert len(points.positive) == len(points.negative) == 24
    assert positives
    assert all(positives)
    assert not any(negatives)


def test_numbers_of_points_fall_off_as_published() -> None:
    rng = np.random.default_rng(0)
    mask, other = disk(30, 40), disk(70, 60) > 0
    drawn = [sample_points([mask], other, RULES, rng) for _ in range(1500)]
    positives = np.array([len(inside(p.positive, mask)) for p in drawn])
    negatives = np.array([len(inside(p.negative, mask)) for p in drawn])
    shares = 0.8 ** np.arange(24) / (0.8 ** np.arange(24)).sum()
    assert positives.min() == 1
    assert positives.mean() == pytest.approx(1 + (np.arange(24) * shares).sum(), abs=0.35)
    assert (negatives == 0).mean() == pytest.approx(0.2, abs=0.04)


def test_positives_mostly_keep_away_from_the_edge() -> None:
    rng = np.random.default_rng(0)
    mask = disk(48, 48, radius=20)
    core = np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=3), dtype=np.uint8)
    drawn = [sample_points([mask], mask < 0, RULES, rng) for _ in range(300)]
    at_edge = np.mean([not all(inside(p.positive, core)) for p in drawn])
    assert 0.02 < at_edge < 0.15


def test_negatives_are_near_on_others_and_anywhere_in_the_published_shares() -> None:
    rng = np.random.default_rng(1)
    mask, other = disk(30, 30), disk(78, 78, radius=12) > 0
    steps = int(np.ceil(0.1 * np.sqrt(mask.sum())))
    band = (cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=steps) > 0) & (mask == 0)
    negatives = [point for _ in range(500) for point in sample_points([mask], other, RULES, rng).negative]
    rows = [(int(y), int(x)) for x, y in negatives if not np.isnan(x)]
    anywhere = np.mean(mask == 0)
    near, on_other = np.mean([band[r] for r in rows]), np.mean([other[r] for r in rows])
    assert near == pytest.approx(0.5 + 0.1 * band.mean() / anywhere, abs=0.04)
    assert on_other == pytest.approx(0.4 + 0.1 * other.mean() / anywhere, abs=0.04)


def geometric_mean(count: int) -> float:
    """Of a number 0..count-1 with P ∝ 0.8ᵏ."""
    shares = 0.8 ** np.arange(count)
    return float((np.arange(count) * shares).sum() / shares.sum())


def test_without_another_object_no_negative_is_lost() -> None:
    """As on HQSeg-44K, one object an image: RITM's negatives "on other objects" then fall anywhere outside."""
    rng = np.random.default_rng(2)
    mask = disk(40, 50, radius=20)
    alone = np.zeros(mask.shape, dtype=np.bool_)
    negatives = [inside(sample_points([mask], alone, RULES, rng).negative, mask) for _ in range(4000)]
    assert geometric_mean(25) == pytest.approx(3.90, abs=0.01)
    assert np.mean([len(own) for own in negatives]) == pytest.approx(3.90, abs=0.25)
    steps = int(np.ceil(0.1 * np.sqrt(mask.sum())))
    band = (cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=steps) > 0) & (mask == 0)
    points = [point for _ in range(400) for point in sample_points([mask], alone, RULES, rng).negative]
    near = np.mean([band[int(y), int(x)] for x, y in points if not np.isnan(x)])
    assert near == pytest.approx(0.5 + 0.5 * band.sum() / (mask == 0).sum(), abs=0.05)


def test_others_wholly_under_the_object_take_no_negatives() -> None:
    rng = np.random.default_rng(3)
    mask, under = disk(48, 48, radius=20), disk(48, 48, radius=6) > 0
    counts = [len(inside(sample_points([mask], under, RULES, rng).negative, mask)) for _ in range(1500)]
    assert np.mean(counts) == pytest.approx(0.6 * 3.90, abs=0.25)


def test_two_merged_objects_get_a_point_each_and_k_more() -> None:
    rng = np.random.default_rng(4)
    left, right = disk(24, 48), disk(72, 48)
    drawn = [sample_points([left, right], left < 0, RULES, rng).positive for _ in range(3000)]
    counts = np.array([np.count_nonzero(~np.isnan(points[:, 0])) for points in drawn])
    shares = 0.8 ** np.arange(25) / (0.8 ** np.arange(25)).sum()
    expected = (np.minimum(2 + np.arange(25), 24) * shares).sum()
    assert counts.mean() == pytest.approx(expected, abs=0.25)
    assert (counts == 2).mean() == pytest.approx(shares[0], abs=0.03)


def test_negatives_of_an_empty_sample_fall_where_no_object_is() -> None:
    rng = np.random.default_rng(5)
    small = disk(48, 48, radius=30)
    points = [sample_points([], small > 0, RULES, rng) for _ in range(1000)]
    assert all(np.isnan(one.positive).all() for one in points)
    negatives = [inside(one.negative, small) for one in points]
    assert not any(map(any, negatives))
    assert np.mean([len(own) for own in negatives]) == pytest.approx(3.90, abs=0.4)


def test_both_of_two_merged_objects_get_a_point() -> None:
    left, right = disk(24, 48), disk(72, 48)
    for seed in range(10):
        points = sample_points([left, right], left < 0, RULES, np.random.default_rng(seed))
        assert any(inside(points.positive, left))
        assert any(inside(points.positive, right))


def test_a_correction_goes_to_the_deeper_mistake_and_into_the_slot_from_the_end() -> None:
    rng = np.random.default_rng(0)
    mask = disk(48, 48, radius=20)
    slots = np.full((24, 2), np.nan, dtype=np.float32)
    slots[-1] = (1, 1)
    points = Points(slots, slots.copy())
    nothing = np.zeros(mask.shape, dtype=np.float32)
    corrected = correct_points(points, nothing, mask, 1, 0.49, rng)
    x, y = corrected.positive[23]
    assert np.hypot(x - 48, y - 48) < 11  # deeper than half of the deepest
    assert np.array_equal(corrected.negative, points.negative, equal_nan=True)
    assert points.positive[23].tolist() == [1, 1]
    flooded = correct_points(corrected, np.ones(mask.shape, dtype=np.float32), mask, 2, 0.49, rng)
    assert np.array_equal(flooded.positive, corrected.positive, equal_nan=True)
    column, row = (int(v) for v in flooded.negative[22])
    assert mask[row, column] == 0
    assert correct_points(points, mask.astype(np.float32), mask, 1, 0.49, rng) is points


def test_ignored_pixels_count_as_background_in_a_correction() -> None:
    mask = np.full((40, 40), 255, dtype=np.uint8)
    mask[:4, :4] = 1
    slots = np.full((24, 2), np.nan, dtype=np.float32)
    everything = np.ones(mask.shape, dtype=np.float32)
    corrected = correct_points(Points(slots, slots.copy()), everything, mask, 1, 0.49, np.random.default_rng(0))
    assert not np.isnan(corrected.negative[23]).any()


def test_sessions_are_as_long_as_their_data_set_says() -> None:
    rng = np.random.default_rng(0)
    coco = [plan_session(SessionClicks(), "COCO", rng) for _ in range(2000)]
    lvis = [plan_session(SessionClicks(), "lvis_train", rng) for _ in range(2000)]
    assert all(0 <= plan.refine <= plan.earlier <= 20 for plan in coco + lvis)
    assert np.mean([plan.earlier == 0 for plan in coco]) == pytest.approx(0.4, abs=0.04)
    expected = 0.1 / (1 - 0.9**21)
    assert np.mean([plan.earlier == 0 for plan in lvis]) == pytest.approx(expected, abs=0.03)
    long = [plan.refine for plan in lvis if plan.earlier >= 6]
    assert np.mean([r == 0 for r in long]) == pytest.approx(0.65, abs=0.05)


def test_geometric_draws_reach_both_ends() -> None:
    assert {geometric(3, 0.9, np.random.default_rng(seed)) for seed in range(200)} == {0, 1, 2}


# ---- the embedded model's annotator


def centred() -> NDArray[np.uint8]:
    return disk(40, 40, radius=20, side=80)


@pytest.mark.parametrize("seed", range(8))
def test_clicks_fall_inside_and_strokes_nearly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = centred()
    click = clicks.click_in(region, True, rng)
    stroke = clicks.scribble_in(region, False, rng)
    assert click is not None
    assert stroke is not None
    assert region[int(click.y), int(click.x)] == 1
    assert not stroke.positive
    inside = [region[round(y), round(x)] for x, y in stroke.points]
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize("seed", range(8))
def test_careless_shapes_still_resemble_the_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = centred()
    box = clicks.careless_box(region, rng)
    polygon = clicks.careless_polygon(region, rng)
    rough = clicks.careless_mask(region, rng)
    assert box is not None
    assert polygon is not None
    assert abs((box.x1 - box.x0) - 41) <= 10
    assert len(polygon.points) >= 3
    assert (rough & region).sum() / (rough | region).sum() > 0.3


def test_nothing_to_click_gives_nothing() -> None:
    empty = np.zeros((10, 10), dtype=np.uint8)
    rng = np.random.default_rng(0)
    assert clicks.click_in(empty, True, rng) is None
    assert clicks.scribble_in(empty, True, rng) is None
    assert clicks.careless_box(empty, rng) is None
    assert clicks.careless_polygon(empty, rng) is None
    assert clicks.correction(centred(), centred(), empty.repeat(8, 0).repeat(8, 1), rng) is None


def test_a_correction_goes_to_the_deeper_mistake_and_never_to_ignored_pixels() -> None:
    rng = np.random.default_rng(0)
    gt, ignore = centred(), np.zeros((80, 80), dtype=np.uint8)
    missing = clicks.correction(np.zeros_like(gt), gt, ignore, rng)
    too_much = clicks.correction(np.ones_like(gt), gt, ignore, rng)
    assert isinstance(missing, Click | Scribble)
    assert missing.positive
    assert isinstance(too_much, Click | Scribble)
    assert not too_much.positive
    assert clicks.correction(np.ones_like(gt), gt, 1 - gt, rng) is None
