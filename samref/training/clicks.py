"""A person at the mouse, simulated for training: of the embedded model, and as each paper trains.

The clicks of FocSAM's sessions are :class:`samref.core.oracle.FocsamAnnotator`'s. Unlike the annotators of the
evaluation protocol, the embedded model's is random on purpose: it clicks anywhere well inside what it corrects, draws
crooked boxes and careless outlines.

Labels are uint8 (h, w) with 0, 1 and 255 (ignore), in the frame that the prompts shall be in. Every draw comes from the
generator that is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.masks import mask_box
from samref.core.prompt_maps import MapFrame, PromptMaps, draw_prompt
from samref.core.prompts import Box, Click, Polygon, Prompt, Scribble
from samref.training.recipes import CornerClicks, SessionClicks

Map = NDArray[np.uint8]
FIRST_PROMPTS = {"click": 0.64, "box": 0.11, "scribble": 0.11, "polygon": 0.06, "mask": 0.08}
"""How often an object of the embedded model starts with which prompt."""
_THREE = np.ones((3, 3), np.uint8)
_FEWEST_LEFT = 10
"""Pixels that must remain of an eroded object (papers.md 4.6)."""


def _depth(region: NDArray[np.bool_] | Map, precision: int) -> NDArray[np.float32]:
    """Distance to the region's edge, the map's border included; only the box around the region is transformed."""
    depth = np.zeros(region.shape, dtype=np.float32)
    box = mask_box(region > 0)
    if box is None:
        return depth
    x0, y0, x1, y1 = box
    padded = np.pad(region[y0:y1, x0:x1].astype(np.uint8), 1)
    depth[y0:y1, x0:x1] = cv2.distanceTransform(padded, cv2.DIST_L2, precision)[1:-1, 1:-1]
    return depth


def _pixel(region: NDArray[np.bool_] | Map, rng: np.random.Generator) -> tuple[int, int]:
    """(x, y) of any pixel of a region that has one."""
    candidates = np.flatnonzero(region)
    row, column = divmod(int(candidates[rng.integers(candidates.size)]), region.shape[1])
    return column, row


# ---- the embedded model


class BatchAnnotator:
    """Holds label maps uint8 (N, h, w) with 0, 1, 255 and the prompts given so far.

    Attributes:
        maps: uint8 (N, 5, h, w): positive, negative, box, polygon, rough mask.
        prompts: what was said about each object, in label cells.
    """

    def __init__(self, labels: NDArray[np.uint8], radius: float, rng: np.random.Generator) -> None:
        count, height, width = labels.shape
        self.gt = (labels == 1).astype(np.uint8)
        self.ignore = (labels == 255).astype(np.uint8)
        self.maps: NDArray[np.uint8] = np.zeros((count, 5, height, width), dtype=np.uint8)
        self.prompts: list[list[Prompt]] = [[] for _ in range(count)]
        self.radius = radius
        self.rng = rng
        self._frame = MapFrame(height, width)

    def begin(self) -> None:
        """Give every object its first prompt."""
        kinds, shares = list(FIRST_PROMPTS), list(FIRST_PROMPTS.values())
        for index, gt in enumerate(self.gt):
            kind = self.rng.choice(kinds, p=shares)
            prompt: Prompt | None = None
            if kind == "mask":
                self.maps[index, 4] = careless_mask(gt, self.rng)
                continue
            if kind == "box":
                prompt = careless_box(gt, self.rng)
            elif kind == "scribble":
                prompt = scribble_in(gt, True, self.rng)
            elif kind == "polygon":
                prompt = careless_polygon(gt, self.rng)
            self._add(index, prompt or click_in(gt, True, self.rng))

    def correct(self, logits: Tensor) -> None:
        """One correction per object, from logits (N, 1, h, w) of the label maps' size."""
        for index, pred in enumerate((logits[:, 0] > 0).to(torch.uint8).numpy()):
            self._add(index, correction(pred, self.gt[index], self.ignore[index], self.rng))

    def _add(self, index: int, prompt: Prompt | None) -> None:
        if prompt is None:
            return
        self.prompts[index].append(prompt)
        draw_prompt(PromptMaps(*self.maps[index, :4]), prompt, self._frame, self.radius)


def click_in(region: Map, positive: bool, rng: np.random.Generator) -> Click | None:
    """A click in ``region``: its deepest pixel half of the time, else anywhere in its deeper part."""
    depth = _depth(region, cv2.DIST_MASK_3)
    deepest = float(depth.max())
    if deepest <= 0:
        return None
    if rng.random() < 0.5:
        row, column = divmod(int(depth.argmax()), region.shape[1])
    else:
        column, row = _pixel(depth > deepest * rng.uniform(0.2, 0.7), rng)
    return Click(float(column), float(row), positive)


