"""The JSON forms of ``docs/protocol.md``: requests are checked here, views become answers here. No Gradio, no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from samref.core.masks import Rle
from samref.core.prompts import MAX_PROMPTS, Prompt, Prompts, prompt_from_dict, prompt_to_dict
from samref.errors import PromptError, SamrefError

__all__ = [
    "COARSE_CHARACTERS",
    "MASK_CHARACTERS",
    "MAX_SEQUENCE",
    "PROTOCOL_VERSION",
    "Request",
    "RequestError",
    "VersionError",
    "answer_text",
    "mask_to_wire",
    "parse_request",
    "prompts_from_wire",
    "prompts_to_wire",
]

PROTOCOL_VERSION = 1

MASK_CHARACTERS = 15_000
"""Longest run-length text of a mask; with all around it an answer stays under 20 kB."""

COARSE_CHARACTERS = 3_000
"""The same for the coarse mask that rides along with a refined one."""

MAX_SEQUENCE = 2**53
"""JavaScript counts exactly up to here."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,80}")


class RequestError(SamrefError):
    """A request cannot be read: a bug of the page, or a tampered one."""


class VersionError(RequestError):
    """The page is of another version than the server."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a page, checked in form but not in meaning."""

    seq: int
    token: str | None
    verb: str
    image: str | None
    revision: int
    known_annotations: int = 0
    known_workspace: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str, *, longest: int = 200) -> str:
        """The argument ``name`` as text that is not empty."""
        value = self.arguments.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise RequestError(f"The request {self.verb!r} needs a {name} of 1 to {longest} characters.")
        return value

    def optional_text(self, name: str, *, longest: int = 200) -> str | None:
        """The argument ``name`` as text, None when it was not given."""
        return None if self.arguments.get(name) in (None, "") else self.text(name, longest=longest)

    def identifier(self, name: str) -> str:
        """The argument ``name`` as an identifier this server made."""
        value = self.arguments.get(name)
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
            raise RequestError(f"The request {self.verb!r} needs a valid {name}.")
        return value

    def digest(self, name: str) -> str:
        """The argument ``name`` as a picture's digest."""
        return _digest(self.arguments.get(name), name)

    def integer(self, name: str) -> int:
        """The argument ``name`` as a whole number."""
        return _integer(self.arguments.get(name), name)

    def flag(self, name: str) -> bool:
        """The argument ``name`` as yes or no."""
        value = self.arguments.get(name)
        if not isinstance(value, bool):
            raise RequestError(f"The request {self.verb!r} needs {name} to be true or false.")
        return value


def parse_request(payload: Any) -> Request:
    """Check the form of one request; nothing in ``payload`` is trusted.

    Raises:
        VersionError: the page speaks another version of the protocol.
        RequestError: a field is missing or of the wrong kind.
    """
    if not isinstance(payload, Mapping):
        raise RequestError("The request could not be read.")
    if payload.get("v") != PROTOCOL_VERSION:
        raise VersionError("This page is of another version than the server. Reload the page.")
    known = payload.get("known") or {}
    if not isinstance(known, Mapping):
        raise RequestError("The request could not be read: known is not an object.")
    token, image, verb = payload.get("token"), payload.get("image"), payload.get("verb")
    if token is not None and (not isinstance(token, str) or not _IDENTIFIER.fullmatch(token)):
        raise RequestError("The request could not be read: the token is not one.")
    if not isinstance(verb, str) or len(verb) > 40:
        raise RequestError("The request could not be read: it names no verb.")
    return Request(
        seq=_integer(payload.get("seq"), "seq"),
        token=token,
        verb=verb,
        image=None if image is None else _digest(image, "image"),
        revision=_integer(payload.get("revision", 0), "revision"),
        known_annotations=_integer(known.get("annotations", 0), "known.annotations"),
        known_workspace=_integer(known.get("workspace", 0), "known.workspace"),
        arguments={str(name): value for name, value in payload.items()},
    )


def _integer(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEQUENCE:
        raise RequestError(f"The request could not be read: {name} is not a whole number.")
    return value


def _digest(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise RequestError(f"The request could not be read: {name} names no picture.")
    return value


def prompts_from_wire(value: Any) -> tuple[Prompt, ...]:
    """The prompts of one request, in order.

    Raises:
        PromptError: not a list of prompts, or too many.
    """
    if not isinstance(value, list) or not value:
        raise PromptError("The request brought no prompts.")
    if len(value) > MAX_PROMPTS:
        raise PromptError(f"{len(value)} prompts at once are too many (the limit is {MAX_PROMPTS} for one object).")
    prompts = []
    for entry in value:
        if not isinstance(entry, Mapping):
            raise PromptError("The prompt could not be read: a value is missing or of the wrong kind.")
        prompts.append(prompt_from_dict(entry))
    return tuple(prompts)


def prompts_to_wire(prompts: Prompts) -> list[dict[str, Any]]:
    """Prompts as JSON values with two decimals, which is finer than any screen."""
    return [_rounded(prompt_to_dict(prompt)) for prompt in prompts.items]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        rounded = round(value, 2)
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value


@lru_cache(maxsize=1024)
def _mask_on_wire(mask: Rle, characters: int) -> tuple[tuple[int, int, int, int], str, int]:
    x, y, width, height = mask.box_xywh
    if width == 0 or height == 0:
        return (0, 0, 0, 0), "", 1
    crop = mask.to_mask()[y : y + height, x : x + width]
    scale = 1
    counts = Rle.from_mask(crop).counts
    while len(counts) > characters and scale < 64:
        scale *= 2
        counts = Rle.from_mask(_cells(crop, scale)).counts
    return (x, y, width, height), counts, scale


def _cells(crop: np.ndarray[Any, np.dtype[np.bool_]], scale: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Cells of ``scale`` x ``scale`` pixels, set where at least half of the cell's pixels inside the crop are."""
    height, width = crop.shape
    rows, columns = math.ceil(height / scale), math.ceil(width / scale)
    padding = ((0, rows * scale - height), (0, columns * scale - width))
    shape = (rows, scale, columns, scale)
    inside = np.pad(np.ones_like(crop), padding).reshape(shape).sum(axis=(1, 3))
    set_pixels = np.pad(crop, padding).reshape(shape).sum(axis=(1, 3))
    cells: np.ndarray[Any, np.dtype[np.bool_]] = 2 * set_pixels >= inside
    return cells


def mask_to_wire(mask: Rle | None, characters: int = MASK_CHARACTERS) -> dict[str, Any] | None:
    """A mask cropped to its box, as a preview at a lower resolution when its run lengths are too long."""
    if mask is None:
        return None
    box, counts, scale = _mask_on_wire(mask, characters)
    return {"box": list(box), "counts": counts, "scale": scale}


def answer_text(seq: int, kind: str, *, final: bool, **sections: Any) -> str:
    """One answer as JSON text; sections that are None are left out."""
    answer = {"v": PROTOCOL_VERSION, "seq": seq, "kind": kind, "final": final}
    answer.update({name: section for name, section in sections.items() if section is not None})
    return json.dumps(answer, separators=(",", ":"), allow_nan=False)
