"""How clicks, boxes, scribbles, polygons and masks are said in SAM's words."""

from __future__ import annotations

import pytest
import torch

from samref.core.geometry import Frame, ImageSize
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.models.interface import DecoderState, PromptBatch
from samref.models.sam.prompts import ALL_SCRIBBLE_POINTS, PAINTED_LOGIT, SCRIBBLE_POINTS, SamPrompt, to_sam_prompt

FRAME = Frame.letterbox(ImageSize(192, 256), 256)
LOW_RES = ImageSize(64, 64)
SQUARE = ((40.0, 40.0), (120.0, 40.0), (120.0, 120.0), (40.0, 120.0))


def said(*items: Prompt, state: DecoderState | None = None, mask: torch.Tensor | None = None) -> SamPrompt:
    return to_sam_prompt(PromptBatch(Prompts(items), FRAME, mask), state or DecoderState(), LOW_RES)


def test_clicks_are_points_of_their_sign_in_order() -> None:
    prompt = said(Click(3, 4), Click(50.5, 60, positive=False))
    assert prompt == SamPrompt(((3, 4), (50.5, 60)), (1, 0))


def test_boxes_become_the_smallest_box_around_all_of_them() -> None:
    assert said(Box(10, 20, 30, 40)).box_xyxy == (10, 20, 30, 40)
    assert said(Box(10, 20, 30, 40), Box(25, 5, 90, 35)).box_xyxy == (10, 5, 90, 40)


def test_a_short_scribble_is_its_middle() -> None:
    assert said(Scribble(((10, 10), (20, 10)))).points_xy == ((15, 10),)
    assert said(Scribble(((10, 10),), positive=False)) == SamPrompt(((10, 10),), (0,))


def test_a_long_scribble_is_a_few_evenly_spaced_points_on_it() -> None:
    prompt = said(Scribble(((0, 8), (200, 8)), positive=False))
    assert len(prompt.points_xy) == SCRIBBLE_POINTS
    assert list(prompt.points_xy) == [(20, 8), (60, 8), (100, 8), (140, 8), (180, 8)]
    assert set(prompt.labels) == {0}


def test_a_scribble_round_a_corner_keeps_to_the_stroke() -> None:
    prompt = said(Scribble(((0, 0), (100, 0), (100, 60))))
    assert all(y == 0 or x == 100 for x, y in prompt.points_xy)


def test_many_scribbles_share_a_limited_number_of_points() -> None:
    strokes = [Scribble(((0, float(i % 190)), (250, float(i % 190)))) for i in range(150)]
    assert len(said(*strokes).points_xy) == 150 <= ALL_SCRIBBLE_POINTS


def test_a_polygon_is_a_box_a_point_inside_and_a_rough_mask() -> None:
    prompt = said(Polygon(SQUARE))
    assert prompt.box_xyxy == (40.0, 40.0, 120.0, 120.0)
    assert list(prompt.labels) == [1]
    ((x, y),) = prompt.points_xy
    assert (x, y) == pytest.approx((79.5, 79.5), abs=4)
    assert prompt.mask_input is not None
    assert prompt.mask_input.shape == (1, 1, 64, 64)
    inside = prompt.mask_input[0, 0] > 0
    assert inside[10:30, 10:30].all()  # 40..120 model pixels are cells 10..30
    assert int(inside.sum()) <= 22 * 22
    assert set(prompt.mask_input.abs().flatten().tolist()) == {PAINTED_LOGIT}


def test_the_point_of_a_bent_polygon_lies_inside_it() -> None:
    corner = Polygon(((0, 0), (180, 0), (180, 20), (20, 20), (20, 180), (0, 180)))
    ((x, y),) = said(corner).points_xy
    assert (0 < x < 180 and 0 < y < 20) or (0 < x < 20 and 0 < y < 180)


def test_a_negative_polygon_is_a_negative_point_and_no_box() -> None:
    prompt = said(Polygon(SQUARE, positive=False))
    assert list(prompt.labels) == [0]
    assert prompt.box_xyxy is None
    assert prompt.mask_input is None


def test_a_negative_polygon_is_painted_out_of_a_mask_there_is() -> None:
    state = DecoderState(step=1, low_res_logits=torch.full((1, 1, 64, 64), 3.0))
    mask = said(Click(60, 60), Polygon(SQUARE, positive=False), state=state).mask_input
    assert mask is not None
    assert (mask[0, 0, 12:28, 12:28] == -PAINTED_LOGIT).all()
    assert (mask[0, 0, 40:, 40:] == 3).all()


def test_a_tiny_polygon_still_has_a_point() -> None:
    ((x, y),) = said(Polygon(((100.1, 50.1), (101.3, 50.1), (101.3, 51.3)))).points_xy
    assert (x, y) == pytest.approx((100.5, 50.5), abs=4)


def test_a_polygon_is_painted_once_and_its_box_and_point_stay() -> None:
    state = DecoderState(step=1, low_res_logits=torch.zeros(1, 1, 64, 64))
    prompt = said(Polygon(SQUARE), Click(5, 5, positive=False), state=state)
    assert prompt.box_xyxy == (40.0, 40.0, 120.0, 120.0)
    assert list(prompt.labels) == [1, 0]
    assert prompt.mask_input is not None
    assert not prompt.mask_input.any()


def test_the_previous_answer_comes_before_the_users_rough_mask() -> None:
    mask = torch.full((1, 1, 256, 256), 5.0)
    given = said(mask=mask).mask_input
    assert given is not None
    assert given.shape == (1, 1, 64, 64)
    assert torch.allclose(given, torch.tensor(5.0))
    previous = torch.full((1, 1, 64, 64), -1.0)
    assert said(Click(1, 1), state=DecoderState(1, previous), mask=mask).mask_input is previous


def test_translating_changes_none_of_its_arguments() -> None:
    previous = torch.zeros(1, 1, 64, 64)
    said(Polygon(SQUARE), state=DecoderState(0, previous))
    assert not previous.any()


def test_only_one_point_and_nothing_else_is_a_lone_click() -> None:
    assert said(Click(1, 1)).is_lone_click
    assert not said(Click(1, 1), Click(2, 2)).is_lone_click
    assert not said(Click(1, 1), Box(0, 0, 9, 9)).is_lone_click
    assert not said(Click(1, 1), state=DecoderState(1, torch.zeros(1, 1, 64, 64))).is_lone_click
