"""What several bases answer about an object of a development image, in a frame like SAM's: to check a refiner on."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.images import DecodedImage
from samref.core.oracle import Annotator
from samref.core.prompts import Click, Prompts
from samref.datasets import ObjectMask
from samref.errors import DataError, StorageError
from samref.evaluation.grabcut import GrabCutPredictor, GrabCutState
from samref.inference.postprocess import mask_from_logits
from samref.inference.predictor import Predictor
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.models.layers import load_pixels, soft_iou
from samref.models.sam_ref import windows
from samref.training.coarse_masks import (
    STRIDE,
    LogitLook,
    Map,
    doubtful_logits,
    good_logits,
    smooth_logits,
    wrong_mask,
)

__all__ = ["Answers", "RecordedBase", "answer_good", "answer_grabcut", "answer_tiny", "answer_wrong", "kept_answers"]

GRABCUT_LONGEST = 256
"""Longest side of the image that GrabCut is given: its answers end in cells of that size or coarser anyway."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one base answered about one object.

    Attributes:
        logits: float16 (T, h, w) over the padded square frame.
        clicks: T clicks; answer ``t`` knew the first ``t + 1``.
    """

    logits: NDArray[np.float16]
    clicks: tuple[Click, ...]


class RecordedBase:
    """A base that has given all its answers before: for every number of prompts the next of ``answers``."""

    def __init__(self, answers: Answers, spec: ModelSpec) -> None:
        self.answers = answers
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, self._spec.image_size)

    def to(self, device: torch.device, dtype: torch.dtype) -> RecordedBase:  # noqa: ARG002 - answers are kept as they are
        return self

    def encode(self, image: ImageInput) -> ImageFeatures:
        """Nothing but the image's own pixels."""
        return ImageFeatures(torch.zeros(1, 1, 1, 1), load_pixels(image.rgb, 2 * self._spec.image_size), image.frame)

    def decode(
        self,
        features: ImageFeatures,  # noqa: ARG002 - answered before
        prompts: PromptBatch,
        state: DecoderState,
    ) -> Iterator[MaskOutput]:
        """The recorded answer to so many prompts."""
        number = len(prompts.prompts.items)
        logits = torch.from_numpy(self.answers.logits[number - 1].astype(np.float32))[None, None]
        after = DecoderState(step=state.step + 1, low_res_logits=logits, final_logits=logits)
        yield MaskOutput("coarse", logits, float(soft_iou(logits)), after)


def kept_answers(path: Path, make: Callable[[], Answers]) -> Answers:
    """The answers in ``path``; made and written there when the file does not exist.

    Raises:
        DataError: the file is damaged.
        StorageError: it cannot be written.
    """
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as table:
                clicks = tuple(Click(*click) for click in json.loads(str(table["clicks"])))
                return Answers(table["logits"], clicks)
        except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} does not hold a base's answers. Delete it; it is then made again.") from error
    answers = make()
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            clicks_text = json.dumps([(click.x, click.y, click.positive) for click in answers.clicks])
            np.savez_compressed(file, logits=answers.logits, clicks=clicks_text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"A base's answers cannot be written to {path}: {error.strerror or error}.") from error
    return answers


def answer_tiny(predictor: Predictor, image: DecodedImage, target: ObjectMask, steps: int, side: int) -> Answers:
    """The embedded base's own (coarse) answers, given back to it, at twice as many cells where ``side`` asks for it."""
    embedding = predictor.embed(image)
    frame = Frame.letterbox(image.size, side)
    state: DecoderState | None = None

    def answer(clicks: tuple[Click, ...]) -> Tensor:
        nonlocal state
        state = next(predictor.predict(embedding, Prompts(clicks), state)).state
        assert state.low_res_logits is not None
        stride = embedding.frame.padded.width / state.low_res_logits.shape[-1]
        own = embedding.frame.resized
        rows, columns = windows.covered_cells(frame, STRIDE)
        # The cells of the new frame reach over the image's end by less than one of them.
        reach_x = columns * STRIDE / frame.resized.width * own.width / stride
        reach_y = rows * STRIDE / frame.resized.height * own.height / stride
        box = torch.tensor([[0.0, 0.0, reach_x, reach_y]])
        return _padded(windows.sample_window(state.low_res_logits.float(), box, (rows, columns)), frame)

    return _asked(answer, target, frame, steps)