def scribble_in(region: Map, positive: bool, rng: np.random.Generator) -> Scribble | None:
    """The longest of several random strokes that stay (nearly) inside ``region``."""
    depth = _depth(region, cv2.DIST_MASK_3)
    deepest = float(depth.max())
    if deepest <= 0:
        return None
    rows, columns = np.nonzero(depth >= min(deepest, max(1.5, 0.3 * deepest)))
    height, width = region.shape
    best: NDArray[np.float64] | None = None
    best_length = -1.0
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(8):
        picks = rng.integers(rows.size, size=3)
        start, middle, end = (np.array([columns[i], rows[i]], dtype=np.float64) for i in picks)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        curve += rng.normal(0, 0.3, curve.shape)
        cells = np.clip(np.round(curve), 0, [width - 1, height - 1]).astype(int)
        inside = region[cells[:, 1], cells[:, 0]] > 0
        length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        if inside.mean() >= 0.95 and length > best_length:
            best, best_length = np.clip(curve, 0, [width - 1, height - 1]), length
    if best is None:
        row, column = divmod(int(depth.argmax()), width)
        best = np.array([[column, row]], dtype=np.float64)
    stroke = float(min(rng.uniform(1.5, 6.0), max(1.0, 1.6 * deepest)))
    return Scribble(tuple((float(x), float(y)) for x, y in best), positive, stroke)


def careless_box(region: Map, rng: np.random.Generator) -> Box | None:
    """The bounding box with every side off by up to a tenth of its length."""
    box = mask_box(region > 0)
    if box is None:
        return None
    height, width = region.shape
    x0, y0, x1, y1 = box
    slack_x, slack_y = (rng.choice([0.02, 0.1]) * side for side in (x1 - x0, y1 - y0))
    left, right = (float(np.clip(x + rng.uniform(-slack_x, slack_x), 0, width)) for x in (x0, x1))
    top, bottom = (float(np.clip(y + rng.uniform(-slack_y, slack_y), 0, height)) for y in (y0, y1))
    if right - left < 1 or bottom - top < 1:
        return Box(float(x0), float(y0), float(x1), float(y1))
    return Box(left, top, right, bottom)


def careless_polygon(region: Map, rng: np.random.Generator) -> Polygon | None:
    """The largest part's outline with few corners, each of them a little off."""
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    size = np.sqrt(max(cv2.contourArea(contour), 1.0))
    corners = cv2.approxPolyDP(contour, rng.uniform(0.02, 0.12) * size, True)[:, 0].astype(np.float64) + 0.5
    if len(corners) < 3:
        return None
    height, width = region.shape
    corners = np.clip(corners + rng.normal(0, 0.03 * size, corners.shape), 0, [width, height])
    return Polygon(tuple((float(x), float(y)) for x, y in corners))


def careless_mask(region: Map, rng: np.random.Generator) -> Map:
    """A rough mask such as another tool leaves: grown or shrunk, shifted, blocky, with parts lost or holes torn."""
    area = max(int(region.sum()), 1)
    side = int(np.ceil(np.sqrt(area)))
    out = region.copy()
    amount = int(rng.integers(1, max(2, side // 8) + 1))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * amount + 1, 2 * amount + 1))
    change = rng.integers(4)
    if change == 0:
        out = np.asarray(cv2.dilate(out, kernel), dtype=np.uint8)
    elif change == 1:
        smaller = np.asarray(cv2.erode(out, kernel), dtype=np.uint8)
        out = smaller if smaller.any() else out
    elif change == 2:
        shift = rng.integers(-amount, amount + 1, size=2).astype(np.float64)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float64)
        moved = cv2.warpAffine(out, matrix, (out.shape[1], out.shape[0]), flags=cv2.INTER_NEAREST)
        out = np.asarray(moved, dtype=np.uint8)
    else:
        factor = int(rng.integers(4, 17))
        size = (max(2, out.shape[1] // factor), max(2, out.shape[0] // factor))
        small = cv2.resize(out, size, interpolation=cv2.INTER_AREA)
        blocky = cv2.resize(small, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_NEAREST)
        out = np.asarray(blocky, dtype=np.uint8)
    rows, columns = np.nonzero(out)
    for _ in range(int(rng.integers(0, 3))):
        if rows.size == 0:
            break
        index = int(rng.integers(rows.size))
        centre = (int(columns[index]), int(rows[index]))
        cv2.circle(out, centre, int(rng.integers(1, max(2, side // 4) + 1)), int(rng.integers(2)), -1)
    return out


def correction(pred: Map, gt: Map, ignore: Map, rng: np.random.Generator) -> Prompt | None:
    """A click (or, one time in six, a stroke) on the larger kind of mistake; None when nothing is wrong."""
    missed = ((gt > 0) & (pred == 0) & (ignore == 0)).astype(np.uint8)
    extra = ((gt == 0) & (pred > 0) & (ignore == 0)).astype(np.uint8)
    deep_missed, deep_extra = (float(_depth(m, cv2.DIST_MASK_3).max()) for m in (missed, extra))
    if max(deep_missed, deep_extra) <= 0:
        return None
    positive = deep_missed > deep_extra
    region = missed if positive else extra
    if max(deep_missed, deep_extra) > 3 and rng.random() < 1 / 6:
        return scribble_in(region, positive, rng)
    return click_in(region, positive, rng)


# ---- FocSAM (papers.md 3.5)


def geometric(count: int, decay: float, rng: np.random.Generator) -> int:
    """One of 0..count-1 with P ∝ decayᵏ."""
    shares = decay ** np.arange(count)
    return int(rng.choice(count, p=shares / shares.sum()))


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

    ``parts``, uint8 (h, w) of 0 and 1 each, are several where objects were merged and none for an empty sample;
    ``others``, bool (h, w), are the image's other objects.

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
    slots = (points.positive if positive else points.negative).copy()
    slots[len(slots) - number] = _pixel(depth > depth.max() / 2, rng)
    return Points(slots, points.negative) if positive else Points(points.positive, slots)


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
