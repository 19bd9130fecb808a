"""Training scenes: part of a picture (or all of it) and several of its objects.

A folder per data set with ``images/<stem>.jpg`` and ``masks/<stem>.png``, where a mask pixel holds the object's number
(0 background, 255 ignore). Data sets are drawn with probability proportional to the square root of their size, so that
a large one does not drown the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from samref.errors import DataError

__all__ = ["IGNORE", "Picture", "Scene", "SceneBatch", "SceneBatches", "find_pictures", "make_scene"]

IGNORE = 255
MIN_OBJECT_SHARE = 0.0006
"""Smallest visible share of a scene that an object must cover to be asked for."""
BACKBONE_FRAME = 512
"""Longest side of a picture in the model frame; scales of crops are drawn around it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file and its mask file."""

    image: Path
    mask: Path


@dataclass(frozen=True, slots=True)
class Scene:
    """rgb uint8 (S, S, 3); labels uint8 (K, S, S) with 0, 1 and 255 (ignore)."""

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """rgb uint8 (B, S, S, 3); labels uint8 (B, K, S, S); index: which batch of the run this is."""

    index: int
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def find_pictures(folder: Path) -> dict[str, list[Picture]]:
    """All pictures with masks below ``folder``, by data set.

    Raises:
        DataError: nothing there, or a picture without its mask.
    """
    found: dict[str, list[Picture]] = {}
    for images in sorted(folder.glob("*/images")):
        pictures = []
        for image in sorted(images.iterdir()):
            mask = images.parent / "masks" / f"{image.stem}.png"
            if not mask.is_file():
                raise DataError(f"{image} has no mask: {mask} is missing.")
            pictures.append(Picture(image, mask))
        if pictures:
            found[images.parent.name] = pictures
    if not found:
        raise DataError(f"No data set found in {folder}: expected {folder}/<name>/images and {folder}/<name>/masks.")
    return found


def make_scene(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], side: int, objects: int, whole: bool, rng: np.random.Generator
) -> Scene | None:
    """A scene of ``side`` pixels with ``objects`` objects (some may repeat), or None when no object is large enough."""
    height, width = ids.shape
    present = np.unique(ids[(ids > 0) & (ids != IGNORE)])
    if present.size == 0:
        return None
    if whole:
        scale = side / max(height, width) * rng.uniform(0.85, 1.0)
    else:
        scale = BACKBONE_FRAME / max(height, width) * float(np.exp(rng.uniform(np.log(0.65), np.log(2.2))))
    stretch = float(np.exp(rng.normal(0, 0.08)))
    scale_x, scale_y = scale * stretch, scale / stretch
    anchor = int(rng.choice(present))
    rows, columns = np.nonzero(ids == anchor)
    pick = int(rng.integers(rows.size))
    # The object's own pixel falls somewhere in the middle part of the scene.
    target = rng.uniform(0.2, 0.8, size=2) * side
    offset = np.array([target[0] - columns[pick] * scale_x, target[1] - rows[pick] * scale_y])
    full = np.array([width * scale_x, height * scale_y])
    for axis in (0, 1):
        if full[axis] <= side:
            offset[axis] = 0.0 if rng.random() < 0.7 else rng.uniform(0, side - full[axis])
        else:
            offset[axis] = np.clip(offset[axis], side - full[axis], 0)
    flip = rng.random() < 0.5
    matrix = np.array([[scale_x, 0, offset[0]], [0, scale_y, offset[1]]], dtype=np.float64)
    if flip:
        matrix[0] = [-scale_x, 0, side - 1 - offset[0]]
    if not whole and rng.random() < 0.2:
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(-25, 25)), 1.0) @ np.vstack(
            [matrix, [0, 0, 1]]
        )
    shrink = min(scale_x, scale_y)
    if shrink < 0.6:  # avoid aliasing: average first
        half = 0.5
        small = np.asarray(cv2.resize(rgb, None, fx=half, fy=half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        out = _warp(small, matrix @ np.diag([1 / half, 1 / half, 1.0]), side, cv2.INTER_LINEAR)
    else:
        flags = cv2.INTER_LINEAR if rng.random() < 0.8 else cv2.INTER_CUBIC
        out = _warp(rgb, matrix, side, flags)
    labels = _warp(ids, matrix, side, cv2.INTER_NEAREST)
    outside = _warp(np.ones_like(ids), matrix, side, cv2.INTER_NEAREST) == 0
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[[0, IGNORE]] = 0
    visible = np.flatnonzero(counts >= max(24, MIN_OBJECT_SHARE * side * side))
    if visible.size == 0:
        return None
    chosen = rng.permutation(visible)[:objects]
    if chosen.size < objects:
        chosen = np.concatenate([chosen, rng.choice(visible, objects - chosen.size)])
    masks = np.empty((objects, side, side), dtype=np.uint8)
    for index, number in enumerate(chosen):
        mask = labels == number
        if visible.size > 1 and rng.random() < 0.12:
            mask |= labels == _touching(labels, mask, visible, rng)
        masks[index] = mask
        masks[index][labels == IGNORE] = IGNORE
        masks[index][outside] = 0
    return Scene(_colour(out, rng), masks)


def _warp(source: NDArray[np.uint8], matrix: NDArray[np.float64], side: int, flags: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.warpAffine(source, matrix, (side, side), flags=flags, borderValue=0), dtype=np.uint8)


def _touching(
    labels: NDArray[np.uint8], mask: NDArray[np.bool_], visible: NDArray[np.int64], rng: np.random.Generator
) -> int:
    """A neighbour of the object (parts make wholes), or the object's own number when it has none."""
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    around = np.intersect1d(np.unique(labels[ring & ~mask]), visible)
    return int(rng.choice(around)) if around.size else int(labels[mask][0])


