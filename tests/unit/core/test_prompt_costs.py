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
    MAX_CROSSINGS,
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
    check_drawing_cost,
    check_prompts,
)
from samref.errors import PromptError
from samref.models.interface import DecoderState, PromptBatch
from samref.models.sam.prompts import to_sam_prompt
from samref.models.segnext.model import draw_signed_maps, paint_areas

SIZES = (ImageSize(768, 1024), ImageSize(3000, 4000))
CELLS = 256
MOST_S = 0.5
"""Ten times what it takes on a quiet machine, a twentieth of what one polygon of 20 000 points once took."""


def scattered(count: int, size: ImageSize, seed: int = 0) -> tuple[Point, ...]:
    drawn = np.random.default_rng(seed).uniform(0, 1, (count, 2)) * (size.width - 1, size.height - 1)
    return tuple((float(x), float(y)) for x, y in drawn)


def wandering(count: int, crossings: float, size: ImageSize, seed: int = 0) -> tuple[Point, ...]:
    """Points that run so often across the image altogether, reflected at its sides."""
    steps = np.random.default_rng(seed).choice([-1.0, 1.0], (count, 2)) * (crossings * 0.49 / count)
    steps[np.random.default_rng(seed + 1).random(count) < 0.97] *= 0.2  # long ways in few directions
    walked = np.cumsum(steps * crossings * 0.49 / np.abs(steps).sum(axis=0), axis=0) + 0.5
    within = np.abs((walked + 1) % 2 - 1) * (size.width - 1, size.height - 1)
    return tuple((float(x), float(y)) for x, y in within)


def zigzag(count: int, size: ImageSize) -> tuple[Point, ...]:
    """Up and down as often as can be, in one half, so that nothing covers the rest."""
    x = np.linspace(0, size.width / 2, count - 1)
    turns = tuple((float(at), float((place % 2) * (size.height - 1))) for place, at in enumerate(x))
    return (*turns, (size.width - 1.0, 0.0))


def patch(count: int, size: ImageSize, seed: int) -> tuple[Point, ...]:
    """A ragged ring somewhere, a thirtieth of each side across."""
    rng = np.random.default_rng(seed)
    turns, reach = 2 * math.pi * np.arange(count) / count, rng.uniform(0.3, 1, count) / 60
    left, top = rng.uniform(0.05, 0.95, 2)
    x, y = size.width * (left + reach * np.cos(turns)), size.height * (top + reach * np.sin(turns))
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


def _any_kind(place: int, size: ImageSize) -> Prompt:
    points = patch(40, size, place)
    return (Click(3, 4), Box(0, 0, 300, 200), Scribble(points), Polygon(points))[place % 4]


def hostile(size: ImageSize) -> dict[str, list[Prompt]]:
    """The most that may be drawn, in every way."""
    longest = float(max(size.height, size.width))
    each = MAX_DRAFT_POINTS // MAX_PROMPTS
    return {
        "polygon": [Polygon(wandering(MAX_POINTS, MAX_CROSSINGS - 5, size))],
        "zigzag": [Polygon(zigzag(MAX_CROSSINGS - 4, size))],
        "two negative polygons": [
            Polygon(wandering(MAX_POINTS, MAX_CROSSINGS / 2 - 5, size, seed), False) for seed in range(2)
        ],
        "wide scribble": [Scribble(wandering(MAX_POINTS, MAX_CROSSINGS - 5, size), True, longest)],
        "scribble": [Scribble(wandering(MAX_POINTS, MAX_CROSSINGS - 5, size))],
        "many polygons": [Polygon(patch(each, size, seed)) for seed in range(MAX_PROMPTS)],
        "many scribbles": [Scribble(patch(each, size, seed), False, longest) for seed in range(MAX_PROMPTS)],
        "mixed": [_any_kind(place, size) for place in range(MAX_PROMPTS)],
    }


@pytest.mark.parametrize("kind", hostile(SIZES[0]))
@pytest.mark.parametrize("size", SIZES, ids=("1024x768", "4000x3000"))
def test_the_longest_prompts_are_drawn_at_once(kind: str, size: ImageSize) -> None:
    prompts = Prompts(tuple(hostile(size)[kind]))
    check_prompts(prompts, size)
    check_drawing_cost(prompts.items, size)
    scale = CELLS / size.longest
    frame = MapFrame(CELLS, CELLS, (scale, scale))
    started = time.process_time()
    draw_prompt_maps(prompts, frame, radius=2.5)
    assert time.process_time() - started < MOST_S


@pytest.mark.parametrize("size", SIZES, ids=("1024x768", "4000x3000"))
def test_what_would_take_longer_than_a_click_is_refused(size: ImageSize) -> None:
    for prompt in (Polygon(scattered(MAX_POINTS, size)), Scribble(zigzag(MAX_CROSSINGS + 9, size))):
        check_prompts(Prompts((prompt,)), size)
        with pytest.raises(PromptError, match=rf"times across the image; the limit is {MAX_CROSSINGS}"):
            check_drawing_cost([prompt], size)
    outline = Polygon(wandering(5_000, MAX_CROSSINGS / 3, size))
    check_drawing_cost([outline] * 2, size)
    with pytest.raises(PromptError, match="times across the image"):
        check_drawing_cost([outline] * 4, size)


def test_twenty_thousand_points_cost_little_more_than_few() -> None:
    size, scale = SIZES[0], CELLS / SIZES[0].longest
    frame = MapFrame(CELLS, CELLS, (scale, scale))

    def cost(points: tuple[Point, ...]) -> float:
        times = []
        for _ in range(7):
            started = time.process_time()
            fill_area(np.zeros((CELLS, CELLS), dtype=np.uint8), Polygon(points), frame)
            times.append(time.process_time() - started)
        return min(times)

    few, many = wandering(200, 10, size), wandering(MAX_POINTS, MAX_CROSSINGS - 5, size)
    assert cost(many) < 300 * max(cost(few), 1e-4), "a hundred times the points, not their square"


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
    size = SIZES[0]
    polygon = Polygon(wandering(MAX_POINTS, 100, size))
    check_drawing_cost([polygon] * (MAX_DRAFT_POINTS // MAX_POINTS), size)
    with pytest.raises(PromptError, match=rf"{MAX_DRAFT_POINTS + 1} points together; the limit is {MAX_DRAFT_POINTS}"):
        check_drawing_cost([polygon, polygon, Scribble(((1, 1),)), Click(1, 1)], size)
