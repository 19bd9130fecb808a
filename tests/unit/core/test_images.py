from __future__ import annotations

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.images import decode_image, decode_label_image, encode_jpeg, encode_png
from samref.errors import ImageError

RGB = np.random.default_rng(7).integers(0, 256, (11, 7, 3), dtype=np.uint8)


def file_of(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format_name, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and brings no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_plain_image_comes_back_pixel_for_pixel_with_its_size_and_digest() -> None:
    data = file_of(Image.fromarray(RGB))
    decoded = decode_image(data)
    assert np.array_equal(decoded.rgb, RGB)
    assert decoded.rgb.dtype == np.uint8
    assert decoded.size == ImageSize(11, 7)
    assert decoded.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_exactly_once(format_name: str, orientation: int) -> None:
    upright = np.zeros((48, 80, 3), dtype=np.uint8)
    upright[:16, :16] = 255, 0, 0  # red at the top left
    upright[-16:, :16] = 0, 0, 255  # blue at the bottom left
    # What the camera stores so that turning it as the tag says gives `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif}
    if format_name in ("JPEG", "WEBP"):
        options["quality"] = 98
    decoded = decode_image(file_of(Image.fromarray(np.ascontiguousarray(stored)), format_name, **options))
    assert decoded.size == ImageSize(48, 80)
    assert np.abs(decoded.rgb[8, 8].astype(int) - (255, 0, 0)).max() < 12
    assert np.abs(decoded.rgb[40, 8].astype(int) - (0, 0, 255)).max() < 12
    assert decoded.rgb[24, 60].max() < 12


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert np.array_equal(decode_image(file_of(Image.fromarray(RGB), exif=exif)).rgb, RGB)


def test_unreadable_exif_does_not_cost_the_image() -> None:
    data = file_of(Image.fromarray(RGB), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert np.array_equal(decode_image(data).rgb, RGB)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_own_range(format_name: str) -> None:
    grey = np.array([[1000, 2000], [3000, 5000]], dtype=np.uint16)
    decoded = decode_image(file_of(Image.fromarray(grey), format_name))
    assert decoded.rgb[..., 0].tolist() == [[0, 64], [128, 255]]
    assert (decoded.rgb == decoded.rgb[..., :1]).all()


def test_float_grey_is_scaled_by_its_finite_range() -> None:
    grey = np.array([[-1.0, 0.0], [1.0, np.nan]], dtype=np.float32)
    decoded = decode_image(file_of(Image.fromarray(grey), "TIFF"))
    assert decoded.rgb[..., 1].tolist() == [[0, 128], [255, 0]]


def test_flat_sixteen_bit_grey_is_black_not_a_division_by_zero() -> None:
    grey = np.full((3, 4), 700, dtype=np.uint16)
    assert not decode_image(file_of(Image.fromarray(grey))).rgb.any()


def test_grey_palette_one_bit_and_cmyk_become_rgb() -> None:
    grey = Image.fromarray(RGB[..., 0])
    assert np.array_equal(decode_image(file_of(grey)).rgb, np.repeat(RGB[..., :1], 3, axis=2))
    palette = Image.fromarray(RGB).quantize(256)
    assert np.array_equal(decode_image(file_of(palette)).rgb, np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(RGB[..., 0] > 127)
    assert np.array_equal(decode_image(file_of(bits)).rgb[..., 0], (RGB[..., 0] > 127) * np.uint8(255))
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = decode_image(file_of(cmyk, "JPEG", quality=95)).rgb[8, 8]
    assert red[0] > 240
    assert red[1:].max() < 15


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 51))
    decoded = decode_image(file_of(image.convert(mode)))
    assert decoded.rgb[0, :, 0].tolist() == [0, 255, 204]


def test_a_transparent_palette_entry_lies_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode_image(file_of(image, transparency=0))
    assert decoded.rgb[0].tolist() == [[255, 255, 255], [200, 100, 50]]


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(format_name: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, object] = {"save_all": True, "append_images": frames[1:]}
    if format_name == "WEBP":
        options["lossless"] = True
    decoded = decode_image(file_of(frames[0], format_name, **options))
    assert (decoded.rgb == (255, 0, 0)).all()


def test_a_300_megapixel_bomb_is_refused_before_decoding() -> None:
    with pytest.raises(ImageError, match="more pixels than can be opened"):
        decode_image(png_header(20_000, 15_000))


def test_the_pixel_limit_names_the_size_and_the_limit() -> None:
    with pytest.raises(ImageError, match=r"11000 x 10000 = 110,000,000 pixels; the limit is 100,000,000"):
        decode_image(png_header(11_000, 10_000))
    with pytest.raises(ImageError, match="limit is"):
        decode_image(file_of(Image.fromarray(RGB)), max_pixels=76)
    assert decode_image(file_of(Image.fromarray(RGB)), max_pixels=77).size.pixels == 77


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not an image"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
        (b"<!-- drawn --><SVG></SVG>", "SVG drawing"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "."),
    ],
)
def test_what_is_not_a_image_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        decode_image(data)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_a_truncated_image_is_refused(format_name: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(pixels), format_name)
    assert decode_image(data).size == ImageSize(64, 64)
    with pytest.raises(ImageError):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_damaged_bytes_never_raise_anything_but_image_errors(format_name: str) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, object] = {"exif": exif} if format_name in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    data = file_of(Image.fromarray(pixels), format_name, **options)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), 400), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            decode_image(bytes(damaged), max_pixels=1_000_000)
        except ImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_values_come_back_as_they_were_stored(dtype: type[np.uint8] | type[np.uint16]) -> None:
    ids = np.array([[0, 1, 255], [3, 2, 200]])
    data = encode_png(ids.astype(np.uint8) if dtype is np.uint8 else ids.astype(np.uint16))
    assert decode_label_image(data).tolist() == [[0, 1, 255], [3, 2, 200]]


def test_palette_labels_are_indices_and_one_bit_labels_are_0_and_255() -> None:
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9, 7, 7, 7])
    palette.putpixel((1, 0), 2)
    assert decode_label_image(file_of(palette)).tolist() == [[0, 2]]
    bits = Image.fromarray(np.array([[False, True]]))
    assert decode_label_image(file_of(bits)).tolist() == [[0, 255]]


def test_a_coloured_label_file_is_refused() -> None:
    with pytest.raises(ImageError, match="one channel"):
        decode_label_image(encode_png(RGB))


def test_the_encoders_write_what_the_decoder_reads() -> None:
    assert np.array_equal(decode_image(encode_png(RGB)).rgb, RGB)
    smooth = np.full((32, 32, 3), (200, 120, 40), dtype=np.uint8)
    assert np.abs(decode_image(encode_jpeg(smooth)).rgb.astype(int) - smooth).max() < 6
    with pytest.raises(ImageError, match="65500"):
        encode_jpeg(np.zeros((1, 65_501, 3), dtype=np.uint8))
