"""Black-and-white mask files of every kind, and the size of an image from its head."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samref.core.images import decode_grey_mask, decode_image, upright_size
from samref.errors import ImageError

SQUARE = np.zeros((6, 8), dtype=np.uint8)
SQUARE[1:4, 2:5] = 255


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_white_square_is_a_white_square_in_every_mode(mode: str, kind: str) -> None:
    assert np.array_equal(decode_grey_mask(stored(Image.fromarray(SQUARE).convert(mode), kind)), SQUARE)


def test_a_palette_is_looked_up_even_where_its_first_colour_is_white() -> None:
    image = Image.fromarray((SQUARE == 0).astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    assert np.array_equal(decode_grey_mask(stored(image)), SQUARE)


def test_any_colour_is_as_bright_as_its_brightest_channel_and_transparency_is_not_looked_at() -> None:
    rgba: NDArray[np.uint8] = np.zeros((6, 8, 4), dtype=np.uint8)
    rgba[..., 2] = SQUARE // 2
    assert np.array_equal(decode_grey_mask(stored(Image.fromarray(rgba))), SQUARE // 2)


@pytest.mark.parametrize(("values", "expected"), [(65535, 255), (255, 255), (1, 1)])
def test_sixteen_bits_are_scaled_where_they_are_used(values: int, expected: int) -> None:
    wide = (SQUARE > 0).astype(np.uint16) * np.uint16(values)
    assert decode_grey_mask(stored(Image.fromarray(wide))).max() == expected


def test_a_truncated_mask_is_refused() -> None:
    rng = np.random.default_rng(0)
    whole = stored(Image.fromarray(rng.integers(0, 255, (60, 80), dtype=np.uint8)))
    with pytest.raises(ImageError, match="truncated"):
        decode_grey_mask(whole[: len(whole) // 2])


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_told_from_the_head_is_that_of_the_decoded_image(orientation: int, format_name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(Image.new("RGB", (8, 6)), format_name, exif=exif)
    assert upright_size(data) == decode_image(data).size


def test_a_file_without_a_head_has_no_size() -> None:
    for data in (b"", b"no image", stored(Image.new("RGB", (8, 6)))[:20]):
        with pytest.raises(ImageError):
            upright_size(data)
