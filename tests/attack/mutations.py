"""Damage: bytes that are almost a file, and JSON values where others are expected."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["damaged", "odd_value", "with_odd_values"]


def damaged(rng: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """``data`` with one to four random wounds; ``other`` is spliced in now and then."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_WOUNDS)(rng, data, other)
    return data


def _flipped(rng: random.Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _n in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _removed(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randint(1, 40) :]


def _repeated(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randint(1, 200)]
    return data[:start] + piece * rng.randint(2, 20) + data[start:]


def _overwritten(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """An extreme number where a length or a size may stand; mostly near the beginning."""
    place = rng.randrange(min(len(data), 64) + 1) if rng.random() < 0.7 else rng.randrange(len(data) + 1)
    number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 100_001))
    width = rng.choice((1, 2, 4))
    written = (number & ((1 << 8 * width) - 1)).to_bytes(width, rng.choice(("big", "little")))
    return data[:place] + written + data[place + width :]


def _random_bytes(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.randint(1, 60)) + data[start:]


def _spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_WOUNDS: Sequence[Callable[[random.Random, bytes, bytes], bytes]] = (
    _flipped,
    _cut,
    _removed,
    _repeated,
    _overwritten,
    _random_bytes,
    _spliced,
)


def _nested(depth: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


_ODD: Sequence[Callable[[random.Random], Any]] = (
    lambda _: None,
    lambda _: True,
    lambda _: False,
    lambda _: -1,
    lambda _: 0,
    lambda _: 1,
    lambda _: 2**31,
    lambda _: 2**53 + 1,
    lambda _: 10**400,
    lambda _: -(10**400),
    lambda _: 1e308,
    lambda _: -0.0,
    lambda _: 5e-324,
    lambda _: float("nan"),
    lambda _: float("inf"),
    lambda _: float("-inf"),
    lambda _: "",
    lambda _: " ",
    lambda _: "x" * 5_000,
    lambda _: "\x00",
    lambda _: "\ud800",
    lambda _: "\u202e𝕏\n\r\t",
    lambda _: "../../../etc/passwd",
    lambda _: "' OR 1=1 --",
    lambda _: "<img src=x onerror=alert(1)>",
    lambda _: "{{7*7}}${7*7}",
    lambda _: [],
    lambda _: {},
    lambda _: [[]],
    lambda _: [None] * 500,
    lambda rng: list(range(rng.randint(1, 3_000))),
    lambda _: _nested(200, "list"),
    lambda _: _nested(200, "dict"),
    lambda _: {"__proto__": {"polluted": True}},
    lambda _: {"constructor": {"prototype": {"polluted": True}}},
    lambda _: {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    lambda _: {"__class__": "os.system"},
    lambda rng: "".join(rng.choice("0123456789abcdef") for _ in range(64)),
    lambda rng: rng.uniform(-1e6, 1e6),
    lambda rng: rng.randint(-(2**65), 2**65),
)


def odd_value(rng: random.Random) -> Any:
    """A JSON value nobody expects."""
    return rng.choice(_ODD)(rng)


def with_odd_values(rng: random.Random, value: Any, times: int) -> Any:
    """A copy of a JSON value in which some parts were replaced, removed or repeated."""
    changed = copy.deepcopy(value)
    for _ in range(times):
        changed = _with_one(rng, changed)
    return changed


def _with_one(rng: random.Random, value: Any) -> Any:
    places = _places(value)
    if not places:
        return odd_value(rng)
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * rng.randint(1, 5)
    elif kind < 0.35 and isinstance(holder, dict):
        holder[str(odd_value(rng))[:100]] = odd_value(rng)
    else:
        holder[key] = odd_value(rng)
    return value


def _places(value: Any, limit: int = 4_000) -> list[tuple[Any, Any]]:
    """Each part of a JSON value as what holds it and where."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < limit:
        holder = waiting.pop()
        keys: list[Any] = []
        if isinstance(holder, Mapping):
            keys = list(holder)
        elif isinstance(holder, list):
            keys = list(range(min(len(holder), 60)))
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found
