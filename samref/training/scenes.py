"""Training scenes: part of an image (or all of it) and several of its objects, with a simulated annotator.

Data sets are drawn with probability proportional to the square root of their size, so that a large one does not drown
the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samref.datasets.records import IGNORE_ID, ImageRecord
from samref.errors import DataError
from samref.training.clicks import BatchAnnotator
from samref.training.recipes import Framing, SceneRecipe
from samref.training.trainer import Autocast

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
KEPT_BYTES = 2 * 2**30
"""Decoded images that every process which prepares scenes keeps; one of 640 x 480 is 1.2 MB."""

Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image, rgb uint8 (H, W, 3), and the numbers of its objects, uint8 (H, W)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """rgb uint8 (S, S, 3); labels uint8 (K, S, S) with 0, 1 and 255 (ignore)."""

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """rgb uint8 (B, S, S, 3); labels uint8 (B, K, S, S); number: which batch of the run this is."""

    number: int
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SceneLesson:
    """A batch of scenes on the device, with the simulated person who asks for their objects.

    Attributes:
        rgb: uint8 (B, 3, S, S).
        labels: uint8 (N, 1, S, S), N = B x ``objects``, with 0, 1 and 255 (ignore).
        half: float (N, 2, S/2, S/2) ground truth and valid pixels.
        annotator: has given every object its first prompt.
        rng: for all that is random here.
        autocast: mixed precision.
        objects: per image.
    """

    rgb: Tensor
    labels: Tensor
    half: Tensor
    annotator: BatchAnnotator
    rng: np.random.Generator
    autocast: Autocast
    objects: int


class SceneObjective(Protocol):
    """What learns from scenes."""

    map_radius: float

    def backward(self, lesson: SceneLesson) -> dict[str, float]:
        """Leave gradients in ``trained`` and return numbers for the log."""
        ...


class SceneFeed:
    """Scenes of images for one recipe.

    Batch ``n`` and all that is random in learning from it depend on the recipe's seed and ``n`` alone. The images
    decoded last are kept, as many as :data:`KEPT_BYTES` hold.
    """

    def __init__(self, records: Sequence[ImageRecord], recipe: SceneRecipe) -> None:
        self.recipe = recipe
        self.records: dict[str, list[ImageRecord]] = {}
        for record in records:
            self.records.setdefault(record.dataset, []).append(record)
        self.names = sorted(self.records)
        favoured = dict(recipe.favoured)
        sizes = np.array([len(self.records[name]) ** 0.5 * favoured.get(name, 1.0) for name in self.names])
        self._shares = sizes / sizes.sum()
        self._kept: OrderedDict[tuple[str, int], Labelled] = OrderedDict()
        self._kept_bytes = 0

    def batch(self, number: int) -> SceneBatch:
        """Batch ``number`` of the run."""
        rng = np.random.default_rng([self.recipe.seed, number])
        shapes = self.recipe.shapes
        shares = np.array([shape.share for shape in shapes])
        shape = shapes[int(rng.choice(len(shapes), p=shares / shares.sum()))]
        scenes: list[Scene] = []
        misses = 0
        while len(scenes) < shape.images:
            rgb, ids = self._draw_image(rng)
            if rng.random() < self.recipe.pasted:
                rgb, ids = paste_object(rgb, ids, *self._draw_image(rng), rng)
            scene = make_scene(rgb, ids, shape.side, self.recipe.objects, shape.draw_framing(rng), rng)
            if scene is not None:
                scenes.append(scene)
            elif (misses := misses + 1) >= MOST_MISSES:
                raise DataError(
                    f"{misses} images of {', '.join(self.names)} in a row have no object large enough to learn from. "
                    "Look at their masks."
                )
        return SceneBatch(number, np.stack([s.rgb for s in scenes]), np.stack([s.labels for s in scenes]))

    def learn(
        self,
        objective: SceneObjective,
        batch: SceneBatch,
        step: int,  # noqa: ARG002 - nothing here is drawn for a whole step
        device: torch.device,
        autocast: Autocast,
    ) -> dict[str, float]:
        """Leave the gradients of one batch in the objective's trained part."""
        rng = np.random.default_rng([self.recipe.seed, batch.number, 1])
        rgb = torch.from_numpy(batch.rgb).permute(0, 3, 1, 2).to(device)
        labels = torch.from_numpy(batch.labels).flatten(0, 1)[:, None]
        half, numeric = half_labels(labels)
        annotator = BatchAnnotator(numeric, objective.map_radius, rng)
        annotator.begin()
        lesson = SceneLesson(rgb, labels.to(device), half.to(device), annotator, rng, autocast, self.recipe.objects)
        return objective.backward(lesson)

    def _draw_image(self, rng: np.random.Generator) -> Labelled:
        name = self.names[int(rng.choice(len(self.names), p=self._shares))]
        index = int(rng.integers(len(self.records[name])))
        key = name, index
        if key not in self._kept:
            labelled = self.records[name][index].load()
            self._kept[key] = labelled.rgb, labelled.label_map()
            self._kept_bytes += 4 * labelled.rgb.shape[0] * labelled.rgb.shape[1]
            while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
                _, (oldest, _) = self._kept.popitem(last=False)
                self._kept_bytes -= 4 * oldest.shape[0] * oldest.shape[1]
        self._kept.move_to_end(key)
        return self._kept[key]


