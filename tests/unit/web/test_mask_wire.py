"""Masks on the wire: the crop is exact, previews are small and stay in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samref.core.masks import Mask, Rle, mask_box
from samref.web.mask_wire import MASK_CHARACTERS, mask_to_wire


def wired(mask: Mask) -> Mask:
    """The mask as a browser builds it from the wire."""
    sent = mask_to_wire(Rle.from_mask(mask))
    assert sent is not None
    assert sent["scale"] == 1
    x, y, width, height = sent["box"]
    whole = np.zeros_like(mask)
    if width:
        whole[y : y + height, x : x + width] = Rle(height, width, sent["counts"]).to_mask()
    return whole


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 0.95]))
def test_what_is_cut_out_is_the_mask_itself(height: int, width: int, seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    assert np.array_equal(wired(mask), mask)


@given(st.integers(0, 2**32 - 1))
def test_the_run_lengths_are_the_ones_pycocotools_gives_for_the_crop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = np.zeros((30, 40), dtype=np.bool_)
    top, left = generator.integers(0, 20, 2)
    mask[top : top + 9, left : left + 15] = generator.random((9, 15)) < 0.6
    box = mask_box(mask)
    if box is not None:
        x0, y0, x1, y1 = box
        sent = mask_to_wire(Rle.from_mask(mask))
        assert sent is not None
        assert sent["counts"] == Rle.from_mask(mask[y0:y1, x0:x1]).counts


@pytest.mark.parametrize("mask", [np.ones((7, 5), dtype=np.bool_), np.eye(9, dtype=np.bool_)])
def test_full_and_thin_masks_are_cut_out_exactly(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(wired(mask), mask)


def test_a_small_mask_travels_exactly() -> None:
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[5:9, 7:20] = True
    mask[6, 10] = False
    sent = mask_to_wire(Rle.from_mask(mask))
    assert sent is not None
    assert sent["box"] == [7, 5, 13, 4]
    assert sent["scale"] == 1
    back = Rle(4, 13, sent["counts"]).to_mask()
    assert np.array_equal(back, mask[5:9, 7:20])


def test_no_mask_and_an_empty_mask_are_told_apart() -> None:
    assert mask_to_wire(None) is None
    assert mask_to_wire(Rle.empty(10, 10)) == {"box": [0, 0, 0, 0], "counts": "", "scale": 1}


def test_a_ragged_mask_travels_as_a_preview_below_the_limit() -> None:
    ragged = np.random.default_rng(0).random((999, 1501)) < 0.5
    sent = mask_to_wire(Rle.from_mask(ragged))
    assert sent is not None
    assert sent["scale"] > 1
    assert len(sent["counts"]) <= MASK_CHARACTERS
    scale = sent["scale"]
    width, height = sent["box"][2:]
    Rle(-(-height // scale), -(-width // scale), sent["counts"]).to_mask()


def test_a_preview_keeps_the_object_where_it_is() -> None:
    rows, columns = np.mgrid[0:1000, 0:1000]
    disk = (rows - 500) ** 2 + (columns - 400) ** 2 < 300**2
    sent = mask_to_wire(Rle.from_mask(disk), characters=300)
    assert sent is not None
    scale = sent["scale"]
    assert scale > 1
    x, y, width, height = sent["box"]
    cells = Rle(-(-height // scale), -(-width // scale), sent["counts"]).to_mask()
    preview = np.zeros_like(disk)
    grown = cells.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
    preview[y : y + height, x : x + width] = grown
    assert np.count_nonzero(preview & disk) / np.count_nonzero(preview | disk) > 0.95
