"""Annotations as plain JSON values, and back. What is read is never trusted: wrong values raise, in a sentence.

An annotation is written as::

    {
        "id": "…",
        "class_id": 1,
        "mask": {"size": [480, 640], "counts": "…"},
        "prompts": {"items": [{"type": "click", "x": 3, "y": 4, "positive": true}], "mask": null},
        "model": "tiny",
        "score": 0.93,
        "created_at": "2026-11-21T08:00:00+00:00",
        "author": "",
        "seconds": 8.1,
        "clicks": 2,
        "visible": true,
    }
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from samref.core.geometry import ImageSize
from samref.core.masks import MAX_RLE_PIXELS, Rle
from samref.core.prompts import MAX_PROMPTS, Prompt, Prompts, check_prompts, prompt_from_dict, prompt_to_dict
from samref.errors import LabelError, PromptError
from samref.labels.classes import MAX_NAME, LabelClass
from samref.labels.project import MAX_ID, Annotation

__all__ = [
    "annotation_from_dict",
    "annotation_to_dict",
    "class_from_dict",
    "class_to_dict",
    "prompts_from_dict",
    "prompts_to_dict",
    "read_bool",
    "read_int",
    "read_list",
    "read_mapping",
    "read_number",
    "read_prompt",
    "read_text",
    "read_time",
    "rle_from_dict",
    "rle_to_dict",
]


def rle_to_dict(rle: Rle) -> dict[str, Any]:
    """A mask as COCO writes it."""
    return rle.to_coco()


def rle_from_dict(data: Any) -> Rle:
    """The inverse of :func:`rle_to_dict`.

    Raises:
        LabelError: a value is missing or wrong, or the run lengths do not add up to the size.
    """
    size = read_list(data, "size", 2)
    if len(size) != 2 or not all(type(side) is int and 0 < side <= MAX_RLE_PIXELS for side in size):
        raise LabelError("The size of a mask must be two whole numbers, height and width.")
    return Rle.from_counts(size[0], size[1], read_text(data, "counts", None))


def prompts_to_dict(prompts: Prompts) -> dict[str, Any]:
    """Prompts and their rough mask."""
    return {
        "items": [prompt_to_dict(prompt) for prompt in prompts.items],
        "mask": None if prompts.mask is None else rle_to_dict(prompts.mask),
    }


def prompts_from_dict(data: Any, size: ImageSize) -> Prompts:
    """The inverse of :func:`prompts_to_dict`, for an image of ``size``.

    Raises:
        LabelError: a value is missing or wrong, or the prompts do not fit the image.
    """
    items = tuple(read_prompt(item) for item in read_list(data, "items", MAX_PROMPTS))
    mask = read_mapping(data).get("mask")
    prompts = Prompts(items, None if mask is None else rle_from_dict(mask))
    try:
        check_prompts(prompts, size)
    except PromptError as error:
        raise LabelError(str(error)) from error
    return prompts


def class_to_dict(label_class: LabelClass) -> dict[str, Any]:
    """A class as plain values."""
    return {"id": label_class.id, "name": label_class.name, "colour": label_class.colour}


def class_from_dict(data: Any) -> LabelClass:
    """The inverse of :func:`class_to_dict`.

    Raises:
        LabelError: a value is missing or wrong.
    """
    return LabelClass(read_int(data, "id"), read_text(data, "name", MAX_NAME), read_text(data, "colour", 7))


def annotation_to_dict(annotation: Annotation) -> dict[str, Any]:
    """An annotation as plain values."""
    return {
        "id": annotation.id,
        "class_id": annotation.class_id,
        "mask": rle_to_dict(annotation.mask),
        "prompts": prompts_to_dict(annotation.prompts),
        "model": annotation.model,
        "score": annotation.score,
        "created_at": annotation.created_at.isoformat(),
        "author": annotation.author,
        "seconds": annotation.seconds,
        "clicks": annotation.clicks,
        "visible": annotation.visible,
    }


def annotation_from_dict(data: Any) -> Annotation:
    """The inverse of :func:`annotation_to_dict`.

    Raises:
        LabelError: a value is missing or wrong.
    """
    mask = rle_from_dict(read_mapping(data).get("mask"))
    return Annotation(
        id=read_text(data, "id", MAX_ID),
        class_id=read_int(data, "class_id"),
        mask=mask,
        prompts=prompts_from_dict(read_mapping(data).get("prompts"), ImageSize(mask.height, mask.width)),
        model=read_text(data, "model", MAX_NAME),
        score=read_number(data, "score"),
        created_at=read_time(data, "created_at"),
        author=read_text(data, "author", MAX_NAME),
        seconds=read_number(data, "seconds"),
        clicks=read_int(data, "clicks"),
        visible=read_bool(data, "visible"),
    )


# ---- single values of a mapping that is not trusted


def read_mapping(data: Any) -> Mapping[str, Any]:
    """``data`` itself, if it is a JSON object.

    Raises:
        LabelError: it is not.
    """
    if not isinstance(data, Mapping):
        raise LabelError("A value is missing where an object {…} is expected.")
    return data


def _value(data: Any, key: str) -> Any:
    mapping = read_mapping(data)
    if key not in mapping:
        raise LabelError(f"The value {key!r} is missing.")
    return mapping[key]


def read_text(data: Any, key: str, limit: int | None) -> str:
    """The text at ``key``, of at most ``limit`` characters.

    Raises:
        LabelError: it is missing, no text or too long.
    """
    value = _value(data, key)
    if not isinstance(value, str):
        raise LabelError(f"The value {key!r} must be text.")
    if limit is not None and len(value) > limit:
        raise LabelError(f"The value {key!r} may have {limit} characters at most.")
    return value


def read_int(data: Any, key: str) -> int:
    """The whole number at ``key``; also one written with a decimal point, as some programs do.

    Raises:
        LabelError: it is missing or no whole number that fits 63 bits.
    """
    value = _value(data, key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or abs(value) >= 1 << 63:
        raise LabelError(f"The value {key!r} must be a whole number.")
    return value


def read_number(data: Any, key: str) -> float:
    """The finite number at ``key``.

    Raises:
        LabelError: it is missing, no number or not finite.
    """
    value = _value(data, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_as_float(value)):
        raise LabelError(f"The value {key!r} must be a finite number.")
    return float(value)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def read_bool(data: Any, key: str) -> bool:
    """True or false at ``key``.

    Raises:
        LabelError: it is missing or neither.
    """
    value = _value(data, key)
    if not isinstance(value, bool):
        raise LabelError(f"The value {key!r} must be true or false.")
    return value


def read_list(data: Any, key: str, limit: int) -> list[Any]:
    """The list at ``key``, of at most ``limit`` entries.

    Raises:
        LabelError: it is missing, no list or too long.
    """
    value = _value(data, key)
    if not isinstance(value, list | tuple):
        raise LabelError(f"The value {key!r} must be a list.")
    if len(value) > limit:
        raise LabelError(f"The list {key!r} has {len(value)} entries; the limit is {limit}.")
    return list(value)


def read_time(data: Any, key: str) -> datetime:
    """The moment at ``key``, in UTC.

    Raises:
        LabelError: it is missing, no ISO 8601 time, or says nothing of its time zone.
    """
    try:
        time = datetime.fromisoformat(read_text(data, key, MAX_ID))
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise LabelError(f"The value {key!r} must be a time such as 2026-11-21T08:00:00+00:00.") from error


def read_prompt(data: Any) -> Prompt:
    """A prompt.

    Raises:
        LabelError: it cannot be read.
    """
    try:
        return prompt_from_dict(read_mapping(data))
    except (PromptError, OverflowError) as error:
        raise LabelError(f"A prompt could not be read: {error}") from error