def make_scene(
    rgb: NDArray[np.uint8], ids: NDArray[np.uint8], side: int, objects: int, framing: Framing, rng: np.random.Generator
) -> Scene | None:
    """A scene of ``side`` pixels with ``objects`` objects (some may repeat), or None when no object is large enough.

    ``framing`` "whole" shows the image, "crop" a part of it at any scale, "object" one object as large as a detail
    window shows it.
    """
    present = np.flatnonzero(_sizes(ids))
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
    visible = np.flatnonzero(_sizes(labels) >= max(24, MIN_OBJECT_SHARE * side * side))
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
        masks[index][labels == IGNORE_ID] = IGNORE_ID
        masks[index][outside] = 0
    return Scene(_colour(out, rng), masks)


def _sizes(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of every number; background and ignored have none."""
    counts = np.bincount(ids.ravel(), minlength=256)
    counts[[0, IGNORE_ID]] = 0
    return counts


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

    Its border is blended over a pixel or so, and its ids stay below :data:`IGNORE_ID`. Where no id is free or the other
    image has no object large enough, the image is returned as it is.
    """
    height, width = ids.shape
    present = np.flatnonzero(_sizes(other_ids) >= 400)
    number = int(ids[ids != IGNORE_ID].max(initial=0)) + 1
    if present.size == 0 or number >= IGNORE_ID:
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
    image = rgb.astype(np.float32)  # changed in place, step by step: new arrays would take most of the time
    image -= 127.5
    image *= rng.uniform(0.7, 1.35)
    image += 127.5
    image += rng.uniform(-35, 35)
    grey = ((image[..., 0] + image[..., 1] + image[..., 2]) / 3)[..., None]
    image -= grey
    image *= 0.0 if rng.random() < 0.08 else rng.uniform(0.5, 1.5)
    image += grey
    image += rng.uniform(-12, 12, size=3)
    if rng.random() < 0.15:
        image += rng.normal(0, rng.uniform(2, 10), image.shape)
    coloured: NDArray[np.uint8] = np.clip(image, 0, 255, out=image).astype(np.uint8)
    return coloured


def half_labels(labels: Tensor) -> tuple[Tensor, NDArray[np.uint8]]:
    """uint8 labels (N, 1, S, S) at half resolution.

    float (N, 2, S/2, S/2), ground truth and valid; and uint8 (N, S/2, S/2) with 0, 1, 255.
    """
    inside = mostly((labels == 1).float(), 2)
    ignored = F.avg_pool2d((labels == IGNORE_ID).float(), 2) >= 0.5
    numeric = inside.to(torch.uint8).masked_fill(ignored, IGNORE_ID)
    return torch.cat([inside.float(), (~ignored).float()], dim=1), numeric[:, 0].numpy()


def mostly(plane: Tensor, factor: int) -> Tensor:
    """Cells of ``factor`` x ``factor`` pixels more than half of which lie inside; every other one at just half.

    Were halves always inside, all masks learnt from such cells would be too wide: by a quarter of a pixel at factor 2.

    float (..., S, T) of 0 and 1 to bool (..., S/factor, T/factor).
    """
    share = F.avg_pool2d(plane, factor)
    rows, columns = (torch.arange(length, device=plane.device) for length in share.shape[-2:])
    is_black = (rows[:, None] + columns) % 2 == 0  # of a chessboard
    return (share > 0.5) | ((share == 0.5) & is_black)
