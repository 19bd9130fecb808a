"""Coarse masks of real bases, recorded once with the prompts they answered, so that a refiner learns without the base.

One file per object: the scene, the truth, and the base's low-res logits after some of the prompts of a simulated person
who corrected *that* base. A refiner trained on several bases' records knows none of them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompt, Prompts, Scribble
from samref.errors import DataError, StorageError
from samref.evaluation.grabcut import GrabCutPredictor, GrabCutState
from samref.models.layers import resize
from samref.models.tiny.network import Embedding, TinyNet
from samref.training.annotator import BatchAnnotator
from samref.training.coarse_masks import STRIDE, Logits, Map, draw_look, smooth_logits
from samref.training.dataset import SceneBatch
from samref.training.objectives import to_input
from samref.training.scenes import half_labels

__all__ = ["MaskRecord", "load_records", "record_grabcut", "record_tiny", "save_record"]

KEPT_STEPS = (0, 1, 2, 4)
"""After which prompts (from 0) the mask is kept."""


@dataclass(frozen=True, slots=True)
class MaskRecord:
    """One object of one scene and what one base answered about it.

    Attributes:
        rgb: uint8 (S, S, 3).
        labels: uint8 (S, S) with 0, 1 and 255 (ignore).
        logits: float16 (T, S/4, S/4), low-res answers.
        prompts: T tuples: the clicks and strokes each of them knew, in cells of S/2.
    """

    rgb: NDArray[np.uint8]
    labels: Map
    logits: NDArray[np.float16]
    prompts: tuple[tuple[Prompt, ...], ...]


def save_record(record: MaskRecord, path: Path) -> None:
    """Write ``record``; the file appears only when it is complete.

    Raises:
        StorageError: it cannot be written.
    """
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                rgb=record.rgb,
                labels=record.labels,
                logits=record.logits,
                prompts=json.dumps([[_plain(prompt) for prompt in step] for step in record.prompts]),
            )
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"The masks cannot be written to {path}: {error.strerror or error}.") from error


def load_records(folder: Path) -> list[MaskRecord]:
    """All records of ``folder``, by file name.

    Raises:
        DataError: there are none, or a file is damaged.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise DataError(f"{folder} holds no recorded masks. Record some with: python -m samref refiner masks --help")
    return [_load(path) for path in paths]


