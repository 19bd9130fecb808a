"""Every format: what is written is what is read, or the report says what was lost."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.masks import Rle, mask_iou
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import Annotation, ImageRecord, Project
from samref.labels.classes import LabelClass
from samref.labels.formats import FORMATS, build_export, import_labels, reading, write_export
from samref.labels.formats.label_studio import decode_brush, encode_brush
from samref.labels.formats.outlines import Outline, outline_iou, outline_of, simplifications
from samref.labels.formats.reading import LabelImport
from samref.labels.formats.source import Options, Report, Source
from samref.labels.formats.table import plain_cell
from tests.unit.labels.conftest import annotation, rectangle

EXACT = ["coco-polygon", "coco-rle", "labelme", "label-studio", "cvat", "zip"]
OVERLAPS_LOST = ["voc", "png"]
READABLE = [*EXACT, *OVERLAPS_LOST, "yolo-seg"]
GOLDEN = ["yolo-seg", "voc", "labelme", "label-studio", "cvat", "csv"]

_CRUMBLED = re.compile('"mask":"[^"]+"')
"""PNG files within JSON: their bytes differ from one zlib to the next, their pixels are tested elsewhere."""

SMALL = ImageSize(12, 16)

POLYGONS = Options()
MASKS = Options(shape="masks")


def written(project: Project, name: str, options: Options = POLYGONS) -> tuple[bytes, str, Report]:
    """The bytes of an export, what the file is called, and the report."""
    file = io.BytesIO()
    made = write_export(Source.from_project(project), name, options, file)
    return file.getvalue(), made.file_name, made.report


def bare(project: Project) -> Project:
    """The same images without objects."""
    return replace(project, images=tuple(replace(image, annotations=()) for image in project.images))


def contents(annotations: Iterable[Annotation]) -> Counter[tuple[int, str]]:
    return Counter((a.class_id, a.mask.counts) for a in annotations)


def with_import(project: Project, found: LabelImport) -> Project:
    """The project once an import is in it."""
    images = []
    for image in project.images:
        new = {a.id: a for a in (*image.annotations, *found.annotations.get(image.digest, ()))}
        images.append(replace(image, annotations=tuple(new.values())))
    return Project((*project.classes, *found.new_classes), tuple(images))


def packed(files: dict[str, bytes | str]) -> bytes:
    """A zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def one_image(*annotations: Annotation, size: ImageSize = SMALL) -> Project:
    classes = (LabelClass(1, "object", "#e6194b"), LabelClass(2, "Größe", "#3cb44b"))
    return Project(classes, (ImageRecord("c" * 64, "cat.jpg", size, annotations),))


# ---- what is written is what is read