def _colour(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() < 0.25:
        return rgb
    image = rgb.astype(np.float32)
    image = (image - 127.5) * rng.uniform(0.7, 1.35) + 127.5 + rng.uniform(-35, 35)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * (0.0 if rng.random() < 0.08 else rng.uniform(0.5, 1.5))
    image += rng.uniform(-12, 12, size=3)
    if rng.random() < 0.15:
        image += rng.normal(0, rng.uniform(2, 10), image.shape)
    coloured: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return coloured


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How many pictures of which side; ``whole``: share of scenes that show the whole picture."""

    pictures: int
    side: int
    whole: float
    share: float


class SceneBatches(IterableDataset[SceneBatch]):
    """Endless batches; batch ``n`` depends on ``seed`` and ``n`` alone: a resumed run sees what it would have seen."""

    def __init__(
        self,
        pictures: dict[str, list[Picture]],
        shapes: tuple[BatchShape, ...],
        objects: int,
        seed: int,
        start: int = 0,
    ) -> None:
        self.names = sorted(pictures)
        self.pictures = pictures
        sizes = np.sqrt([len(pictures[name]) for name in self.names])
        self.weights = sizes / sizes.sum()
        self.shapes = shapes
        self.objects = objects
        self.seed = seed
        self.start = start
        self._loaded: dict[Path, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def __iter__(self) -> Iterator[SceneBatch]:
        index = self.start
        while True:
            yield self.batch(index)
            index += 1

    def batch(self, index: int) -> SceneBatch:
        """Batch ``index`` of the run."""
        rng = np.random.default_rng([self.seed, index])
        shares = np.array([shape.share for shape in self.shapes])
        shape = self.shapes[int(rng.choice(len(self.shapes), p=shares / shares.sum()))]
        scenes: list[Scene] = []
        while len(scenes) < shape.pictures:
            name = self.names[int(rng.choice(len(self.names), p=self.weights))]
            picture = self.pictures[name][int(rng.integers(len(self.pictures[name])))]
            scene = make_scene(*self._load(picture), shape.side, self.objects, rng.random() < shape.whole, rng)
            if scene is not None:
                scenes.append(scene)
        return SceneBatch(index, np.stack([s.rgb for s in scenes]), np.stack([s.labels for s in scenes]))

    def _load(self, picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if picture.image not in self._loaded:
            bgr = cv2.imread(str(picture.image), cv2.IMREAD_COLOR)
            ids = cv2.imread(str(picture.mask), cv2.IMREAD_UNCHANGED)
            if bgr is None or ids is None or ids.ndim != 2 or ids.shape != bgr.shape[:2]:
                raise DataError(f"{picture.image} and {picture.mask} do not fit together.")
            rgb = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
            self._loaded[picture.image] = (rgb, np.asarray(ids, dtype=np.uint8))
        return self._loaded[picture.image]
