"""Clicks needed: the curve of one object, and the numbers of the field made from many curves.

Source: papers.md §4.2. Failures count as the largest number of clicks in NoC, as everywhere in the field, but a curve
itself says None. Two protocols are published: RITM's (SegNext and most others) and FocSAM's, see :func:`click_curve`.
"""

from __future__ import annotations

import math
import statistics
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from samref.core.images import DecodedImage
from samref.core.masks import Mask, Rle, boundary_iou, mask_iou
from samref.core.oracle import ClickRule, build_annotator
from samref.core.prompts import Prompts
from samref.datasets import ObjectMask
from samref.evaluation.first_prompts import FirstPrompt, first_prompt

__all__ = [
    "AMORTISED_CLICKS",
    "IOU_TARGETS",
    "LOWERED_BY",
    "REPORTED_CLICKS",
    "ClickCurve",
    "EvaluatedPredictor",
    "Scores",
    "Stage",
    "average_scores",
    "click_curve",
    "last_answer",
    "score_curves",
]

Stage: TypeAlias = Literal["coarse", "refined"]

IOU_TARGETS = (0.80, 0.85, 0.90, 0.95)
REPORTED_CLICKS = (1, 3, 5, 10, 20)

AMORTISED_CLICKS = 20
"""Clicks over which InterFormer and FocSAM spread the encoder's time in their seconds per click."""

LOWERED_BY = 0.01
"""A click does harm where it lowers IoU by more than a point (FocSAM's stability study)."""


class _Embedding(Protocol):
    @property
    def encode_s(self) -> float: ...


class _Prediction(Protocol):
    @property
    def mask(self) -> Rle: ...
    @property
    def state(self) -> Any: ...


class EvaluatedPredictor(Protocol):
    """What can be measured: :class:`samref.inference.predictor.Predictor` and every baseline."""

    def embed(self, image: DecodedImage) -> _Embedding:
        """All that depends on the image alone."""
        ...

    def predict(self, embedding: Any, prompts: Prompts, state: Any) -> Iterator[_Prediction]:
        """Masks for all prompts so far: the coarse one first, the refined one last."""
        ...


@dataclass(frozen=True, slots=True)
class ClickCurve:
    """How one object got better click by click.

    Attributes:
        sample_id: ``dataset/stem#key``.
        dataset: the data set it counts for.
        ious: IoU after each click, in float32 precision. Shorter than asked where the annotator was content.
        bious: boundary IoU after each click.
        encode_s: seconds for the image's embedding, shared by its objects.
        click_s: seconds from each prompt to its mask, embedding not included.
    """

    sample_id: str
    dataset: str
    ious: tuple[float, ...]
    bious: tuple[float, ...]
    encode_s: float
    click_s: tuple[float, ...]

    def clicks_to(self, iou: float) -> int | None:
        """The first click, from 1, after which IoU is at least ``iou`` (compared in float32); None: never."""
        reached = np.asarray(self.ious, dtype=np.float32) >= np.float32(iou)
        return int(reached.argmax()) + 1 if reached.any() else None

    def iou_after(self, clicks: int) -> float:
        """IoU after so many clicks; an annotator who stopped earlier keeps the last mask."""
        return self.ious[min(clicks, len(self.ious)) - 1]

    def biou_after(self, clicks: int) -> float:
        """Boundary IoU after so many clicks, likewise."""
        return self.bious[min(clicks, len(self.bious)) - 1]

    @property
    def harmful_clicks(self) -> int:
        """Clicks that lowered IoU by more than :data:`LOWERED_BY`; the first one cannot."""
        return sum(before - after > LOWERED_BY for before, after in pairwise(self.ious))


def click_curve(
    predictor: EvaluatedPredictor,
    embedding: _Embedding,
    target: ObjectMask,
    *,
    sample_id: str,
    dataset: str,
    stage: Stage,
    max_clicks: int,
    first: FirstPrompt = "click",
    stop_at: float | None = None,
    rule: ClickRule = "ritm",
) -> ClickCurve:
    """Let the simulated annotator label one object.

    It sees the masks of ``stage`` only, and the state it gives back is that stage's: with "coarse" the refiner is
    never run. A predictor with a single stage gives the same mask for both.

    Args:
        predictor: the model or baseline.
        embedding: of the object's image, by the same predictor.
        target: the object.
        sample_id: its name.
        dataset: its data set.
        stage: which mask the annotator looks at.
        max_clicks: interactions it is given.
        first: kind of the first prompt; all others are clicks.
        stop_at: content at this IoU; None goes on to ``max_clicks``, which IoU after k clicks needs.
        rule: whose annotator. "ritm": ignored pixels count nowhere. "focsam": they are background, equal places are
            drawn from (seeded by ``sample_id``), and where nothing is wrong the same prompts are answered once more.

    Source: papers.md §3.6, §4.1.
    """
    ignore = target.ignore if rule == "ritm" else None
    annotator = build_annotator(rule, target.gt, ignore, seed=zlib.crc32(sample_id.encode("utf-8")))
    prompts, state = Prompts(), None
    ious: list[float] = []
    bious: list[float] = []
    click_s: list[float] = []
    pred: Mask = np.zeros_like(target.gt)
    for number in range(max_clicks):
        said = first_prompt(first, target.gt, annotator) if number == 0 else annotator.click(pred)
        prompts = prompts if said is None else prompts.add(said)
        start = time.perf_counter()
        prediction = last_answer(predictor.predict(embedding, prompts, state), stage)
        click_s.append(time.perf_counter() - start)
        state = prediction.state
        pred = np.ascontiguousarray(prediction.mask.to_mask())
        ious.append(mask_iou(pred, target.gt, ignore))
        bious.append(boundary_iou(pred, target.gt, ignore))
        if stop_at is not None and np.float32(ious[-1]) >= np.float32(stop_at):
            break
    return ClickCurve(sample_id, dataset, tuple(ious), tuple(bious), embedding.encode_s, tuple(click_s))


