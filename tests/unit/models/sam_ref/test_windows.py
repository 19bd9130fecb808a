from __future__ import annotations

import numpy as np
import torch

from samref.core.geometry import Frame, ImageSize
from samref.core.prompts import Box, Click, Prompt, Prompts, Scribble
from samref.models.interface import PromptBatch
from samref.models.sam_ref import windows
from samref.models.sam_ref.windows import pointed_at, stray_cells, sunk

LIMIT = (64, 96)


def blob(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(LIMIT, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_without_a_previous_mask_the_window_is_the_object_grown() -> None:
    window = windows.change_window(blob(30, 20, 60, 40), None, None, expand=1.4, minimum=8, limit=LIMIT)
    assert window == windows.Window(24, 16, 66, 44)


def test_the_changed_part_that_holds_the_click_is_chosen() -> None:
    before = blob(20, 20, 60, 50)
    now = before | blob(60, 22, 80, 48) | blob(2, 2, 16, 16)
    clicked = windows.change_window(now, before, (4, 4), expand=1.0, minimum=1, limit=LIMIT, small_share=0.0)
    assert clicked is not None
    assert clicked.x1 <= 30
    largest = windows.change_window(now, before, (90, 60), expand=1.0, minimum=1, limit=LIMIT, small_share=0.0)
    assert largest == windows.Window(60, 22, 80, 48)


def test_a_small_change_becomes_a_square_around_the_click() -> None:
    before = blob(10, 10, 70, 50)
    now = before | blob(70, 20, 73, 23)
    window = windows.change_window(now, before, (71, 21), expand=1.0, minimum=1, limit=LIMIT)
    assert window is not None
    assert window.x1 - window.x0 >= 24
    assert window.x0 <= 71 < window.x1


def test_nothing_changed_means_nothing_to_look_at() -> None:
    same = blob(10, 10, 20, 20)
    assert windows.change_window(same, same, (12, 12), expand=1.4, minimum=8, limit=LIMIT) is None
    assert windows.change_window(blob(0, 0, 0, 0), None, None, expand=1.4, minimum=8, limit=LIMIT) is None
    assert windows.object_window(blob(0, 0, 0, 0), [], expand=1.4, minimum=8, limit=LIMIT) is None


def test_the_object_window_holds_clicks_outside_the_mask_and_stays_in_the_frame() -> None:
    window = windows.object_window(blob(60, 40, 90, 60), [(5.0, 5.0)], expand=1.4, minimum=32, limit=LIMIT)
    assert window is not None
    assert window.x0 <= 5
    assert window.y0 <= 5
    assert 0 <= window.x0 < window.x1 <= LIMIT[1]
    assert 0 <= window.y0 < window.y1 <= LIMIT[0]


def test_a_tiny_object_still_gets_the_least_window() -> None:
    window = windows.object_window(blob(1, 1, 3, 3), [], expand=1.4, minimum=32, limit=LIMIT)
    assert window == windows.Window(0, 0, 32, 32)


def test_the_selector_keeps_the_previous_mask_when_errors_grow() -> None:
    assert windows.keeps_previous("above", 120, 100, 1.1)
    assert not windows.keeps_previous("above", 110, 100, 1.1)
    assert not windows.keeps_previous("above", 1000, None, 1.1)


def test_pasting_leaves_the_rest_bit_for_bit() -> None:
    canvas = torch.randn(1, 1, 20, 30)
    window = windows.Window(5, 6, 15, 16)
    out = windows.paste(canvas, window, torch.full((1, 1, 40, 40), 3.0))
    torch.testing.assert_close(out[..., 6:16, 5:15], torch.full((1, 1, 10, 10), 3.0))
    out[..., 6:16, 5:15] = canvas[..., 6:16, 5:15]
    assert torch.equal(out, canvas)


def test_a_window_of_the_same_size_is_a_plain_cut() -> None:
    source = torch.randn(1, 3, 12, 16)
    cut = windows.sample_window(source, torch.tensor([[4.0, 2.0, 10.0, 8.0]]), 6)
    torch.testing.assert_close(cut, source[..., 2:8, 4:10])


def test_pixels_are_sampled_where_they_lie_whether_grown_or_shrunk() -> None:
    ramp = torch.arange(200.0)[None, None, None, :].expand(1, 3, 100, 200).contiguous()
    for box, size in [((20.0, 10.0, 52.0, 42.0), 64), ((3.0, 0.0, 195.0, 96.0), 16), ((10.5, 20.25, 42.5, 52.25), 32)]:
        crop = windows.sample_pixels(ramp, box, size)
        step = (box[2] - box[0]) / size
        expected = box[0] + (torch.arange(size) + 0.5) * step - 0.5
        torch.testing.assert_close(crop[0, 0, size // 2], expected, atol=0.51 if step > 2 else 1e-3, rtol=0)


def test_half_precision_features_are_sampled_like_full_ones() -> None:
    source = torch.randn(1, 24, 96, 128)
    boxes = torch.tensor([[3.0, 5.0, 90.0, 80.0]])
    full, half = (windows.sample_window(source.to(dtype), boxes, 128) for dtype in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.02)


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
