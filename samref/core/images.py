"""The one image decoder: bytes of a picture file in, upright 8-bit RGB out.

Everything that looks at pixels (session, evaluation, training, command line, the browser's copy) starts here, so all
of them agree on orientation, transparency and range.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from samref.core.geometry import ImageSize
from samref.errors import ImageError

__all__ = [
    "MAX_PIXELS",
    "DecodedImage",
    "decode_grey_mask",
    "decode_image",
    "decode_label_image",
    "encode_jpeg",
    "encode_png",
    "upright_size",
]

MAX_PIXELS = 100_000_000
"""Pixels a picture may have unless told otherwise: 300 MB once decoded, more than any camera in a pocket makes."""

JPEG_LONGEST = 65_500
"""Longest side libjpeg writes."""

_ALLOWED = frozenset({"JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"})
# A closed list: Pillow also knows formats that start other programs (EPS) or have no signature (TGA).

Image.init()  # Pillow looks a closed list up among the plugins that are loaded already
_FORMATS = tuple(sorted(_ALLOWED & Image.OPEN.keys()))  # a Pillow built without a codec lacks its format

_WANTED = "Use a JPEG, PNG, WebP, TIFF, BMP or GIF file."

_WIDE_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})

_ORIENTATION_TAG = 0x0112

_FIRST_TURNED = 5  # orientations 5 to 8 swap height and width

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

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
    """A picture as every part of the product sees it.

    Attributes:
        rgb: uint8 (H, W, 3), upright; shared, so never write into it.
        size: its height and width.
        digest: SHA-256 of the file's bytes in hex; names the picture everywhere.
    """

    rgb: NDArray[np.uint8]
    size: ImageSize
    digest: str


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """The picture in ``data``, upright, 8-bit RGB.

    EXIF orientation is applied once. Transparency lies on white. Grey with more than 8 bits is scaled from its own
    darkest to its own brightest value. Of an animation the first frame is taken. Colour profiles are not applied.

    Args:
        data: a whole picture file.
        max_pixels: larger pictures are refused before a pixel is decoded. Pillow refuses pictures of more than
            twice its own ``Image.MAX_IMAGE_PIXELS`` whatever is said here.

    Raises:
        ImageError: empty, not a picture, a drawing (SVG), too large, truncated or damaged.
    """
    with _open(data, max_pixels) as image:
        try:
            image.load()
            rgb = np.array(_upright(_to_rgb(image), _orientation(image)), dtype=np.uint8)
        except _DAMAGED as error:
            raise _damaged() from error
        except MemoryError as error:
            raise ImageError("There is not enough memory to open this picture. Use a smaller copy of it.") from error
    return DecodedImage(rgb, ImageSize(rgb.shape[0], rgb.shape[1]), hashlib.sha256(data).hexdigest())


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """The size that :func:`decode_image` gives, from the head of the file alone.

    Raises:
        ImageError: empty, not a picture, too large, or damaged so early that its size cannot be told.
    """
    with _open(data, max_pixels) as image:
        turned = _orientation(image) >= _FIRST_TURNED
        return ImageSize(image.width, image.height) if turned else ImageSize(image.height, image.width)


def decode_label_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.int32]:
    """The values (H, W) of a one-channel mask file exactly as stored: ids, palette indices, 0/255.

    Nothing is scaled, rotated or looked up in the palette; a one-bit file gives 0 and 255.

    Raises:
        ImageError: as :func:`decode_image`, or the file has colours instead of one channel.
    """
    with _open(data, max_pixels) as image:
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

    For masks that are pictures: a palette is looked up, transparency is not looked at, more than 8 bits are scaled to
    8, a one-bit file gives 0 and 255. Nothing is rotated. For masks that hold numbers see :func:`decode_label_image`.

    Raises:
        ImageError: as :func:`decode_image`.
    """
    with _open(data, max_pixels) as image:
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
    if max(rgb.shape[:2]) > JPEG_LONGEST:
        raise ImageError(f"A JPEG side cannot be longer than {JPEG_LONGEST} pixels. Save the picture as PNG.")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16], *, compress_level: int = 6) -> bytes:
    """A PNG file of (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey; ``uint16`` grey keeps its 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=compress_level)
    return buffer.getvalue()


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """The file with its header read and its size checked; no pixel is decoded yet."""
    if not data:
        raise ImageError("The file is empty (0 bytes). Choose another file or copy it again.")
    _refuse_known_strangers(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(None, max_pixels) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"This file is not a picture that can be opened. {_WANTED}") from error
    except _DAMAGED as error:
        raise _damaged() from error
    if image.width * image.height > max_pixels:
        size = image.size
        image.close()
        raise _too_large(size, max_pixels)
    if image.width == 0 or image.height == 0:
        image.close()
        raise ImageError("This picture has no pixels. Choose another file.")
    return image


def _refuse_known_strangers(data: bytes) -> None:
    """Formats people do drop on the page and that deserve a better sentence than "not a picture"."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<") and b"<svg" in start:
        raise ImageError("This is an SVG drawing, which has shapes instead of pixels. Export it as PNG first.")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        raise ImageError("HEIC pictures cannot be opened here. Export it as JPEG first.")
    if data[:5] == b"%PDF-":
        raise ImageError("This is a PDF document, not a picture. Export the page as PNG first.")


def _damaged() -> ImageError:
    return ImageError("This picture is truncated or damaged. Copy or download it again, or open and save it elsewhere.")


def _too_large(size: tuple[int, int] | None, max_pixels: int) -> ImageError:
    limit = f"the limit is {max_pixels / 1e6:g} million"
    if size is None:
        return ImageError(f"This picture has far more pixels than can be opened ({limit}). Use a smaller copy of it.")
    width, height = size
    return ImageError(
        f"This picture has {width} x {height} = {width * height / 1e6:.0f} million pixels, more than can be opened "
        f"({limit}). Use a smaller copy of it."
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none, or none that can be read."""
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGED:
        return 1  # the pixels are fine, so a damaged note about them is no reason to refuse the picture
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_GREY:
        return Image.fromarray(_scale_grey(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(paper, rgba).convert("RGB")
    return image.convert("RGB")


def _scale_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Darkest value to 0, brightest to 255; values that are not finite count as darkest, a flat picture is black."""
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    if not finite.any():
        return np.zeros(wide.shape, dtype=np.uint8)
    low, high = float(wide[finite].min()), float(wide[finite].max())
    if high <= low:
        return np.zeros(wide.shape, dtype=np.uint8)
    scaled = (np.where(finite, wide, low) - low) * (255.0 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)
