"""Coarse masks without a model: what SAM-like bases answer, imitated from the truth.

A base of SAM's kind answers with smooth logits at a quarter of its frame: steep across an outline, level far from it,
without corners or parts finer than a cell. :func:`smooth_logits` gives any mask that look; :func:`perturbed_logits`
makes the mask wrong first, in the ways bases are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.training import simulate

__all__ = [
    "LogitLook",
    "doubtful_logits",
    "draw_look",
    "good_logits",
    "perturbed_logits",
    "smooth_logits",
    "wrong_mask",
]

Map = NDArray[np.uint8]
Logits = NDArray[np.float32]

STRIDE = 4
"""Frame pixels per low-res cell, as SAM's 256 cells of a 1024-pixel frame."""


@dataclass(frozen=True, slots=True)
class LogitLook:
    """How a base's logits look.

    Attributes:
        slope: logits per cell where they cross an outline.
        limit: the largest magnitude, reached far inside and far outside.
        blur: how far an outline is smoothed, standard deviation in cells.
    """

    slope: float = 3.0
    limit: float = 12.0
    blur: float = 0.6


def draw_look(rng: np.random.Generator) -> LogitLook:
    """A look between a timid base (magnitudes around 3) and a very sure one (around 20)."""
    return LogitLook(
        slope=float(np.exp(rng.uniform(np.log(0.8), np.log(6.0)))),
        limit=float(np.exp(rng.uniform(np.log(3.0), np.log(20.0)))),
        blur=float(rng.uniform(0.0, 1.0)),
    )