@pytest.mark.parametrize("name", GOLDEN)
def test_the_files_are_the_golden_ones(project: Project, golden: Path, name: str) -> None:
    data, _, _ = written(project, name)
    texts = unpacked(data) if data.startswith(b"PK") else {"file": data}
    made = "".join(
        f"==== {path}\n{text.decode('utf-8')}\n" for path, text in sorted(texts.items()) if not path.endswith(".png")
    )
    expected = (golden / f"{name}.txt").read_text(encoding="utf-8")
    assert _CRUMBLED.sub('"mask":"…"', made.replace("\r\n", "\n")) == expected


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("options", [POLYGONS, MASKS], ids=["polygons", "masks"])
def test_exact_formats_come_back_with_the_same_classes_and_pixels(
    project: Project, name: str, options: Options
) -> None:
    data, file_name, report = written(project, name, options)
    assert (report.lossy, report.objects) == (0, 4)
    found = import_labels(data, file_name, bare(project))
    assert not found.skipped
    assert found.new_classes == ()
    for image in project.images:
        assert contents(found.annotations[image.digest]) == contents(image.annotations)


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """One or two small images with any masks, none empty."""
    images = []
    for place in range(draw(st.integers(1, 2))):
        size = ImageSize(draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        found = []
        for number in range(draw(st.integers(0, 3))):
            bits = draw(st.integers(1, (1 << size.pixels) - 1))
            flags = [bool(bits >> n & 1) for n in range(size.pixels)]
            mask = np.array(flags, dtype=np.bool_).reshape(size.height, size.width)
            found.append(annotation(f"{place}-{number}", mask, draw(st.integers(1, 2))))
        images.append(
            ImageRecord(f"{place:064x}", draw(st.sampled_from(["a.jpg", "b/a.jpg", "ä b.png"])), size, tuple(found))
        )
    return Project((LabelClass(1, "cat", "#e6194b"), LabelClass(2, "<Größe>", "#3cb44b")), tuple(images))


@settings(max_examples=60, deadline=None)
@given(project=projects(), name=st.sampled_from(EXACT), options=st.sampled_from([POLYGONS, MASKS]))
def test_any_masks_survive_the_exact_formats(project: Project, name: str, options: Options) -> None:
    data, file_name, report = written(project, name, options)
    assert report.lossy == 0
    found = import_labels(data, file_name, bare(project))
    for image in project.images:
        assert contents(found.annotations.get(image.digest, ())) == contents(image.annotations)
    again = import_labels(data, file_name, with_import(bare(project), found))
    assert with_import(with_import(bare(project), found), again) == with_import(bare(project), found)


@settings(max_examples=40, deadline=None)
@given(project=projects(), name=st.sampled_from(OVERLAPS_LOST))
def test_masks_without_overlap_come_back_as_what_can_be_seen(project: Project, name: str) -> None:
    data, file_name, report = written(project, name)
    found = import_labels(data, file_name, bare(project))
    lost = 0
    for image in project.images:
        top = np.full((image.size.height, image.size.width), -1)
        for place, each in enumerate(image.annotations):
            top[each.mask.to_mask()] = place
        seen = {place: top == place for place in range(len(image.annotations))}
        lost += sum(int(mask.sum() < image.annotations[place].mask.area) for place, mask in seen.items())
        expected = Counter(
            (image.annotations[place].class_id, Rle.from_mask(mask).counts)
            for place, mask in seen.items()
            if mask.any()
        )
        assert contents(found.annotations.get(image.digest, ())) == expected
    assert report.lossy == lost


@settings(max_examples=40, deadline=None)
@given(project=projects())
def test_yolo_lines_are_the_parts_without_holes_and_the_report_counts_them(project: Project) -> None:
    data, file_name, report = written(project, "yolo-seg")
    found = import_labels(data, file_name, bare(project))
    split = lossy = 0
    for image in project.images:
        expected: Counter[tuple[int, str]] = Counter()
        for each in image.annotations:
            outline = outline_of(each.mask)
            split += len(outline.parts) > 1
            lossy += outline_iou(each.mask, outline.without_holes()) < 1
            for part in outline.without_holes().parts:
                expected[each.class_id, Rle.from_mask(drawn(part.outer, image.size)).counts] += 1
        assert contents(found.annotations.get(image.digest, ())) == expected
    assert (report.split, report.lossy) == (split, lossy)


def drawn(ring: Iterable[tuple[float, float]], size: ImageSize) -> Any:
    """The pixels inside a ring, by another way than samref's: the middle of each is looked at by itself."""
    corners = list(ring)
    mask = np.zeros((size.height, size.width), dtype=np.bool_)
    for row, column in np.ndindex(mask.shape):
        x, y, inside = column + 0.5, row + 0.5, False
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                inside = not inside
        mask[row, column] = inside
    return mask


def test_a_png_mask_alone_comes_back_by_the_legend_in_it(project: Project) -> None:
    image = replace(project.images[0], annotations=project.images[0].annotations[:1])
    alone = replace(project, images=(image,))
    data, _, _ = written(alone, "png-instance")
    found = import_labels(data, "cat-instance.png", bare(alone))
    assert contents(found.annotations[image.digest]) == contents(image.annotations)


# ---- what is lost is reported


def test_the_report_says_what_yolo_loses(project: Project) -> None:
    data, _, report = written(project, "yolo-seg")
    assert (report.lossy, report.split, report.objects) == (1, 1, 4)
    ring = project.images[0].annotations[1].mask
    assert report.worst_iou == pytest.approx(ring.area / 90)  # its box is 10 x 9, and filled
    assert "1 of 4 objects loses pixels: worst IoU 0.82 (1 hole filled)." in report.sentences
    assert "1 object of several parts becomes several objects." in report.sentences
    told = json.loads(unpacked(data)["report.json"])
    assert told["losses"] == [{"image": "cat.jpg", "object": "ring", "iou": 0.8222, "why": "hole filled"}]


def test_a_simplified_outline_loses_what_the_report_says(project: Project) -> None:
    mask = np.hypot(*(np.indices((80, 90)) - np.array([[[40]], [[45]]]))) < 30
    data, _, report = written(
        one_image(annotation("disk", mask), size=ImageSize(80, 90)), "cvat", Options(tolerance=1.5)
    )
    exact = written(one_image(annotation("disk", mask), size=ImageSize(80, 90)), "cvat")[2]
    assert report.points < exact.points / 4
    back = import_labels(data, "x.xml", one_image(size=ImageSize(80, 90))).annotations["c" * 64][0].mask.to_mask()
    assert report.worst_iou == pytest.approx(mask_iou(back, mask))
    assert 0.9 < report.worst_iou < 1


def test_a_tolerance_costs_iou_and_saves_corners() -> None:
    mask = Rle.from_mask(np.hypot(*(np.indices((80, 90)) - np.array([[[40]], [[45]]]))) < 30)
    measured, found = simplifications([mask], (0.0, 0.5, 1.0, 3.0), fill_holes=True, as_coco=True)
    assert measured == 1
    assert found[0].mean_iou == 1.0
    assert [each.points for each in found] == sorted((each.points for each in found), reverse=True)
    assert all(each.worst_iou > 0.9 for each in found)
    assert found[-1].worst_iou < 1


@given(bits=st.integers(1, (1 << 36) - 1), tolerance=st.sampled_from([0.5, 1.0, 2.0, 10.0]))
def test_a_simplified_outline_is_never_nothing(bits: int, tolerance: float) -> None:
    mask = np.array([bool(bits >> n & 1) for n in range(36)]).reshape(6, 6)
    outline = outline_of(Rle.from_mask(mask), tolerance)
    assert len(outline.parts) == len(outline_of(Rle.from_mask(mask)).parts)
    assert all(len(part.outer) >= 3 for part in outline.parts)
    assert outline_iou(Rle.from_mask(mask), Outline(outline.parts)) > 0


def test_voc_with_a_border_has_255_beside_edges(project: Project) -> None:
    files = unpacked(written(project, "voc", Options(border=True))[0])
    values = np.asarray(Image.open(io.BytesIO(files["SegmentationObject/cat.png"])))
    assert 255 in values
    assert 255 not in np.asarray(
        Image.open(io.BytesIO(unpacked(written(project, "voc")[0])["SegmentationObject/cat.png"]))
    )


def test_voc_refuses_more_objects_than_a_mask_holds() -> None:
    crowd = [annotation(str(n), rectangle(ImageSize(12, 16), 0, 0, 2, 2)) for n in range(255)]
    with pytest.raises(LabelError, match="has 255 objects; a mask of Pascal VOC holds 254"):
        written(one_image(*crowd), "voc")


def test_images_of_one_name_are_told(project: Project) -> None:
    assert any("gets a number behind its name" in sentence for sentence in written(project, "voc")[2].sentences)


def test_drafts_are_told(project: Project) -> None:
    source = Source.from_project(project)
    source.drafts.add("d" * 64)
    made = write_export(source, "csv", POLYGONS, io.BytesIO())
    assert made.report.sentences[0] == "1 image has an unfinished draft; it is not exported."


def test_images_ride_along_where_they_are_asked_for(project: Project) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 16)).save(turned, "JPEG", exif=exif)
    source = replace(Source.from_project(project), image_bytes=lambda _: turned.getvalue())
    for name in FORMATS:
        if name.startswith("png-"):
            continue
        file = io.BytesIO()
        made = write_export(source, name, Options(images=True), file)
        files = unpacked(file.getvalue())
        images = [path for path in files if path.endswith(".jpg")]
        assert len(images) == 2, name
        assert made.file_name.endswith(".zip")
        assert any("EXIF" in sentence for sentence in made.report.sentences), (name, made.report.sentences)
        if name == "coco-rle":
            said = {i["file_name"] for i in json.loads(files["annotations/instances.json"])["images"]}
            assert {f"images/{each}" for each in said} == set(images)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(project: Project, text: str) -> None:
    assert plain_cell(text).startswith("'")
    named = Project((LabelClass(1, "=cmd()", "#e6194b"),), (replace(project.images[1], file_name="=a.jpg"),))
    classed = replace(named.images[0].annotations[0], class_id=1, author="@me", note="-x")
    data, _, _ = written(replace(named, images=(replace(named.images[0], annotations=(classed,)),)), "csv")
    (row,) = csv.DictReader(io.StringIO(data.decode("utf-8-sig")))
    assert (row["class"], row["image"], row["author"], row["note"]) == ("'=cmd()", "'=a.jpg", "'@me", "'-x")


