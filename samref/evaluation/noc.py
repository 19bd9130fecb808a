"""Clicks needed: the protocol's loop over one object, its curve, and the numbers of the field made from many curves.

Source: papers.md §4.2. Failures count as the largest number of clicks in NoC, as everywhere in the field, but a curve
itself says None. Two protocols are published: RITM's (SegNext and most others) and FocSAM's, see :func:`click_curve`.
"""

from __future__ import annotations

import math
import statistics
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias

import cv2
import numpy as np

from samref.core.images import DecodedImage
from samref.core.masks import Mask, Rle, boundary_iou, mask_box, mask_iou
from samref.core.oracle import Clicker, ClickRule, build_annotator
from samref.core.prompts import SCRIBBLE_WIDTH, Box, Prompt, Prompts, Scribble
from samref.datasets import ObjectMask
from samref.errors import DataError

Stage: TypeAlias = Literal["coarse", "refined"]
FirstPrompt: TypeAlias = Literal["click", "box", "scribble"]

IOU_TARGETS = (0.80, 0.85, 0.90, 0.95)
REPORTED_CLICKS = (1, 3, 5, 10, 20)

AMORTISED_CLICKS = 20
"""Clicks over which InterFormer and FocSAM spread the encoder's time in their seconds per click."""

LOWERED_BY = 0.01
"""A click does harm where it lowers IoU by more than a point (FocSAM's stability study)."""

GOOD = 0.90
"""A mask of this IoU is as good as done: most people would accept it."""

BROKEN_BY = 0.05
"""A click breaks a good mask where it lowers its IoU by more than this."""

STROKE_DIRECTIONS = 36
"""Directions tried for a first stroke, every 5 degrees of a half turn."""


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


class Recorder:
    """A predictor that keeps what was last asked, and every answer: one list of stages for each prompt."""

    def __init__(self, predictor: EvaluatedPredictor) -> None:
        self._predictor = predictor
        self.prompts = Prompts()
        self.answers: list[list[Any]] = []

    def embed(self, image: DecodedImage) -> Any:
        return self._predictor.embed(image)

    def predict(self, embedding: Any, prompts: Prompts, state: Any) -> Iterator[Any]:
        self.prompts = prompts
        self.answers.append([])
        for prediction in self._predictor.predict(embedding, prompts, state):
            self.answers[-1].append(prediction)
            yield prediction


@dataclass(frozen=True, slots=True)
class ClickProtocol:
    """How it is measured; the result depends on ``workers`` in its times only.

    Attributes:
        max_clicks: interactions per object.
        stages: whose masks the annotator looks at; two are measured apart.
        first_prompt: kind of the first prompt; all others are clicks.
        stop_at: stop an object at this IoU. None clicks on to the end, which IoU after k clicks needs.
        limit_per_dataset: objects per data set, drawn at random but always alike; None: all.
        seed: of that draw.
        workers: images measured at the same time, in threads; with more than one, times are those of a busy machine.
        rule: whose annotator. "ritm": ignored pixels count nowhere. "focsam": they are background, equal places are
            drawn from (seeded by the object's name), and where nothing is wrong the same prompts are answered again.
        layouts: names of the layouts that the data sets were found to have.
        split: part of the data; None: the one the field measures.
        sam_masks: when SAM computed three masks; None: as the model does by itself.
    """

    max_clicks: int = 20
    stages: tuple[Stage, ...] = ("refined",)
    first_prompt: FirstPrompt = "click"
    stop_at: float | None = None
    limit_per_dataset: int | None = None
    seed: int = 0
    workers: int = 1
    rule: ClickRule = "ritm"
    layouts: tuple[str, ...] = ()
    split: str | None = None
    sam_masks: str | None = None

    def __post_init__(self) -> None:
        if self.max_clicks < 1:
            raise DataError(f"The annotator needs at least one click, not {self.max_clicks}.")
        if self.stop_at is not None and not 0 < self.stop_at <= 1:
            raise DataError(f"An IoU to stop at lies between 0 and 1; {self.stop_at:g} does not.")
        if self.limit_per_dataset is not None and self.limit_per_dataset < 1:
            raise DataError(f"At least one object per data set must be measured, not {self.limit_per_dataset}.")
        if self.workers < 1:
            raise DataError(f"At least one worker is needed, not {self.workers}.")


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

    @property
    def clicks_on_good(self) -> int:
        """Clicks on a mask that was :data:`GOOD` already."""
        return sum(before >= GOOD for before in self.ious[:-1])

    @property
    def breaking_clicks(self) -> int:
        """Those of them that lowered IoU by more than :data:`BROKEN_BY`."""
        return sum(before >= GOOD and before - after > BROKEN_BY for before, after in pairwise(self.ious))


