"""How prompts become SegNext's three maps."""

from __future__ import annotations

import numpy as np
import pytest

from samref.core.geometry import Frame, ImageSize
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.models.segnext.model import draw_points, draw_signed_maps, list_points, paint_areas, scale_points

SQUARE = ImageSize(128, 128)
FRAME = Frame.stretch(SQUARE, 128)
NOTHING = np.zeros((128, 128), dtype=np.float32)


def signed(*items: Prompt, frame: Frame = FRAME) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = draw_signed_maps(Prompts(items).mapped(frame.to_model, 1.0), frame, 5.0)
    return positive, negative


def test_points_are_listed_positive_first_and_padded_to_the_longer_sign() -> None:
    points = list_points([Click(7, 3), Click(2, 1, positive=False), Click(9, 8)])
    assert points.tolist() == [[3, 7, 0], [8, 9, 2], [1, 2, 1], [-1, -1, -1]]
    assert list_points([]).tolist() == [[-1, -1, -1], [-1, -1, -1]]


def test_points_are_scaled_per_axis_and_rounded_half_up() -> None:
    points = np.array([[1, 1, 0], [3, 2, 1], [2047, 4095, 2], [9, 9, -1]], dtype=np.float32)
    scaled = scale_points(points, ImageSize(2048, 4096), ImageSize(1024, 1024))
    assert scaled[:, :2].tolist() == [[1, 0], [2, 1], [1024, 1024], [9, 9]]


@pytest.mark.parametrize("length", [1, 2, 3, 220, 300, 451, 1023, 1024, 1025, 2048, 3000, 6144, 8191])
def test_rounding_survives_the_way_through_the_model_frame(length: int) -> None:
    frame = Frame.stretch(ImageSize(length, length), 1024)
    rows = np.unique(np.linspace(0, length - 1, 997).astype(int))
    there = [frame.to_model(float(row), float(row)) for row in rows]
    back = scale_points(
        list_points([Click(*frame.to_image(*position)) for position in there]), frame.image, frame.resized
    )
    direct = np.floor(rows.astype(np.float32) * np.float32(1024 / length) + np.float32(0.5))
    np.testing.assert_array_equal(back[: len(rows), 0], direct)


def test_only_points_with_both_coordinates_negative_are_left_out() -> None:
    points = np.array([[-1, -1, 4], [-1, 20, -1], [50, -1, 0], [-2, -3, 0]], dtype=np.float32)
    positive, negative = draw_points(points, SQUARE, 5.0)
    assert positive.sum() == positive[:5, 15:26].sum() > 0
    assert negative.sum() == negative[45:56, :5].sum() > 0


def test_a_click_is_a_disk_of_radius_five_around_its_pixel() -> None:
    positive, negative = signed(Click(40, 30))
    rows, columns = np.indices((128, 128))
    np.testing.assert_array_equal(positive, (rows - 30) ** 2 + (columns - 40) ** 2 <= 25)
    assert not negative.any()


def test_a_scribble_is_as_wide_as_a_click_whatever_the_brush() -> None:
    stroke = Scribble(((20, 64), (100, 64)), positive=False, width=1.0)
    positive, negative = signed(stroke)
    assert not positive.any()
    assert np.flatnonzero(negative[:, 60]).tolist() == list(range(59, 70))
    positive, negative = signed(Scribble(((20, 64), (100, 64)), width=40.0))
    assert positive[:, 60].sum() == 11
    assert not negative.any()


def test_a_scribble_begins_and_ends_like_a_click() -> None:
    frame = Frame.stretch(ImageSize(33, 77), 128)
    ends = (9, 7), (60, 28)
    stroke, _ = signed(Scribble(ends), frame=frame)
    clicks, _ = signed(*(Click(*end) for end in ends), frame=frame)
    assert stroke[clicks > 0].all()
    lone, _ = signed(Scribble(ends[:1]), frame=frame)
    np.testing.assert_array_equal(lone, signed(Click(*ends[0]), frame=frame)[0])


def test_areas_are_painted_into_the_mask_while_they_are_new() -> None:
    box, outline = Box(10, 20, 50, 60), Polygon(((70, 10), (110, 10), (110, 50), (70, 50)))
    prompts = Prompts((box, Click(5, 5), outline))
    mask = paint_areas(NOTHING, prompts, 0)
    assert mask[20:60, 10:50].sum() == mask[:, :60].sum() == 40 * 40
    assert mask[10:50, 70:110].all()
    assert mask[9:51, 69:111].sum() == mask[:, 60:].sum(), "and at most the pixels on its outline"
    only_outline = paint_areas(NOTHING, prompts, 2)
    np.testing.assert_array_equal(only_outline[:, 60:], mask[:, 60:])
    assert not only_outline[:, :60].any()
    assert not paint_areas(NOTHING, prompts, 3).any()
    assert not NOTHING.any()
    assert not any(drawn.any() for drawn in signed(box, outline))


def test_a_negative_polygon_is_cut_out_while_it_is_new_and_stays_in_the_negative_map() -> None:
    hole = Polygon(((20, 30), (40, 30), (40, 50), (20, 50)), positive=False)
    prompts = Prompts((Box(10, 20, 50, 60), hole))
    mask = paint_areas(np.full_like(NOTHING, 0.25), prompts, 1)
    assert mask[30:50, 20:40].max() == 0
    assert np.unique(mask).tolist() == [0, 0.25]
    positive, negative = signed(*prompts.items)
    assert not positive.any()
    assert negative[30:50, 20:40].all()
    assert negative[29:51, 19:41].sum() == negative.sum(), "and at most the pixels on its outline"
