from __future__ import annotations

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.masks import Mask
from samref.core.oracle import Annotator
from samref.core.prompts import Box, Click, Prompts, Scribble, check_prompts
from samref.evaluation.first_prompts import first_prompt, tight_box, widest_stroke


def blank() -> Mask:
    return np.zeros((40, 60), dtype=np.bool_)


def bar() -> Mask:
    mask = blank()
    mask[10:18, 5:55] = True
    return mask


def test_the_box_is_tight_with_exclusive_ends() -> None:
    assert tight_box(bar()) == Box(5, 10, 55, 18)


def test_the_stroke_of_a_bar_runs_along_it_and_stays_inside() -> None:
    stroke = widest_stroke(bar())
    xs = [x for x, _ in stroke.points]
    assert max(xs) - min(xs) > 40
    assert stroke.positive
    assert stroke.width <= 8
    for x, y in stroke.points:
        assert bar()[round(y), round(x)]


@pytest.mark.parametrize("place", [(0, 0), (39, 59), (20, 30)])
def test_an_object_of_one_pixel_has_all_prompts(place: tuple[int, int]) -> None:
    mask = blank()
    mask[place] = True
    kinds = {"click": Click, "box": Box, "scribble": Scribble}
    for kind, expected in kinds.items():
        prompt = first_prompt(kind, mask, Annotator(mask))  # type: ignore[arg-type]
        assert isinstance(prompt, expected)
        check_prompts(Prompts((prompt,)), ImageSize(40, 60))


def test_a_stroke_across_the_whole_image_ends_at_its_border() -> None:
    stroke = widest_stroke(np.ones((40, 60), dtype=np.bool_))
    check_prompts(Prompts((stroke,)), ImageSize(40, 60))
    assert len(stroke.points) >= 2
