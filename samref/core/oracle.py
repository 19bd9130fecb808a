"""The simulated annotator ("oracle"): clicks the middle of the largest mistake.

Two published rules, by name: "ritm" (papers.md §4.1; SegNext shares it) decides everything; "focsam" (papers.md §3.5,
§3.6) draws among equals, and a clicked pixel is a hole that pushes the next click away. They differ also on ignored
pixels and on perfect predictions, so numbers of one rule do not belong beside numbers of the other.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.masks import Mask, mask_box
from samref.core.prompts import Click
from samref.errors import DataError

ClickRule: TypeAlias = Literal["ritm", "focsam"]

FOCSAM_TRAINING_SPREAD = 1.7
"""``spread`` of later clicks in FocSAM's training; its first click and its evaluation have 1."""

_EPSILON = 2.0**-23
"""float32's, with which FocSAM lets pixels of the very maximum pass a strict comparison."""


class Clicker(Protocol):
    """Somebody who looks at a mask and clicks."""

    def click(self, pred: Mask) -> Click | None:
        """The next click; None: there is nothing to say."""
        ...


def build_annotator(rule: ClickRule, gt: Mask, ignore: Mask | None = None, *, seed: int = 0) -> Clicker:
    """The annotator of a rule, for one object.

    Args:
        rule: "ritm" or "focsam".
        gt: bool (H, W), the object.
        ignore: bool (H, W), pixels that are neither right nor wrong. FocSAM's rule counts them as background.
        seed: of FocSAM's draws; RITM's rule has none.
    """
    if rule not in get_args(ClickRule):
        raise DataError(f"There is no click rule {rule!r}; use one of {', '.join(get_args(ClickRule))}.")
    return Annotator(gt, ignore) if rule == "ritm" else FocsamAnnotator(gt, np.random.default_rng(seed))


class Annotator:
    """Labels one object by clicking, RITM's rule; remembers which pixels it has clicked.

    Args:
        gt: bool (H, W), the object.
        ignore: bool (H, W), pixels that are neither right nor wrong.
    """

    def __init__(self, gt: Mask, ignore: Mask | None = None) -> None:
        self.gt = gt
        self.ignore = ignore
        self._seen: Mask = np.zeros(gt.shape, dtype=np.bool_)

    def click(self, pred: Mask) -> Click:
        """The next click on ``pred``, and remember it."""
        click = next_click(pred, self.gt, self.ignore, self._seen)
        self._seen[int(click.y), int(click.x)] = True
        return click


def next_click(pred: Mask, gt: Mask, ignore: Mask | None = None, seen: Mask | None = None) -> Click:
    """The pixel deepest inside the largest mistake: positive where the object is missing, negative where it spills.

    The image border counts as background. Equal depth gives the negative click, the first pixel in reading order
    wins among equals, and a perfect prediction gives the negative click at (0, 0).

    Args:
        pred: bool (H, W), the mask so far.
        gt: bool (H, W), the object.
        ignore: bool (H, W), pixels that are neither missing nor surplus.
        seen: bool (H, W), pixels already clicked: never chosen again, but the distances of others stay.
    """
    missing = gt & ~pred
    surplus = pred & ~gt
    if ignore is not None:
        missing &= ~ignore
        surplus &= ~ignore
    missing_depth, missing_x, missing_y = _deepest(missing, seen)
    surplus_depth, surplus_x, surplus_y = _deepest(surplus, seen)
    if missing_depth > surplus_depth:
        return Click(missing_x, missing_y, True)
    return Click(surplus_x, surplus_y, False)


def _deepest(region: Mask, seen: Mask | None) -> tuple[float, int, int]:
    """(depth, x, y) of the first deepest pixel not seen; (0, 0, 0) where there is none.

    Only the bounding box is transformed: all around it is background, so the distances are the same.
    """
    box = mask_box(region)
    if box is None:
        return 0.0, 0, 0
    x0, y0, x1, y1 = box
    depth = _depth(region[y0:y1, x0:x1])
    if seen is not None:
        depth = np.where(seen[y0:y1, x0:x1], np.float32(0), depth)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    deepest = float(depth[row, column])
    if deepest == 0:
        return 0.0, 0, 0
    return deepest, x0 + int(column), y0 + int(row)


def _depth(region: Mask) -> NDArray[np.float32]:
    """Distance to the nearest pixel outside, the surroundings being outside."""
    padded = np.pad(region.view(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.asarray(depth, dtype=np.float32)


class FocsamAnnotator:
    """Labels one object by clicking, FocSAM's rule.

    Args:
        gt: bool (H, W), the object. Ignored pixels are background to this rule.
        rng: what it draws with.
        spread: see :func:`focsam_candidates`; the first click has 1 in any case.
    """

    def __init__(self, gt: Mask, rng: np.random.Generator, spread: float = 1.0) -> None:
        self.gt = gt
        self._rng = rng
        self._spread = spread
        self._seen: Mask = np.zeros(gt.shape, dtype=np.bool_)

    def click(self, pred: Mask) -> Click | None:
        """The next click on ``pred``, and remember it.

        None: nothing is wrong. FocSAM's evaluation then asks the model again with the clicks it has.
        """
        candidates = focsam_candidates(pred, self.gt, self._seen, self._spread if self._seen.any() else 1.0)
        places = np.flatnonzero(candidates.pixels)
        if candidates.positive is None or places.size == 0:
            return None
        y, x = divmod(int(self._rng.choice(places)), self.gt.shape[1])
        self._seen[y, x] = True
        return Click(x, y, candidates.positive)


class Candidates(NamedTuple):
    """Among which pixels a click is drawn."""

    positive: bool | None  # its sign; None where nothing is wrong
    pixels: Mask


def focsam_candidates(pred: Mask, gt: Mask, seen: Mask | None = None, spread: float = 1.0) -> Candidates:
    """Pixels nearly as deep as the deepest one of the larger mistake; equal depth gives the negative click.

    Args:
        pred: bool (H, W), the mask so far.
        gt: bool (H, W), the object; everything else is background.
        seen: bool (H, W), pixels already clicked: taken out of the mistakes *before* depth is measured.
        spread: candidates are deeper than ``1 / spread`` of the deepest; 1 leaves the deepest alone.
    """
    unseen = ~seen if seen is not None else np.ones_like(gt)
    missing, surplus = _depth(gt & ~pred & unseen), _depth(pred & ~gt & unseen)
    deepest_missing, deepest_surplus = missing.max(initial=0), surplus.max(initial=0)
    if deepest_missing == deepest_surplus == 0:
        return Candidates(None, np.zeros_like(gt))
    positive = bool(deepest_missing > deepest_surplus)
    depth, deepest = (missing, deepest_missing) if positive else (surplus, deepest_surplus)
    return Candidates(positive, depth > np.float32(1 / (spread + _EPSILON)) * deepest)
