"""What decoding costs: measured in a process of its own, so that nothing else is counted."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samref.core import images
from samref.core.images import DECODE_BYTES, MAX_JPEG_SCANS, decode_image
from samref.errors import ImageError

FULL = os.environ.get("SAMREF_ATTACK") == "full"
SIDE = 9990 if FULL else 5000
MIB = 2**20

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux' /proc")

PROBE = """
import sys, threading
from pathlib import Path
from typing import Any
from samref.core.images import decode_image
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
data, count = Path(sys.argv[1]).read_bytes(), int(sys.argv[2])
decode_image(Path(sys.argv[3]).read_bytes())
before = status("VmRSS")
threads = [threading.Thread(target=decode_image, args=(data,)) for _ in range(count)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(status("VmHWM") - before, status("VmRSS") - before)
"""


def growth(tmp_path: Path, data: bytes, at_once: int = 1) -> tuple[int, int]:
    """Bytes by which a process grows at its peak, and those it keeps, when it decodes ``data``."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    (tmp_path / "image").write_bytes(data)
    (tmp_path / "warm-up").write_bytes(buffer.getvalue())
    command = [sys.executable, "-W", "ignore", "-c", PROBE, str(tmp_path / "image"), str(at_once)]
    answer = subprocess.run([*command, str(tmp_path / "warm-up")], capture_output=True, text=True, check=True)
    peak, kept = answer.stdout.split()
    return int(peak), int(kept)


def large(mode: str, format_name: str, side: int = SIDE, **options: Any) -> bytes:
    ramp = (np.arange(side) // 40 % 256).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp, (side, side)).copy()).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 250)
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "format_name", "options"),
    [
        ("RGBA", "PNG", {"compress_level": 1}),
        ("I;16", "PNG", {"compress_level": 1}),
        ("RGB", "JPEG", {}),
        ("F", "TIFF", {"compression": "packbits"}),
    ],
)
def test_decoding_takes_pillows_pixels_and_the_result_and_gives_both_back(
    tmp_path: Path, mode: str, format_name: str, options: dict[str, Any]
) -> None:
    peak, kept = growth(tmp_path, large(mode, format_name, **options))
    assert peak <= 7 * SIDE**2 + 40 * MIB
    assert kept <= 40 * MIB


@pytest.mark.parametrize(
    ("mode", "format_name", "options"),
    [
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("RGB", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("RGBA", "WEBP", {"method": 0, "quality": 10}),
        ("RGB", "WEBP", {"method": 0, "lossless": True, "quality": 0}),
        ("RGBA", "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
        ("RGB", "JPEG2000", {}),
        ("L", "JPEG2000", {}),
        ("RGBA", "TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 1 << 20}}),
        ("RGB", "TIFF", {"compression": "tiff_deflate", "tiffinfo": {274: 6}}),
    ],
)
def test_no_format_takes_more_than_is_reckoned_for_it(
    tmp_path: Path, mode: str, format_name: str, options: dict[str, Any]
) -> None:
    data = large(mode, format_name, side=2000, **options)
    with Image.open(io.BytesIO(data)) as image:
        reckoned = images.decode_bytes(image, data)
    peak, _ = growth(tmp_path, data)
    assert peak <= reckoned + 24 * MIB


def test_large_images_decoded_at_once_stay_within_the_bound(tmp_path: Path) -> None:
    side = 9990 if FULL else 6000
    peak, kept = growth(tmp_path, large("RGBA", "PNG", side=side, compress_level=1), at_once=6)
    assert peak <= DECODE_BYTES + 60 * MIB
    assert kept <= 120 * MIB  # what six threads leave in their heaps; the images alone are 600


def test_a_format_that_needs_more_memory_may_have_fewer_pixels() -> None:
    with pytest.raises(ImageError, match=r"WebP image has 64 million pixels; of its kind about 43 million"):
        decode_image(large("L", "WEBP", side=8000, method=0, quality=1))


def tiff_with_a_tile_of(side: int) -> bytes:
    """An image of 64 x 64 that says it lies in one corner of a huge tile."""
    tile = zlib.compress(b"\x00" * 1024)
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: len(tile)}
    offset = 8 + len(tile)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHI", b"II", 42, offset) + tile + struct.pack("<H", len(tags)) + entries + b"\x00" * 4


def test_a_small_tiff_in_a_huge_tile_is_refused() -> None:
    with pytest.raises(ImageError, match="memory"):
        decode_image(tiff_with_a_tile_of(65_536))


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = large("L", "JPEG", side=64, progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match=f"at most {MAX_JPEG_SCANS}"):
        decode_image(data[:-2] + data[last:-2] * 300 + data[-2:])


def test_what_pillow_decodes_in_python_may_have_few_pixels() -> None:
    plain = b"P2 3000 3000 255\n" + b"7 " * 9_000_000
    with pytest.raises(ImageError, match="too long to decode"):
        decode_image(plain)
    assert decode_image(b"P2 3 1 255\n7 0 255\n").rgb[0, :, 0].tolist() == [7, 0, 255]
