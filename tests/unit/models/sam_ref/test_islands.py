from __future__ import annotations

import numpy as np
import torch

from samref.core.geometry import Frame, ImageSize
from samref.core.prompts import Box, Click, Prompt, Prompts, Scribble
from samref.models.interface import PromptBatch
from samref.models.sam_ref.windows import changed_elsewhere, newest_points, pointed_at, stray_cells, sunk


def batch(*items: Prompt) -> PromptBatch:
    return PromptBatch(Prompts(items), Frame.letterbox(ImageSize(64, 64), 64))


def two_blobs() -> np.ndarray:
    mask = np.zeros((32, 32), dtype=np.bool_)
    mask[4:12, 4:12] = True
    mask[20:28, 20:28] = True
    return mask


def test_a_part_nobody_pointed_at_is_stray_with_its_rim() -> None:
    stray = stray_cells(two_blobs(), [(6.0, 6.0)])
    assert stray is not None
    assert stray[20:28, 20:28].all()
    assert stray[19, 19]
    assert not stray[:14, :14].any()


def test_a_click_on_each_part_keeps_both_and_one_outside_keeps_all() -> None:
    assert stray_cells(two_blobs(), [(6.0, 6.0), (24.0, 24.0)]) is None
    assert stray_cells(two_blobs(), [(16.0, 2.0)]) is None
    assert stray_cells(np.zeros((8, 8), dtype=np.bool_), [(1.0, 1.0)]) is None


def test_a_click_beside_a_part_holds_it() -> None:
    stray = stray_cells(two_blobs(), [(12.5, 6.0)])
    assert stray is not None
    assert not stray[5, 5]


def test_only_clicks_and_strokes_point_and_only_positive_ones() -> None:
    assert pointed_at(batch(Click(3, 4), Click(5, 6, positive=False))) == [(3, 4)]
    assert pointed_at(batch(Scribble(((1.0, 2.0), (3.0, 4.0))))) == [(1.0, 2.0), (3.0, 4.0)]
    assert pointed_at(batch(Click(3, 4), Box(0, 0, 9, 9))) == []


def test_sunk_logits_stay_below_zero_and_the_rest_as_they_were() -> None:
    logits = torch.tensor([[2.0, -3.0, 4.0]])
    out = sunk(logits, torch.tensor([[True, True, False]]))
    assert out.tolist() == [[-2.0, -3.0, 4.0]]
    assert logits[0, 0] == 2.0


def test_a_change_counts_as_elsewhere_where_the_newest_prompt_does_not_touch_it() -> None:
    before, after = two_blobs(), two_blobs()
    after[4:12, 12:16] = True  # the clicked part grows
    after[20:28, 26:28] = False  # the other one loses its end
    elsewhere = changed_elsewhere(after, before, [(13.0, 6.0)])
    assert elsewhere is not None
    assert elsewhere.sum() == 16
    assert elsewhere[20:28, 26:28].all()
    assert changed_elsewhere(after, before, [(13.0, 6.0), (27.0, 22.0)]) is None
    missed = changed_elsewhere(after, before, [(0.0, 31.0)])
    assert missed is not None
    assert np.array_equal(missed, before ^ after)
    assert changed_elsewhere(before, before, [(1.0, 1.0)]) is None


def test_the_newest_points_are_those_of_a_last_click_or_stroke_whatever_its_sign() -> None:
    assert newest_points(batch(Click(3, 4), Click(5, 6, positive=False))) == [(5, 6)]
    assert newest_points(batch(Click(3, 4), Scribble(((1.0, 2.0), (3.0, 4.0)), positive=False))) == [
        (1.0, 2.0),
        (3.0, 4.0),
    ]
    assert newest_points(batch(Click(3, 4), Box(0, 0, 9, 9))) == []
    assert newest_points(batch()) == []