def test_an_export_goes_through_images_one_by_one() -> None:
    mask = rectangle(ImageSize(12, 16), 2, 3, 9, 9)
    heads = tuple(ImageRecord(f"{n:064x}", f"{n}.jpg", ImageSize(12, 16)) for n in range(50))
    for name in FORMATS:
        if name.startswith("png-"):
            continue
        held = most = 0

        def read() -> Any:
            nonlocal held, most
            for head in heads:
                held += 1
                most = max(most, held)
                yield replace(head, annotations=(annotation("x", mask),))
                held -= 1

        source = Source((LabelClass(1, "object", "#e6194b"),), heads, read)
        assert write_export(source, name, POLYGONS, io.BytesIO()).report.objects == 50
        assert most <= 2, name


# ---- what comes in


def coco(**annotation_values: Any) -> bytes:
    entry = {"id": 1, "image_id": 7, "category_id": 18, **annotation_values}
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": "cat.jpg", "height": 12, "width": 16}],
            "categories": [{"id": 18, "name": "dog"}],
            "annotations": [entry],
        }
    ).encode()


SQUARE = [[2, 3, 9, 3, 9, 9, 2, 9]]


@pytest.mark.parametrize("name", READABLE)
def test_the_same_file_twice_changes_nothing(project: Project, name: str) -> None:
    data, file_name, _ = written(project, name)
    first = import_labels(data, file_name, bare(project))
    labelled = with_import(bare(project), first)
    second = import_labels(data, file_name, labelled)
    assert with_import(labelled, second) == labelled
    assert second.new_classes == ()


