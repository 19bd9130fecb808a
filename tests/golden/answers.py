"""Makes answers of two runs comparable (no times, no random ids, no temporary paths) and says where they differ."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

Cases: TypeAlias = dict[str, Any]
"""JSON values by name; what stands before the first slash of a name is its row in the table."""

SEEN_COARSE = "coarse, where it was seen"
"""Key of a coarse answer on its way to the refined one: a quick server may skip it, so its absence is no difference."""

ABSENT = "<absent>"

_TIMES = {"seconds", "created_at", "used_at", "encode_s", "click_s", "click_s_mean", "click_s_p95", "amortised_s"}
_DROPPED = _TIMES | {"machine", "token", "seq", "v"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T-]\d\d[:-]?\d\d([:-]?\d\d)?(\.\d+)?)?|\d{8}[-T]\d{6}")
_DURATION = re.compile(r"\d+(\.\d+)? s\b")
_KEY = re.compile(r"\b[A-Za-z0-9_-]{43}\b")
_WORDS = (
    (re.compile(r"\b([Aa]) (?=[Pp]icture)"), r"\1n "),
    (re.compile("picture"), "image"),
    (re.compile("Picture"), "Image"),
    (re.compile("PICTURE"), "IMAGE"),
)


class Canon:
    """Writes values in a form that does not depend on the run.

    Args:
        paths: placeholders by the folders whose names they replace.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._texts = {str(path): f"<{name}>" for name, path in paths.items()}
        self._ids: dict[str, str] = {}

    def know(self, identifier: str | None) -> None:
        """Number a random id by the order in which it was first met."""
        if identifier is not None:
            self._ids.setdefault(identifier, f"<id {len(self._ids) + 1}>")

    def clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.text(key): self.clean(part) for key, part in value.items() if key not in _DROPPED}
        if isinstance(value, list | tuple):
            return [self.clean(part) for part in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        if text in self._ids:
            return self._ids[text]
        for found, name in sorted(self._texts.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(found, name)
        return text

    def prose(self, text: str) -> list[str]:
        """What a command printed, line by line, without times, keys and the drawing around it."""
        text = _KEY.sub("<key>", _DURATION.sub("<time> s", _MOMENT.sub("<moment>", self.text(text))))
        text = re.sub("[─│╭╮╰╯-]{2,}|[│╭╮╰╯]", " ", text)
        return [" ".join(line.split()) for line in text.splitlines() if line.strip()]

    def file(self, name: str, data: bytes) -> Any:
        """The content of an exported file: JSON read, pixels digested, a zip file by its members."""
        if name.endswith(".json"):
            content = json.loads(data)
            for entry in content.get("annotations", ()) if isinstance(content, dict) else ():
                self.know(entry.get("samref", {}).get("id"))
            return self.clean(content)
        if name.endswith(".png"):
            image = Image.open(io.BytesIO(data))
            palette = image.getpalette() if image.mode == "P" else None
            return {"mode": image.mode, "size": image.size, "pixels": pixel_digest(image), "palette": digest(palette)}
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return {member: self.file(member, archive.read(member)) for member in archive.namelist()}
        return {"bytes": len(data), "sha256": digest(data)}


def digest(value: Any) -> str:
    """SHA-256 of bytes, or of a value as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def pixel_digest(image: Image.Image) -> str:
    return digest(np.asarray(image).tobytes())


def reworded(value: Any) -> Any:
    """A value with "image" for "picture" in all its texts and keys."""
    if isinstance(value, dict):
        return {reworded(key): reworded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [reworded(part) for part in value]
    if isinstance(value, str):
        for pattern, word in _WORDS:
            value = pattern.sub(word, value)
    return value


def differences(before: Any, now: Any, place: str = "") -> list[str]:
    """Where two JSON values differ, one line each."""
    if place.endswith(f"/{SEEN_COARSE}") and (before is None or now is None):
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys([*before, *now]))
        return [line for key in keys for line in _in(key, before, now, place)]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{place}/{number}")]
    if before == now and isinstance(before, bool) == isinstance(now, bool):
        return []
    start = 0
    if isinstance(before, str) and isinstance(now, str) and len(before) > 200:
        pairs = enumerate(zip(before, now, strict=False))
        start = max(0, next((at for at, (old, new) in pairs if old != new), min(len(before), len(now))) - 60)
        place += f" from character {start}"
    was, now_is = (repr(value[start:] if start else value) for value in (before, now))
    return [f"{place}: {was:.200} became {now_is:.200}"]


def _in(key: str, before: dict[str, Any], now: dict[str, Any], place: str) -> list[str]:
    return differences(before.get(key, ABSENT), now.get(key, ABSENT), f"{place}/{key}")


def save(path: Path, cases: Cases) -> None:
    path.write_bytes(gzip.compress(json.dumps(cases, ensure_ascii=False, indent=1).encode(), mtime=0))


def load(path: Path) -> Cases:
    cases: Cases = json.loads(gzip.decompress(path.read_bytes()))
    return cases
