from __future__ import annotations

import numpy as np

from samref.core.masks import Mask
from samref.core.oracle import Annotator, next_click
from samref.core.prompts import Click


def blank(height: int = 20, width: int = 30) -> Mask:
    return np.zeros((height, width), dtype=np.bool_)


def square(y0: int, x0: int, side: int) -> Mask:
    mask = blank()
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


def test_the_first_click_is_positive_and_deepest_inside_the_object() -> None:
    assert next_click(blank(), square(4, 10, 7)) == Click(13, 7, True)


def test_the_larger_mistake_wins_and_surplus_is_clicked_negative() -> None:
    gt, pred = square(2, 2, 3), square(8, 12, 9)
    assert next_click(pred, gt) == Click(16, 12, False)


def test_equal_mistakes_give_the_negative_click() -> None:
    assert not next_click(square(8, 12, 5), square(2, 2, 5)).positive


def test_a_perfect_prediction_gives_the_negative_click_at_the_origin_every_time() -> None:
    annotator = Annotator(square(4, 10, 7))
    for _ in range(3):
        assert annotator.click(square(4, 10, 7)) == Click(0, 0, False)


def test_the_image_border_counts_as_background() -> None:
    full = np.ones((21, 31), dtype=np.bool_)
    assert next_click(np.zeros_like(full), full) == Click(10, 10, True)


def test_ignored_pixels_are_no_mistake() -> None:
    ignore = square(8, 12, 9)
    assert next_click(square(8, 12, 9), square(2, 2, 3), ignore) == Click(3, 3, True)
    assert next_click(blank(), square(8, 12, 9), ignore) == Click(0, 0, False)


def test_an_annotator_never_clicks_a_mistaken_pixel_twice() -> None:
    annotator = Annotator(square(4, 10, 7))
    clicks = [annotator.click(blank()) for _ in range(49)]
    assert len(set(clicks)) == 49
    assert all(click.positive for click in clicks)
    assert annotator.click(blank()) == Click(0, 0, False)


def test_the_arguments_are_left_as_they_were() -> None:
    pred, gt, ignore, seen = square(1, 1, 4), square(3, 3, 9), square(5, 5, 2), square(9, 9, 1)
    before = [array.copy() for array in (pred, gt, ignore, seen)]
    next_click(pred, gt, ignore, seen)
    assert all(np.array_equal(a, b) for a, b in zip(before, (pred, gt, ignore, seen), strict=True))
