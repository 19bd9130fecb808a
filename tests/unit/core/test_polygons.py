from __future__ import annotations

import time

import numpy as np

from samref.core.geometry import ImageSize
from samref.core.masks import Mask
from samref.core.polygons import PolygonWithHoles, mask_to_polygons, polygons_to_mask, ring_area


def mask_of(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


def test_one_pixel_is_a_unit_square_between_pixels() -> None:
    assert mask_to_polygons(mask_of("...", ".#.", "...")) == [
        PolygonWithHoles(((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0)))
    ]


def test_an_empty_mask_has_no_polygons_and_a_full_one_has_the_frame() -> None:
    assert mask_to_polygons(np.zeros((4, 5), dtype=np.bool_)) == []
    (polygon,) = mask_to_polygons(np.ones((4, 5), dtype=np.bool_))
    assert set(polygon.outer) == {(0, 0), (5, 0), (5, 4), (0, 4)}


def test_a_ring_has_a_hole_and_an_island_in_it_is_its_own_part() -> None:
    polygons = mask_to_polygons(mask_of("#####", "#...#", "#.#.#", "#...#", "#####"))
    assert [(ring_area(p.outer), [ring_area(hole) for hole in p.holes]) for p in polygons] == [(25, [-9]), (1, [])]


def test_pixels_touching_at_a_corner_are_two_parts() -> None:
    polygons = mask_to_polygons(mask_of("#.", ".#"))
    assert [ring_area(p.outer) for p in polygons] == [1, 1]


def test_holes_touching_at_a_corner_are_two_holes() -> None:
    (polygon,) = mask_to_polygons(mask_of("####", "#.##", "##.#", "####"))
    assert [ring_area(hole) for hole in polygon.holes] == [-1, -1]


def test_a_ring_closed_only_at_a_corner_does_not_touch_itself() -> None:
    mask = mask_of(".##", "#.#", "###")
    (polygon,) = mask_to_polygons(mask)
    for ring in (polygon.outer, *polygon.holes):
        assert len(set(ring)) == len(ring)
    assert ring_area(polygon.outer) + sum(ring_area(hole) for hole in polygon.holes) == mask.sum()


def test_a_pixel_is_inside_when_its_middle_is() -> None:
    triangle = PolygonWithHoles(((0, 0), (4, 0), (0, 4)))
    expected = mask_of("###.", "##..", "#...", "....")
    filled = polygons_to_mask([triangle], ImageSize(4, 4))
    # Middles on the slanted side itself belong to the half-open rule; all others are plain.
    assert np.array_equal(filled | np.eye(4, dtype=np.bool_)[::-1], expected | np.eye(4, dtype=np.bool_)[::-1])


def test_overlapping_polygons_are_joined_not_cancelled() -> None:
    left = PolygonWithHoles(((0, 0), (3, 0), (3, 2), (0, 2)))
    right = PolygonWithHoles(((1, 0), (4, 0), (4, 2), (1, 2)))
    assert polygons_to_mask([left, right], ImageSize(2, 4)).all()


def test_polygons_beyond_the_image_are_clipped() -> None:
    around = PolygonWithHoles(((-5, -5), (50, -5), (50, 50), (-5, 50)), (((1, 1), (2, 1), (2, 2), (1, 2)),))
    assert np.array_equal(polygons_to_mask([around], ImageSize(3, 3)), mask_of("###", "#.#", "###"))
    beside = PolygonWithHoles(((10, 0), (12, 0), (12, 2), (10, 2)))
    assert not polygons_to_mask([beside], ImageSize(3, 3)).any()


def test_a_twelve_megapixel_mask_takes_moments() -> None:
    rows, columns = np.indices((3000, 4000), dtype=np.int32)
    wave = 900 + 60 * np.sin(np.arctan2(rows - 1500, columns - 2000) * 40)
    mask = (rows - 1500) ** 2 + (columns - 2000) ** 2 <= wave**2
    start = time.perf_counter()
    polygons = mask_to_polygons(mask)
    assert np.array_equal(polygons_to_mask(polygons, ImageSize(3000, 4000)), mask)
    assert time.perf_counter() - start < 20  # about half a second on an idle machine