def click_curve(
    predictor: EvaluatedPredictor,
    embedding: _Embedding,
    target: ObjectMask,
    protocol: ClickProtocol,
    stage: Stage,
    *,
    sample_id: str = "",
    dataset: str = "",
) -> ClickCurve:
    """Let the simulated annotator label one object of the image that ``embedding`` is of.

    It sees the masks of ``stage`` only, and the state it gives back is that stage's: with "coarse" the refiner is
    never run. A predictor with a single stage gives the same mask for both.

    Source: papers.md §3.6, §4.1.
    """
    ignore = target.ignore if protocol.rule == "ritm" else None
    annotator = build_annotator(protocol.rule, target.gt, ignore, seed=zlib.crc32(sample_id.encode("utf-8")))
    prompts, state = Prompts(), None
    ious: list[float] = []
    bious: list[float] = []
    click_s: list[float] = []
    pred: Mask = np.zeros_like(target.gt)
    for number in range(protocol.max_clicks):
        said = annotator.click(pred) if number else _first_prompt(protocol.first_prompt, target.gt, annotator)
        prompts = prompts if said is None else prompts.add(said)
        start = time.perf_counter()
        prediction = last_answer(predictor.predict(embedding, prompts, state), stage)
        click_s.append(time.perf_counter() - start)
        state = prediction.state
        pred = np.ascontiguousarray(prediction.mask.to_mask())
        ious.append(mask_iou(pred, target.gt, ignore))
        bious.append(boundary_iou(pred, target.gt, ignore))
        if protocol.stop_at is not None and np.float32(ious[-1]) >= np.float32(protocol.stop_at):
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

    ``objects``, ``never``, ``at_max``, ``on_good`` and ``breaking`` are counts, summed in a mean over data sets; by IoU
    or by number of clicks:

    Attributes:
        noc: mean number of clicks to each IoU, a failure counting as ``max_clicks``.
        never: objects that never reached it.
        never_rate: the same as a fraction of the objects.
        at_max: objects whose number of clicks equals ``max_clicks``: the published "≥20@x", which counts those that
            reached it at the very last click as well.
        miou, mbiou: mean IoU and boundary IoU after k clicks.
        encode_s: median seconds per embedding.
        click_s: median seconds per click, embedding not included; also their mean and 95th percentile.
        amortised_s: mean seconds per click with a twentieth of the encoder's mean time in each (FocSAM's "SPC").
        harmful_rate: clicks after the first that lowered IoU by more than a point, as a fraction of all such clicks.
        on_good: clicks on masks of IoU 0.9 or more.
        breaking: those of them that lowered it by more than five points.
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
    on_good: int
    breaking: int


def by_dataset(curves: Iterable[ClickCurve]) -> dict[str, list[ClickCurve]]:
    """The curves of each data set, in their order."""
    found: dict[str, list[ClickCurve]] = {}
    for curve in curves:
        found.setdefault(curve.dataset, []).append(curve)
    return found


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
        on_good=sum(curve.clicks_on_good for curve in curves),
        breaking=sum(curve.breaking_clicks for curve in curves),
    )


_COUNTS = frozenset({"objects", "never", "at_max", "on_good", "breaking"})


def average_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over data sets, each with the same weight whatever its number of objects; counts are summed."""

    def together(name: str) -> Any:
        combine = sum if name in _COUNTS else statistics.fmean
        values = [getattr(one, name) for one in scores]
        if isinstance(values[0], Mapping):
            return {key: combine([one[key] for one in values]) for key in values[0]}
        return combine(values)

    return Scores(**{field.name: together(field.name) for field in fields(Scores)})


def _noc(clicks: Sequence[int | None], max_clicks: int) -> list[int]:
    return [max_clicks if count is None else count for count in clicks]


# ---- what the simulated annotator says first; from then on it clicks


def _first_prompt(kind: FirstPrompt, gt: Mask, annotator: Clicker) -> Prompt:
    """The first prompt for an object that is not empty; it counts as one interaction, like a click."""
    if kind == "box":
        return tight_box(gt)
    if kind == "scribble":
        return widest_stroke(gt)
    click = annotator.click(np.zeros_like(gt))
    assert click is not None, "of an object that is not empty something is missing"
    return click


def tight_box(gt: Mask) -> Box:
    """The bounding box of an object that is not empty."""
    box = mask_box(gt)
    assert box is not None, "an empty object is never measured"
    return Box(*(float(side) for side in box))


def widest_stroke(gt: Mask) -> Scribble:
    """A straight stroke through the deepest pixel, along the longest way that stays half as deep.

    It is deterministic and lies well inside the object, as a careful person's first stroke does. It is never wider
    than the object is thick around it.
    """
    depth = np.asarray(cv2.distanceTransform(np.pad(gt.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    depth = depth[1:-1, 1:-1]
    row, column = (int(index) for index in np.unravel_index(int(depth.argmax()), depth.shape))
    inner = depth >= depth[row, column] / 2
    best = ((column, row), (column, row))
    longest = 0.0
    for step in range(STROKE_DIRECTIONS):
        angle = math.pi * step / STROKE_DIRECTIONS
        ends = (_last_inside(inner, column, row, angle), _last_inside(inner, column, row, angle + math.pi))
        length = math.dist(*ends)
        if length > longest:
            best, longest = ends, length
    width = min(SCRIBBLE_WIDTH, max(1.0, math.floor(float(depth[row, column]))))
    (x0, y0), (x1, y1) = best
    count = max(2, math.ceil(longest / 4) + 1)
    points = [(x0 + (x1 - x0) * i / (count - 1), y0 + (y1 - y0) * i / (count - 1)) for i in range(count)]
    return Scribble(tuple(points), True, width)


def _last_inside(inner: Mask, column: int, row: int, angle: float) -> tuple[int, int]:
    """The last pixel (x, y) on the way from (column, row) before leaving ``inner``."""
    height, width = inner.shape
    distance = np.arange(math.hypot(height, width))
    x = np.rint(column + distance * math.cos(angle)).astype(np.int64)
    y = np.rint(row + distance * math.sin(angle)).astype(np.int64)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    within[within] = inner[y[within], x[within]]
    last = int(np.argmin(within)) - 1 if not within.all() else len(within) - 1
    return int(x[last]), int(y[last])
