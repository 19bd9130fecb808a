"""The check of a refiner: what it counts, and that it neither praises nor blames a refiner that does nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from samref.core.geometry import Frame, ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import mask_iou
from samref.datasets import ObjectMask
from samref.errors import DataError
from samref.inference.postprocess import mask_from_logits
from samref.models.sam_ref.network import SamRef
from samref.models.sam_ref.weights import AGNOSTIC_REFINER
from samref.training.base_answers import answer_good, answer_grabcut, answer_wrong, framed_mask, kept_answers
from samref.training.refine_check import Change, bootstrap_mean, changes, judge, to_markdown

SIDE = 128
WIDE = ImageSize(90, 150)


def scene() -> tuple[DecodedImage, ObjectMask]:
    gt = np.zeros((WIDE.height, WIDE.width), dtype=np.uint8)
    cv2.circle(gt, (100, 40), 30, 1, -1)
    rgb = np.random.default_rng(0).integers(0, 60, (*gt.shape, 3), dtype=np.uint8)
    rgb[gt > 0] += 150
    return DecodedImage(rgb, WIDE, "0"), ObjectMask("1", gt > 0, None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    image, target = scene()
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.png"), image.rgb[..., ::-1])
    cv2.imwrite(str(tmp_path / "set" / "masks" / "a.png"), target.gt.astype(np.uint8))
    return tmp_path


def change(iou: float, refined: float, sample: str = "a", kind: str = "tiny") -> Change:
    return Change(sample, kind, 1, iou, refined, iou, refined)  # type: ignore[arg-type]


def test_the_interval_covers_the_mean_and_shrinks_with_more_objects() -> None:
    rng = np.random.default_rng(0)
    few, many = (rng.normal(0.1, 1.0, count).tolist() for count in (20, 500))
    small = bootstrap_mean(few, [str(i) for i in range(20)])
    large = bootstrap_mean(many, [str(i) for i in range(500)])
    for interval, values in ((small, few), (large, many)):
        assert interval.mean == pytest.approx(np.mean(values))
        assert interval.low < interval.mean < interval.high
    assert large.high - large.low < 0.5 * (small.high - small.low)


def test_answers_about_one_object_are_drawn_together() -> None:
    values = [0.0, 0.0, 1.0, 1.0] * 10
    apart = bootstrap_mean(values, [str(i) for i in range(40)])
    together = bootstrap_mean(values, [str(i // 20) for i in range(40)])
    assert together == bootstrap_mean(values, [str(i // 20) for i in range(40)])
    assert together.high - together.low <= apart.high - apart.low  # both halves of this list have the same mean
    owners = ["good" if value else "bad" for value in values]
    assert bootstrap_mean(values, owners).high == 1.0


def test_no_answers_have_no_mean() -> None:
    assert np.isnan(bootstrap_mean([], []).mean)


def test_a_good_mask_may_lose_half_a_point_and_no_more() -> None:
    kept = judge([change(0.96, 0.956), change(0.5, 0.9, "b")])
    assert [(v.kind, v.only_good, v.passes) for v in kept][1:] == [("tiny", True, True), ("all", True, True)]
    spoilt = judge([change(0.96, 0.95), change(0.5, 0.9, "b")])
    assert [v.passes for v in spoilt if v.only_good] == [False, False]


def test_a_gain_counts_only_when_its_interval_lies_above_zero() -> None:
    rng = np.random.default_rng(0)
    sure = [change(0.5, 0.55, str(i)) for i in range(10)]
    doubtful = [change(0.5, 0.5 + float(rng.normal(0.001, 0.1)), str(i)) for i in range(10)]
    assert judge(sure)[0].passes
    assert not judge(doubtful)[0].passes
    assert "| tiny | all | 10 / 10 | 0.500 | +5.00 (+5.00 .. +5.00) |" in to_markdown(judge(sure))


def test_a_framed_mask_lies_where_the_image_lies() -> None:
    _, target = scene()
    frame = Frame.letterbox(WIDE, SIDE)
    framed = framed_mask(target.gt.astype(np.uint8), frame)
    assert [length % 4 for length in framed.shape] == [0, 0]
    y, x = (float(v.mean()) + 0.5 for v in np.nonzero(framed))
    scale_x, scale_y = frame.scale_xy
    assert x == pytest.approx(100.5 * scale_x, abs=0.5)
    assert y == pytest.approx(40.5 * scale_y, abs=0.5)


def test_good_answers_are_good_in_the_image_and_wrong_ones_are_not() -> None:
    image, target = scene()
    frame = Frame.letterbox(WIDE, SIDE)

    def ious(logits: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> list[float]:
        masks = (mask_from_logits(torch.from_numpy(one)[None, None], frame).to_mask() for one in logits)
        return [mask_iou(np.ascontiguousarray(mask), target.gt) for mask in masks]

    good = answer_good(image, target, 3, SIDE, "a")
    wrong = answer_wrong(image, target, 8, SIDE, "a")
    assert good.logits.shape == (3, SIDE // 4, SIDE // 4)
    assert min(ious(good.logits)) >= 0.95
    assert min(ious(wrong.logits)) < 0.9
    assert max(ious(answer_grabcut(image, target, 2, SIDE).logits)) > 0.8
    assert np.array_equal(good.logits, answer_good(image, target, 3, SIDE, "a").logits)
    assert good.clicks[0].positive


def test_answers_are_made_once(tmp_path: Path) -> None:
    image, target = scene()
    made = []

    def make() -> object:
        made.append(1)
        return answer_good(image, target, 2, SIDE, "a")

    first = kept_answers(tmp_path / "x" / "a.npz", make)  # type: ignore[arg-type]
    second = kept_answers(tmp_path / "x" / "a.npz", make)  # type: ignore[arg-type]
    assert len(made) == 1
    assert np.array_equal(first.logits, second.logits)
    assert first.clicks == second.clicks
    (tmp_path / "x" / "a.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match="Delete it"):
        kept_answers(tmp_path / "x" / "a.npz", make)  # type: ignore[arg-type]


def test_an_untrained_refiner_changes_nothing_that_can_be_seen(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    refiner = SamRef(replace(AGNOSTIC_REFINER, crop=SIDE))
    found = list(changes(refiner, data, tmp_path / "kept", kinds=("wrong", "good"), side=SIDE, steps=2))
    assert len(found) == 4
    assert all(abs(one.refined_iou - one.iou) < 0.003 for one in found)
    assert {one.kind for one in found if one.iou >= 0.95} >= {"good"}


def test_a_refiner_that_erases_everything_is_caught(data: Path, tmp_path: Path) -> None:
    refiner = SamRef(replace(AGNOSTIC_REFINER, crop=SIDE))
    for part in (refiner.global_refiner, refiner.local_refiner):
        assert part.detail_head.bias is not None
        assert part.error_head.bias is not None
        torch.nn.init.constant_(part.detail_head.bias, -100.0)
        torch.nn.init.constant_(part.error_head.bias, 5.0)
    found = list(changes(refiner, data, tmp_path / "kept", kinds=("good",), side=SIDE, steps=1))
    assert not any(verdict.passes for verdict in judge(found))


def test_the_embedded_model_has_to_be_given_for_its_masks(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="embedded model"):
        list(changes(SamRef(AGNOSTIC_REFINER), data, tmp_path / "kept", kinds=("tiny",), side=SIDE, steps=1))
