"""What an image may be: its sides, its pixels, and what decoding it may cost; all is checked before decoding."""

from __future__ import annotations

from typing import Any

from PIL import Image, JpegImagePlugin, TiffImagePlugin

from samref.core.geometry import MAX_PIXELS
from samref.errors import ImageError

__all__ = ["DECODE_BYTES", "MAX_JPEG_SCANS", "MAX_STORED_PIXELS", "check_cost", "check_size", "decode_bytes"]

MAX_STORED_PIXELS = 178_956_970
"""Twice Pillow's own limit: no image with more pixels was ever accepted. A stored image may have sides as long."""

DECODE_BYTES = 7 * MAX_PIXELS
"""Memory that decoding one image may take at its peak: Pillow's four bytes a pixel and the three of the result."""

MAX_JPEG_SCANS = 200
"""Each scan of a progressive JPEG passes over the whole image again; cameras and programs write about ten."""

_RESULT = 3  # bytes of a pixel in the result
_PLAIN = 4 + _RESULT  # Pillow holds three and four channels in four bytes

# Peak of decoding, in bytes a pixel, measured as the growth of a process that decodes the kind's most costly variant
# (Pillow 12.3; 100 megapixels, JPEG 2000 and AVIF also 25):
#
#   PNG, interlaced or not, 16 bits too    4     JPEG 2000, 1 / 3 / 4 channels      6 / 20 / 25
#   GIF, also animated                     1     WebP, lossy, lossless, animated    16
#   BMP, PPM                               4     AVIF 4:2:0 / 4:4:4 / with alpha    10 / 11 / 12
#   JPEG, one scan                         4       (up to 12 bits a channel: twice the planes)
#   JPEG, progressive 4:2:0 / 4:4:4 / CMYK  7 / 10 / 12
#   TIFF                                   4, and the largest strip or tile; 8 where it is turned
_WEBP = 16
_AVIF = 20
_JPEG2000_CHANNEL = 7
_TURNED_TIFF = 8

_SLOW_CODECS = frozenset({"bmp_rle", "ppm", "ppm_plain"})
_SLOW_PIXELS = 4_000_000  # Pillow decodes these in Python, a microsecond a pixel

_TIFF_ORIENTATION, _TIFF_SAMPLES, _TIFF_ROWS, _TIFF_BITS, _TIFF_PHOTOMETRIC = 274, 277, 278, 258, 262
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 256, 257, 322, 323
_YCBCR = 6


def check_size(width: int, height: int, max_pixels: int, max_side: int) -> None:
    """Refuse an image that is too long or has too many pixels.

    Raises:
        ImageError: it is, or it has no pixels at all.
    """
    if width <= 0 or height <= 0:
        raise ImageError("This image has no pixels. Choose another file.")
    if width * height > max_pixels:
        raise ImageError(
            f"This image has {width} x {height} = {width * height / 1e6:.0f} million pixels, more than can be opened "
            f"(the limit is {max_pixels / 1e6:g} million). Use a smaller copy of it."
        )
    if max(width, height) > max_side:
        raise ImageError(
            f"This image is {width} x {height} pixels; a side longer than {max_side} pixels cannot be opened. "
            "Cut it into parts or use a smaller copy of it."
        )


def check_cost(image: Image.Image, data: bytes) -> None:
    """Refuse an image whose format needs more memory or time than there is for one image.

    Raises:
        ImageError: it does.
    """
    pixels = image.width * image.height
    if _codec(image) in _SLOW_CODECS and pixels > _SLOW_PIXELS:
        raise ImageError(
            f"This {_kind(image)} image has {pixels / 1e6:.0f} million pixels; written the way it is, more than "
            f"{_SLOW_PIXELS // 1_000_000} million take too long to decode. Save it as PNG first."
        )
    if isinstance(image, JpegImagePlugin.JpegImageFile) and not _has_one_scan(image, data):
        scans = data.count(b"\xff\xda")
        if scans > MAX_JPEG_SCANS:
            raise ImageError(
                f"This JPEG image is made of {scans} scans; at most {MAX_JPEG_SCANS} can be decoded. "
                "Open and save it elsewhere first."
            )
    needed = decode_bytes(image, data)
    if needed > DECODE_BYTES:
        at_most = max(1, int(pixels * DECODE_BYTES / needed / 1e6))
        raise ImageError(
            f"This {_kind(image)} image has {pixels / 1e6:.0f} million pixels; of its kind about {at_most} million "
            "can be decoded in the memory there is for one. Save it as PNG or as a plain JPEG, or use a smaller copy."
        )


