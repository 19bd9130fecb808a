"""Data sets that are not what they should be: a sentence that names the file, or a count in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samref.datasets import find_images, images_of
from samref.errors import DataError
from tests.unit.datasets import miniatures
from tests.unit.datasets.miniatures import HEIGHT, WIDTH


def refusal(folder: Path, layout: str = "auto", split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        find_images(folder, layout, split)
    assert str(caught.value).endswith((".", "'samref[evaluate]'", "?"))
    return str(caught.value)


def black(path: Path) -> None:
    miniatures.grey(path, np.zeros((HEIGHT, WIDTH), dtype=np.uint8))


def test_a_layout_that_is_not_there_says_what_it_would_expect(tmp_path: Path) -> None:
    assert "data_GT" in refusal(tmp_path, "grabcut")
    assert "SegmentationObject" in refusal(tmp_path, "pascalvoc")
    assert "There is no layout 'voc'" in refusal(tmp_path, "voc")


@pytest.mark.parametrize(
    ("write", "removed", "named"),
    [
        (miniatures.write_grabcut, "boundary_GT/sheep.bmp", "sheep.jpg has no mask"),
        (miniatures.write_davis, "gt/bear_00001.png", "bear_00001.jpg has no mask"),
        (miniatures.write_sbd, "benchmark_RELEASE/dataset/inst/2008_000007.mat", "2008_000007.mat is missing"),
        (miniatures.write_sbd, "benchmark_RELEASE/dataset/img/2008_000002.jpg", "2008_000002.jpg is missing"),
        (miniatures.write_sbd, "benchmark_RELEASE/dataset/val.txt", "val.txt is missing"),
        (miniatures.write_pascalvoc, "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "val.txt is missing"),
        (
            miniatures.write_cod10k,
            "Test/GT_Object/COD10K-CAM-1-Aquatic-1-BatFish-1.png",
            "BatFish-1.png is missing",
        ),
        (miniatures.write_mvtec, "bottle/ground_truth/contamination/000_mask.png", "000_mask.png is missing"),
        (miniatures.write_hqseg, "thin_object_detection/COIFT/masks/1.png", "1.jpg has no mask"),
    ],
)
def test_a_missing_file_is_named(write: Any, removed: str, named: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / removed).unlink()
    assert named in refusal(tmp_path)


def test_a_missing_part_of_hqseg_is_named(tmp_path: Path) -> None:
    miniatures.write_hqseg(tmp_path)
    (tmp_path / "thin_object_detection" / "HRSOD" / "masks_max255").rename(tmp_path / "elsewhere")
    message = refusal(tmp_path)
    assert "HRSOD" in message
    assert "masks_max255" in message


def test_hrsods_masks_may_lie_in_the_folder_masks(tmp_path: Path) -> None:
    miniatures.write_hqseg(tmp_path)
    hrsod = tmp_path / "thin_object_detection" / "HRSOD"
    (hrsod / "masks_max255").rename(hrsod / "masks")
    assert len(images_of(tmp_path)) == 4


def test_an_empty_list_of_images_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    miniatures.write_sbd(tmp_path)
    names = tmp_path / "benchmark_RELEASE" / "dataset" / "val.txt"
    names.write_text("\n \n")
    assert "val.txt is empty" in refusal(tmp_path)
    names.write_bytes(b"\xff\xfe\x00\x81")
    assert "val.txt cannot be read" in refusal(tmp_path)


def test_a_mask_of_another_size_is_found_before_anything_is_measured(tmp_path: Path) -> None:
    miniatures.write_sbd(tmp_path / "sbd")
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(
        tmp_path / "sbd" / "benchmark_RELEASE" / "dataset" / "img" / "2008_000007.jpg"
    )
    message = refusal(tmp_path / "sbd")
    assert "2008_000007.mat is 32 x 24" in message
    assert "2008_000007.jpg is 33 x 24" in message


def test_of_several_mask_files_the_one_of_another_size_is_named(tmp_path: Path) -> None:
    miniatures.write_berkeley(tmp_path / "Berkeley")
    black_and_wide = np.zeros((HEIGHT, WIDTH + 2), dtype=np.uint8)
    miniatures.grey(tmp_path / "Berkeley" / "masks" / "388016#002.png", black_and_wide)
    assert "388016#002.png is 34 x 24" in refusal(tmp_path / "Berkeley")


def test_a_image_turned_by_its_camera_is_compared_upright(tmp_path: Path) -> None:
    miniatures.write_davis(tmp_path / "DAVIS")
    path = tmp_path / "DAVIS" / "img" / "bear_00001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    assert "bear_00001.jpg is 24 x 32 (upright)" in refusal(tmp_path / "DAVIS")


def test_an_object_without_a_pixel_and_one_that_is_all_ignored_are_counted(tmp_path: Path) -> None:
    miniatures.write_davis(tmp_path / "DAVIS")
    black(tmp_path / "DAVIS" / "gt" / "bear_00001.png")
    records, skipped = find_images(tmp_path / "DAVIS")
    assert [record.name for record in records] == ["dance-twirl_00017"]
    assert (skipped.empty_objects, skipped.images_without_objects) == (1, 1)
    assert skipped.to_sentences() == ["1 objects without a pixel", "1 images without an object"]

    miniatures.write_grabcut(tmp_path / "GrabCut")
    all_ignored = np.full((HEIGHT, WIDTH), 128, dtype=np.uint8)
    miniatures.grey(tmp_path / "GrabCut" / "boundary_GT" / "sheep.bmp", all_ignored)
    _, skipped = find_images(tmp_path / "GrabCut")
    assert (skipped.empty_objects, skipped.images_without_objects) == (1, 1)
    assert images_of(tmp_path / "GrabCut")[1].load().masks == ()


def test_nothing_but_empty_masks_is_refused(tmp_path: Path) -> None:
    miniatures.write_davis(tmp_path / "DAVIS")
    for path in (tmp_path / "DAVIS" / "gt").iterdir():
        black(path)
    assert "no image with an object" in refusal(tmp_path / "DAVIS")


def test_a_mask_without_image_is_counted(tmp_path: Path) -> None:
    miniatures.write_grabcut(tmp_path / "GrabCut")
    black(tmp_path / "GrabCut" / "boundary_GT" / "lonely.bmp")
    assert find_images(tmp_path / "GrabCut")[1].masks_without_image == 1


@pytest.mark.parametrize(
    ("write", "damaged"),
    [
        (miniatures.write_grabcut, "data_GT/sheep.jpg"),
        (miniatures.write_grabcut, "boundary_GT/sheep.bmp"),
        (miniatures.write_pascalvoc, "VOCdevkit/VOC2012/SegmentationObject/2007_000033.png"),
        (miniatures.write_sbd, "benchmark_RELEASE/dataset/inst/2008_000002.mat"),
    ],
)
@pytest.mark.parametrize("rest", [0, 60])
def test_a_truncated_file_is_named(write: Any, damaged: str, rest: int, tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(whole[:rest])
    assert Path(damaged).name in refusal(tmp_path)


def test_a_matlab_file_without_instances_is_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    miniatures.write_sbd(tmp_path)
    path = tmp_path / "benchmark_RELEASE" / "dataset" / "inst" / "2008_000002.mat"
    for content in ({"GTcls": {"Segmentation": np.zeros((2, 2))}}, {"GTinst": {"Segmentation": np.zeros((2, 2))}}):
        savemat(path, content)
        assert "2008_000002.mat has no GTinst.Segmentation" in refusal(tmp_path)


def test_a_palette_mask_saved_in_colours_is_refused_where_it_must_hold_numbers(tmp_path: Path) -> None:
    miniatures.write_pascalvoc(tmp_path)
    path = tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationObject" / "2007_000033.png"
    Image.open(path).convert("RGB").save(path)
    assert "2007_000033.png: A mask needs one channel" in refusal(tmp_path)


def json_of(root: Path) -> Path:
    return root / "annotations" / "instances_val2017.json"


@pytest.mark.parametrize(
    "content", ["", "{", '{"images": [', "[1, 2]", '{"images": {}, "annotations": []}', "[" * 9999]
)
def test_a_damaged_annotation_file_is_named(content: str, tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    json_of(tmp_path).write_text(content)
    assert "instances_val2017.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_id": 7}, "annotation 11: its image_id 7"),
        ({"image_id": None}, "annotation 11: it has no proper 'image_id'"),
        ({"id": None}, "it has no proper 'id'"),
        ({"segmentation": "nothing"}, "annotation 11: its segmentation is neither"),
        ({"segmentation": [[1, 2, 3, 4, 5, "six"]]}, "annotation 11: its segmentation is neither"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "annotation 11: A polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e12]]}, "annotation 11: A corner of a polygon"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "0"}}, "annotation 11: The run lengths"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "annotation 11: Its mask is 9 x 9"),
    ],
)
def test_a_wrong_annotation_is_named(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    content = miniatures.coco_content()
    content["annotations"][0].update(change)
    miniatures.write_coco(tmp_path, annotations=content["annotations"])
    message = refusal(tmp_path)
    assert "instances_val2017.json" in message
    assert sentence in message


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.jpg", "..\\secret.jpg", ""])
def test_an_annotation_file_cannot_point_out_of_its_folder(name: str, tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    content = miniatures.coco_content()
    content["images"][0]["file_name"] = name
    json_of(tmp_path).write_text(json.dumps(content))
    assert "does not lie in" in refusal(tmp_path)


def test_a_image_of_the_wrong_size_in_the_annotation_file_is_refused(tmp_path: Path) -> None:
    content = miniatures.coco_content()
    content["images"][0]["height"] = HEIGHT + 1
    miniatures.write_coco(tmp_path, images=content["images"], annotations=content["annotations"][:1])
    assert "is 32 x 25 pixels, but" in refusal(tmp_path)
    content["images"][0]["height"] = 0
    miniatures.write_coco(tmp_path, images=content["images"])
    assert "image 139: an image cannot be 32 x 0" in refusal(tmp_path)


def test_objects_of_no_extent_in_an_annotation_file_are_counted(tmp_path: Path) -> None:
    content = miniatures.coco_content()
    content["annotations"][0]["segmentation"] = [[1.0, 1.0, 2.0, 2.0]]
    content["annotations"][1]["segmentation"] = []
    miniatures.write_coco(tmp_path, annotations=content["annotations"])
    records, skipped = find_images(tmp_path)
    assert [record.keys for record in records] == [("21",)]
    assert skipped.empty_objects == 2


def test_images_that_are_named_but_not_there_are_counted_unless_they_are_all(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    first, second, _ = sorted((tmp_path / "val2017").iterdir())
    first.unlink()
    assert find_images(tmp_path)[1].images_not_found == 1
    second.unlink()
    assert "the first is" in refusal(tmp_path)


def test_several_years_of_one_part_must_be_told_apart(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    json_of(tmp_path).with_name("instances_val2014.json").write_bytes(json_of(tmp_path).read_bytes())
    assert "val2014 or val2017" in refusal(tmp_path)
    assert len(find_images(tmp_path, split="val2017")[0]) == 2


def test_a_part_without_annotation_file_is_named(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path / "coco")
    assert "instances_train.json" in refusal(tmp_path / "coco", split="train")
    miniatures.write_lvis(tmp_path / "lvis")
    assert "lvis_v1_train.json" in refusal(tmp_path / "lvis", split="train")
