"""Laws of masks, polygons and clicks on arbitrary small masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle
from samref.core.oracle import Annotator
from samref.core.polygons import mask_to_polygons, polygons_to_mask, ring_area

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(MASKS)
@settings(max_examples=300)
def test_mask_to_polygons_to_mask_is_the_identity(mask: Mask) -> None:
    assert np.array_equal(polygons_to_mask(mask_to_polygons(mask), ImageSize(*mask.shape)), mask)


@given(MASKS)
def test_rings_are_simple_turn_the_right_way_and_account_for_every_pixel(mask: Mask) -> None:
    area = 0.0
    for polygon in mask_to_polygons(mask):
        assert ring_area(polygon.outer) > 0
        assert all(ring_area(hole) < 0 for hole in polygon.holes)
        area += ring_area(polygon.outer) + sum(ring_area(hole) for hole in polygon.holes)
        for ring in (polygon.outer, *polygon.holes):
            assert len(set(ring)) == len(ring)
            for (x0, y0), (x1, y1), (x2, _) in zip(ring, ring[1:] + ring[:1], ring[2:] + ring[:2], strict=True):
                assert (x0 == x1) != (y0 == y1)  # a side runs along one axis
                assert (x0 == x1) != (x1 == x2)  # and every corner turns
    assert area == mask.sum()


@given(MASKS)
def test_run_lengths_come_back_as_the_same_mask(mask: Mask) -> None:
    rle = Rle.from_mask(mask)
    assert np.array_equal(rle.to_mask(), mask)
    assert rle.area == mask.sum()


@given(MASKS, st.integers(0, 2**32 - 1))
def test_clicks_land_on_mistakes_of_their_own_sign_until_none_is_left(gt: Mask, seed: int) -> None:
    pred: Mask = np.random.default_rng(seed).random(gt.shape) < 0.5
    annotator = Annotator(gt)
    for _ in range(int((pred ^ gt).sum())):
        click = annotator.click(pred)
        row, column = int(click.y), int(click.x)
        assert gt[row, column] == click.positive
        assert pred[row, column] != click.positive
    last = annotator.click(pred)
    assert (last.x, last.y, last.positive) == (0, 0, False)
