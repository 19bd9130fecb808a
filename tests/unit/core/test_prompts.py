from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samref.core.geometry import Frame, ImageSize
from samref.core.masks import Rle
from samref.core.prompts import (
    MAX_POINTS,
    MAX_PROMPTS,
    Box,
    Click,
    Polygon,
    Prompt,
    Prompts,
    Scribble,
    check_prompts,
    prompt_from_dict,
    prompt_to_dict,
)
from samref.errors import PromptError

SIZE = ImageSize(30, 40)
number = st.floats(0, 29, allow_nan=False)
points = st.lists(st.tuples(number, number), min_size=3, max_size=6).map(tuple)
any_prompt = st.one_of(
    st.builds(Click, number, number, st.booleans()),
    st.builds(Box, number, number, number, number),
    st.builds(Scribble, points, st.booleans(), st.floats(1, 20)),
    st.builds(Polygon, points, st.booleans()),
)


@given(any_prompt)
def test_a_prompt_survives_json(prompt: Prompt) -> None:
    assert prompt_from_dict(prompt_to_dict(prompt)) == prompt


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": "click"},
        {"type": "click", "x": "1", "y": 2},
        {"type": "click", "x": True, "y": 2},
        {"type": "click", "x": 10**400, "y": 2},
        {"type": "click", "x": 1, "y": 2, "positive": 1},
        {"type": "scribble", "points": 3},
        {"type": "polygon", "points": [[1], [2], [3]]},
        {"type": "lasso", "points": []},
        {"type": "scribble", "points": [[0, 0]] * (MAX_POINTS + 1)},
    ],
)
def test_what_is_no_prompt_is_refused_with_a_sentence(data: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match=r"\.$"):
        prompt_from_dict(data)


@pytest.mark.parametrize(
    "prompt",
    [
        Click(40, 3),
        Click(-0.5, 3),
        Click(math.nan, 3),
        Click(3, math.inf),
        Box(3, 3, 3, 9),
        Box(9, 3, 3, 9),
        Box(0, 0, 41, 30),
        Scribble(()),
        Scribble(((3.0, 3.0),), True, 0.0),
        Scribble(((3.0, 99.0),)),
        Polygon(((0.0, 0.0), (5.0, 5.0))),
        Polygon(((0.0, 0.0), (5.0, 5.0), (10.0, 10.0))),
    ],
)
def test_prompts_that_do_not_fit_the_image_are_refused(prompt: Prompt) -> None:
    with pytest.raises(PromptError, match=r"\.$"):
        check_prompts(Prompts((prompt,)), SIZE)


def test_the_whole_image_is_a_box_and_its_last_pixel_a_click() -> None:
    check_prompts(Prompts((Box(0, 0, 40, 30), Click(39.9, 29.9), Click(0, 0))), SIZE)


def test_ten_thousand_clicks_are_refused_at_once() -> None:
    with pytest.raises(PromptError, match=str(MAX_PROMPTS)):
        check_prompts(Prompts((Click(1, 1),) * 10_000), SIZE)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match="own size"):
        check_prompts(Prompts(mask=Rle.empty(30, 41)), SIZE)


@given(st.integers(1, 5000), st.integers(1, 5000), number, number)
def test_to_image_undoes_to_model(height: int, width: int, x: float, y: float) -> None:
    for frame in (
        Frame.letterbox(ImageSize(height, width), 512, 16),
        Frame.letterbox(ImageSize(height, width), 1024),
        Frame.stretch(ImageSize(height, width), 1024),
    ):
        back = frame.to_image(*frame.to_model(x, y))
        assert back == pytest.approx((x, y), abs=1e-6)
        assert frame.resized.height <= frame.padded.height
        assert frame.resized.width <= frame.padded.width


def test_the_letterbox_rounds_each_side_as_segment_anything_does() -> None:
    frame = Frame.letterbox(ImageSize(300, 451), 1024)
    assert frame.resized == ImageSize(681, 1024)
    assert frame.scale_xy == (1024 / 451, 681 / 300)


def test_moving_prompts_to_another_frame_keeps_kinds_signs_and_order() -> None:
    prompts = Prompts((Click(1, 2, positive=False), Box(0, 0, 4, 6), Scribble(((1.0, 1.0),), True, 3.0)))
    moved = prompts.mapped(lambda x, y: (2 * x, 3 * y), 2.0)
    assert moved.items == (Click(2, 6, positive=False), Box(0, 0, 8, 18), Scribble(((2.0, 3.0),), True, 6.0))
    assert prompts.items[0] == Click(1, 2, positive=False)


def test_a_pixel_can_be_moved_by_its_middle() -> None:
    moved = Prompts((Click(1, 1),)).mapped(lambda x, y: (2 * x, 2 * y), 2.0, pixel_offset=0.5)
    assert moved.items == (Click(2.5, 2.5),)
