"""One object put before a refiner in training, and the ways it is varied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.prompts import Click, Prompt, Scribble
from samref.training import simulate
from samref.training.coarse_masks import STRIDE
from samref.training.dataset import IGNORE

__all__ = ["MaskExample", "imagined_prompts", "mirrored", "transposed", "with_margin"]

HALF = 2
"""Image pixels per cell that prompts are in."""


class MaskExample(NamedTuple):
    """One object: rgb uint8 (S, S, 3), labels uint8 (S, S), logits (S/4, S/4), prompts in cells of S/2."""

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    prompts: tuple[Prompt, ...]
    kind: str


def imagined_prompts(
    labels: NDArray[np.uint8], logits: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Prompt, ...]:
    """A first click, then up to five more: confirming, excluding, or on what is wrong (the base may ignore a click)."""
    size = (labels.shape[1] // HALF, labels.shape[0] // HALF)
    gt, ignore = (cv2.resize((labels == v).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for v in (1, 255))
    pred = (cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR) > 0).astype(np.uint8)
    reach = 2 * max(2, int(np.sqrt(gt.sum()) * 0.15)) + 1
    beside = cv2.dilate(gt, np.ones((reach, reach), np.uint8)) * (1 - gt) * (1 - ignore)
    found: list[Prompt | None] = [simulate.click_in(np.asarray(gt, np.uint8), True, rng)]
    for _ in range(int(rng.choice(6, p=(0.35, 0.2, 0.15, 0.1, 0.1, 0.1)))):
        drawn = rng.random()
        if drawn < 0.3:
            found.append(simulate.click_in(np.asarray(gt & pred, np.uint8), True, rng))
        elif drawn < 0.6:
            found.append(simulate.click_in(np.asarray(beside * (1 - pred), np.uint8), False, rng))
        else:
            found.append(simulate.correction(pred, np.asarray(gt, np.uint8), np.asarray(ignore, np.uint8), rng))
    return tuple(prompt for prompt in found if prompt is not None)


def with_margin(example: MaskExample, rng: np.random.Generator) -> MaskExample:
    """The right or lower end of the scene turned into a frame's padding, where most of the object lies elsewhere."""
    side = example.labels.shape[0]
    cut = STRIDE * int(rng.integers(int(0.6 * side / STRIDE), side // STRIDE))
    ends = (slice(cut, None), slice(None)) if rng.random() < 0.5 else (slice(None), slice(cut, None))
    if (example.labels[ends] == 1).sum() > 0.1 * (example.labels == 1).sum():
        return example
    rgb, labels, logits = example.rgb.copy(), example.labels.copy(), example.logits.copy()
    rgb[ends], labels[ends] = 127, IGNORE
    cells = tuple(slice(None if end.start is None else end.start // STRIDE, None) for end in ends)
    logits[cells] = min(-1.0, float(logits.min()))
    return MaskExample(rgb, labels, logits, example.prompts, example.kind)


def mirrored(example: MaskExample) -> MaskExample:
    """Left and right exchanged, prompts with them."""
    width = example.labels.shape[1] / HALF
    return _moved(example, lambda grid: grid[:, ::-1], lambda x, y: (width - 1 - x, y))


def transposed(example: MaskExample) -> MaskExample:
    """Rows and columns exchanged, prompts with them."""
    return _moved(example, lambda grid: grid.swapaxes(0, 1), lambda x, y: (y, x))


def _moved(
    example: MaskExample,
    grid: Callable[[NDArray[Any]], NDArray[Any]],
    point: Callable[[float, float], tuple[float, float]],
) -> MaskExample:
    def moved(prompt: Prompt) -> Prompt:
        if isinstance(prompt, Click):
            return Click(*point(prompt.x, prompt.y), prompt.positive)
        assert isinstance(prompt, Scribble)
        return Scribble(tuple(point(x, y) for x, y in prompt.points), prompt.positive, prompt.width)

    rgb, labels, logits = (np.ascontiguousarray(grid(part)) for part in (example.rgb, example.labels, example.logits))
    return MaskExample(rgb, labels, logits, tuple(moved(prompt) for prompt in example.prompts), example.kind)
