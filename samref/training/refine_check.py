"""Does a refiner improve the masks of bases it knows nothing of, and does it leave good masks alone?

Every base answers the clicks of the evaluation protocol's annotator, who sees *that base's* masks; the refiner, with
its windows and its selector, corrects every answer. Intervals are bootstrapped over objects, since the answers about
one object depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samref.core.images import DecodedImage
from samref.core.masks import boundary_iou, mask_iou
from samref.core.prompts import Prompts
from samref.datasets import ObjectMask, find_images, sample_objects
from samref.errors import DataError
from samref.inference.predictor import Predictor
from samref.models.interface import DecoderState, ModelSpec
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef
from samref.training import base_answers

__all__ = [
    "GOOD",
    "KINDS",
    "Change",
    "Interval",
    "Kind",
    "Verdict",
    "bootstrap_mean",
    "changes",
    "judge",
    "to_json",
    "to_markdown",
]

Kind: TypeAlias = Literal["tiny", "grabcut", "wrong", "good"]
KINDS: tuple[Kind, ...] = ("tiny", "grabcut", "wrong", "good")
GOOD = 0.95
"""A mask of this IoU or more must be left as good as it is, ..."""
ALLOWED_LOSS = 0.005
"""... on average within this much."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the refiner made of one answer: IoU and boundary IoU before and after."""

    sample_id: str
    kind: Kind
    step: int
    iou: float
    refined_iou: float
    biou: float
    refined_biou: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it lies with 95 % confidence; NaN where there was nothing to average."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The changes of one kind of masks, or of the good ones among them.

    Attributes:
        kind: whose masks; "all" for every kind together.
        only_good: whether only answers with an IoU of at least :data:`GOOD` count.
        answers, objects: how many.
        iou, biou: means before.
        gain, boundary_gain: after less before.
        passes: for good masks that they lose no more than allowed on average, otherwise that the interval of ``gain``
            lies above zero.
    """

    kind: str
    only_good: bool
    answers: int
    objects: int
    iou: float
    biou: float
    gain: Interval
    boundary_gain: Interval
    passes: bool


def bootstrap_mean(values: Sequence[float], owners: Sequence[str], draws: int = 2000, seed: int = 0) -> Interval:
    """The mean of ``values`` with the 2.5 and 97.5 percentiles of its bootstrap over ``owners``.

    Args:
        values: one per answer.
        owners: the object each belongs to; a draw takes all values of an object or none.
        draws: resamples.
        seed: of them.
    """
    if not values:
        return Interval(float("nan"), float("nan"), float("nan"))
    names, owner = np.unique(np.asarray(owners), return_inverse=True)
    sums = np.bincount(owner, weights=np.asarray(values, dtype=np.float64), minlength=names.size)
    counts = np.bincount(owner, minlength=names.size).astype(np.float64)
    picks = np.random.default_rng(seed).integers(names.size, size=(draws, names.size))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(np.mean(values)), float(low), float(high))


def changes(
    refiner: SamRef,
    data: Path,
    cache: Path,
    *,
    kinds: Sequence[Kind] = KINDS,
    side: int = 512,
    steps: int = 3,
    limit: int | None = None,
    tiny: Predictor | None = None,
) -> Iterator[Change]:
    """Refine every answer of every kind; answers are made once and kept in ``cache``.

    Args:
        refiner: to check; its crop is half of the frame, as in the frame it is meant for.
        data: folder of data sets.
        cache: folder for the answers.
        kinds: of bases.
        side: of the frame, a multiple of 4.
        steps: clicks per object.
        limit: objects per data set; None: all.
        tiny: the embedded model, needed for that kind.
    """
    spec = ModelSpec("recorded", "Recorded answers", "letterbox", side, frozenset({"click"}), ("coarse", "refined"))
    records, _ = find_images(data)
    for record in sample_objects(records, limit, 0):
        image = record.read_image()
        for target in record.read_objects(image):
            sample_id = record.sample_id(target.key)
            for kind in kinds:
                path = cache / f"{kind}-{side}-{steps}" / (sample_id.replace("/", "__").replace("#", "__") + ".npz")
                answers = base_answers.kept_answers(
                    path,
                    lambda: _answers(kind, image, target, steps, side, sample_id, tiny),  # noqa: B023 - called at once
                )
                base = base_answers.RecordedBase(answers, spec)
                yield from _refined(SamRefModel(base, refiner, spec), image, target, answers, sample_id, kind)


def _answers(
    kind: Kind, image: DecodedImage, target: ObjectMask, steps: int, side: int, name: str, tiny: Predictor | None
) -> base_answers.Answers:
    if kind == "tiny":
        if tiny is None:
            raise DataError("The embedded model's answers are not recorded yet, and the model was not given.")
        return base_answers.answer_tiny(tiny, image, target, steps, side)
    if kind == "grabcut":
        return base_answers.answer_grabcut(image, target, steps, side)
    if kind == "wrong":
        return base_answers.answer_wrong(image, target, steps, side, name)
    return base_answers.answer_good(image, target, steps, side, name)


def _refined(
    model: SamRefModel,
    image: DecodedImage,
    target: ObjectMask,
    answers: base_answers.Answers,
    sample_id: str,
    kind: Kind,
) -> Iterator[Change]:
    predictor = Predictor(model)
    embedding = predictor.embed(image)
    state: DecoderState | None = None

    def scores(mask: NDArray[np.bool_]) -> tuple[float, float]:
        mask = np.ascontiguousarray(mask)
        return mask_iou(mask, target.gt, target.ignore), boundary_iou(mask, target.gt, target.ignore)

    for step in range(len(answers.clicks)):
        coarse, refined = predictor.predict(embedding, Prompts(answers.clicks[: step + 1]), state)
        state = refined.state
        iou, biou = scores(coarse.mask.to_mask())
        refined_iou, refined_biou = scores(refined.mask.to_mask())
        yield Change(sample_id, kind, step + 1, iou, refined_iou, biou, refined_biou)


def judge(found: Sequence[Change]) -> list[Verdict]:
    """One verdict per kind on all its masks and one on its good ones, and one on all good masks together."""
    kinds = list(dict.fromkeys(change.kind for change in found))
    groups: list[tuple[str, bool, list[Change]]] = []
    for kind in kinds:
        own = [change for change in found if change.kind == kind]
        groups.append((kind, False, own))
        groups.append((kind, True, [change for change in own if change.iou >= GOOD]))
    groups.append(("all", True, [change for change in found if change.iou >= GOOD]))
    return [_verdict(*group) for group in groups if group[2]]


def _verdict(kind: str, only_good: bool, group: Sequence[Change]) -> Verdict:
    owners = [change.sample_id for change in group]
    gain = bootstrap_mean([change.refined_iou - change.iou for change in group], owners)
    boundary_gain = bootstrap_mean([change.refined_biou - change.biou for change in group], owners)
    return Verdict(
        kind=kind,
        only_good=only_good,
        answers=len(group),
        objects=len(set(owners)),
        iou=float(np.mean([change.iou for change in group])),
        biou=float(np.mean([change.biou for change in group])),
        gain=gain,
        boundary_gain=boundary_gain,
        passes=gain.mean >= -ALLOWED_LOSS if only_good or kind == "good" else gain.low > 0,
    )


def to_markdown(verdicts: Sequence[Verdict]) -> str:
    """A Markdown table, gains in points (hundredths of IoU)."""
    lines = [
        "| masks of | which | answers / objects | IoU before | gain (95 %) | BIoU before | gain (95 %) | passes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in verdicts:
        which = f"IoU >= {GOOD}" if one.only_good else "all"
        lines.append(
            f"| {one.kind} | {which} | {one.answers} / {one.objects} | {one.iou:.3f} | {_points(one.gain)} "
            f"| {one.biou:.3f} | {_points(one.boundary_gain)} | {'yes' if one.passes else 'NO'} |"
        )
    return "\n".join(lines) + "\n"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.2f} ({100 * interval.low:+.2f} .. {100 * interval.high:+.2f})"


def to_json(verdicts: Sequence[Verdict], found: Sequence[Change]) -> dict[str, object]:
    """All numbers, as plain values."""
    return {"verdicts": [asdict(one) for one in verdicts], "changes": [asdict(one) for one in found]}
