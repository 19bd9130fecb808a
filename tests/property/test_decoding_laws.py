"""Decoding strip by strip gives what decoding in one piece gives, bit for bit."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from samref.core import images
from samref.core.images import decode_image

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WIDE_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def decoded_in_one_piece(data: bytes) -> NDArray[np.uint8]:
    """What :func:`decode_image` means: the whole image converted, then turned."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if image.mode in WIDE_GREY:
            rgb = Image.fromarray(scaled_grey(np.asarray(image))).convert("RGB")
        elif image.has_transparency_data:
            rgba = image.convert("RGBA")
            rgb = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        else:
            rgb = image.convert("RGB")
        orientation = image.getexif().get(0x0112, 1)
        return np.array(rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb)


def scaled_grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    if not finite.any() or wide[finite].max() <= wide[finite].min():
        return np.zeros(wide.shape, dtype=np.uint8)
    low, high = wide[finite].min(), wide[finite].max()
    scaled = (np.where(finite, wide, low) - low) * (255.0 / (high - low))
    grey: NDArray[np.uint8] = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return grey


def _palette(rgba: Image.Image, **_: Any) -> Image.Image:
    return rgba.convert("RGB").quantize(7)


def _wide(kind: type[np.generic]) -> Any:
    def make(rgba: Image.Image) -> Image.Image:
        values = np.asarray(rgba).astype(np.int64) @ [1, 256, 3, 7]
        values = values.astype(kind) if kind is not np.uint16 else (values % 65536).astype(kind)
        if kind is np.float32:
            values = values - 1e4
            values.flat[0] = np.nan
            values.flat[-1] = np.inf
        return Image.fromarray(values)

    return make


KINDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "one bit": (lambda rgba: rgba.convert("1"), "PNG", {}),
    "grey": (lambda rgba: rgba.convert("L"), "PNG", {}),
    "grey, one value clear": (lambda rgba: rgba.convert("L"), "PNG", {"transparency": 30}),
    "grey and alpha": (lambda rgba: rgba.convert("LA"), "PNG", {}),
    "palette": (_palette, "PNG", {}),
    "palette, one entry clear": (_palette, "PNG", {"transparency": 2}),
    "palette, half clear": (_palette, "PNG", {"transparency": bytes([0, 90, 255, 7])}),
    "palette of a GIF": (_palette, "GIF", {"transparency": 1}),
    "colour": (lambda rgba: rgba.convert("RGB"), "PNG", {}),
    "colour, one clear": (lambda rgba: rgba.convert("RGB"), "PNG", {"transparency": (1, 2, 3)}),
    "colour and alpha": (lambda rgba: rgba, "PNG", {}),
    "colour and alpha of a WebP": (lambda rgba: rgba, "WEBP", {"lossless": True, "exact": True}),
    "JPEG": (lambda rgba: rgba.convert("RGB"), "JPEG", {}),
    "CMYK": (lambda rgba: rgba.convert("CMYK"), "JPEG", {}),
    "CMYK of a TIFF": (lambda rgba: rgba.convert("CMYK"), "TIFF", {}),
    "TIFF and alpha": (lambda rgba: rgba, "TIFF", {"compression": "tiff_deflate"}),
    "16 bits": (_wide(np.uint16), "PNG", {}),
    "32 bits": (_wide(np.int32), "TIFF", {}),
    "floats": (_wide(np.float32), "TIFF", {}),
}
WITH_EXIF = ("PNG", "JPEG", "WEBP", "TIFF")


@pytest.mark.parametrize("kind", KINDS)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    orientation=st.integers(1, 8),
    strip_pixels=st.integers(1, 40),
)
@settings(max_examples=25, deadline=None)
def test_every_kind_in_every_orientation_is_decoded_as_in_one_piece(
    kind: str, height: int, width: int, seed: int, orientation: int, strip_pixels: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    make, format_name, options = KINDS[kind]
    exif = Image.Exif()
    exif[0x0112] = orientation
    if format_name in WITH_EXIF:
        options = {**options, "exif": exif}
    buffer = io.BytesIO()
    make(Image.fromarray(pixels)).save(buffer, format_name, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_STRIP_PIXELS", strip_pixels)
        decoded = decode_image(buffer.getvalue())
    assert decoded.rgb.flags.c_contiguous
    assert np.array_equal(decoded.rgb, decoded_in_one_piece(buffer.getvalue()))