def test_an_imported_object_that_was_changed_since_stays_changed() -> None:
    project = one_image()
    first = import_labels(coco(segmentation=SQUARE), "x.json", project)
    labelled = with_import(project, first)
    (image,) = labelled.images
    changed = replace(image.annotations[0], mask=Rle.from_mask(rectangle(image.size, 0, 0, 3, 3)), class_id=1)
    labelled = replace(labelled, images=(replace(image, annotations=(changed,)),))
    second = import_labels(coco(segmentation=SQUARE, id=99), "x.json", labelled)
    assert (second.count, second.unchanged) == (0, 1)
    assert "1 object was here already" in second.message


def test_an_object_drawn_here_is_known_in_a_file_without_ids(project: Project) -> None:
    data, file_name, _ = written(project, "cvat")
    found = import_labels(data, file_name, project)
    assert (found.count, found.unchanged) == (0, 4)


def test_two_equal_objects_in_a_file_are_two_objects() -> None:
    shape = '<mask label="dog" rle="0, 4" left="1" top="1" width="2" height="2"/>'
    data = f'<annotations><image name="cat.jpg" width="16" height="12">{shape * 2}</image></annotations>'.encode()
    first = import_labels(data, "x.xml", one_image())
    assert first.count == 2
    assert import_labels(data, "x.xml", with_import(one_image(), first)).unchanged == 2


def test_what_was_simplified_does_not_replace_what_is_exact() -> None:
    disk = np.hypot(*(np.indices((80, 90)) - np.array([[[40]], [[45]]]))) < 30
    project = one_image(annotation("disk", disk), size=ImageSize(80, 90))
    data, _, _ = written(project, "coco-polygon", Options(tolerance=3))
    assert import_labels(data, "x.json", project).unchanged == 1
    assert import_labels(data, "x.json", bare(project)).count == 1


def test_an_object_without_a_score_says_so_and_one_with_a_score_keeps_it() -> None:
    (without,) = import_labels(coco(segmentation=SQUARE), "x.json", one_image()).annotations["c" * 64]
    (scored,) = import_labels(coco(segmentation=SQUARE, score=0.25), "x.json", one_image()).annotations["c" * 64]
    assert (without.has_score, scored.has_score, scored.score) == (False, True, 0.25)


