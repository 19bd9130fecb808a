"""Images to be labelled, and files that only look like images."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["files_of_all_formats", "huge_png", "photo", "specials", "with_ballast"]

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


@cache
def _example(name: str) -> Image.Image:
    with Image.open(EXAMPLES / f"{name}.jpg") as image:
        return image.convert("RGB")


def photo(rng: random.Random, width: int = 160, height: int = 120) -> bytes:
    """A piece of a bundled photo, another one each time."""
    whole = _example(rng.choice(("astronaut", "chelsea", "coffee", "raccoon", "rocket")))
    scale = rng.uniform(1.5, 2.5)
    left = rng.randrange(max(1, int(whole.width - scale * width)))
    top = rng.randrange(max(1, int(whole.height - scale * height)))
    piece = whole.crop((left, top, left + int(scale * width), top + int(scale * height))).resize((width, height))
    return _saved(piece, "PNG")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files_of_all_formats() -> Mapping[str, bytes]:
    """Small whole images, by the name of their format and kind."""
    noise = np.random.default_rng(3)
    pixels = noise.integers(0, 256, (24, 31, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(pixels[..., :3], "RGB"), Image.fromarray(pixels, "RGBA")
    grey = rgb.convert("L")
    wide = Image.fromarray(noise.integers(0, 2**16, (24, 31), dtype=np.uint16))
    made = {
        "png rgb": _saved(rgb, "PNG"),
        "png rgba": _saved(rgba, "PNG"),
        "png palette": _saved(rgb.quantize(16), "PNG"),
        "png 16 bit": _saved(wide, "PNG"),
        "png one bit": _saved(grey.convert("1"), "PNG"),
        "jpeg": _saved(rgb, "JPEG"),
        "jpeg progressive": _saved(rgb, "JPEG", progressive=True),
        "jpeg cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "gif": _saved(rgb.quantize(32), "GIF"),
        "gif frames": _saved(grey, "GIF", save_all=True, append_images=[grey.rotate(90)] * 3),
        "bmp": _saved(rgb, "BMP"),
        "tiff": _saved(rgb, "TIFF"),
        "tiff lzw": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "ppm": _saved(rgb, "PPM"),
        "webp": _saved(rgb, "WEBP"),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        made[f"jpeg turned {orientation}"] = _saved(rgb, "JPEG", exif=exif)
    return made


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int, *, colour_type: int = 0, rows: int | None = None) -> bytes:
    """A black PNG of any size in a few bytes; with fewer ``rows`` than ``height`` it ends too early."""
    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    row = bytes(1 + width * channels)
    packer = zlib.compressobj(9)
    packed = [packer.compress(row) for _ in range(height if rows is None else rows)]
    head = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = b"".join([*packed, packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def with_ballast(png: bytes, ballast: bytes) -> bytes:
    """The same image in a larger file."""
    return png[:33] + _chunk(b"saMr", ballast) + png[33:]


def specials(*, large: bool) -> Mapping[str, bytes]:
    """Files made on purpose; the ``large`` ones need gigabytes in a careless program."""
    whole = files_of_all_formats()
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/></svg>'
    made = {
        "empty": b"",
        "one byte": b"\x89",
        "text": b"this is not an image",
        "html": b"<!doctype html><script>alert(1)</script>",
        "svg": svg,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\nshowpage\n",
        "zip": b"PK\x03\x04" + bytes(40),
        "elf": b"\x7fELF" + bytes(60),
        "one pixel": huge_png(1, 1),
        "one row": huge_png(9_000, 1),
        "one column": huge_png(1, 9_000),
        "no row": huge_png(8, 8, rows=0),
        "half of it": huge_png(60, 60, rows=30),
        "size 0": huge_png(0, 0),
        "longest a jpeg can be": huge_png(65_500, 1),
        "longer than a jpeg can be": huge_png(65_501, 1),
        "longer than a label can be": huge_png(100_001, 1),
        "higher than a label can be": huge_png(1, 100_001),
        "claims 60000 x 60000": huge_png(60_000, 60_000, rows=1),
        "claims 2^31 x 2^31": huge_png(2**31 - 1, 1, rows=0)[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1),
        "image and more": whole["png rgb"] + bytes(1000),
        "two images": whole["png rgb"] + whole["jpeg"],
        "jpeg called png": whole["jpeg"],
        "tiff pointing at itself": b"II*\x00\x08\x00\x00\x00" + b"\x00\x00" + b"\x08\x00\x00\x00",
        "tiff of 65535 tags": b"II*\x00\x08\x00\x00\x00" + b"\xff\xff" + b"\x00\x01\x04\x00\x01\x00\x00\x00" * 900,
        "png with a long text": whole["png rgb"][:33]
        + _chunk(b"zTXt", b"a\x00\x00" + zlib.compress(bytes(30_000_000)))
        + whole["png rgb"][33:],
    }
    if large:
        made["9990 x 9990 with transparency"] = huge_png(9_990, 9_990, colour_type=6)
        made["9999 x 9999 in colour"] = huge_png(9_999, 9_999, colour_type=2)
        made["10001 x 10001"] = huge_png(10_001, 10_001)
    return made
