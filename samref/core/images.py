"""The one image decoder: bytes of an image file in, upright 8-bit RGB out.

Everything that looks at pixels (session, evaluation, training, command line, the browser's copy) starts here, so all
of them agree on orientation, transparency and range.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from samref.core.decode_gate import DecodeGate
from samref.core.geometry import MAX_PIXELS, MAX_SIDE, ImageSize
from samref.core.image_limits import DECODE_BYTES, MAX_STORED_PIXELS, check_cost, check_size, decode_bytes
from samref.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "SMALL_PIXELS",
    "DecodedImage",
    "decode_grey_mask",
    "decode_image",
    "decode_label_image",
    "decode_stored_image",
    "encode_jpeg",
    "encode_png",
    "hold_large_blocks_apart",
    "upright_size",
]

SMALL_PIXELS = 12_500_000
"""Images of up to so many pixels, a telephone's, are decoded side by side; larger ones one after another."""

_SMALL_BYTES = 2 * 7 * SMALL_PIXELS  # two of them

_ALLOWED = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"})
# A closed list: Pillow also knows formats that start other programs (EPS) or have no signature (TGA).

Image.init()  # Pillow looks a closed list up among the plugins that are loaded already
_FORMATS = tuple(sorted(_ALLOWED & Image.OPEN.keys()))  # a Pillow built without a codec lacks its format

_WANTED = "Use a JPEG, PNG, WebP, TIFF, BMP or GIF file."

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
    """An image that was accepted once, perhaps under wider limits than those of today; else as :func:`decode_image`.

    Raises:
        ImageError: the file is damaged.
    """
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


def decode_label_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.int32]:
    """The values (H, W) of a one-channel mask file exactly as stored: ids, palette indices, 0/255.

    Nothing is scaled, rotated or looked up in the palette; a one-bit file gives 0 and 255.

    Raises:
        ImageError: as :func:`decode_image`, or the file has colours instead of one channel.
    """
    with _open(data, max_pixels, max_pixels) as image:
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


def decode_grey_mask(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """How bright each pixel (H, W) of a black-and-white mask file is: the largest of its colour channels.

    For masks that are images: a palette is looked up, transparency is not looked at, more than 8 bits are scaled to
    8, a one-bit file gives 0 and 255. Nothing is rotated. For masks that hold numbers see :func:`decode_label_image`.

    Raises:
        ImageError: as :func:`decode_image`.
    """
    with _open(data, max_pixels, max_pixels) as image:
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
    """A JPEG file of ``rgb`` (H, W, 3), without metadata.

    Raises:
        ImageError: a side is longer than a JPEG can be.
    """
    if max(rgb.shape[:2]) > MAX_SIDE:
        raise ImageError(f"A JPEG side cannot be longer than {MAX_SIDE} pixels. Save the image as PNG.")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], *, compress_level: int = 6) -> bytes:
    """A PNG file of (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey; ``uint16`` grey keeps its 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=compress_level)
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
            f"This image has far more pixels than can be opened (the limit is {max_pixels / 1e6:g} million). "
            "Use a smaller copy of it."
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


_GATE = DecodeGate(DECODE_BYTES, _SMALL_BYTES)