BOX = (2.0, 3.0, 9.0, 9.0)
BOX_FILES: dict[str, tuple[bytes, str]] = {
    "COCO": (coco(bbox=[2, 3, 7, 6]), "x.json"),
    "YOLO": (packed({"data.yaml": "names: [dog]", "labels/cat.txt": "0 0.34375 0.5 0.4375 0.5"}), "x.zip"),
    "VOC": (
        (
            b"<annotation><filename>cat.jpg</filename><size><width>16</width><height>12</height></size><object><name>dog"
            b"</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
        ),
        "cat.xml",
    ),
    "labelme": (
        json.dumps(
            {
                "imagePath": "cat.jpg",
                "imageWidth": 16,
                "imageHeight": 12,
                "shapes": [{"label": "dog", "points": [[9, 9], [2, 3]], "shape_type": "rectangle"}],
            }
        ).encode(),
        "cat.json",
    ),
    "CVAT": (
        (
            b'<annotations><image name="cat.jpg" width="16" height="12">'
            b'<box label="dog" xtl="2" ytl="3" xbr="9" ybr="9"/></image></annotations>'
        ),
        "annotations.xml",
    ),
    "Label Studio": (
        json.dumps(
            [
                {
                    "data": {"image": "s3://bucket/photos/cat.jpg"},
                    "annotations": [
                        {
                            "result": [
                                {
                                    "type": "rectanglelabels",
                                    "original_width": 16,
                                    "original_height": 12,
                                    "value": {
                                        "x": 12.5,
                                        "y": 25,
                                        "width": 43.75,
                                        "height": 50,
                                        "rectanglelabels": ["dog"],
                                    },
                                }
                            ]
                        }
                    ],
                }
            ]
        ).encode(),
        "tasks.json",
    ),
}


@pytest.mark.parametrize("name", BOX_FILES)
def test_boxes_without_a_mask_are_given_back(name: str) -> None:
    found = import_labels(*BOX_FILES[name], one_image())
    (box,) = found.boxes
    assert (box.box.x0, box.box.y0, box.box.x1, box.box.y1) == pytest.approx(BOX)
    assert (found.count, [c.name for c in found.new_classes], box.class_id) == (0, ["dog"], 3)
    assert "1 box has no mask yet" in found.message


@pytest.mark.parametrize("name", READABLE)
def test_another_size_is_refused_by_the_name_of_file_and_sizes(project: Project, name: str) -> None:
    if name == "yolo-seg":
        pytest.skip("its coordinates are parts of the width and height; it says no size")
    data, file_name, _ = written(project, name)
    other = bare(project)
    other = replace(other, images=(replace(other.images[0], size=ImageSize(16, 12)), other.images[1]))
    with pytest.raises(ImportFormatError, match=r"'cat\.jpg' is 16 x 12 pixels there and 12 x 16 here"):
        import_labels(data, file_name, other)


@pytest.mark.parametrize("name", READABLE)
def test_images_that_are_not_open_are_told(project: Project, name: str) -> None:
    data, file_name, _ = written(project, name)
    other = Project((), (ImageRecord("e" * 64, "other.jpg", ImageSize(3, 3)),))
    with pytest.raises(ImportFormatError, match="images that are not open here: 'cat"):
        import_labels(data, file_name, other)


def test_images_in_folders_are_found_by_their_paths() -> None:
    size = ImageSize(12, 16)
    mask = rectangle(size, 2, 3, 9, 9)
    images = tuple(
        ImageRecord(f"{n:064x}", name, size, (annotation(f"o{n}", mask, n),))
        for n, name in enumerate(["a/cat.jpg", "b/cat.jpg", "b/cat.png"], start=1)
    )
    project = Project(tuple(LabelClass(n, f"c{n}", "#e6194b") for n in (1, 2, 3)), images)
    for name in READABLE:
        data, file_name, _ = written(project, name)
        found = import_labels(data, file_name, bare(project))
        assert {digest: [a.class_id for a in items] for digest, items in found.annotations.items()} == {
            f"{n:064x}": [n] for n in (1, 2, 3)
        }, name
    with pytest.raises(ImportFormatError, match=r"There are 2 images named 'cat\.jpg'"):
        import_labels(coco(segmentation=SQUARE), "x.json", bare(project))


