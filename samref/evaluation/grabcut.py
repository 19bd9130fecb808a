"""OpenCV's GrabCut behind the predictor's interface: the baseline that needs no training.

Source: Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, as implemented by ``cv2.grabCut``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Mask, Rle
from samref.core.polygons import PolygonWithHoles, polygons_to_mask
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble, check_prompts

GRABCUT = "grabcut"
"""What the commands call it."""

SEED_RADIUS = 3
"""Pixels around a click that are taken for certain."""

GUESS_FRACTION = 0.2
"""Radius, over the longer side, of the disk round a first click that is guessed to be object. Of 0.03, 0.1 and 0.2 the
one that needs the fewest clicks on development images, so that the baseline is not made weaker than it is."""

FIRST_ITERATIONS = 5
"""Rounds of the first cut; OpenCV's own example."""

NEXT_ITERATIONS = 2
"""Rounds after each further prompt, which start from the last cut; 5 rounds need no fewer clicks."""

_COMPONENTS = 5
"""Gaussians per side in ``cv2.grabCut``; a side with fewer pixels than that has no model."""


@dataclass(frozen=True, slots=True)
class GrabCutEmbedding:
    """The image itself: GrabCut has nothing to prepare."""

    rgb: NDArray[np.uint8]
    size: ImageSize
    encode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GrabCutState:
    """What is left of the last cut: OpenCV's four labels per pixel, and how many prompts it knew."""

    labels: NDArray[np.uint8]
    prompts: int


@dataclass(frozen=True, slots=True)
class GrabCutPrediction:
    """One cut, in the form of a model's prediction. There is a single stage, and no score is estimated."""

    mask: Rle
    seconds: float
    state: GrabCutState
    score: float = float("nan")
    stage: Literal["coarse", "refined"] = "refined"


class GrabCutPredictor:
    """GrabCut used as its authors meant it, with clicks as short brush strokes.

    The pixels under a click, scribble or negative polygon are certain. Outside a box all is certainly background and
    inside it probably object. Where no box was given, a disk round the first positive click is probably object and
    the rest probably background. Each further prompt is added to the labels of the last cut, and both colour models
    are learned anew from them.
    """

    def embed(self, image: DecodedImage) -> GrabCutEmbedding:
        return GrabCutEmbedding(image.rgb, image.size)

    def predict(
        self, embedding: GrabCutEmbedding, prompts: Prompts, state: GrabCutState | None
    ) -> Iterator[GrabCutPrediction]:
        """The cut for all prompts so far; exactly one prediction."""
        check_prompts(prompts, embedding.size)
        start = time.perf_counter()
        if state is None:
            labels = _first_labels(prompts, embedding.size)
            fresh: tuple[Prompt, ...] = prompts.items
        else:
            labels = state.labels.copy()
            fresh = prompts.items[state.prompts :]
        for prompt in fresh:
            if isinstance(prompt, Box) and state is not None:
                labels[~_inside(prompt, embedding.size)] = cv2.GC_BGD
        for prompt in prompts.items:  # the last word about a pixel counts
            _mark(labels, prompt, embedding.size)
        if _can_cut(labels):
            iterations = FIRST_ITERATIONS if state is None else NEXT_ITERATIONS
            _cut(embedding.rgb, labels, iterations)
        mask: Mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        rle = Rle.from_mask(mask)
        yield GrabCutPrediction(rle, time.perf_counter() - start, GrabCutState(labels, len(prompts.items)))


def _first_labels(prompts: Prompts, size: ImageSize) -> NDArray[np.uint8]:
    """A guess to start from, before anything certain is drawn in."""
    labels = np.full((size.height, size.width), cv2.GC_PR_BGD, dtype=np.uint8)
    if prompts.mask is not None:
        labels[prompts.mask.to_mask()] = cv2.GC_PR_FGD
    elif prompts.boxes:
        labels[:] = cv2.GC_BGD
        for box in prompts.boxes:
            labels[_inside(box, size)] = cv2.GC_PR_FGD
    elif any(polygon.positive for polygon in prompts.polygons):
        for polygon in prompts.polygons:
            if polygon.positive:
                labels[_inside(polygon, size)] = cv2.GC_PR_FGD
    else:
        radius = round(GUESS_FRACTION * size.longest)
        for click in prompts.clicks:
            if click.positive:
                labels[_stroke(((click.x, click.y),), 2 * radius + 1, size)] = cv2.GC_PR_FGD
    return labels


def _mark(labels: NDArray[np.uint8], prompt: Prompt, size: ImageSize) -> None:
    """Draw what a prompt makes certain."""
    match prompt:
        case Click(x, y, positive):
            labels[_stroke(((x, y),), 2 * SEED_RADIUS + 1, size)] = cv2.GC_FGD if positive else cv2.GC_BGD
        case Scribble(points, positive, width):
            labels[_stroke(points, width, size)] = cv2.GC_FGD if positive else cv2.GC_BGD
        case Polygon(_, False):
            labels[_inside(prompt, size)] = cv2.GC_BGD
        case _:
            pass  # a box or a positive polygon makes nothing inside it certain


def _stroke(points: tuple[tuple[float, float], ...], width: float, size: ImageSize) -> Mask:
    canvas = np.zeros((size.height, size.width), dtype=np.uint8)
    pixels = np.rint(np.asarray(points)).astype(np.int32)
    radius = max(0, round((width - 1) / 2))
    for head, tail in pairwise(pixels):
        cv2.line(canvas, head.tolist(), tail.tolist(), 1, max(1, 2 * radius + 1))
    for x, y in pixels.tolist():
        cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(np.bool_)


def _inside(shape: Box | Polygon, size: ImageSize) -> Mask:
    if isinstance(shape, Polygon):
        corners = shape.points
    else:
        corners = ((shape.x0, shape.y0), (shape.x1, shape.y0), (shape.x1, shape.y1), (shape.x0, shape.y1))
    return polygons_to_mask([PolygonWithHoles(corners)], size)


def _can_cut(labels: NDArray[np.uint8]) -> bool:
    """Whether both sides have enough pixels for a colour model."""
    count = np.bincount(labels.ravel(), minlength=4)
    background = count[cv2.GC_BGD] + count[cv2.GC_PR_BGD]
    return bool(min(background, labels.size - background) >= _COMPONENTS)


def _cut(rgb: NDArray[np.uint8], labels: NDArray[np.uint8], iterations: int) -> None:
    """Cut in place. The seed makes the k-means inside start alike every time, whatever ran before."""
    cv2.setRNGSeed(0)
    background_model, object_model = np.zeros((1, 65)), np.zeros((1, 65))
    unused_box = (0, 0, 1, 1)
    cv2.grabCut(rgb, labels, unused_box, background_model, object_model, iterations, cv2.GC_INIT_WITH_MASK)