def answer_grabcut(image: DecodedImage, target: ObjectMask, steps: int, side: int) -> Answers:
    """GrabCut's cuts of a small version of the image, said as a base says them."""
    frame = Frame.letterbox(image.size, side)
    cells = windows.covered_cells(frame, STRIDE)
    scale = min(1.0, GRABCUT_LONGEST / image.size.longest)
    size = ImageSize(max(1, round(image.size.height * scale)), max(1, round(image.size.width * scale)))
    small = np.asarray(cv2.resize(image.rgb, (size.width, size.height), interpolation=cv2.INTER_AREA), np.uint8)
    predictor = GrabCutPredictor()
    embedding = predictor.embed(DecodedImage(small, size, image.digest))
    state: GrabCutState | None = None

    def answer(clicks: tuple[Click, ...]) -> Tensor:
        nonlocal state
        moved = tuple(
            Click(min(size.width - 1.0, c.x * scale), min(size.height - 1.0, c.y * scale), c.positive) for c in clicks
        )
        prediction = next(predictor.predict(embedding, Prompts(moved), state))
        state = prediction.state
        mask = framed_mask(prediction.mask.to_mask().astype(np.uint8), frame)
        return _padded(torch.from_numpy(smooth_logits(mask, cells, LogitLook()))[None, None], frame)

    return _asked(answer, target, frame, steps)


def answer_wrong(image: DecodedImage, target: ObjectMask, steps: int, side: int, name: str) -> Answers:
    """Imitated mistakes, others at every step; ``name`` is their seed."""
    frame = Frame.letterbox(image.size, side)
    cells = windows.covered_cells(frame, STRIDE)
    rng = np.random.default_rng([1, zlib.crc32(name.encode("utf-8"))])
    gt = target.gt.astype(np.uint8)

    def answer(clicks: tuple[Click, ...]) -> Tensor:  # noqa: ARG001 - such a base does not listen
        wrong = framed_mask(wrong_mask(gt, image.rgb, rng), frame)
        logits = doubtful_logits(wrong, framed_mask(gt, frame), cells, rng)
        return _padded(torch.from_numpy(logits)[None, None], frame)

    return _asked(answer, target, frame, steps)


def answer_good(image: DecodedImage, target: ObjectMask, steps: int, side: int, name: str) -> Answers:
    """The truth as cells can show it, with another look at every step; ``name`` is its seed."""
    frame = Frame.letterbox(image.size, side)
    cells = windows.covered_cells(frame, STRIDE)
    rng = np.random.default_rng([2, zlib.crc32(name.encode("utf-8"))])
    framed = framed_mask(target.gt.astype(np.uint8), frame)

    def answer(clicks: tuple[Click, ...]) -> Tensor:  # noqa: ARG001 - such a base needs no clicks
        return _padded(torch.from_numpy(good_logits(framed, cells, rng))[None, None], frame)

    return _asked(answer, target, frame, steps)


def framed_mask(mask: Map, frame: Frame) -> Map:
    """``mask`` (H, W) at the size it has in ``frame``, continued at its end to whole cells."""
    resized = cv2.resize(
        mask.astype(np.float32), (frame.resized.width, frame.resized.height), interpolation=cv2.INTER_LINEAR
    )
    rows, columns = windows.covered_cells(frame, STRIDE)
    below, right = rows * STRIDE - frame.resized.height, columns * STRIDE - frame.resized.width
    whole = cv2.copyMakeBorder((resized > 0.5).astype(np.uint8), 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(whole, dtype=np.uint8)


def _padded(logits: Tensor, frame: Frame) -> Tensor:
    """Over the whole square frame; the padding is surely outside."""
    rows, columns = frame.padded.height // STRIDE, frame.padded.width // STRIDE
    out = torch.full((1, 1, rows, columns), float(logits.min().clamp(max=-1.0)))
    out[..., : logits.shape[-2], : logits.shape[-1]] = logits
    return out


def _asked(answer: Callable[[tuple[Click, ...]], Tensor], target: ObjectMask, frame: Frame, steps: int) -> Answers:
    """Let the annotator of the evaluation protocol correct the base ``steps`` times."""
    annotator = Annotator(target.gt, target.ignore)
    clicks: tuple[Click, ...] = ()
    kept = []
    mask = np.zeros_like(target.gt)
    for _ in range(steps):
        clicks = (*clicks, annotator.click(mask))
        logits = answer(clicks).half()
        kept.append(logits[0, 0].numpy())
        mask = np.ascontiguousarray(mask_from_logits(logits, frame).to_mask())
    return Answers(np.stack(kept), clicks)
