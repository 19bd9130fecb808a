"""What a person says about an object: clicks, boxes, scribbles, polygons and a rough mask.

All coordinates are in the image frame, in pixels, x to the right and y down. A click or a scribble point *names a
pixel* (``x = 3`` is column 3, whose middle lies at 3.5); box sides and polygon vertices lie *between* pixels
(``x = 3`` is the left edge of column 3), so that a box of the whole image is ``Box(0, 0, width, height)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import PromptError

Point: TypeAlias = tuple[float, float]

MAX_PROMPTS = 1_000
"""Prompts one object may have; more is an accident or an attack."""

MAX_POINTS = 20_000
"""Points one scribble or polygon may have."""

MAX_DRAFT_POINTS = 40_000
"""Points all scribbles and polygons of one object may have together: each answer draws them all anew."""

MAX_CROSSINGS = 1_000
"""How often they may run across the image: what filling an outline costs. A careful one of hair does so fifty times."""

SCRIBBLE_WIDTH = 11.0
"""Width of a scribble in image pixels unless told otherwise: 2 x 5 + 1, the disk of a click drawn along a line."""


@dataclass(frozen=True, slots=True)
class Click:
    """One point prompt: the pixel ``(x, y)`` is inside (``positive``) or outside the object."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle around the object; ``x1`` and ``y1`` are exclusive edges."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Scribble:
    """A stroke of ``width`` pixels through ``points``; everything under it is inside or outside the object."""

    points: tuple[Point, ...]
    positive: bool = True
    width: float = SCRIBBLE_WIDTH


@dataclass(frozen=True, slots=True)
class Polygon:
    """A rough outline of the object (``positive``) or of a region that is not part of it."""

    points: tuple[Point, ...]
    positive: bool = True


Prompt: TypeAlias = Click | Box | Scribble | Polygon


@dataclass(frozen=True, slots=True)
class Prompts:
    """All that was said about one object so far, in order, and the rough mask it started from (if any)."""

    items: tuple[Prompt, ...] = ()
    mask: Rle | None = None

    @property
    def clicks(self) -> tuple[Click, ...]:
        return tuple(p for p in self.items if isinstance(p, Click))

    @property
    def boxes(self) -> tuple[Box, ...]:
        return tuple(p for p in self.items if isinstance(p, Box))

    @property
    def scribbles(self) -> tuple[Scribble, ...]:
        return tuple(p for p in self.items if isinstance(p, Scribble))

    @property
    def polygons(self) -> tuple[Polygon, ...]:
        return tuple(p for p in self.items if isinstance(p, Polygon))

    def is_empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self.items and self.mask is None

    def add(self, prompt: Prompt) -> Prompts:
        """These prompts and one more."""
        return replace(self, items=(*self.items, prompt))

    def mapped(self, move: Callable[[float, float], Point], scale: float, pixel_offset: float = 0.0) -> Prompts:
        """The same prompts in another frame; the mask stays as it is.

        Args:
            move: maps a position ``(x, y)`` of this frame to the other.
            scale: factor for lengths (scribble widths).
            pixel_offset: added before and subtracted after moving points that *name a pixel*; 0.5 moves the middle
                of the pixel, 0 its index (SAM's habit).
        """

        def pixel(x: float, y: float) -> Point:
            moved_x, moved_y = move(x + pixel_offset, y + pixel_offset)
            return moved_x - pixel_offset, moved_y - pixel_offset

        def one(prompt: Prompt) -> Prompt:
            match prompt:
                case Click(x, y, positive):
                    return Click(*pixel(x, y), positive)
                case Box(x0, y0, x1, y1):
                    return Box(*move(x0, y0), *move(x1, y1))
                case Scribble(points, positive, width):
                    return Scribble(tuple(pixel(x, y) for x, y in points), positive, width * scale)
                case Polygon(points, positive):
                    return Polygon(tuple(move(x, y) for x, y in points), positive)

        return Prompts(tuple(one(p) for p in self.items), self.mask)


def check_prompts(prompts: Prompts, size: ImageSize) -> None:
    """Refuse prompts that do not fit an image of ``size``.

    Raises:
        PromptError: too many prompts or points, a coordinate that is not finite or outside the image, a box or
            polygon without area, a scribble without width, a mask of another size.
    """
    if len(prompts.items) > MAX_PROMPTS:
        raise PromptError(
            f"{len(prompts.items)} prompts are too many for one object (the limit is {MAX_PROMPTS}). "
            "Accept the mask and go on from it, or start again."
        )
    for prompt in prompts.items:
        _check_prompt(prompt, size)
    mask = prompts.mask
    if mask is not None and (mask.height, mask.width) != (size.height, size.width):
        raise PromptError(
            f"The mask is {mask.width} x {mask.height} pixels, the image {size.width} x {size.height}. "
            "Give a mask of the image's own size."
        )


