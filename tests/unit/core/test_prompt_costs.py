"""No prompt within the limits holds the worker: what drawing costs, and that it still draws the same."""

from __future__ import annotations

import math
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samref.core import prompt_maps
from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_prompt_maps, fill_area
from samref.core.prompts import (
    MAX_DRAFT_POINTS,
    MAX_POINTS,
    MAX_PROMPTS,
    Box,
    Click,
    Point,
    Polygon,
    Prompt,
    Prompts,
    Scribble,
    check_points_together,
    check_prompts,
)
from samref.errors import PromptError
from samref.models.dense_prompts_maps import draw_signed_maps, paint_areas
from samref.models.interface import DecoderState, PromptBatch
from samref.models.sam_prompts import to_sam_prompt

SIZES = (ImageSize(768, 1024), ImageSize(3000, 4000))
CELLS = 256
MOST_S = 1.0
"""Twenty times what it takes on a quiet machine, a tenth of what one polygon of 20 000 points once took."""


def scattered(count: int, size: ImageSize, seed: int = 0) -> tuple[Point, ...]:
    drawn = np.random.default_rng(seed).uniform(0, 1, (count, 2)) * (size.width - 1, size.height - 1)
    return tuple((float(x), float(y)) for x, y in drawn)


def star(count: int, size: ImageSize) -> tuple[Point, ...]:
    """An outline that runs through the middle with every side."""
    turns = 2 * math.pi * np.arange(count) * (count // 2 - 1) / count
    x, y = size.width * (0.5 + 0.49 * np.cos(turns)), size.height * (0.5 + 0.49 * np.sin(turns))
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


def zigzag(count: int, size: ImageSize) -> tuple[Point, ...]:
    """Up and down as often as can be, in one half, so that nothing covers the rest."""
    x = np.random.default_rng(1).uniform(0, size.width / 2, count)
    corners = [(float(at), float((place % 2) * size.height)) for place, at in enumerate(x)]
    return (*corners[:-1], (float(size.width), 0.0))


def hostile(size: ImageSize) -> dict[str, list[Prompt]]:
    longest = float(max(size.height, size.width))
    few = MAX_DRAFT_POINTS // MAX_PROMPTS
    return {
        "polygon": [Polygon(scattered(MAX_POINTS, size))],
        "star": [Polygon(star(MAX_POINTS - 1, size))],
        "zigzag": [Polygon(zigzag(MAX_POINTS, size))],
        "two negative polygons": [Polygon(scattered(MAX_POINTS, size, seed), False) for seed in range(2)],
        "wide scribble": [Scribble(scattered(MAX_POINTS, size), True, longest)],
        "scribble": [Scribble(scattered(MAX_POINTS, size))],
        "many polygons": [Polygon(scattered(20, size, seed)) for seed in range(MAX_PROMPTS)],
        "many scribbles": [Scribble(scattered(few, size, seed), False, longest) for seed in range(MAX_PROMPTS)],
        "mixed": [
            (Click(3, 4), Box(0, 0, 300, 200), Scribble(scattered(20, size)), Polygon(scattered(20, size, place)))[
                place % 4
            ]
            for place in range(MAX_PROMPTS)
        ],
    }


@pytest.mark.parametrize("kind", hostile(SIZES[0]))
@pytest.mark.parametrize("size", SIZES, ids=("1024x768", "4000x3000"))
def test_the_longest_prompts_are_drawn_at_once(kind: str, size: ImageSize) -> None:
    prompts = Prompts(tuple(hostile(size)[kind]))
    check_prompts(prompts, size)
    check_points_together(prompts.items)
    scale = CELLS / size.longest
    frame = MapFrame(CELLS, CELLS, (scale, scale))
    started = time.process_time()
    draw_prompt_maps(prompts, frame, radius=2.5)
    assert time.process_time() - started < MOST_S


@pytest.mark.parametrize("kind", ["polygon", "zigzag", "many polygons", "many scribbles", "mixed"])
def test_the_longest_prompts_are_translated_for_sam_and_segnext_at_once(kind: str) -> None:
    size = SIZES[0]
    frame = Frame.letterbox(size, 1024)
    prompts = Prompts(tuple(hostile(size)[kind]))
    batch = PromptBatch(prompts, frame)
    started = time.process_time()
    to_sam_prompt(batch, DecoderState(), ImageSize(256, 256))
    draw_signed_maps(prompts, frame, radius=5)
    paint_areas(np.zeros((1024, 1024), dtype=np.float32), prompts, 0)
    assert time.process_time() - started < 3 * MOST_S


def with_opencv(points: tuple[Point, ...], side: int) -> NDArray[np.uint8]:
    fixed = np.round((np.array(points) - 0.5) * 16).astype(np.int32)
    filled: NDArray[np.uint8] = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(filled, [fixed], 1, shift=4)
    return filled


@given(seed=st.integers(0, 2**32 - 1), corners=st.integers(3, 60))
@settings(max_examples=60, deadline=None)
def test_many_corners_are_filled_as_opencv_fills_few(seed: int, corners: int) -> None:
    side = 64
    points = scattered(corners, ImageSize(side - 2, side - 2), seed)
    drawn = np.zeros((side, side), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_maps, "_FEW_CORNERS", 0)
        fill_area(drawn, Polygon(points), MapFrame(side, side))
    assert np.count_nonzero(drawn != with_opencv(points, side)) <= 4


def test_a_traced_outline_of_many_points_is_filled_as_opencv_fills_it() -> None:
    turns = np.linspace(0, 2 * math.pi, 20_000, endpoint=False)
    ring = tuple(zip((500 + 300 * np.cos(turns)).tolist(), (400 + 200 * np.sin(turns)).tolist(), strict=True))
    frame = MapFrame(CELLS, CELLS, (0.25, 0.25))
    drawn = draw_prompt_maps(Prompts((Polygon(ring),)), frame, 1.0).region
    assert np.count_nonzero(drawn != with_opencv(tuple((x / 4, y / 4) for x, y in ring), CELLS)) <= 4
    assert drawn.sum() == pytest.approx(math.pi * 75 * 50, rel=0.03)


def test_a_stroke_of_many_points_covers_what_it_passes() -> None:
    along = np.linspace(10, 990, 20_000)
    stroke = Scribble(tuple((float(x), 300 + 100 * math.sin(x / 90)) for x in along), True, 40.0)
    frame = MapFrame(CELLS, CELLS, (0.25, 0.25))
    thin = Scribble(stroke.points[::40], True, 40.0)
    many, few = (draw_prompt_maps(Prompts((one,)), frame, 1.0).positive for one in (stroke, thin))
    assert np.count_nonzero(many != few) <= 0.03 * few.sum()


def test_more_points_than_one_object_may_have_are_refused() -> None:
    polygon = Polygon(scattered(MAX_POINTS, SIZES[0]))
    check_points_together([polygon] * (MAX_DRAFT_POINTS // MAX_POINTS))
    with pytest.raises(PromptError, match=rf"{MAX_DRAFT_POINTS + 1} points together; the limit is {MAX_DRAFT_POINTS}"):
        check_points_together([polygon, polygon, Scribble(((1, 1),)), Click(1, 1)])
