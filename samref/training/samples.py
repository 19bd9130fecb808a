"""Samples for the papers' stages: one object of one image each, in the model frame.

Sample ``n`` depends on the recipe's seed and ``n`` alone, and batch ``m`` holds the samples ``m·b`` to ``(m+1)·b - 1``:
so accumulated batches, or those of several processes, hold together what one big batch would.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.images import DecodedImage
from samref.datasets.coco import LVIS
from samref.datasets.coco_lvis import COCO_LVIS, STUFF
from samref.datasets.records import IGNORE_ID, ImageRecord, ObjectMask
from samref.errors import DataError
from samref.training.embeddings import EmbeddingStore
from samref.training.recipes import CornerClicks, PaperRecipe
from samref.training.trainer import Autocast

Pixels = NDArray[np.uint8]
Planes = list[NDArray[np.uint8]]

MOST_TRIES = 200
"""Images in a row without a usable object before training gives up."""
LARGER_PIXELS = 2
"""Pixels for a local refiner: at most this many times the model frame, as when the model is used."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One object to learn.

    Attributes:
        number: of the sample in the run.
        data_set: names of its data set and layout, which decide the click statistics.
        digest: SHA-256 of the image's file.
        framed: uint8 (h, w, 3), the image in the model frame, without padding.
        labels: uint8 (S, S), padded: 1 object, 0 background and padding, 255 ignored.
        parts: uint8 (S, S) of 0 and 1 each, the objects asked for (several where merged, none in an empty sample).
        others: bool (S, S), the image's other objects.
        pixels: uint8 (H', W', 3), the image larger than the model frame where it is; only for a local refiner.
        pixel_labels: uint8 (H', W'), the labels of those.
        embedding: float16 (C, h, w) from the store, where there is one.
    """

    number: int
    data_set: str
    digest: str
    framed: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    parts: tuple[NDArray[np.uint8], ...]
    others: NDArray[np.bool_]
    pixels: NDArray[np.uint8] | None = None
    pixel_labels: NDArray[np.uint8] | None = None
    embedding: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """``skipped``: images drawn for this batch that held no usable object."""

    number: int
    samples: tuple[Sample, ...]
    skipped: int


def targets_of(batch: SampleBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ground truth and valid pixels, float (B, 1, S, S) each."""
    labels = torch.from_numpy(np.stack([sample.labels for sample in batch.samples]))[:, None].to(device)
    return (labels == 1).float(), (labels != 255).float()


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers for learning, by what shares them.

    A step's are alike in every process and part, a data set's alike for its objects in one batch; each sample has its
    own.
    """

    seed: int
    step: int

    def of_step(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.step, 2])

    def of_data_set(self, batch: int, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, batch, zlib.crc32(name.encode("utf-8")), 4])

    def of(self, sample: Sample) -> np.random.Generator:
        return np.random.default_rng([self.seed, sample.number, 3])


class SampleObjective(Protocol):
    """What learns from samples."""

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        """Add gradients to ``trained`` and return numbers for the log."""
        ...


class SampleFeed:
    """Samples of images for one recipe.

    ``side`` is S of the model frame; ``store`` has every image's embedding; ``with_pixels`` adds those for a local
    refiner.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        recipe: PaperRecipe,
        side: int,
        store: EmbeddingStore | None = None,
        *,
        with_pixels: bool = False,
    ) -> None:
        self.records = records
        self.recipe = recipe
        self.side = side
        self.store = store
        self.with_pixels = with_pixels

    def batch(self, number: int) -> SampleBatch:
        """Batch ``number``."""
        count = self.recipe.batch
        drawn = [self.sample(number * count + index) for index in range(count)]
        return SampleBatch(number, tuple(sample for sample, _ in drawn), sum(skipped for _, skipped in drawn))

    def learn(
        self, objective: SampleObjective, batch: SampleBatch, step: int, device: torch.device, autocast: Autocast
    ) -> dict[str, float]:
        torch.manual_seed(self.recipe.seed * 1_000_003 + batch.number)  # dropout: the same after a restart
        values = objective.backward(batch, Draws(self.recipe.seed, step), device, autocast)
        return {**values, "skipped": float(batch.skipped)}

    def sample(self, number: int) -> tuple[Sample, int]:
        """Sample ``number`` and how many images were skipped to find it."""
        rng = np.random.default_rng([self.recipe.seed, number])
        for skipped in range(MOST_TRIES):
            record = self.records[int(rng.integers(len(self.records)))]
            image = record.read_image()
            sample = self._cut(number, record, image, record.read_objects(image), rng)
            if sample is not None:
                return sample, skipped
        raise DataError(
            f"{MOST_TRIES} images in a row have no object to learn from (empty, ignored altogether, or smaller than "
            f"{self.recipe.minimum_area} pixels of the model frame). Look at the masks of {record.dataset}."
        )

    def _cut(
        self, number: int, record: ImageRecord, image: DecodedImage, found: list[ObjectMask], rng: np.random.Generator
    ) -> Sample | None:
        objects = [one for one in found if one.is_seen]
        if self.recipe.overlap is not None and record.layout == LVIS.name:
            objects = painted(objects, self.recipe.overlap, rng)
        if record.layout == COCO_LVIS.name and rng.random() >= self.recipe.stuff:
            objects = [one for one in objects if not one.key.startswith(STUFF)]
        ignored = [one.ignore for one in found if one.ignore is not None]
        rgb, masks, ignore_plane = self._vary(
            image.rgb,
            [one.gt.astype(np.uint8) for one in objects],
            _union(ignored, (image.size.height, image.size.width)),
            rng,
        )
        least = self.recipe.minimum_area * (max(rgb.shape[:2]) / self.side) ** 2
        large = [index for index, mask in enumerate(masks) if np.count_nonzero(mask) >= least]
        if not large and not self.recipe.background:
            return None
        chosen = self._choose(large, rng)
        others: list[NDArray[np.uint8]] = []
        if not chosen or len(large) > len(chosen):  # others that are all too small to be asked for are not others
            others = [mask for index, mask in enumerate(masks) if index not in chosen]
        # Asked for, the others in one, what is ignored: only these are resized, however many objects there are.
        planes = [*(masks[index] for index in chosen), _union(others, rgb.shape[:2]), ignore_plane]
        frame = Frame.letterbox(ImageSize(rgb.shape[0], rgb.shape[1]), self.side)
        height, width = frame.resized.height, frame.resized.width
        framed = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
        framed = COLOURS[self.recipe.augmentation](framed, rng)
        *parts, rest, ignore = (self._padded(fit_mask(plane, height, width)) for plane in planes)
        if not all(part.any() for part in parts):  # so small, or moved out of the frame
            return None
        extra: dict[str, Any] = {}
        if self.with_pixels:
            larger = Frame.letterbox(frame.image, min(frame.image.longest, LARGER_PIXELS * self.side)).resized
            size = (larger.width, larger.height)
            extra["pixels"] = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
            *shown, _, hidden = (fit_mask(plane, larger.height, larger.width) for plane in planes)
            extra["pixel_labels"] = _labels(shown, hidden)
        if self.store is not None:
            extra["embedding"] = self.store.read(image.digest)
        about = f"{record.dataset} ({record.layout})"
        labels = _labels(parts, ignore)
        return Sample(number, about, image.digest, framed, labels, tuple(parts), rest > 0, **extra)

    def _vary(
        self, rgb: NDArray[np.uint8], masks: Planes, ignore: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Planes, NDArray[np.uint8]]:
        """Pixels, objects and what is ignored, changed in shape where the recipe says so.

        Where every object has left the frame, the image is changed anew; :attr:`PaperRecipe.background` of such are
        kept. Source: papers.md 2.3, code (RITM).
        """
        if self.recipe.augmentation != "full":
            return rgb, masks, ignore
        for _ in range(MOST_TRIES):
            varied, planes = vary_shape(rgb, [*masks, ignore], rng)
            seen = any(plane.any() for plane in planes[:-1])
            if seen or not masks or rng.random() < self.recipe.background:
                break
        return varied, planes[:-1], planes[-1]

    def _choose(self, large: list[int], rng: np.random.Generator) -> list[int]:
        """Which of the objects that are large enough are asked for: mostly one; none where there is none."""
        if not large:
            return []
        merged = isinstance(self.recipe.clicks, CornerClicks) and rng.random() < self.recipe.clicks.merged
        count = min(len(large), 2 if merged else 1)
        return [int(index) for index in rng.choice(large, size=count, replace=False)]

    def _padded(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        canvas = np.zeros((self.side, self.side), dtype=np.uint8)
        canvas[: mask.shape[0], : mask.shape[1]] = mask
        return canvas


def painted(objects: list[ObjectMask], most: float, rng: np.random.Generator) -> list[ObjectMask]:
    """Objects that may overlap, painted over each other in random order: each pixel is the last one's.

    An object of which more than ``most`` lies on others, or that would take more than ``most`` of another, is left out.

    Source: papers.md 3.5, code (FocSAM, for LVIS).
    """
    if not objects:
        return []
    canvas = np.zeros(objects[0].gt.shape, dtype=np.int32)
    areas = np.zeros(len(objects) + 1)
    for number in (rng.permutation(len(objects)) + 1).tolist():
        mask = objects[number - 1].gt
        area = np.count_nonzero(mask)
        covered = np.bincount(canvas[mask], minlength=len(objects) + 1)[1:]
        shares = covered[areas[1:] > 0] / areas[1:][areas[1:] > 0]
        if covered.sum() > most * area or (shares > most).any():
            continue
        areas[number] = area
        canvas[mask] = number
    kept = [(one, canvas == number) for number, one in enumerate(objects, start=1) if areas[number]]
    return [seen for one, mask in kept if (seen := ObjectMask(one.key, mask, one.ignore)).is_seen]


def _labels(parts: list[NDArray[np.uint8]], ignore: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels = np.where(ignore > 0, np.uint8(IGNORE_ID), np.uint8(0))
    for part in parts:
        labels[part > 0] = 1
    return labels


def _union(regions: Sequence[NDArray[np.bool_] | NDArray[np.uint8]], size: tuple[int, ...]) -> NDArray[np.uint8]:
    union = np.zeros(size, dtype=np.uint8)
    for region in regions:
        union |= region
    return union


# ---- how images are changed before they are learnt from: shape and colour (SegNext) or colour only (FocSAM)


def fit_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A mask of 0 and 1 at another size: a pixel is inside where half of it was."""
    if mask.shape == (height, width):
        return mask
    shrinking = height < mask.shape[0] or width < mask.shape[1]
    shares = cv2.resize(
        mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    )
    return np.asarray(shares >= 0.5, dtype=np.uint8)


def vary_shape(rgb: Pixels, masks: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> tuple[Pixels, Planes]:
    """Scale 0.75-1.4, flips, quarter turns, shift up to 3 % and rotation up to 3 degrees (three times in four).

    Source: papers.md 2.3, code (SegNext).
    """
    scale = float(rng.uniform(0.75, 1.4))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    planes = [np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8) for m in masks]
    if rng.random() < 0.5:
        axes = ((0,), (1,), (0, 1))[int(rng.integers(3))]
        rgb, planes = np.flip(rgb, axes), [np.flip(plane, axes) for plane in planes]
    if rng.random() < 0.5:
        turns = int(rng.integers(4))
        rgb, planes = np.rot90(rgb, turns), [np.rot90(plane, turns) for plane in planes]
    rgb, planes = np.ascontiguousarray(rgb), [np.ascontiguousarray(plane) for plane in planes]
    if rng.random() < 0.75:
        height, width = rgb.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(rng.uniform(-3, 3)), 1.0)
        matrix[:, 2] = matrix[:, 2] + rng.uniform(-0.03, 0.03, size=2) * (width, height)
        rgb = np.asarray(cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)
        planes = [
            np.asarray(cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_NEAREST), dtype=np.uint8)
            for plane in planes
        ]
    return rgb, planes


def vary_colours(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness ±0.25 and contrast -0.15..+0.4, then each channel up to ±10, both three times in four (SegNext)."""
    image = rgb.astype(np.float32)
    if rng.random() < 0.75:
        image = image * np.float32(1 + rng.uniform(-0.15, 0.4)) + np.float32(255 * rng.uniform(-0.25, 0.25))
        image = image.clip(0, 255)
    if rng.random() < 0.75:
        image += rng.uniform(-10, 10, size=3).astype(np.float32)
    changed: Pixels = image.clip(0, 255).round().astype(np.uint8)
    return changed


def distort_colours(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness ±32, contrast and saturation x0.5-1.5, hue ±18 of 180, each every second time (FocSAM's pipeline)."""

    def scaled(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return image * np.float32(rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else image

    image = rgb.astype(np.float32)
    if rng.random() < 0.5:
        image = image + np.float32(rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        image = scaled(image)
    hsv = cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = scaled(hsv[..., 1]).clip(0, 255)
    if rng.random() < 0.5:
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(-18, 18)) % 180
    image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    if not contrast_first:
        image = scaled(image)
    changed: Pixels = image.clip(0, 255).astype(np.uint8)
    return changed


COLOURS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "none": lambda rgb, _: rgb,
    "colour": distort_colours,
    "full": vary_colours,
}