def _load(path: Path) -> MaskRecord:
    try:
        with np.load(path, allow_pickle=False) as table:
            prompts = json.loads(str(table["prompts"]))
            steps = tuple(tuple(_prompt(plain) for plain in step) for step in prompts)
            record = MaskRecord(table["rgb"], table["labels"], table["logits"], steps)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not hold recorded masks. Delete it and record it again.") from error
    side = record.labels.shape[0]
    fits = record.rgb.shape == (side, side, 3) and record.logits.shape[1:] == (side // STRIDE, side // STRIDE)
    if not fits or len(record.prompts) != len(record.logits) or not len(record.logits):
        raise DataError(f"{path}: image, masks and prompts do not fit together. Delete it and record it again.")
    return record


def _plain(prompt: Prompt) -> list[object]:
    if isinstance(prompt, Click):
        return ["click", prompt.x, prompt.y, prompt.positive]
    assert isinstance(prompt, Scribble), "boxes and outlines reach a refiner through the mask only"
    return ["scribble", prompt.points, prompt.positive, prompt.width]


def _prompt(plain: Sequence[Any]) -> Prompt:
    match plain:
        case ["click", x, y, positive]:
            return Click(float(x), float(y), bool(positive))
        case ["scribble", points, positive, width]:
            return Scribble(tuple((float(x), float(y)) for x, y in points), bool(positive), float(width))
        case _:
            raise ValueError(f"no prompt: {plain!r}")


def record_tiny(net: TinyNet, batch: SceneBatch, rng: np.random.Generator) -> Iterator[MaskRecord]:
    """What the embedded model's base answers about every object of ``batch``, given its own previous answer back."""
    rgb = torch.from_numpy(batch.rgb).permute(0, 3, 1, 2)
    objects = batch.labels.shape[1]
    with torch.inference_mode():
        shared = Embedding(*(level.repeat_interleave(objects, dim=0) for level in net.embed(to_input(rgb))))
    low_res = batch.labels.shape[-1] // STRIDE
    previous: list[torch.Tensor] = []

    def answer(annotator: BatchAnnotator) -> NDArray[np.float32]:
        count = len(annotator.gt)
        mask_input = previous[-1] if previous else torch.zeros(count, 1, low_res, low_res)
        has_mask = torch.full((count, 1, 1, 1), float(bool(previous)))
        with torch.inference_mode():
            maps = torch.from_numpy(annotator.maps).float()
            previous.append(net.decoder(shared, maps, mask_input, has_mask).float())
        logits: NDArray[np.float32] = previous[-1][:, 0].numpy()
        return logits

    yield from _recorded(batch, net.config.click_radius / net.config.map_stride, rng, answer)


def record_grabcut(batch: SceneBatch, rng: np.random.Generator) -> Iterator[MaskRecord]:
    """What GrabCut answers about every object of ``batch`` at half its size, said as a base says it."""
    objects = batch.labels.shape[1]
    side = batch.rgb.shape[1] // 2
    low_res = (2 * side // STRIDE, 2 * side // STRIDE)
    predictor = GrabCutPredictor()
    images = [np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for rgb in batch.rgb]
    states: dict[int, GrabCutState] = {}
    looks = [draw_look(rng) for _ in range(len(images) * objects)]

    def answer(annotator: BatchAnnotator) -> NDArray[np.float32]:
        answers: list[Logits] = []
        for index, prompts in enumerate(annotator.prompts):
            rough = annotator.maps[index, 4] > 0
            given = Prompts(tuple(prompts), Rle.from_mask(rough) if rough.any() else None)
            embedding = predictor.embed(_decoded(images[index // objects]))
            prediction = next(predictor.predict(embedding, given, states.get(index)))
            states[index] = prediction.state
            answers.append(smooth_logits(prediction.mask.to_mask().astype(np.uint8), low_res, looks[index]))
        return np.stack(answers)

    yield from _recorded(batch, 2.5, rng, answer)


def _recorded(
    batch: SceneBatch,
    radius: float,
    rng: np.random.Generator,
    answer: Callable[[BatchAnnotator], NDArray[np.float32]],
) -> Iterator[MaskRecord]:
    labels = torch.from_numpy(batch.labels).flatten(0, 1)[:, None]
    _, numeric = half_labels(labels)
    annotator = BatchAnnotator(numeric, radius, rng)
    annotator.begin()
    kept: list[NDArray[np.float32]] = []
    known: list[list[tuple[Prompt, ...]]] = []
    for step in range(KEPT_STEPS[-1] + 1):
        logits = answer(annotator)
        if step in KEPT_STEPS:
            kept.append(logits)
            known.append([_drawn_kinds(said) for said in annotator.prompts])
        annotator.correct(resize(torch.from_numpy(logits)[:, None], numeric.shape[-2:]))
    for index in range(len(numeric)):
        yield MaskRecord(
            batch.rgb[index // batch.labels.shape[1]],
            batch.labels.reshape(-1, *batch.labels.shape[2:])[index],
            np.stack([step[index] for step in kept]).astype(np.float16),
            tuple(step[index] for step in known),
        )


def _drawn_kinds(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """What a refiner is shown: boxes and outlines reach it through the mask only."""
    return tuple(prompt for prompt in prompts if isinstance(prompt, Click | Scribble))


def _decoded(rgb: NDArray[np.uint8]) -> DecodedImage:
    return DecodedImage(rgb, ImageSize(rgb.shape[0], rgb.shape[1]), "")
