from __future__ import annotations

import math

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.masks import Mask
from samref.core.prompts import Box, Prompts, check_prompts
from samref.datasets import ObjectMask
from samref.evaluation.noc import ClickCurve, Stage, average_scores, click_curve, score_curves, tight_box, widest_stroke
from tests.unit.evaluation.painter import Canvas, Painter


def curve(*ious: float, dataset: str = "zoo", seconds: float = 0.1) -> ClickCurve:
    return ClickCurve("zoo/a#1", dataset, ious, tuple(iou / 2 for iou in ious), 0.5, (seconds,) * len(ious))


def test_clicks_are_counted_from_one_and_a_failure_is_none() -> None:
    climbing = curve(0.5, 0.8, 0.7, 0.9)
    assert climbing.clicks_to(0.5) == 1
    assert climbing.clicks_to(0.75) == 2
    assert climbing.clicks_to(0.9) == 4
    assert climbing.clicks_to(0.95) is None


def test_iou_is_compared_in_float32_so_that_nine_tenths_reach_ninety_percent() -> None:
    nine_tenths = float(np.float32(9) / np.float32(10))
    assert nine_tenths < 0.9
    assert curve(nine_tenths).clicks_to(0.9) == 1


def test_nan_reaches_no_threshold() -> None:
    assert curve(math.nan, math.nan).clicks_to(0.01) is None


def test_failures_count_as_the_largest_number_of_clicks_in_noc_only() -> None:
    scores = score_curves([curve(*[0.1] * 3, 0.92), curve(*[0.1] * 20), curve(*[0.1] * 19, 0.9001)], 20)
    assert scores.noc[0.90] == pytest.approx((4 + 20 + 20) / 3)
    assert scores.never[0.90] == 1
    assert scores.never_rate[0.90] == pytest.approx(1 / 3)
    assert scores.at_max[0.90] == 2
    assert scores.never[0.95] == scores.at_max[0.95] == 3


def test_mean_iou_after_k_clicks_keeps_the_last_mask_of_a_content_annotator() -> None:
    scores = score_curves([curve(0.4, 0.96), curve(*[0.2] * 10)], 10)
    assert scores.miou[1] == pytest.approx(0.3)
    assert scores.miou[5] == pytest.approx((0.96 + 0.2) / 2)
    assert scores.mbiou[10] == pytest.approx((0.48 + 0.1) / 2)
    assert 20 not in scores.miou


def test_times_are_medians_over_clicks() -> None:
    scores = score_curves([curve(*[0.1] * 3, seconds=0.1), curve(*[0.1] * 2, seconds=9.0)], 20)
    assert scores.click_s == 0.1
    assert scores.click_s_mean == pytest.approx((0.3 + 18) / 5)
    assert scores.encode_s == 0.5


def test_the_mean_gives_every_data_set_the_same_weight_and_sums_counts() -> None:
    easy = score_curves([curve(0.97)] * 9, 20)
    hard = score_curves([curve(*[0.0] * 20)], 20)
    mean = average_scores([easy, hard])
    assert mean.noc[0.90] == pytest.approx((1 + 20) / 2)
    assert mean.never_rate[0.90] == pytest.approx(0.5)
    assert mean.never[0.90] == 1
    assert mean.objects == 10


def square() -> ObjectMask:
    gt: Mask = np.zeros((40, 50), dtype=np.bool_)
    gt[3:23, 5:25] = True
    return ObjectMask("1", gt, None)


def label(painter: Painter, stage: Stage, **options: object) -> ClickCurve:
    chosen = {"max_clicks": 8, **options}
    return click_curve(painter, Canvas((40, 50)), square(), sample_id="a", dataset="b", stage=stage, **chosen)  # type: ignore[arg-type]


def test_the_annotator_of_a_stage_sees_only_its_masks_and_gives_back_its_state() -> None:
    painter = Painter()
    coarse = label(painter, "coarse")
    assert painter.states == [None, *(("coarse", number) for number in range(1, 8))]
    assert painter.refined == 0
    painter = Painter()
    refined = label(painter, "refined")
    assert painter.states == [None, *(("refined", number) for number in range(1, 8))]
    assert painter.refined == 8
    assert refined.ious[0] > coarse.ious[0]
    assert len(refined.ious) == len(refined.bious) == len(refined.click_s) == 8
    assert refined.encode_s == 0.25


def test_an_annotator_may_stop_when_content() -> None:
    painter = Painter(refined_radius=9)
    full = label(painter, "refined")
    best = max(full.ious)
    stopped = label(painter, "refined", stop_at=best)
    assert stopped.ious == full.ious[: full.clicks_to(best)]


def test_a_box_or_a_scribble_can_come_first_and_counts_as_one_interaction() -> None:
    box = label(Painter(), "refined", first="box")
    assert box.ious[0] == 1.0
    stroke = label(Painter(), "refined", first="scribble")
    assert 0 < stroke.ious[0] < 0.5
    assert len(stroke.ious) == 8


def blank() -> Mask:
    return np.zeros((40, 60), dtype=np.bool_)


def long_bar() -> Mask:
    mask = blank()
    mask[10:18, 5:55] = True
    return mask


def test_the_box_is_tight_with_exclusive_ends() -> None:
    assert tight_box(long_bar()) == Box(5, 10, 55, 18)


def test_the_stroke_of_a_bar_runs_along_it_and_stays_inside() -> None:
    stroke = widest_stroke(long_bar())
    xs = [x for x, _ in stroke.points]
    assert max(xs) - min(xs) > 40
    assert stroke.positive
    assert stroke.width <= 8
    for x, y in stroke.points:
        assert long_bar()[round(y), round(x)]


@pytest.mark.parametrize("place", [(0, 0), (39, 59), (20, 30)])
def test_an_object_of_one_pixel_has_a_box_and_a_stroke(place: tuple[int, int]) -> None:
    mask = blank()
    mask[place] = True
    for prompt in (tight_box(mask), widest_stroke(mask)):
        check_prompts(Prompts((prompt,)), ImageSize(40, 60))


def test_a_stroke_across_the_whole_image_ends_at_its_border() -> None:
    stroke = widest_stroke(np.ones((40, 60), dtype=np.bool_))
    check_prompts(Prompts((stroke,)), ImageSize(40, 60))
    assert len(stroke.points) >= 2