def check_drawing_cost(prompts: Sequence[Prompt], size: ImageSize) -> None:
    """Refuse more than can be drawn in the time of a click; what was given under wider limits can still be read."""
    drawn = [prompt.points for prompt in prompts if isinstance(prompt, Scribble | Polygon)]
    points = sum(map(len, drawn))
    if points > MAX_DRAFT_POINTS:
        raise PromptError(
            f"The scribbles and polygons of this object have {points} points together; the limit is "
            f"{MAX_DRAFT_POINTS}. Accept the mask and go on from it, or draw with fewer points."
        )
    crossings = sum(_crossings(each, size) for each in drawn)
    if crossings > MAX_CROSSINGS:
        raise PromptError(
            f"The scribbles and polygons of this object run {crossings:.0f} times across the image; the limit is "
            f"{MAX_CROSSINGS}. Accept the mask and go on from it, or draw a simpler outline."
        )


def _crossings(points: tuple[Point, ...], size: ImageSize) -> float:
    """How often a line through ``points`` and back to the first runs across an image, along its sides."""
    steps = zip(points, points[1:] + points[:1], strict=True)
    return sum(abs(x1 - x0) / size.width + abs(y1 - y0) / size.height for (x0, y0), (x1, y1) in steps)


def _check_prompt(prompt: Prompt, size: ImageSize) -> None:
    match prompt:
        case Click(x, y):
            _check_points([(x, y)], size, "click", inclusive=False)
        case Box(x0, y0, x1, y1):
            _check_points([(x0, y0), (x1, y1)], size, "box", inclusive=True)
            if x1 - x0 < 1 or y1 - y0 < 1:
                raise PromptError("The box has no area. Drag from one corner of the object to the opposite one.")
        case Scribble(points, _, width):
            if not points:
                raise PromptError("The scribble has no points.")
            if not math.isfinite(width) or not 0 < width <= max(size.height, size.width):
                raise PromptError(f"A scribble cannot be {width} pixels wide.")
            _check_points(points, size, "scribble", inclusive=False)
        case Polygon(points):
            if len(points) < 3:
                raise PromptError("A polygon needs at least three corners.")
            _check_points(points, size, "polygon", inclusive=True)
            if _polygon_area(points) < 1:
                raise PromptError("The polygon has no area.")


def _check_points(points: Iterable[Point], size: ImageSize, what: str, *, inclusive: bool) -> None:
    points = list(points)
    if len(points) > MAX_POINTS:
        raise PromptError(f"The {what} has {len(points)} points; the limit is {MAX_POINTS}.")
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise PromptError(f"The {what} has a coordinate that is not a finite number.")
        inside = 0 <= x <= size.width and 0 <= y <= size.height
        if not inside or (not inclusive and (x >= size.width or y >= size.height)):
            raise PromptError(
                f"The {what} at ({x:g}, {y:g}) lies outside the image, which is {size.width} x {size.height} pixels."
            )


def _polygon_area(points: tuple[Point, ...]) -> float:
    following = points[1:] + points[:1]
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, following, strict=True))
    return abs(twice) / 2


def prompt_to_dict(prompt: Prompt) -> dict[str, Any]:
    """A prompt as plain JSON values: ``{"type": "click", "x": 3, "y": 4, "positive": true}`` and the like."""
    match prompt:
        case Click(x, y, positive):
            return {"type": "click", "x": x, "y": y, "positive": positive}
        case Box(x0, y0, x1, y1):
            return {"type": "box", "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        case Scribble(points, positive, width):
            return {"type": "scribble", "points": [list(p) for p in points], "positive": positive, "width": width}
        case Polygon(points, positive):
            return {"type": "polygon", "points": [list(p) for p in points], "positive": positive}


def prompt_from_dict(data: Mapping[str, Any]) -> Prompt:
    """The inverse of :func:`prompt_to_dict`; nothing in ``data`` is trusted."""
    try:
        kind = data["type"]
        positive = data.get("positive", True)
        if not isinstance(positive, bool):
            raise TypeError("positive")
        if kind == "click":
            return Click(_number(data["x"]), _number(data["y"]), positive)
        if kind == "box":
            return Box(*(_number(data[key]) for key in ("x0", "y0", "x1", "y1")))
        if kind == "scribble":
            return Scribble(_points(data["points"]), positive, _number(data.get("width", SCRIBBLE_WIDTH)))
        if kind == "polygon":
            return Polygon(_points(data["points"]), positive)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PromptError("The prompt could not be read: a value is missing or of the wrong kind.") from error
    raise PromptError(f"There is no prompt of type {str(kind)[:40]!r}; use click, box, scribble or polygon.")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _points(value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_POINTS:
        raise TypeError("not a list of points")
    return tuple((_number(x), _number(y)) for x, y in value)