def decode_bytes(image: Image.Image, data: bytes) -> int:
    """Bytes that decoding takes at its peak, the result included.

    Args:
        image: opened and not yet loaded.
        data: its file.
    """
    pixels = image.width * image.height
    match image.format:
        case "WEBP":
            return _WEBP * pixels
        case "AVIF":
            return _AVIF * pixels
        case "JPEG2000":
            return max(_PLAIN, _JPEG2000_CHANNEL * len(image.getbands())) * pixels
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return max(_PLAIN, 4 + (0 if _has_one_scan(image, data) else _coefficients(image))) * pixels
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff_bytes(image)
    return _PLAIN * pixels


def _has_one_scan(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether libjpeg can decode row by row; with several scans it holds the coefficients of the whole image.

    Pillow stops behind the head of the first scan, which names all channels where it is the only one. Where that head
    does not lie there (a file of several images), the answer is no, which costs memory but is never wrong.
    """
    if image.info.get("progressive"):
        return False
    channels = len(image.layer)
    head = b"\xff\xda" + (6 + 2 * channels).to_bytes(2, "big") + bytes([channels])
    end = image.fp.tell() if image.fp is not None else 0
    start = end - 8 - 2 * channels
    return start >= 0 and data[start : start + len(head)] == head


def _coefficients(image: JpegImagePlugin.JpegImageFile) -> int:
    """Bytes a pixel of the coefficients of all channels: two for each sample."""
    samples = [across * down for _, across, down, _ in image.layer]
    widest = max(across for _, across, _, _ in image.layer) * max(down for _, _, down, _ in image.layer)
    return -(-2 * sum(samples) // max(1, widest))


def _tiff_bytes(image: TiffImagePlugin.TiffImageFile) -> int:
    """A whole strip or tile is decoded at a time, however much of it the image shows."""
    pixels = image.width * image.height
    chunk_width, chunk_height = _tag(image, _TIFF_TILE_WIDTH), _tag(image, _TIFF_TILE_HEIGHT)
    if not chunk_width or not chunk_height:
        # The size Pillow tells is that of the turned image.
        chunk_width, height = _tag(image, _TIFF_WIDTH), _tag(image, _TIFF_HEIGHT)
        chunk_height = min(_tag(image, _TIFF_ROWS) or height, height)
    sample = max(1, _tag(image, _TIFF_SAMPLES)) * -(-max(8, _tag(image, _TIFF_BITS)) // 8)
    if _tag(image, _TIFF_PHOTOMETRIC) == _YCBCR:
        sample += 4  # libtiff's own RGBA beside it
    chunk = 0 if _codec(image) == "raw" else chunk_width * chunk_height * sample
    held = (_TURNED_TIFF if _tag(image, _TIFF_ORIENTATION) > 1 else 4) * pixels
    return max(held + chunk, _PLAIN * pixels)


def _tag(image: TiffImagePlugin.TiffImageFile, number: int) -> int:
    """The largest value of a tag; 0 where there is none."""
    value: Any = image.tag_v2.get(number, 0)
    values = value if isinstance(value, tuple) else (value,)
    return max((int(one) for one in values if isinstance(one, int | float)), default=0)


def _codec(image: Image.Image) -> str:
    tiles: Any = getattr(image, "tile", None)
    return str(tiles[0][0]) if tiles else ""


def _kind(image: Image.Image) -> str:
    return {"JPEG2000": "JPEG 2000", "WEBP": "WebP", "MPO": "JPEG"}.get(image.format or "", image.format or "")
