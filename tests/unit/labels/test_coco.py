"""COCO files as other programs read them, and what they send us."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from samref.core.masks import Rle
from samref.errors import ImportFormatError
from samref.labels.annotations import Project
from samref.labels.classes import LabelClass
from samref.labels.formats import coco as coco_format
from samref.labels.formats import reading
from samref.labels.formats.coco import export_coco, import_coco, write_coco


def as_read_by_pycocotools(data: dict[str, Any]) -> COCO:
    reader = COCO()
    reader.dataset = data
    reader.createIndex()
    return reader


@pytest.mark.parametrize("polygons", [True, False], ids=["polygons", "run lengths"])
def test_the_file_is_the_golden_one(project: Project, golden: Path, polygons: bool) -> None:
    expected = json.loads((golden / ("coco_polygons.json" if polygons else "coco_rle.json")).read_text())
    assert json.loads(write_coco(project, polygons=polygons)) == expected


@pytest.mark.parametrize("polygons", [True, False], ids=["polygons", "run lengths"])
def test_pycocotools_reads_the_same_pixels_areas_and_boxes(project: Project, polygons: bool) -> None:
    reader = as_read_by_pycocotools(json.loads(write_coco(project, polygons=polygons)))
    written = [a for image in project.images for a in image.annotations]
    entries = reader.loadAnns(reader.getAnnIds(iscrowd=False))
    assert len(entries) == len(written)
    for entry, annotation in zip(entries, written, strict=True):
        mask = annotation.mask.to_mask()
        assert np.array_equal(reader.annToMask(entry), mask)
        assert entry["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        assert entry["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_a_hole_is_written_as_run_lengths_that_readers_do_not_skip(project: Project) -> None:
    entries = {e["samref"]["id"]: e for e in export_coco(project, polygons=True)["annotations"]}
    assert isinstance(entries["ring"]["segmentation"], dict)
    assert isinstance(entries["solid"]["segmentation"], list)
    assert len(entries["parts"]["segmentation"]) == 3
    assert {e["iscrowd"] for e in entries.values()} == {0}


def test_an_empty_mask_is_written_as_run_lengths_and_left_out_on_reading(project: Project) -> None:
    image = project.images[1]
    empty = replace(image.annotations[0], mask=Rle.empty(5, 4))
    project = replace(project, images=(replace(image, annotations=(empty,)),))
    data = export_coco(project, polygons=True)
    assert data["annotations"][0]["area"] == 0
    assert isinstance(data["annotations"][0]["segmentation"], dict)
    found = import_coco(json.dumps(data).encode(), project)
    assert found.count == 0
    assert found.skipped == ("An object of 'cat.jpg' (id 1) covers no pixel and was left out.",)


def test_images_of_the_same_name_get_different_names(project: Project) -> None:
    assert [i["file_name"] for i in export_coco(project, polygons=True)["images"]] == ["cat.jpg", "cat-2.jpg"]


@pytest.mark.parametrize("polygons", [True, False], ids=["polygons", "run lengths"])
def test_what_was_exported_is_imported_as_it_was(project: Project, polygons: bool) -> None:
    bare = replace(project, images=tuple(replace(image, annotations=()) for image in project.images))
    found = import_coco(write_coco(project, polygons=polygons), bare)
    assert found.annotations == {image.digest: image.annotations for image in project.images}
    assert found.new_classes == ()
    assert found.unknown_images == ()
    assert found.skipped == ()


def test_classes_come_back_with_number_name_and_colour(project: Project) -> None:
    bare = Project((), tuple(replace(image, annotations=()) for image in project.images))
    assert import_coco(write_coco(project, polygons=True), bare).new_classes == project.classes


# ---- files of other programs


def coco(**changes: Any) -> bytes:
    data: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "photos/cat.jpg", "height": 12, "width": 16}],
        "categories": [{"id": 0, "name": "Object"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[2, 3, 9, 3, 9, 9, 2, 9]], "iscrowd": 0}
        ],
    }
    return json.dumps(data | changes).encode()


def entry(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[2, 3, 9, 3, 9, 9, 2, 9]]} | changes]


@pytest.fixture
def one_cat(project: Project) -> Project:
    """A project of one image, without annotations."""
    return Project(project.classes[:1], (replace(project.images[0], annotations=()),))


def test_a_foreign_file_is_matched_by_file_name_and_its_categories_by_name(one_cat: Project) -> None:
    started = datetime.now(UTC)
    found = import_coco(coco(), one_cat)
    (annotation,) = found.annotations["c" * 64]
    assert found.new_classes == (LabelClass(2, "dog", "#3cb44b"),)
    assert (annotation.class_id, annotation.model, annotation.author) == (2, "", "")
    assert started <= annotation.created_at <= datetime.now(UTC)
    assert annotation.mask.box_xywh == (2, 3, 7, 6)
    assert annotation.mask.area == 42


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [12, 16], "counts": [12, 24, 156]},
        {"size": [12, 16], "counts": [12, 0, 0, 24, 156, 0]},
        {"size": [12, 16], "counts": Rle.from_mask(np.pad(np.ones((12, 2), bool), ((0, 0), (1, 13)))).counts},
        [[1, 0, 3, 0, 3, 12, 1, 12]],
        [[1, 0, 3, 0, 3, 6, 1, 6], [1.0, 6.0, 3.0, 6.0, 3.0, 12.0, 1.0, 12.0]],
        [1, 0, 3, 0, 3, 12, 1, 12],
        [[1, -5, 3, -5, 3, 20, 1, 20]],
    ],
    ids=["runs", "runs of no length", "compressed", "polygon", "two parts", "bare polygon", "polygon beyond the edge"],
)
@pytest.mark.parametrize("crowd", [0, 1])
def test_all_spellings_of_a_mask_are_the_same_mask(one_cat: Project, segmentation: Any, crowd: int) -> None:
    found = import_coco(coco(annotations=entry(segmentation=segmentation, iscrowd=crowd)), one_cat)
    (annotation,) = found.annotations["c" * 64]
    assert annotation.mask == Rle.from_mask(np.pad(np.ones((12, 2), bool), ((0, 0), (1, 13))))


def test_images_that_are_not_open_are_told_and_the_rest_is_read(one_cat: Project) -> None:
    images = [{"id": 7, "file_name": "cat.jpg", "height": 12, "width": 16}, {"id": 8, "file_name": "cow.jpg"}]
    annotations = entry() + entry(id=2, image_id=8)
    found = import_coco(coco(images=images, annotations=annotations), one_cat)
    assert found.count == 1
    assert found.unknown_images == ("cow.jpg",)


def test_an_object_without_outline_is_told_and_left_out(one_cat: Project) -> None:
    found = import_coco(coco(annotations=entry(segmentation=[])), one_cat)
    assert found.skipped == ("An object of 'cat.jpg' (id 1) has no outline and was left out.",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is not JSON"),
        (b"\xff\xfe\x00", "The file is not JSON"),
        (b"[" * 100_000, "The file is not JSON"),
        (b'{"images": NaN}', "The file is not JSON"),
        (b"[]", "no COCO instances file"),
        (b'{"images": [], "categories": []}', "The value 'annotations' is missing"),
        (coco(images=[{"id": 7, "file_name": "cow.jpg"}]), "images that are not open here: 'cow.jpg'"),
        (
            coco(images=[{"id": 7, "file_name": "cat.jpg", "height": 16, "width": 12}]),
            "'cat.jpg' is 12 x 16 pixels there and 16 x 12 here",
        ),
        (coco(images=[{"id": 7, "file_name": "cat.jpg"}]), "The file, image 7: The value 'height' is missing"),
        (coco(images=[{"file_name": "cat.jpg"}]), "The file, image number 1: The value 'id' is missing"),
        (coco(images=[None]), "The file, image number 1: "),
        (coco(images=[{"id": 7, "file_name": "cat.jpg", "height": 12, "width": 16}] * 2), "Its id occurs twice"),
        (coco(categories=[{"id": 18}]), "The file, category 18: The value 'name' is missing"),
        (coco(categories=[{"id": 18, "name": " "}]), "The file, category 18: The name of a class"),
        (coco(categories=[{"id": n, "name": f"c{n}"} for n in range(300)]), "A project can have 254 classes"),
        (coco(annotations=entry(image_id=9)), "annotation 1: Its image_id 9 is not among the images"),
        (coco(annotations=entry(category_id=9)), "annotation 1: Its category_id 9 is not among the categories"),
        (coco(annotations=entry(segmentation="abc")), "must be polygons or run lengths"),
        (coco(annotations=entry(segmentation=[[1, 2, 3, 4]])), "at least three corners"),
        (coco(annotations=entry(segmentation=[[1, 2, 3, 4, 5, 6, 7]])), "at least three corners"),
        (coco(annotations=entry(segmentation=[[1, 2, 3, 4, 5, "6"]])), "no number or lies far outside"),
        (coco(annotations=entry(segmentation=[[1, 2, 3, 4, 5, 1e9]])), "no number or lies far outside"),
        (coco(annotations=entry(segmentation={"size": [16, 12], "counts": [192]})), "Its mask is 12 x 16 pixels"),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": [191]})), "do not add up"),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": [-1, 193]})), "whole numbers"),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": "o0é"})), "characters that do not belong"),
        (
            coco(annotations=entry(segmentation={"size": [12, 16], "counts": "oooooooooooo0"})),
            "a number that is too large",
        ),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": "ooo"})), "in the middle of a number"),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": ""})), "characters that do not belong"),
        (coco(annotations=entry(segmentation={"size": [12, 16], "counts": "0000"})), "do not add up"),
        (coco(annotations=entry(samref={"id": "x"})), "annotation 1: The value 'prompts' is missing|'items'|expected"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence_that_names_the_entry(
    one_cat: Project, data: bytes, message: str
) -> None:
    with pytest.raises(ImportFormatError, match=message) as caught:
        import_coco(data, one_cat)
    assert str(caught.value).startswith("The file")


def test_outlines_too_long_to_rasterise_are_refused_before_any_is_rasterised(
    one_cat: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco_format, "mask_of_checked", None)  # calling it would fail
    zigzag = [coordinate for _ in range(20_000) for coordinate in (0, 0, 16, 12)]
    with pytest.raises(ImportFormatError, match="annotation 2: Its outline is more than 5000000 pixels long"):
        import_coco(coco(annotations=entry() + entry(id=2, segmentation=[zigzag] * 9)), one_cat)
    with pytest.raises(ImportFormatError, match=r"The outline of one of its polygons is 6400000 pixels long"):
        import_coco(coco(annotations=entry(segmentation=[zigzag * 10])), one_cat)
    monkeypatch.setattr(coco_format, "MAX_COST", 1_000)
    with pytest.raises(ImportFormatError, match="The outlines in the file are too long altogether: 0 million"):
        import_coco(coco(annotations=entry() + entry(id=2)), one_cat)


def test_a_file_of_too_many_values_is_refused_before_it_is_parsed(
    one_cat: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_parse_text", None)
    with pytest.raises(ImportFormatError, match="holds some 14 million values"):
        import_coco(b"[" + b"[]," * 7_000_000 + b"0]", one_cat)


def test_very_many_small_polygons_are_joined_in_time(one_cat: Project) -> None:
    small = [0.5, 0.5, 3.5, 0.5, 3.5, 3.5]
    zigzag = [coordinate for _ in range(30_000) for coordinate in (0, 0, 16, 12)]
    started = time.process_time()
    found = import_coco(coco(annotations=entry(segmentation=[zigzag] + [small] * 9_000)), one_cat)
    assert found.count == 1
    assert time.process_time() - started < 5


def test_a_digest_of_another_kind_is_refused_in_a_sentence(one_cat: Project) -> None:
    digests: list[object] = [[], {}, 3, None, True, [["x"]]]
    for digest in digests:
        images = [{"id": 7, "file_name": "cat.jpg", "height": 12, "width": 16, "samref": {"digest": digest}}]
        with pytest.raises(ImportFormatError, match="image 7: The value 'digest' must be text"):
            import_coco(coco(images=images), one_cat)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    one_cat: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_JSON_BYTES", 100)
    with pytest.raises(ImportFormatError, match="is larger than"):
        import_coco(coco(), one_cat)


def test_prompts_outside_the_image_are_refused(project: Project) -> None:
    data = export_coco(project, polygons=True)
    data["annotations"][0]["samref"]["prompts"]["items"][0]["x"] = 99
    with pytest.raises(ImportFormatError, match=r"annotation 1: .*\(99, 5\) lies outside"):
        import_coco(json.dumps(data).encode(), project)


def test_two_objects_with_one_id_are_refused(project: Project) -> None:
    data = export_coco(project, polygons=True)
    data["annotations"][1]["samref"]["id"] = "solid"
    with pytest.raises(ImportFormatError, match="'solid' occurs twice"):
        import_coco(json.dumps(data).encode(), project)


def test_a_name_that_fits_two_images_is_refused(project: Project) -> None:
    with pytest.raises(ImportFormatError, match=r"There are 2 images named 'cat\.jpg'"):
        import_coco(coco(), project)
