"""The one image decoder: bytes of an image file in, upright 8-bit RGB out.

Everything that looks at pixels (session, evaluation, training, command line, the browser's copy) starts here, so all
of them agree on orientation, transparency and range.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from samref.core.geometry import MAX_PIXELS, MAX_SIDE, ImageSize
from samref.errors import ImageError

SMALL_PIXELS = 12_500_000
"""Images of up to so many pixels, a telephone's, are decoded side by side; larger ones one after another."""

_SMALL_BYTES = 2 * 7 * SMALL_PIXELS  # two of them

_ALLOWED = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"})
# A closed list: Pillow also knows formats that start other programs (EPS) or have no signature (TGA).

Image.init()  # Pillow looks a closed list up among the plugins that are loaded already
_FORMATS = tuple(sorted(_ALLOWED & Image.OPEN.keys()))  # a Pillow built without a codec lacks its format

_WANTED = "Use a JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF file."

_WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})

_ORIENTATION_TAG = 0x0112

_FIRST_TURNED = 5  # orientations 5 to 8 swap height and width

_LAST_ORIENTATION = 8

_STRIP_PIXELS = 1_000_000  # converted at a time: an image is never copied as a whole

_TRIM_PIXELS = 2_000_000  # from here on memory is given back to the system after decoding

_DAMAGED = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG or TIFF structure
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged files (found by fuzzing; anything else is a bug and stays one)."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as every part of the product sees it.

    Attributes:
        rgb: uint8 (H, W, 3), upright; shared, so never write into it.
        size: its height and width.
        digest: SHA-256 of the file's bytes in hex; names the image everywhere.
    """

    rgb: NDArray[np.uint8]
    size: ImageSize
    digest: str


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """The image in ``data``, upright, 8-bit RGB.

    EXIF orientation is applied once. Transparency lies on white. Grey with more than 8 bits is scaled from its own
    darkest to its own brightest value. Of an animation the first frame is taken. Colour profiles are not applied.

    Any number of threads may decode: they wait for each other where memory would not suffice.

    Args:
        data: a whole image file.
        max_pixels: larger images are refused before a pixel is decoded; above :data:`MAX_PIXELS` it changes nothing.

    Raises:
        ImageError: empty, not an image, a drawing (SVG), too large or too long, too costly to decode, truncated or
            damaged.
    """
    with _open(data, min(max_pixels, MAX_PIXELS), MAX_SIDE) as image:
        check_cost(image, data)
        return _decode(image, data)


def decode_stored_image(data: bytes) -> DecodedImage:
    """An image that was accepted once, perhaps under wider limits than those of today; else as :func:`decode_image`."""
    with _open(data, MAX_STORED_PIXELS, MAX_STORED_PIXELS) as image:
        return _decode(image, data)


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """The size that :func:`decode_image` gives, from the head of the file alone.

    Raises:
        ImageError: empty, not an image, too large, or damaged so early that its size cannot be told.
    """
    with _open(data, min(max_pixels, MAX_PIXELS), MAX_SIDE) as image:
        # Pillow tells the upright size of a TIFF, and turns it while loading.
        turned = image.format != "TIFF" and _orientation(image) >= _FIRST_TURNED
        return ImageSize(image.width, image.height) if turned else ImageSize(image.height, image.width)


def decode_label_image(data: bytes) -> NDArray[np.int32]:
    """The values (H, W) of a one-channel mask file exactly as stored: ids, palette indices, 0/255.

    Nothing is scaled, rotated or looked up in the palette; a one-bit file gives 0 and 255.

    Raises:
        ImageError: as :func:`decode_image`, or the file has colours instead of one channel.
    """
    with _open(data, MAX_PIXELS, MAX_PIXELS) as image:
        try:
            image.load()
        except _DAMAGED as error:
            raise _damaged() from error
        if image.mode == "1":
            return np.asarray(image.convert("L")).astype(np.int32)
        if image.mode not in ("L", "P", "I", "I;16", "I;16B"):
            raise ImageError(
                f"A mask needs one channel of whole numbers, but this file is {image.mode}. "
                "Save it as a greyscale or palette PNG."
            )
        return np.asarray(image).astype(np.int32)


def decode_grey_mask(data: bytes) -> NDArray[np.uint8]:
    """How bright each pixel (H, W) of a black-and-white mask file is: the largest of its colour channels.

    For masks that are images: a palette is looked up, transparency is not looked at, more than 8 bits are scaled to
    8, a one-bit file gives 0 and 255. Nothing is rotated. For masks that hold numbers see :func:`decode_label_image`.
    """
    with _open(data, MAX_PIXELS, MAX_PIXELS) as image:
        try:
            image.load()
            if image.mode in _WIDE_GREY:
                wide = np.asarray(image)
                return (wide / 257 if wide.max(initial=0) > 255 else wide).clip(0, 255).astype(np.uint8)
            if image.mode in ("1", "L", "LA"):
                return np.array(image.convert("L"), dtype=np.uint8)
            brightest: NDArray[np.uint8] = np.array(image.convert("RGB"), dtype=np.uint8).max(axis=2)
        except _DAMAGED as error:
            raise _damaged() from error
        return brightest


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 90) -> bytes:
    """A JPEG file of ``rgb`` (H, W, 3), without metadata."""
    if max(rgb.shape[:2]) > MAX_SIDE:
        raise ImageError(f"A JPEG side cannot be longer than {MAX_SIDE} pixels. Save the image as PNG.")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A PNG file of (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey; ``uint16`` grey keeps its 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _open(data: bytes, max_pixels: int, max_side: int) -> Image.Image:
    """The file with its header read and its size checked; no pixel is decoded yet."""
    if not data:
        raise ImageError("The file is empty (0 bytes). Choose another file or copy it again.")
    _refuse_known_strangers(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"This image has far more pixels than can be opened; the limit is {max_pixels:,}. Use a smaller copy of it."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"This file is not an image that can be opened. {_WANTED}") from error
    except _DAMAGED as error:
        raise _damaged() from error
    try:
        check_size(image.width, image.height, max_pixels, max_side)
    except ImageError:
        image.close()
        raise
    return image


def _refuse_known_strangers(data: bytes) -> None:
    """Formats people do drop on the page and that deserve a better sentence than "not an image"."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<") and b"<svg" in start:
        raise ImageError("This is an SVG drawing, which has shapes instead of pixels. Export it as PNG first.")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        raise ImageError("HEIC images cannot be opened here. Export it as JPEG first.")
    if data[:5] == b"%PDF-":
        raise ImageError("This is a PDF document, not an image. Export the page as PNG first.")


