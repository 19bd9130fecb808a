"""Damaged and hostile files: an image or labels, or a sentence; never another error, and in bounded time.

A few hundred seeded mutations by default; all of them with ``SAMREF_ATTACK=full``.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.images import decode_image, decode_stored_image, upright_size
from samref.errors import ImageError, ImportFormatError
from samref.labels.annotations import ImageRecord, Project
from samref.labels.classes import LabelClass
from samref.labels.formats import reading
from samref.labels.formats.coco import import_coco

FULL = os.environ.get("SAMREF_ATTACK") == "full"
UPLOADS_PER_FORMAT = 200 if FULL else 20
IMPORTS = 800 if FULL else 160
MOST_S = 5.0

FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG": ("RGBA", "PNG", {}),
    "PNG of a palette": ("P", "PNG", {"transparency": 3}),
    "JPEG": ("RGB", "JPEG", {}),
    "JPEG, progressive": ("CMYK", "JPEG", {"progressive": True}),
    "WebP": ("RGBA", "WEBP", {}),
    "GIF": ("P", "GIF", {}),
    "BMP": ("RGB", "BMP", {}),
    "TIFF": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "TIFF of floats": ("F", "TIFF", {"compression": "tiff_deflate"}),
    "PPM": ("RGB", "PPM", {}),
    "JPEG 2000": ("RGB", "JPEG2000", {}),
    "AVIF": ("RGB", "AVIF", {}),
}


def sample(kind: str) -> bytes:
    mode, format_name, options = FORMATS[kind]
    pixels = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    if format_name in ("PNG", "JPEG", "WEBP", "TIFF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {**options, "exif": exif}
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format_name, **options)
    return buffer.getvalue()


def mutated(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """``data`` truncated, flipped, spliced with another file, or with a length or size that is not true."""
    changed = bytearray(data)
    match dice.randrange(6):
        case 0:
            return data[: dice.randrange(len(data))]
        case 1:
            for _ in range(dice.randint(1, 20)):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        case 2:
            cut = dice.randrange(len(data))
            return data[:cut] + other[dice.randrange(len(other)) :]
        case 3:  # a number of two or four bytes becomes huge
            at, width = dice.randrange(max(1, min(len(data), 300) - 4)), dice.choice((2, 4))
            changed[at : at + width] = dice.choice((b"\xff", b"\x7f", b"\x00")) * width
        case 4:
            at, length = dice.randrange(len(data)), dice.randint(1, 60)
            return data[:at] + data[at + length :]
        case _:
            at = dice.randrange(len(data))
            changed[at:at] = dice.randbytes(dice.randint(1, 60))
    return bytes(changed)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are believed again."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        out += struct.pack(">I", max(0, len(body) - 4)) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_upload_is_a_image_or_a_sentence(kind: str) -> None:
    dice = random.Random(f"uploads {kind}")
    data, other = sample(kind), sample(dice.choice(list(FORMATS)))
    refused = 0
    for number in range(UPLOADS_PER_FORMAT):
        damaged = mutated(data, other, dice)
        if kind.startswith("PNG") and number % 2:
            damaged = with_right_checksums(damaged)
        for decode in (decode_image, decode_stored_image):
            started = time.process_time()
            try:
                size = decode(damaged).size
                assert decode is decode_stored_image or size == upright_size(damaged)
            except ImageError:
                refused += 1
            assert time.process_time() - started < MOST_S, f"mutation {number}"
    assert refused > 0


PROJECT = Project((LabelClass(1, "object", "#e6194b"),), (ImageRecord("c" * 64, "cat.jpg", ImageSize(12, 16)),))
COCO: dict[str, Any] = {
    "info": {"description": "x"},
    "images": [{"id": 7, "file_name": "cat.jpg", "height": 12, "width": 16, "samref": {"digest": "c" * 64}}],
    "categories": [{"id": 1, "name": "cat", "samref": {"colour": "#112233"}}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]], "score": 0.5},
        {"id": 2, "image_id": 7, "category_id": 1, "segmentation": {"size": [12, 16], "counts": [12, 24, 156]}},
        {
            "id": 3,
            "image_id": 7,
            "category_id": 1,
            "segmentation": [[2, 2, 8, 2, 8, 8]],
            "samref": {
                "id": "abc",
                "prompts": {"items": [{"type": "click", "x": 3, "y": 3, "positive": True}], "mask": None},
                "model": "tiny",
                "score": 0.9,
                "created_at": "2026-11-21T08:00:00+00:00",
                "author": "",
                "seconds": 1.5,
                "clicks": 1,
                "visible": True,
            },
        },
    ],
}
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**400, 2**63, "", "x" * 5000, "\x00", [], {}, [[]], [{}], {"a": []}, [1, 2], "💥",
    [[0, 0, 1e9, 0, 1, 1]], {"size": [12, 16], "counts": "PPPP"}, {"size": [12, 16], "counts": {}},
    {"size": "12", "counts": [1]}, {"size": [12.0, 16.0], "counts": [192]}, {"digest": []}, ["__proto__"],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, entry in inner for place in places(entry, (*path, key)))]


def test_a_value_of_the_wrong_kind_anywhere_in_a_coco_file_is_a_sentence() -> None:
    dice = random.Random("imports")
    everywhere = places(COCO)[1:]
    refused = 0
    for number in range(IMPORTS):
        changed = copy.deepcopy(COCO)
        for path in dice.sample(everywhere, dice.choice((1, 1, 1, 2))):
            try:
                holder = changed
                for key in path[:-1]:
                    holder = holder[key]
                if number % 5:
                    holder[path[-1]] = copy.deepcopy(dice.choice(STRANGE))
                else:
                    del holder[path[-1]]
            except (KeyError, IndexError, TypeError):
                continue  # the other change took its place away
        try:
            import_coco(json.dumps(changed).encode(), PROJECT)
        except ImportFormatError:
            refused += 1
    assert refused > IMPORTS / 4


def test_damaged_json_is_a_sentence() -> None:
    dice = random.Random("json")
    data = json.dumps(COCO).encode()
    refused = 0
    for _ in range(IMPORTS):
        try:
            import_coco(mutated(data, b'{"annotations": [[[[[[' * 40, dice), PROJECT)
        except ImportFormatError:
            refused += 1
    assert refused > IMPORTS / 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON, indent=st.sampled_from([None, 1]), damage=st.integers(0, 10**6), is_damaged=st.booleans())
def test_reading_json_entry_by_entry_is_reading_it_at_once(
    value: Any, indent: int | None, damage: int, is_damaged: bool
) -> None:
    text = json.dumps(value, indent=indent)
    if is_damaged:
        text = text[: damage % len(text)] + text[damage % len(text) + 1 :]
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - json's own words differ with the place
            reading._parse_text(text)
        return
    assert reading._parse_text(text) == expected
