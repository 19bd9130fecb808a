"""Training scenes: part of an image (or all of it) and several of its objects.

A folder per data set with ``images/<stem>.jpg`` and ``masks/<stem>.png``, where a mask pixel holds the object's number
(0 background, 255 ignore). Data sets are drawn with probability proportional to the square root of their size, so that
a large one does not drown the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from samref.errors import DataError

__all__ = [
    "IGNORE",
    "Framing",
    "Scene",
    "SceneBatch",
    "SceneBatches",
    "ScenePaths",
    "find_images",
    "make_scene",
    "paste_object",
]

Framing = Literal["whole", "crop", "object"]
IGNORE = 255
MIN_OBJECT_SHARE = 0.0006
"""Smallest visible share of a scene that an object must cover to be asked for."""
LEAST_ZOOMED = 16
"""Objects shorter than this (in image pixels) are not magnified further."""
MOST_MISSES = 500
"""Scenes of one batch without an object before the data is given up."""
MAX_ZOOM = 6.0
"""A scene magnifies no further than this beyond the whole image."""
BACKBONE_FRAME = 512
"""Longest side of an image in the model frame; scales of crops are drawn around it."""
FROM_HALF = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
"""Pixel positions in an image halved by averaging to those in the image: pixel 0 there lies between 0 and 1 here."""


@dataclass(frozen=True, slots=True)
class ScenePaths:
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


def find_images(folder: Path) -> dict[str, list[ScenePaths]]:
    """All images with masks below ``folder``, by data set.

    Raises:
        DataError: nothing there, or an image without its mask.
    """
    found: dict[str, list[ScenePaths]] = {}
    for images in sorted(folder.glob("*/images")):
        records = []
        for image in sorted(images.iterdir()):
            mask = images.parent / "masks" / f"{image.stem}.png"
            if not mask.is_file():
                raise DataError(f"{image} has no mask: {mask} is missing.")
            records.append(ScenePaths(image, mask))
        if records:
            found[images.parent.name] = records
    if not found:
        raise DataError(f"No data set found in {folder}: expected {folder}/<name>/images and {folder}/<name>/masks.")
    return found


def make_scene(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], side: int, objects: int, framing: Framing, rng: np.random.Generator
) -> Scene | None:
    """A scene of ``side`` pixels with ``objects`` objects (some may repeat), or None when no object is large enough.

    ``framing`` "whole" shows the image, "crop" a part of it at any scale, "object" one object as large as a detail
    window shows it.
    """
    present = np.unique(ids[(ids > 0) & (ids != IGNORE)])
    if present.size == 0:
        return None
    matrix, scale = _place(ids == int(rng.choice(present)), side, framing, rng)
    if scale < 0.6:  # avoid aliasing: average first
        small = np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        out = _warp(small, matrix @ FROM_HALF, side, cv2.INTER_LINEAR)
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


def _place(
    anchor: NDArray[np.bool_], side: int, framing: Framing, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Affine image-to-scene matrix (2, 3) that shows ``anchor``, and its (lesser) scale."""
    height, width = anchor.shape
    rows, columns = np.nonzero(anchor)
    whole = framing == "whole"
    if whole:
        scale = side / max(height, width) * rng.uniform(0.85, 1.0)
    elif framing == "object":
        length = max(int(np.ptp(rows)), int(np.ptp(columns)), LEAST_ZOOMED) + 1
        scale = min(side / (length * rng.uniform(1.1, 2.2)), MAX_ZOOM * side / max(height, width))
    else:
        scale = BACKBONE_FRAME / max(height, width) * float(np.exp(rng.uniform(np.log(0.65), np.log(2.2))))
    stretch = float(np.exp(rng.normal(0, 0.08)))
    scale_x, scale_y = scale * stretch, scale / stretch
    if framing == "object":
        # The middle of the object's box falls near the middle of the scene.
        point_x, point_y = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        target = rng.uniform(0.38, 0.62, size=2) * side
    else:
        # One of the object's own pixels falls somewhere in the middle part of the scene.
        pick = int(rng.integers(rows.size))
        point_x, point_y = columns[pick], rows[pick]
        target = rng.uniform(0.2, 0.8, size=2) * side
    offset = np.array([target[0] - point_x * scale_x, target[1] - point_y * scale_y])
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
    return matrix, min(scale_x, scale_y)


