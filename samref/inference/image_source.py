"""Whatever a script holds an image in, as the one decoded form."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage, decode_image
from samref.errors import ImageError

__all__ = ["Image", "image_from"]

ImageSource: TypeAlias = DecodedImage | str | Path | bytes | Image.Image | NDArray[Any]

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"})
"""Pillow's pixel formats that a PNG file keeps as they are."""


def image_from(source: ImageSource) -> DecodedImage:
    """The decoded image.

    Args:
        source: a file name, the bytes of a file, a Pillow image (its orientation tag is applied), a uint8 array
            (H, W, 3) or (H, W), or a decoded image, which is given back as it is.

    Raises:
        ImageError: there is no such file, or what is there cannot be used as an image.
    """
    if isinstance(source, DecodedImage):
        return source
    if isinstance(source, bytes):
        return decode_image(source)
    if isinstance(source, str | Path):
        return decode_image(_read(Path(source)))
    if isinstance(source, Image.Image):
        return decode_image(_as_file(source))
    return _from_array(source)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {path}.") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _as_file(image: Image.Image) -> bytes:
    """A Pillow image as a lossless file, so that the one decoder treats it like any other image."""
    exif = image.getexif()
    kept = image if image.mode in _PNG_MODES else image.convert("RGB")
    buffer = io.BytesIO()
    kept.save(buffer, format="PNG", compress_level=0, exif=exif)
    return buffer.getvalue()


def _from_array(array: NDArray[Any]) -> DecodedImage:
    if array.dtype != np.uint8:
        raise ImageError(f"An image array must be uint8 with values 0 to 255, not {array.dtype}.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise ImageError(f"An image array must be (height, width, 3) or (height, width), not {array.shape}.")
    rgb = np.array(array if array.ndim == 3 else np.stack([array] * 3, axis=2), order="C")
    digest = hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest()
    return DecodedImage(rgb, ImageSize(rgb.shape[0], rgb.shape[1]), digest)
