from __future__ import annotations

import numpy as np
import pytest

from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble


def drawn(
    *items: Click | Box | Polygon | Scribble, frame: MapFrame | None = None, radius: float = 2.0
) -> dict[str, np.ndarray]:
    maps = draw_prompt_maps(Prompts(items), frame or MapFrame(20, 30), radius)
    return {"positive": maps.positive, "negative": maps.negative, "box": maps.box, "region": maps.region}


def test_a_click_is_a_disk_around_its_pixel() -> None:
    maps = drawn(Click(10, 5))
    assert maps["positive"][5, 10] == 1
    assert maps["positive"].sum() == 13  # the disk of squared distance at most 4
    assert not maps["negative"].any()


def test_signs_do_not_mix() -> None:
    maps = drawn(Click(10, 5, positive=False), Click(20, 15))
    assert maps["negative"][5, 10] == 1
    assert maps["positive"][5, 10] == 0
    assert maps["positive"][15, 20] == 1


def test_a_disk_at_the_corner_is_cut_off_and_one_outside_leaves_nothing() -> None:
    assert drawn(Click(0, 0))["positive"].sum() == 6
    assert not drawn(Click(200, 200))["positive"].any()


def test_a_box_fills_exactly_the_pixels_between_its_sides() -> None:
    box = drawn(Box(3, 4, 10, 8))["box"]
    assert box.sum() == 7 * 4
    assert box[4:8, 3:10].all()


def test_a_polygon_fills_its_region_and_a_negative_one_counts_as_outside() -> None:
    square = ((3.0, 4.0), (10.0, 4.0), (10.0, 8.0), (3.0, 8.0))
    region = drawn(Polygon(square))["region"]
    assert region[5:7, 4:9].all()
    assert abs(int(region.sum()) - 28) <= 12
    negative = drawn(Polygon(square, positive=False))
    assert negative["negative"][6, 6] == 1
    assert not negative["region"].any()


def test_a_stroke_covers_its_line_at_its_width() -> None:
    stroke = drawn(Scribble(((5.0, 10.0), (25.0, 10.0)), True, 5.0))["positive"]
    assert stroke[10, 5:26].all()
    assert stroke[8:13, 15].all()
    assert not stroke[4, :].any()
    assert not stroke[16, :].any()


def test_a_stroke_of_one_point_is_a_dot() -> None:
    assert drawn(Scribble(((5.0, 10.0),), True, 5.0))["positive"][10, 5] == 1


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_a_pixel_lands_where_its_middle_lies_at_any_scale(scale: float) -> None:
    frame = MapFrame(int(40 * scale), int(60 * scale), scale_xy=(scale, scale))
    positive = drawn(Click(21, 13), frame=frame, radius=1.0)["positive"]
    rows, columns = np.nonzero(positive)
    assert (rows.mean() + 0.5) / scale == pytest.approx(13.5, abs=0.5 / scale)
    assert (columns.mean() + 0.5) / scale == pytest.approx(21.5, abs=0.5 / scale)


def test_a_window_sees_its_own_part_only() -> None:
    window = MapFrame(10, 10, scale_xy=(2.0, 2.0), origin_xy=(20.0, 10.0))
    assert drawn(Click(22, 12), frame=window)["positive"][4:6, 4:6].all()
    assert not drawn(Click(5, 5), frame=window)["positive"].any()