def paste_object(
    rgb: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    other_rgb: NDArray[np.uint8],
    other_ids: NDArray[np.uint8],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One object of another image laid over this one (copy-paste composition); it becomes an object of its own.

    Its border is blended over a pixel or so, and its ids stay below :data:`IGNORE`. Where no id is free or the other
    image has no object large enough, the image is returned as it is.
    """
    height, width = ids.shape
    present, counts = np.unique(other_ids[(other_ids > 0) & (other_ids != IGNORE)], return_counts=True)
    present = present[counts >= 400]
    number = int(ids[ids != IGNORE].max(initial=0)) + 1
    if present.size == 0 or number >= IGNORE:
        return rgb, ids
    mask = (other_ids == int(rng.choice(present))).astype(np.uint8)
    x0, y0, box_width, box_height = cv2.boundingRect(mask)
    share = float(rng.uniform(0.15, 0.6))
    scale = share * max(height, width) / max(box_width, box_height)
    size = (max(4, round(box_width * scale)), max(4, round(box_height * scale)))
    cut = slice(y0, y0 + box_height), slice(x0, x0 + box_width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.resize(mask[cut].astype(np.float32), size, interpolation=how)
    alpha = np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), dtype=np.float32)
    pixels = cv2.resize(other_rgb[cut], size, interpolation=how)
    if rng.random() < 0.5:
        alpha, pixels = alpha[:, ::-1], pixels[:, ::-1]
    left = int(rng.integers(-size[0] // 3, max(1, width - 2 * size[0] // 3)))
    top = int(rng.integers(-size[1] // 3, max(1, height - 2 * size[1] // 3)))
    to_rows = slice(max(top, 0), min(top + size[1], height))
    to_columns = slice(max(left, 0), min(left + size[0], width))
    if to_rows.start >= to_rows.stop or to_columns.start >= to_columns.stop:
        return rgb, ids
    of_rows = slice(to_rows.start - top, to_rows.stop - top)
    of_columns = slice(to_columns.start - left, to_columns.stop - left)
    seen = alpha[of_rows, of_columns]
    mixed, marked = rgb.copy(), ids.copy()
    under = mixed[to_rows, to_columns].astype(np.float32)
    over = pixels[of_rows, of_columns].astype(np.float32)
    mixed[to_rows, to_columns] = np.round(under + seen[..., None] * (over - under)).astype(np.uint8)
    marked[to_rows, to_columns][seen >= 0.5] = number
    return mixed, marked


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
    """How many images of which side, and how often that shape is drawn.

    ``whole`` and ``zoomed`` are the shares of scenes with the framing "whole" and "object"; the rest are crops.
    """

    images: int
    side: int
    whole: float
    share: float
    zoomed: float = 0.0

    def draw_framing(self, rng: np.random.Generator) -> Framing:
        drawn = rng.random()
        return "whole" if drawn < self.whole else "object" if drawn < self.whole + self.zoomed else "crop"


class SceneBatches(IterableDataset[SceneBatch]):
    """Endless batches; batch ``n`` depends on ``seed`` and ``n`` alone: a resumed run sees what it would have seen."""

    def __init__(
        self,
        images: dict[str, list[ScenePaths]],
        shapes: tuple[BatchShape, ...],
        objects: int,
        seed: int,
        start: int = 0,
        favoured: Mapping[str, float] | None = None,
        pasted: float = 0.0,
    ) -> None:
        self.names = sorted(images)
        self.images = images
        sizes = np.array([len(images[name]) ** 0.5 * (favoured or {}).get(name, 1.0) for name in self.names])
        self.weights = sizes / sizes.sum()
        self.pasted = pasted
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
        misses = 0
        while len(scenes) < shape.images:
            name = self.names[int(rng.choice(len(self.names), p=self.weights))]
            image = self.images[name][int(rng.integers(len(self.images[name])))]
            rgb, ids = self._load(image)
            if rng.random() < self.pasted:
                donor = self.names[int(rng.choice(len(self.names), p=self.weights))]
                other = self.images[donor][int(rng.integers(len(self.images[donor])))]
                rgb, ids = paste_object(rgb, ids, *self._load(other), rng)
            scene = make_scene(rgb, ids, shape.side, self.objects, shape.draw_framing(rng), rng)
            if scene is not None:
                scenes.append(scene)
            elif (misses := misses + 1) >= MOST_MISSES:
                raise DataError(
                    f"{misses} images of {', '.join(self.names)} in a row have no object large enough to learn from. "
                    "Look at their masks."
                )
        return SceneBatch(index, np.stack([s.rgb for s in scenes]), np.stack([s.labels for s in scenes]))

    def _load(self, image: ScenePaths) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if image.image not in self._loaded:
            bgr = cv2.imread(str(image.image), cv2.IMREAD_COLOR)
            ids = cv2.imread(str(image.mask), cv2.IMREAD_UNCHANGED)
            if bgr is None or ids is None or ids.ndim != 2 or ids.shape != bgr.shape[:2]:
                raise DataError(f"{image.image} and {image.mask} do not fit together.")
            rgb = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
            self._loaded[image.image] = (rgb, np.asarray(ids, dtype=np.uint8))
        return self._loaded[image.image]
