"""Clicks as the papers train with them: FocSAM's cut-off sessions, RITM's sampled points, SegNext's corrections.

The clicks of a session are :class:`samref.core.oracle.FocsamAnnotator`'s.

Labels are uint8 (h, w) with 0, 1 and 255 (ignore), in the frame that the clicks shall be in. Every draw comes from the
generator that is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.masks import mask_box
from samref.core.prompts import Click
from samref.training.paper_recipes import CornerClicks, SessionClicks

__all__ = [
    "Points",
    "SessionPlan",
    "correct_points",
    "geometric",
    "plan_session",
    "sample_points",
]

Map = NDArray[np.uint8]
_THREE = np.ones((3, 3), np.uint8)
_FEWEST_LEFT = 10
"""Pixels that must remain of an eroded object (papers.md 4.6)."""


def geometric(count: int, decay: float, rng: np.random.Generator) -> int:
    """One of 0..count-1 with P ∝ decayᵏ."""
    shares = decay ** np.arange(count)
    return int(rng.choice(count, p=shares / shares.sum()))


# ---- FocSAM (papers.md 3.5)


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A session: ``earlier`` clicks without gradient, refocusing at step ``refine`` (from 0)."""

    earlier: int
    refine: int


def plan_session(clicks: SessionClicks, data_set: str, rng: np.random.Generator) -> SessionPlan:
    """How many clicks come before the one that is learnt from, and at which of them FocSAM refocuses."""
    earlier = geometric(clicks.most + 1, clicks.decay_of(data_set), rng)
    return SessionPlan(earlier, geometric(earlier + 1, clicks.refine_decay_of(data_set), rng))


# ---- RITM's points and SegNext's corrections (papers.md 4.6 and 2.3)


@dataclass(frozen=True, slots=True)
class Points:
    """Slots for points of both signs: float32 (N, 2) of (x, y), not a number where a slot is empty."""

    positive: NDArray[np.float32]
    negative: NDArray[np.float32]

    @property
    def clicks(self) -> list[Click]:
        """What is in the slots."""
        return [
            Click(float(x), float(y), sign)
            for slots, sign in ((self.positive, True), (self.negative, False))
            for x, y in slots
            if not math.isnan(x)
        ]


def sample_points(
    parts: list[Map], others: NDArray[np.bool_], recipe: CornerClicks, rng: np.random.Generator
) -> Points:
    """RITM's first points of an object.

    Args:
        parts: uint8 (h, w) of 0 and 1 each; more than one where objects were merged, none for an empty sample.
        others: bool (h, w), the image's other objects.
        recipe: numbers of points and where they may lie.
        rng: for every draw.

    Source: papers.md 4.6, code (RITM). One object gets 1 + k positives, k < 24; merged ones get a point each and k
    more, k <= 24, in any of them. Where there is no other object, negatives "on other objects" fall anywhere outside;
    where the others lie wholly under the object, those points are left out. In an empty sample all negatives fall
    where no object is.
    """
    positive: list[tuple[int, int]] = []
    if parts:
        regions = [_eroded(part, recipe, rng) for part in parts]
        more = geometric(recipe.points + (len(parts) > 1), recipe.decay, rng)
        chosen = [*range(len(parts)), *rng.integers(len(parts), size=more).tolist()]
        positive = [_pixel(regions[index], rng) for index in chosen[: recipe.points]]
    regions_outside = _outside(parts, others, recipe.band)
    negative = []
    for _ in range(geometric(recipe.points + 1, recipe.decay, rng)):
        region = regions_outside[int(rng.choice(3, p=recipe.outside))]
        if region.any():
            negative.append(_pixel(region, rng))
    return Points(_slots(positive, recipe.points), _slots(negative, recipe.points))


def _outside(parts: list[Map], others: NDArray[np.bool_], band: float) -> list[NDArray[np.bool_]]:
    """Where negatives fall: near the object, on other objects, anywhere outside."""
    if not parts:
        return [~others] * 3
    whole = np.any([part > 0 for part in parts], axis=0)
    return [_band(whole, band), others & ~whole if others.any() else ~whole, ~whole]


def correct_points(
    points: Points,
    probability: NDArray[np.float32],
    labels: Map,
    number: int,
    threshold: float,
    rng: np.random.Generator,
) -> Points:
    """SegNext's simulated correction ``number`` (from 1): one more point on the deeper mistake, at least half as deep.

    Ignored pixels count as background, clicked ones are not left out, and the point goes into slot N - ``number`` of
    its sign, where it may take the place of a sampled one. Nothing changes when nothing is wrong.

    Source: papers.md 2.3, code.
    """
    gt, pred = labels == 1, probability > threshold
    depth_missing, depth_surplus = _depth(gt & ~pred, cv2.DIST_MASK_5), _depth(~gt & pred, cv2.DIST_MASK_5)
    positive = float(depth_missing.max()) > float(depth_surplus.max())
    depth = depth_missing if positive else depth_surplus
    if depth.max() <= 0:
        return points
    click = _anywhere(depth > depth.max() / 2, positive, rng)
    slots = (points.positive if positive else points.negative).copy()
    slots[len(slots) - number] = (click.x, click.y)
    return Points(slots, points.negative) if positive else Points(points.positive, slots)


def _depth(region: NDArray[np.bool_], precision: int) -> NDArray[np.float32]:
    """Distance to the region's edge, the map's border included; only the box around the region is transformed."""
    depth = np.zeros(region.shape, dtype=np.float32)
    box = mask_box(region)
    if box is None:
        return depth
    x0, y0, x1, y1 = box
    padded = np.pad(region[y0:y1, x0:x1].astype(np.uint8), 1)
    depth[y0:y1, x0:x1] = cv2.distanceTransform(padded, cv2.DIST_L2, precision)[1:-1, 1:-1]
    return depth


def _anywhere(region: NDArray[np.bool_], positive: bool, rng: np.random.Generator) -> Click:
    column, row = _pixel(region, rng)
    return Click(float(column), float(row), positive)


def _pixel(region: NDArray[np.bool_] | Map, rng: np.random.Generator) -> tuple[int, int]:
    candidates = np.flatnonzero(region)
    row, column = divmod(int(candidates[rng.integers(candidates.size)]), region.shape[1])
    return column, row


def _eroded(part: Map, recipe: CornerClicks, rng: np.random.Generator) -> Map:
    if rng.random() >= recipe.eroded:
        return part
    smaller = np.asarray(cv2.erode(part, _THREE, iterations=recipe.erosions), dtype=np.uint8)
    return smaller if int(smaller.sum()) > _FEWEST_LEFT else part


def _band(whole: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    steps = math.ceil(share * math.sqrt(float(whole.sum())))
    grown = cv2.dilate(whole.astype(np.uint8), _THREE, iterations=steps) > 0
    return np.asarray(grown & ~whole, dtype=np.bool_)


def _slots(points: list[tuple[int, int]], count: int) -> NDArray[np.float32]:
    slots = np.full((count, 2), np.nan, dtype=np.float32)
    if points:
        slots[: len(points)] = points
    return slots