def test_voc_masks_in_colours_are_read_by_the_labelmap(project: Project) -> None:
    files = unpacked(written(project, "voc")[0])
    for path in [path for path in files if path.endswith(".png")]:
        data = io.BytesIO()
        with Image.open(io.BytesIO(files[path])) as palette:
            palette.convert("RGB").save(data, "PNG")
        files[path] = data.getvalue()
    coloured = import_labels(packed(dict(files)), "x.zip", bare(project))
    numbered = import_labels(written(project, "voc")[0], "x.zip", bare(project))
    for image in project.images:
        assert contents(coloured.annotations[image.digest]) == contents(numbered.annotations[image.digest])


@given(
    st.integers(1, 40).flatmap(
        lambda width: st.tuples(st.just(width), st.lists(st.booleans(), min_size=width, max_size=width * 12))
    )
)
def test_brush_strokes_come_back(drawn_pixels: tuple[int, list[bool]]) -> None:
    width, flags = drawn_pixels
    flags = flags[: len(flags) // width * width]
    mask = Rle.from_mask(np.array(flags, dtype=np.bool_).reshape(-1, width))
    assert decode_brush(encode_brush(mask), ImageSize(mask.height, mask.width)) == mask


# ---- hostile files


BOMB = zlib.compress(b"0 0.1 0.1 0.2 0.1 0.2 0.2\n" * 2_000_000, 9)


def lying_zip() -> bytes:
    """A zip file with an entry that unpacks to fifty million bytes and claims ten."""
    name, raw = b"labels/cat.txt", BOMB[2:-4]
    crc = zlib.crc32(b"0 0.1 0.1 0.2 0.1 0.2 0.2\n" * 2_000_000)
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(raw), 10, len(name), 0)
    head = b"PK\x03\x04" + fields + name + raw
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return head + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(head), 0)


def labelme(**shape: Any) -> bytes:
    said = {"label": "dog", "points": [[0, 0], [3, 3]], "shape_type": "mask", **shape}
    return json.dumps({"imagePath": "cat.jpg", "imageWidth": 16, "imageHeight": 12, "shapes": [said]}).encode()


def cvat(shape: str) -> bytes:
    return f'<annotations><image name="cat.jpg" width="16" height="12">{shape}</image></annotations>'.encode()


def huge_png() -> str:
    head = struct.pack(">IIBBBBB", 9_000, 9_000, 1, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", head), (b"IDAT", b""))
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def stroke(data: list[int]) -> bytes:
    value = {"format": "rle", "rle": data, "brushlabels": ["dog"]}
    result = {"type": "brushlabels", "value": value, "original_width": 16, "original_height": 12}
    return json.dumps([{"data": {"image": "cat.jpg"}, "annotations": [{"result": [result]}]}]).encode()


ENTITIES = b"<!DOCTYPE a [" + b"".join(
    b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"lol") for n in range(9)
)