def _damaged() -> ImageError:
    return ImageError("This image is truncated or damaged. Copy or download it again, or open and save it elsewhere.")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none, or none that can be read."""
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGED:
        return 1  # the pixels are fine, so a damaged note about them is no reason to refuse the image
    return value if isinstance(value, int) and 1 <= value <= _LAST_ORIENTATION else 1


def _decode(image: Image.Image, data: bytes) -> DecodedImage:
    """Load an opened image and make its pixels what they are to be; the image is closed then."""
    pixels = image.width * image.height
    try:
        with _GATE.room(decode_bytes(image, data), is_large=pixels > SMALL_PIXELS):
            try:
                image.load()
                rgb = _to_upright_rgb(image, _orientation(image))
            finally:
                image.close()
                image.im = None  # type: ignore[assignment]  # frees the pixels while the caller still has the variable
                if pixels >= _TRIM_PIXELS:
                    _give_memory_back()
    except _DAMAGED as error:
        raise _damaged() from error
    except MemoryError as error:
        raise ImageError("There is not enough memory to open this image. Use a smaller copy of it.") from error
    return DecodedImage(rgb, ImageSize(rgb.shape[0], rgb.shape[1]), hashlib.sha256(data).hexdigest())


def _to_upright_rgb(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    """The pixels of a loaded image, a strip at a time and each at once where it belongs."""
    size = (image.width, image.height) if orientation >= _FIRST_TURNED else (image.height, image.width)
    rgb = np.empty((*size, 3), dtype=np.uint8)
    stored = _as_stored(rgb, orientation)
    to_rgb = _wide_grey_converter(image) if image.mode in _WIDE_GREY else _strip_to_rgb
    for top, strip in _strips(image):
        stored[top : top + strip.height] = to_rgb(strip)
    return rgb


def _as_stored(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A view of an upright image in which its rows and columns lie as the file has them."""
    turns = {3: 2, 5: 1, 6: 1, 7: -1, 8: -1}  # quarters, against the clock
    turned = np.rot90(rgb, turns.get(orientation, 0))
    if orientation in (2, 5, 7):
        return turned[:, ::-1] if orientation == 2 else turned[::-1]
    return turned[::-1] if orientation == 4 else turned


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in parts from the top down, each with its first row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _strip_to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(strip.convert("RGB"))


