"""Index masks as numpy and Pillow read them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import LabelError
from samref.labels.annotations import Annotation, ImageRecord, Project
from samref.labels.formats.png import IndexKind, export_index_mask, instance_value, legend


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def many_objects(project: Project, count: int) -> ImageRecord:
    """An image with ``count`` objects of one pixel each, in reading order."""
    size = ImageSize(20, -(-count // 20))
    first = project.images[0].annotations[0]
    annotations: list[Annotation] = []
    for place in range(count):
        mask = np.zeros((size.height, size.width), dtype=np.bool_)
        mask.flat[place] = True
        annotations.append(replace(first, id=str(place), mask=Rle.from_mask(mask)))
    return ImageRecord("e" * 64, "many.png", size, tuple(annotations))


@pytest.mark.parametrize("kind", ["class", "instance"])
def test_the_mask_has_the_golden_pixels_and_colours(project: Project, golden: Path, kind: IndexKind) -> None:
    image = opened(export_index_mask(project.images[0], project, kind))
    expected = Image.open(golden / f"{kind}.png")
    assert image.mode == expected.mode == {"class": "P", "instance": "I;16"}[kind]
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert image.getpalette() == expected.getpalette()
    assert json.loads(image.info["samref-legend"]) == legend(project.images[0], project, kind)


@pytest.mark.parametrize("kind", ["class", "instance"])
def test_the_legend_is_the_golden_one(project: Project, golden: Path, kind: IndexKind) -> None:
    assert legend(project.images[0], project, kind) == json.loads((golden / f"{kind}_legend.json").read_text())


def test_the_colour_of_a_pixel_is_that_of_its_class(project: Project) -> None:
    rgb = np.asarray(opened(export_index_mask(project.images[0], project)).convert("RGB"))
    assert tuple(rgb[4, 3]) == (0xE6, 0x19, 0x4B)
    assert tuple(rgb[11, 0]) == (0, 0, 0)


def test_later_objects_lie_on_top(project: Project) -> None:
    image = project.images[0]
    values = np.asarray(opened(export_index_mask(image, project, "instance")))
    solid, ring = image.annotations[0].mask.to_mask(), image.annotations[1].mask.to_mask()
    assert set(values[solid & ring & ~image.annotations[2].mask.to_mask()]) == {2}
    turned = replace(image, annotations=image.annotations[1::-1])
    assert set(np.asarray(opened(export_index_mask(turned, project, "instance")))[solid]) == {2}


@pytest.mark.parametrize("count", [1, 254])
def test_masks_of_objects_have_16_bits_however_few_there_are(project: Project, count: int) -> None:
    narrow = opened(export_index_mask(many_objects(project, count), project, "instance"))
    assert narrow.mode == "I;16"
    assert np.asarray(narrow).max() == count


def test_more_than_254_objects_have_values_without_255(project: Project) -> None:
    values = np.asarray(opened(export_index_mask(many_objects(project, 300), project, "instance")))
    assert values.dtype == np.uint16
    assert [int(v) for v in values.flat] == [*range(1, 255), *range(256, 302)]


def test_the_legend_of_a_16_bit_mask_finds_each_object(project: Project) -> None:
    record = many_objects(project, 300)
    values = np.asarray(opened(export_index_mask(record, project, "instance")))
    told = legend(record, project, "instance")
    assert told["bits"] == 16
    assert len({item["value"] for item in told["values"]}) == 300
    for place, item in enumerate(told["values"]):
        assert item["value"] == instance_value(place) == values.flat[place]
        assert (item["id"], item["pixels"]) == (str(place), 1)


def test_class_masks_stay_8_bit_however_many_objects(project: Project) -> None:
    assert opened(export_index_mask(many_objects(project, 300), project, "class")).mode == "P"


def test_more_objects_than_16_bits_hold_are_refused(project: Project) -> None:
    image = project.images[0]
    crowd = replace(image, annotations=image.annotations[:1] * 65_535)
    with pytest.raises(LabelError, match="65535 objects; an instance mask can hold 65534"):
        export_index_mask(crowd, project, "instance")