def last_answer(predictions: Iterator[_Prediction], stage: Stage) -> _Prediction:
    """The answer of a stage; for "coarse" nothing more is computed than that."""
    answer = next(predictions)
    if stage == "refined":
        for answer in predictions:  # noqa: B007 - the last one counts
            pass
    return answer


@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers of one data set, or their mean over data sets.

    Attributes:
        objects: objects measured (a sum in a mean over data sets).
        noc: mean number of clicks to each IoU, a failure counting as ``max_clicks``.
        never: objects that never reached it (a sum in a mean over data sets).
        never_rate: the same as a fraction of the objects.
        at_max: objects whose number of clicks equals ``max_clicks``: the published "≥20@x", which counts those that
            reached it at the very last click as well (a sum in a mean over data sets).
        miou: mean IoU after k clicks.
        mbiou: mean boundary IoU after k clicks.
        encode_s: median seconds per embedding.
        click_s: median seconds per click, embedding not included.
        click_s_mean: mean of the same.
        click_s_p95: 95th percentile of the same.
        amortised_s: mean seconds per click with a twentieth of the encoder's mean time in each (FocSAM's "SPC").
        harmful_rate: clicks after the first that lowered IoU by more than a point, as a fraction of all such clicks.
    """

    objects: int
    noc: Mapping[float, float]
    never: Mapping[float, int]
    never_rate: Mapping[float, float]
    at_max: Mapping[float, int]
    miou: Mapping[int, float]
    mbiou: Mapping[int, float]
    encode_s: float
    click_s: float
    click_s_mean: float
    click_s_p95: float
    amortised_s: float
    harmful_rate: float


def score_curves(curves: Sequence[ClickCurve], max_clicks: int, targets: Sequence[float] = IOU_TARGETS) -> Scores:
    """The numbers of one data set from at least one curve."""
    counts = {target: [curve.clicks_to(target) for curve in curves] for target in targets}
    never = {target: clicks.count(None) for target, clicks in counts.items()}
    after = [k for k in REPORTED_CLICKS if k <= max_clicks]
    seconds = [second for curve in curves for second in curve.click_s]
    click_s_mean = statistics.fmean(seconds)
    later = sum(len(curve.ious) - 1 for curve in curves)
    return Scores(
        objects=len(curves),
        noc={target: statistics.fmean(_noc(clicks, max_clicks)) for target, clicks in counts.items()},
        never=never,
        never_rate={target: count / len(curves) for target, count in never.items()},
        at_max={target: _noc(clicks, max_clicks).count(max_clicks) for target, clicks in counts.items()},
        miou={k: statistics.fmean(curve.iou_after(k) for curve in curves) for k in after},
        mbiou={k: statistics.fmean(curve.biou_after(k) for curve in curves) for k in after},
        encode_s=statistics.median(curve.encode_s for curve in curves),
        click_s=statistics.median(seconds),
        click_s_mean=click_s_mean,
        click_s_p95=float(np.percentile(seconds, 95)),
        amortised_s=statistics.fmean(curve.encode_s for curve in curves) / AMORTISED_CLICKS + click_s_mean,
        harmful_rate=sum(curve.harmful_clicks for curve in curves) / later if later else 0.0,
    )


def average_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over data sets, each with the same weight whatever its number of objects; counts are summed."""

    def mean(values: Sequence[float]) -> float:
        return math.nan if not values else statistics.fmean(values)

    return Scores(
        objects=sum(one.objects for one in scores),
        noc={target: mean([one.noc[target] for one in scores]) for target in scores[0].noc},
        never={target: sum(one.never[target] for one in scores) for target in scores[0].noc},
        never_rate={target: mean([one.never_rate[target] for one in scores]) for target in scores[0].noc},
        at_max={target: sum(one.at_max[target] for one in scores) for target in scores[0].noc},
        miou={k: mean([one.miou[k] for one in scores]) for k in scores[0].miou},
        mbiou={k: mean([one.mbiou[k] for one in scores]) for k in scores[0].mbiou},
        encode_s=mean([one.encode_s for one in scores]),
        click_s=mean([one.click_s for one in scores]),
        click_s_mean=mean([one.click_s_mean for one in scores]),
        click_s_p95=mean([one.click_s_p95 for one in scores]),
        amortised_s=mean([one.amortised_s for one in scores]),
        harmful_rate=mean([one.harmful_rate for one in scores]),
    )


def _noc(clicks: Sequence[int | None], max_clicks: int) -> list[int]:
    return [max_clicks if count is None else count for count in clicks]