def _wide_grey_converter(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Darkest value to 0, brightest to 255; values that are not finite count as darkest, a flat image is black."""
    low, high = np.inf, -np.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))

    def to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
        with np.errstate(invalid="ignore"):  # of signalling NaNs
            wide = np.asarray(strip).astype(np.float64)
        if high <= low:  # or nothing is finite
            return np.zeros((*wide.shape, 3), dtype=np.uint8)
        scaled = (np.where(np.isfinite(wide), wide, low) - low) * (255.0 / (high - low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)

    return to_rgb


def _c_function(name: str, *arguments: type[Any]) -> Callable[..., int] | None:
    """A function of glibc's; None where the C library has no such thing."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no process-wide library
        return None
    function.argtypes, function.restype = arguments, ctypes.c_int
    return function  # type: ignore[no-any-return]


_trim = _c_function("malloc_trim", ctypes.c_size_t)
_tune = _c_function("mallopt", ctypes.c_int, ctypes.c_int)

_M_MMAP_THRESHOLD = -3  # from malloc.h
_LARGE_BLOCK_BYTES = 8 * 2**20


def _give_memory_back() -> None:
    """Pillow holds pixels in blocks of 16 MB, which glibc keeps for itself when they are freed."""
    if _trim is not None:
        _trim(0)


def hold_large_blocks_apart() -> None:
    """Have each large block of memory go back to the system when it is freed, in the whole process; for a server.

    Otherwise glibc takes Pillow's blocks into its heap once it has seen one freed, and decoding an image of 100
    megapixels takes up to 330 MB more than it needs.
    """
    if _tune is not None:
        _tune(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


# ---- what an image may be; all is checked before decoding

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
    """Refuse an image that is too long or has too many pixels."""
    if width <= 0 or height <= 0:
        raise ImageError("This image has no pixels. Choose another file.")
    if width * height > max_pixels:
        raise ImageError(
            f"This image has {width} x {height} = {width * height:,} pixels; the limit is {max_pixels:,}. "
            "Use a smaller copy of it."
        )
    if max(width, height) > max_side:
        raise ImageError(
            f"This image is {width} x {height} pixels; a side longer than {max_side} pixels cannot be opened. "
            "Cut it into parts or use a smaller copy of it."
        )


def check_cost(image: Image.Image, data: bytes) -> None:
    """Refuse an image whose format needs more memory or time than there is for one image."""
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
    """Bytes that decoding an image, opened and not yet loaded, takes at its peak, the result included."""
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


# ---- the bound on what is being decoded at the same time, over all threads of the process


class _Lane:
    """Room for so many bytes, given out in the order in which it was asked for."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def room(self, wanted: int) -> Iterator[None]:
        wanted = min(wanted, self._capacity)  # what needs more than there is goes alone
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._used + wanted <= self._capacity)
                self._used += wanted
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()


class DecodeGate:
    """Two lanes, so that neither kind waits for the other: large images one after another, small ones side by side.

    Within a lane whoever came first goes first.
    """

    def __init__(self, large_bytes: int, small_bytes: int) -> None:
        """Bound the memory for all large images being decoded at once, and for all small ones."""
        self._large = _Lane(large_bytes)
        self._small = _Lane(small_bytes)

    def room(self, needed_bytes: int, *, is_large: bool) -> AbstractContextManager[None]:
        """Wait until there is room for ``needed_bytes`` more, and hold it."""
        return (self._large if is_large else self._small).room(needed_bytes)


_GATE = DecodeGate(DECODE_BYTES, _SMALL_BYTES)
