"""How images are changed before they are learnt from: as SegNext does (shape and colour) or FocSAM (colour only)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Planes", "distort_colours", "fit_mask", "vary_colours", "vary_shape"]

Pixels = NDArray[np.uint8]
Planes = list[NDArray[np.uint8]]


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
