"""The JSON forms of ``docs/protocol.md``: requests are checked here, views become answers here. No Gradio, no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samref.core.prompts import MAX_DRAFT_POINTS, MAX_PROMPTS, Prompt, Prompts, prompt_from_dict, prompt_to_dict
from samref.errors import PromptError, RequestError

__all__ = [
    "MAX_SEQUENCE",
    "PROTOCOL_VERSION",
    "Request",
    "RequestError",
    "VersionError",
    "answer_text",
    "parse_request",
    "prompts_from_wire",
    "prompts_to_wire",
    "sequence_number",
]

PROTOCOL_VERSION = 1

MAX_SEQUENCE = 2**53
"""JavaScript counts exactly up to here."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,80}")


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
        """The argument ``name`` as an image's digest."""
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
    seq = sequence_number(payload)
    if seq is None:
        raise RequestError("The request could not be read: it has no number.")
    return Request(
        seq=seq,
        token=token,
        verb=verb,
        image=None if image is None else _digest(image, "image"),
        revision=_integer(payload.get("revision", 0), "revision"),
        known_annotations=_integer(known.get("annotations", 0), "known.annotations"),
        known_workspace=_integer(known.get("workspace", 0), "known.workspace"),
        arguments={str(name): value for name, value in payload.items()},
    )


def sequence_number(payload: Any) -> int | None:
    """The number of a request that may be unreadable otherwise; None where it has none."""
    seq = payload.get("seq") if isinstance(payload, Mapping) else None
    return seq if isinstance(seq, int) and not isinstance(seq, bool) and 0 < seq <= MAX_SEQUENCE else None


def _integer(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEQUENCE:
        raise RequestError(f"The request could not be read: {name} is not a whole number.")
    return value


def _digest(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise RequestError(f"The request could not be read: {name} names no image.")
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
    points = sum(len(_points_of(entry)) for entry in value)
    if points > MAX_DRAFT_POINTS:
        raise PromptError(
            f"The prompts of one request have {points} points together; the limit is {MAX_DRAFT_POINTS}. "
            "Draw with fewer points."
        )
    prompts = []
    for entry in value:
        if not isinstance(entry, Mapping):
            raise PromptError("The prompt could not be read: a value is missing or of the wrong kind.")
        prompts.append(prompt_from_dict(entry))
    return tuple(prompts)


def _points_of(entry: Any) -> list[Any]:
    points = entry.get("points") if isinstance(entry, Mapping) else None
    return points if isinstance(points, list) else []


def prompts_to_wire(prompts: Prompts) -> list[dict[str, Any]]:
    """Prompts as JSON values with two decimals, which is finer than any screen."""
    wire = []
    for prompt in prompts.items:
        plain = prompt_to_dict(prompt)
        wire.append({key: _rounded(value) if isinstance(value, float) else value for key, value in plain.items()})
        if "points" in plain:  # twenty thousand are rounded in some milliseconds
            wire[-1]["points"] = [[_rounded(x), _rounded(y)] for x, y in plain["points"]]
    return wire


def _rounded(value: float) -> float:
    rounded = round(value, 2)
    return int(rounded) if rounded.is_integer() else rounded


def answer_text(seq: int, kind: str, *, final: bool, **sections: Any) -> str:
    """One answer as JSON text; sections that are None are left out."""
    answer = {"v": PROTOCOL_VERSION, "seq": seq, "kind": kind, "final": final}
    answer.update({name: section for name, section in sections.items() if section is not None})
    return json.dumps(answer, separators=(",", ":"), allow_nan=False)
