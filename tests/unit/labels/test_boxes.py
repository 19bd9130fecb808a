"""Boxes as COCO and YOLO files have them, and what is refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from samref.core.geometry import ImageSize
from samref.core.prompts import Box
from samref.errors import ImportFormatError
from samref.labels.annotations import ImageRecord, Project
from samref.labels.classes import default_classes
from samref.labels.formats.boxes import BoxFile, class_names_from, import_boxes, read_boxes, read_yolo

SIZE = ImageSize(100, 200)


def coco(*boxes: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "cat.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 3, "bbox": box} for n, box in enumerate(boxes, start=1)
        ],
        **changes,
    }


def written(data: Any) -> bytes:
    return json.dumps(data).encode()


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(
                name.replace("Z__MACOSX__", "__MACOSX/")
                .replace("labels__train__", "labels/train/")
                .replace("_dot_", "."),
                content,
            )
    return buffer.getvalue()


def project(*names: str) -> Project:
    return Project(default_classes(), tuple(ImageRecord(f"{n:064x}", name, SIZE) for n, name in enumerate(names)))


def placed(found: BoxFile) -> list[tuple[str, Box]]:
    return [one for image in found.images for one in image.placed(SIZE)]


def test_a_coco_box_lies_between_pixels() -> None:
    assert placed(read_boxes(written(coco([10, 20, 30.5, 40])))) == [("cat", Box(10, 20, 40.5, 60))]


def test_a_coco_object_without_a_box_gives_that_of_its_outline() -> None:
    outlined = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[5, 6, 25, 6, 25, 16, 5, 16]]}
    assert placed(read_boxes(written(coco(annotations=[outlined])))) == [("cat", Box(5, 6, 25, 16))]


def test_a_yolo_line_is_a_box_a_box_with_a_score_or_an_outline() -> None:
    lines = "1 0.5 0.5 0.1 0.2\n\n0 0.5 0.5 0.1 0.2 0.93\n1 0.1 0.1 0.2 0.1 0.2 0.3\n"
    found = placed(read_yolo({"cat": lines}, ("dog",)))
    assert [name for name, _ in found] == ["class 1", "dog", "class 1"]
    for _, box in found[:2]:
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((90, 40, 110, 60))
    assert (found[2][1].x0, found[2][1].y1) == pytest.approx((20, 30))


def test_a_yolo_zip_brings_its_names_and_finds_images_without_suffix() -> None:
    data = zipped(
        data_dot_yaml="names: {0: cat, 1: dog}", labels__train__cat_dot_txt="1 .5 .5 .5 .5", Z__MACOSX__cat_dot_txt="?"
    )
    found = import_boxes(data, project("cat.png", "other.png"))
    assert [one.name for one in found.new_classes] == ["dog"]
    ((proposed,),) = found.boxes.values()
    assert (proposed.class_id, proposed.box) == (2, Box(50, 25, 150, 75))


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("data.yaml", b"names: [cat, dog]", ("cat", "dog")),
        ("data.yaml", b"names: {1: dog}", ("class 0", "dog")),
        ("classes.txt", "Katze\r\nHündin\r\n".encode(), ("Katze", "Hündin")),
    ],
)
def test_class_names_come_from_yaml_or_lines(name: str, content: bytes, names: tuple[str, ...]) -> None:
    assert class_names_from(name, content) == names


def test_the_same_file_gives_the_same_boxes_again() -> None:
    data = written(coco([10, 20, 30, 40], [10, 20, 30, 40], [1, 2, 3, 4]))
    first, second = (import_boxes(data, project("cat.jpg")) for _ in range(2))
    assert first == second
    assert first.count == 2, "two equal boxes of one class are one"


def test_an_overhang_of_rounding_is_cut() -> None:
    assert placed(read_boxes(written(coco([-0.4, 0, 200.9, 100])))) == [("cat", Box(0, 0, 200, 100))]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"{", "JSON"),
        (b"[]", "COCO"),
        (b"PK\x03\x04 nothing more", "zip"),
        (written(coco()), "no box"),
        (written(coco([150, 20, 90, 40])), "annotation 1"),
        (written(coco([10, 20, 0.3, 40])), "less than a pixel"),
        (written(coco([10, 20, 1e308, 40])), "annotation 1"),
        (written(coco([10, 20, "30", 40])), "annotation 1"),
        (written(coco([10, 20, 30])), "annotation 1"),
        (written(coco([1, 2, 3, 4], categories=[])), "category_id"),
        (written(coco([1, 2, 3, 4], images=[{"id": 7, "file_name": "cat.jpg", "width": 9, "height": 9}])), "9 x 9"),
        (written(coco([1, 2, 3, 4], images=[{"id": 7, "file_name": "dog.jpg"}])), "dog.jpg"),
        (zipped(cat_dot_txt="0 0.5 0.5 1.5 0.1"), "line 1"),
        (zipped(cat_dot_txt="0 0.5 0.5"), "Line 1"),
        (zipped(cat_dot_txt="cat 0.5 0.5 0.1 0.1"), "Line 1"),
        (zipped(cat_dot_txt="0 nan 0.5 0.1 0.1"), "Line 1"),
        (zipped(cat_dot_txt="0 .5 .5 .1 .1", data_dot_yaml="nc: 3"), "names"),
        (zipped(cat_dot_jpg="no labels at all"), "no box"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(ImportFormatError) as refused:
        import_boxes(data, project("cat.jpg"))
    assert named in str(refused.value)


def test_boxes_of_an_image_that_could_be_any_of_two_are_refused() -> None:
    with pytest.raises(ImportFormatError, match=r"cat\.jpg"):
        import_boxes(written(coco([1, 2, 3, 4])), project("cat.jpg", "cat.jpg"))


def test_unknown_images_are_told_beside_known_ones() -> None:
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in ((7, "cat"), (8, "dog"))]
    boxes = [{"image_id": n, "category_id": 3, "bbox": [1, 2, 3, 4]} for n in (7, 8)]
    found = import_boxes(written(coco(images=images, annotations=boxes)), project("cat.jpg"))
    assert (found.count, found.unknown_images) == (1, ("dog.jpg",))
    assert "dog.jpg" in found.message