def smooth_logits(mask: Map, size: tuple[int, int], look: LogitLook = LogitLook()) -> Logits:
    """Logits of ``mask`` (H, W) in a low-res frame of ``size`` (rows, columns): positive inside, smooth, limited.

    The signed distance to the outline is averaged per cell, smoothed and flattened far from the outline.
    """
    inside = mask > 0
    cells = mask.shape[0] / size[0]
    # Outside of the map counts as more of the same: an object cut by the border has no outline there.
    grown = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    far = float(sum(mask.shape))
    if inside.all() or not inside.any():
        distance = np.full(mask.shape, far if inside.all() else -far, dtype=np.float32)
    else:
        deep = cv2.distanceTransform(grown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        away = cv2.distanceTransform(1 - grown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance = np.where(grown > 0, deep - 0.5, 0.5 - away)[1:-1, 1:-1].astype(np.float32)
    averaged = cv2.resize(distance / cells, size[::-1], interpolation=cv2.INTER_AREA)
    if look.blur > 0:
        averaged = cv2.GaussianBlur(averaged, (0, 0), look.blur, borderType=cv2.BORDER_REPLICATE)
    flattened: Logits = (look.limit * np.tanh(averaged * (look.slope / look.limit))).astype(np.float32)
    return flattened


def good_logits(gt: Map, size: tuple[int, int], rng: np.random.Generator) -> Logits:
    """The truth itself as a base would say it: nothing is wrong but what cells cannot show."""
    look = draw_look(rng)
    return smooth_logits(gt, size, LogitLook(look.slope, look.limit, 0.5 * look.blur))


def perturbed_logits(gt: Map, rgb: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> Logits:
    """Logits of a mask that is wrong (:func:`wrong_mask`), said as :func:`doubtful_logits` says it.

    Args:
        gt: uint8 (H, W), 1 inside.
        rgb: uint8 (H, W, 3), the image: mistakes like to follow its edges.
        size: of the low-res frame (rows, columns).
        rng: for all that is random.
    """
    return doubtful_logits(wrong_mask(gt, rgb, rng), gt, size, rng)


def doubtful_logits(wrong: Map, gt: Map, size: tuple[int, int], rng: np.random.Generator) -> Logits:
    """Logits of the mask ``wrong``, less sure here and there, often where it differs from ``gt``."""
    logits = smooth_logits(wrong, size, draw_look(rng))
    if rng.random() < 0.6:
        mistaken = cv2.resize((wrong != gt).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        mistaken = cv2.GaussianBlur(mistaken, (0, 0), 1.0)
        logits *= 1 - float(rng.uniform(0.2, 0.8)) * np.clip(mistaken, 0, 1)
    if rng.random() < 0.5:  # doubts that mean nothing
        logits *= 1 - float(rng.uniform(0.2, 0.7)) * np.clip(_clouds(size, rng), 0, 1)
    return np.asarray(cv2.GaussianBlur(logits, (0, 0), 0.5), dtype=np.float32)


def wrong_mask(gt: Map, rgb: NDArray[np.uint8], rng: np.random.Generator) -> Map:
    """``gt`` with one to three mistakes: outline moved, shift, part lost or added, hole, leak along edges.

    Never empty: a mask of nothing tells a refiner nothing.
    """
    side = float(np.sqrt(max(int(gt.sum()), 16)))
    out = gt.copy()
    kinds = rng.permutation(7)[: int(rng.integers(1, 4))]
    for kind in kinds:
        before = out
        if kind == 0:
            out = _moved_outline(out, side, rng)
        elif kind == 1:
            reach = max(1.0, side * rng.uniform(0.01, 0.15))
            angle = rng.uniform(0, 2 * np.pi)
            matrix = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]], dtype=np.float64)
            out = np.asarray(cv2.warpAffine(out, matrix, out.shape[::-1], flags=cv2.INTER_NEAREST), dtype=np.uint8)
        elif kind == 2:
            out = _with_blob(out, _near_outline(out, rng), side * rng.uniform(0.1, 0.45), 0, rng)
        elif kind == 3:
            out = _with_blob(out, _near_outline(out, rng), side * rng.uniform(0.05, 0.35), 1, rng)
        elif kind == 4:
            out = _with_blob(out, _inside(out, rng), side * rng.uniform(0.03, 0.2), 0, rng)
        elif kind == 5:
            out = _leaked(out, rgb, int(rng.integers(2)), side, rng)
        else:
            out = simulate.careless_mask(out, rng)
        if not out.any():
            out = before
    return out


def _clouds(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of standard deviation one; its spots are an eighth to a third of the frame."""
    coarse = int(rng.integers(3, 9))
    noise = rng.normal(size=(coarse, coarse)).astype(np.float32)
    return np.asarray(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _moved_outline(mask: Map, side: float, rng: np.random.Generator) -> Map:
    """Grown here, shrunk there: the signed distance plus smooth noise and an offset, both up to a tenth of the size."""
    signed = cv2.distanceTransform(mask, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    reach = max(1.5, side * rng.uniform(0.01, 0.1))
    fine = int(np.clip(max(mask.shape) / max(side * 0.3, 8), 3, 48))
    noise = rng.normal(size=(fine, fine)).astype(np.float32)
    noise = np.asarray(cv2.resize(noise, mask.shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    moved: Map = (signed + reach * (noise + rng.normal(0, 0.7)) > 0).astype(np.uint8)
    return moved


def _near_outline(mask: Map, rng: np.random.Generator) -> tuple[int, int]:
    """(x, y) of a pixel on the inner rim."""
    rim = np.asarray(mask - cv2.erode(mask, np.ones((3, 3), np.uint8)), dtype=np.uint8)
    return _drawn_pixel(rim if rim.any() else mask, rng)


def _inside(mask: Map, rng: np.random.Generator) -> tuple[int, int]:
    return _drawn_pixel(mask, rng)


def _drawn_pixel(region: Map, rng: np.random.Generator) -> tuple[int, int]:
    rows, columns = np.nonzero(region)
    index = int(rng.integers(rows.size))
    return int(columns[index]), int(rows[index])


def _with_blob(mask: Map, centre: tuple[int, int], radius: float, value: int, rng: np.random.Generator) -> Map:
    out = mask.copy()
    axes = (max(1, round(radius * rng.uniform(0.6, 1.4))), max(1, round(radius * rng.uniform(0.6, 1.4))))
    cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
    return out


def _leaked(mask: Map, rgb: NDArray[np.uint8], value: int, side: float, rng: np.random.Generator) -> Map:
    """An area of even colour that begins beside the outline is taken in (1) or lost (0); it ends at half the size."""
    ring = np.asarray(cv2.dilate(mask, np.ones((5, 5), np.uint8)) - mask, dtype=np.uint8) if value else mask
    if not ring.any():
        return mask
    seed = _drawn_pixel(ring, rng)
    closed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.uint8)
    closed[1:-1, 1:-1] = mask if value else 1 - mask
    reach = max(4, round(side * rng.uniform(0.2, 0.5)))
    allowed = np.zeros_like(mask)
    cv2.circle(allowed, seed, reach, 1, -1)
    closed[1:-1, 1:-1] |= 1 - allowed
    tolerance = int(rng.integers(4, 16))
    smooth = cv2.GaussianBlur(rgb, (3, 3), 0)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | (2 << 8)
    if closed[seed[1] + 1, seed[0] + 1] == 0:
        cv2.floodFill(smooth, closed, seed, (0, 0, 0), (tolerance,) * 3, (tolerance,) * 3, flags)
    out = mask.copy()
    out[closed[1:-1, 1:-1] == 2] = value
    return out
