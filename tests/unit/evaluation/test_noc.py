from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle
from samref.core.oracle import ClickRule
from samref.core.prompts import Box, Click, Prompts, check_prompts
from samref.datasets import ObjectMask
from samref.evaluation.noc import (
    ClickCurve,
    ClickProtocol,
    Stage,
    average_scores,
    click_curve,
    score_curves,
    tight_box,
    widest_stroke,
)
from tests.unit.evaluation.painter import Canvas, Painter, Painting


def curve(*ious: float, dataset: str = "zoo", seconds: float = 0.1, encode_s: float = 0.5) -> ClickCurve:
    return ClickCurve("zoo/a#1", dataset, ious, tuple(iou / 2 for iou in ious), encode_s, (seconds,) * len(ious))


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


def test_a_click_does_harm_when_it_lowers_iou_by_more_than_a_point() -> None:
    assert curve(0.9, 0.895, 0.88, 0.7, 0.9, float("nan"), 0.1).harmful_clicks == 2
    assert curve(0.5).harmful_clicks == 0
    scores = score_curves([curve(0.9, 0.8, 0.85), curve(0.5, 0.6, 0.7)], 3)
    assert scores.harmful_rate == pytest.approx(1 / 4)
    assert score_curves([curve(0.5)], 1).harmful_rate == 0


def test_a_click_breaks_a_good_mask_when_it_lowers_it_by_more_than_five_points() -> None:
    broken = curve(0.95, 0.89, 0.83, 0.92, 0.88, 0.95)
    assert (broken.clicks_on_good, broken.breaking_clicks) == (2, 1), "0.89 to 0.83 was no good mask"
    assert (curve(0.5, 0.97).clicks_on_good, curve(0.97).clicks_on_good) == (0, 0), "nobody clicked on it"
    scores = score_curves([broken, curve(0.9, 0.9)], 6)
    assert (scores.on_good, scores.breaking) == (3, 1)
    both = average_scores([scores, scores])
    assert (both.on_good, both.breaking) == (6, 2)


def test_seconds_per_click_are_given_with_and_without_the_encoder() -> None:
    scores = score_curves([curve(0.5, 0.6, encode_s=2.0), curve(0.5, 0.6, encode_s=4.0)], 20)
    assert scores.click_s_mean == pytest.approx(0.1)
    assert scores.amortised_s == pytest.approx(3.0 / 20 + 0.1)
    assert average_scores([scores, scores]).amortised_s == pytest.approx(scores.amortised_s)


def square() -> ObjectMask:
    gt: Mask = np.zeros((40, 50), dtype=np.bool_)
    gt[3:23, 5:25] = True
    return ObjectMask("1", gt, None)


def label(painter: Painter, stage: Stage, **options: Any) -> ClickCurve:
    return click_curve(painter, Canvas((40, 50)), square(), ClickProtocol(8, **options), stage)


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
    box = label(Painter(), "refined", first_prompt="box")
    assert box.ious[0] == 1.0
    stroke = label(Painter(), "refined", first_prompt="scribble")
    assert 0 < stroke.ious[0] < 0.5
    assert len(stroke.ious) == 8


# ---- RITM's and FocSAM's protocols on the same object


class Scripted:
    """Answers with the masks it was given, one after the other, and remembers the prompts."""

    def __init__(self, *masks: Mask) -> None:
        self.masks = list(masks)
        self.asked: list[Prompts] = []

    def embed(self, image: Any) -> Canvas:
        raise AssertionError("not needed")

    def predict(self, embedding: Canvas, prompts: Prompts, state: Any) -> Iterator[Painting]:
        self.asked.append(prompts)
        mask = self.masks[min(len(self.asked), len(self.masks)) - 1]
        yield Painting(Rle.from_mask(mask), "refined", len(self.asked))


def rectangle(*bounds: int) -> Mask:
    mask: Mask = np.zeros((24, 32), dtype=np.bool_)
    top, bottom, left, right = bounds
    mask[top:bottom, left:right] = True
    return mask


def label_by(predictor: Scripted, target: ObjectMask, rule: ClickRule, clicks: int = 3) -> ClickCurve:
    protocol = ClickProtocol(clicks, rule=rule)
    return click_curve(predictor, Canvas(target.gt.shape), target, protocol, "refined", sample_id="zoo/a#1")


def test_ignored_pixels_count_nowhere_for_ritm_and_as_background_for_focsam() -> None:
    gt, ignore = rectangle(4, 14, 4, 14), rectangle(14, 20, 4, 14)
    answer = gt | ignore
    ritm, focsam = Scripted(answer), Scripted(answer)
    assert label_by(ritm, ObjectMask("1", gt, ignore), "ritm").ious[0] == 1.0
    assert label_by(focsam, ObjectMask("1", gt, ignore), "focsam").ious[0] == pytest.approx(100 / 160)
    second = focsam.asked[1].items[-1]
    assert isinstance(second, Click)
    assert (second.positive, ignore[int(second.y), int(second.x)]) == (False, True)


def test_where_nothing_is_wrong_ritm_clicks_the_corner_and_focsam_asks_again_with_the_same_clicks() -> None:
    gt = rectangle(4, 15, 4, 15)
    ritm, focsam = Scripted(gt), Scripted(gt)
    assert label_by(ritm, ObjectMask("1", gt, None), "ritm").ious == (1.0, 1.0, 1.0)
    assert ritm.asked[-1].items[1:] == (Click(0, 0, False), Click(0, 0, False))
    assert label_by(focsam, ObjectMask("1", gt, None), "focsam").ious == (1.0, 1.0, 1.0)
    assert [len(prompts.items) for prompts in focsam.asked] == [1, 1, 1]


def test_an_empty_answer_is_worth_nothing_in_focsams_protocol() -> None:
    gt = rectangle(4, 15, 4, 15)
    assert label_by(Scripted(rectangle(0, 0, 0, 0)), ObjectMask("1", gt, None), "focsam").ious == (0.0, 0.0, 0.0)


def test_focsams_draws_are_the_same_every_time() -> None:
    gt = rectangle(2, 12, 2, 22)  # a bar has a whole line of deepest pixels
    runs = []
    for _ in range(2):
        predictor = Scripted(rectangle(0, 0, 0, 0))
        label_by(predictor, ObjectMask("1", gt, None), "focsam")
        runs.append([prompts.items for prompts in predictor.asked])
    assert runs[0] == runs[1]
    assert len({(click.x, click.y) for click in runs[0][-1] if isinstance(click, Click)}) == 3


# ---- first prompts


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