HOSTILE: dict[str, tuple[bytes, str]] = {
    "zip bomb": (packed({"labels/cat.txt": b"0 0.1 0.1 0.2 0.1 0.2 0.2\n" * 2_000_000}), "too large once unpacked"),
    "zip that lies": (lying_zip(), "cannot be read|too large once unpacked"),
    "zip cut off": (packed({"labels/cat.txt": b"0"})[:-30], "is damaged"),
    "zip of nothing": (packed({"x.jpg": b"0"}), "holds no labels"),
    "entities": (ENTITIES + b"]><annotations>&e8;</annotations>", "document type"),
    "external entity": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
        "document type",
    ),
    "deep XML": (b"<a>" * 10_000, "document type, or more than"),
    "no XML": (b"<annotations><image", "is not XML"),
    "another XML": (b"<svg/>", "neither of CVAT"),
    "YAML bomb": (
        packed({"data.yaml": "a: &a [x,x]\nb: &b [*a,*a]\nnames: [*b,*b]\n", "labels/cat.txt": "0 0.5 0.5 1 1"}),
        "names must be a list of names",
    ),
    "no YAML": (packed({"data.yaml": "names: [", "labels/cat.txt": "0 0.5 0.5 1 1"}), "is not YAML"),
    "too many names": (
        packed({"data.yaml": "names: [" + "x," * 300 + "]", "labels/cat.txt": "0 0.5 0.5 1 1"}),
        "can have 254 classes",
    ),
    "infinite corner": (
        packed({"data.yaml": "names: [a]", "labels/cat.txt": "0 inf 0 1 0 1 1"}),
        "line 1: Coordinates",
    ),
    "no number": (packed({"data.yaml": "names: [a]", "labels/cat.txt": "0 x 0 1 0 1 1"}), "line 1: It must be"),
    "no such class": (packed({"data.yaml": "names: [a]", "labels/cat.txt": "7 0 0 1 0 1 1"}), "class 7 is not among"),
    "huge PNG in a mask": (labelme(mask=huge_png()), "9000 x 9000 pixels, too many"),
    "mask outside": (labelme(points=[[10, 10], [90, 90]], mask="x"), "lies outside the image"),
    "no base64": (labelme(mask="§"), "base64"),
    "far corner": (labelme(shape_type="polygon", points=[[0, 0], [1e9, 0], [0, 5]]), "far outside"),
    "runs too short": (cvat('<mask label="a" rle="1, 2" left="0" top="0" width="3" height="3"/>'), "do not add up"),
    "runs negative": (cvat('<mask label="a" rle="-1, 10" left="0" top="0" width="3" height="3"/>'), "do not add up"),
    "runs too large": (
        cvat(f'<mask label="a" rle="{10**30}" left="0" top="0" width="3" height="3"/>'),
        "whole numbers",
    ),
    "far point": (cvat('<polygon label="a" points="0,0;1e300,0;5,5"/>'), "no number or lies far outside"),
    "NaN": (cvat('<polygon label="a" points="0,0;nan,0;5,5"/>'), "no number or lies far outside"),
    "stroke cut off": (stroke([0, 0, 3, 0, 57, 27]), "break off"),
    "stroke of another image": (stroke(encode_brush(Rle.empty(3, 3))), "are of 9 pixels, the image has 192"),
    "stroke of no bytes": (stroke([300]), "must be"),
    "PNG without legend": (base64.b64decode(huge_png()), "no PNG|has no legend"),
    "legend of a missing file": (
        packed({"legend.json": '{"masks": [{"image": "cat.jpg", "kind": "class", "values": [], "file": "../../x"}]}'}),
        "that legend.json names is missing",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_a_sentence(name: str) -> None:
    data, message = HOSTILE[name]
    with pytest.raises(ImportFormatError, match=message):
        import_labels(data, "file.json", one_image())


def test_names_that_lead_out_only_name_images() -> None:
    data = packed({"data.yaml": "names: [dog]", "../../labels/../cat.txt": "0 0 0 1 0 1 1"})
    assert import_labels(data, "x.zip", one_image()).count == 1


def test_masks_of_too_many_pixels_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_PIXELS", 10_000)
    shapes = '<mask label="a" rle="192" left="0" top="0" width="16" height="12"/>' * 100
    with pytest.raises(ImportFormatError, match="billion pixels altogether"):
        import_labels(cvat(shapes), "x.xml", one_image())


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(READABLE),
    cut=st.floats(0, 1),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_are_read_or_refused_and_nothing_else(
    name: str, cut: float, damage: list[tuple[float, int]]
) -> None:
    size = ImageSize(12, 16)
    ring = rectangle(size, 4, 1, 14, 10) & ~rectangle(size, 6, 3, 10, 7)
    project = one_image(annotation("ring", ring), annotation("solid", rectangle(size, 2, 3, 9, 9), 2))
    data, file_name, _ = written(project, name)
    broken = bytearray(data[: max(1, int(len(data) * (1 - cut / 4)))])
    for place, value in damage:
        broken[int(place * (len(broken) - 1))] = value
    try:
        found = import_labels(bytes(broken), file_name, bare(project))
    except ImportFormatError:
        return
    for items in found.annotations.values():
        assert all((a.mask.height, a.mask.width) == (12, 16) for a in items)


def test_voc_boxes_are_counted_from_one(project: Project) -> None:
    files = unpacked(written(project, "voc")[0])
    box = ET.fromstring(files["Annotations/cat.xml"]).find("object/bndbox")
    assert box is not None
    assert [int(child.text or "") for child in box] == [3, 4, 9, 9]  # solid covers x 2 to 8 and y 3 to 8


def test_one_file_in_memory_is_what_is_written(project: Project) -> None:
    assert build_export(project, "zip").data == written(project, "zip")[0]
