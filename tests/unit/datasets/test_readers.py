"""Every published layout, on a miniature copy with its real folders and file formats."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samref.datasets import LAYOUTS, LabelledImage, find_images, images_of, layout_of, list_data_sets
from samref.datasets.coco import UNFIT
from samref.errors import DataError
from tests.unit.datasets import miniatures
from tests.unit.datasets.miniatures import BAR, SQUARE
from tests.unit.evaluation.painter import write_zoo

Writer = Callable[..., None]

SETS: dict[str, tuple[str, Writer, list[list[int]]]] = {
    "GrabCut": ("grabcut", miniatures.write_grabcut, [[SQUARE], [SQUARE]]),
    "Berkeley": ("berkeley", miniatures.write_berkeley, [[SQUARE], [SQUARE, BAR]]),
    "DAVIS": ("davis", miniatures.write_davis, [[SQUARE + BAR], [SQUARE + BAR]]),
    "SBD": ("sbd", miniatures.write_sbd, [[SQUARE, BAR], [SQUARE, BAR]]),
    "VOC": ("pascalvoc", miniatures.write_pascalvoc, [[SQUARE, BAR], [SQUARE, BAR]]),
    "COD10K-v3": ("cod10k", miniatures.write_cod10k, [[SQUARE]]),
    "mvtec": ("mvtec", miniatures.write_mvtec, [[BAR], [BAR], [BAR]]),
    "sam-hq": ("hqseg", miniatures.write_hqseg, [[SQUARE]] * 4),
    "coco2017": ("coco", miniatures.write_coco, [[SQUARE, BAR], [BAR]]),
    "lvis": ("lvis", miniatures.write_lvis, [[SQUARE, BAR], [BAR]]),
    "panoptic": ("coco-panoptic", miniatures.write_panoptic, [[SQUARE, BAR], [BAR]]),
    "coco_lvis": ("coco-lvis", miniatures.write_coco_lvis, [[SQUARE, BAR], [BAR]]),
    "zoo": ("folders", lambda root: write_zoo(root.parent, (root.name,)), [[400, 180], [400, 180]]),
}


@pytest.mark.parametrize("name", SETS)
def test_a_layout_is_recognised_and_its_objects_are_all_there(name: str, tmp_path: Path) -> None:
    layout, write, areas = SETS[name]
    write(tmp_path / name)
    recognised = layout_of(tmp_path / name)
    assert recognised is LAYOUTS[layout]
    records = images_of(tmp_path / name)
    assert {(record.dataset, record.layout) for record in records} == {(name, layout)}
    assert [[int(mask.sum()) for mask in record.load().masks] for record in records] == areas
    measured, _ = find_images(tmp_path / name)
    assert [len(record.keys or ()) for record in measured] == [len(sizes) for sizes in areas]
    again = [[int(one.gt.sum()) for one in p.read_objects(p.read_image())] for p in measured]
    assert again == areas
    ids = [record.sample_id(key) for record in measured for key in record.keys or ()]
    assert len(set(ids)) == len(ids) == sum(map(len, areas))


@pytest.mark.parametrize("name", SETS)
def test_every_layout_can_also_be_named_and_travels_to_other_processes(name: str, tmp_path: Path) -> None:
    layout, write, areas = SETS[name]
    write(tmp_path / "anything")
    records = images_of(tmp_path / "anything", layout)
    assert len(records) == len(areas)
    sent: list[LabelledImage] = [pickle.loads(pickle.dumps(record)).load() for record in records]
    assert [record.label_map().max() >= 1 for record in sent] == [True] * len(areas)


def test_panoptic_ids_are_colours_and_stuff_and_crowds_are_objects_as_things_are(tmp_path: Path) -> None:
    miniatures.write_panoptic(tmp_path)
    first, second = (record.load() for record in images_of(tmp_path))
    assert (first.ids, second.ids) == (("3", str(5 + 256 * 7 + 65_536 * 9)), (str(5 + 256 * 7 + 65_536 * 9),))
    assert first.ignore is None
    assert np.array_equal(first.label_map(), miniatures.numbers(ignored=False))


def test_panoptic_beside_instances_must_be_asked_for(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    miniatures.write_panoptic(tmp_path)
    assert layout_of(tmp_path) is LAYOUTS["coco"]
    assert [len(record.load().masks) for record in images_of(tmp_path, "coco-panoptic")] == [2, 1]


def test_images_that_focsam_leaves_out_are_left_out_of_both_train_parts(tmp_path: Path) -> None:
    """By its list of 21 names; the first of them is 16449."""
    content = miniatures.coco_content()
    for one in (*content["images"], *content["annotations"]):
        name = "image_id" if "image_id" in one else "id"
        one[name] = 16449 if one[name] == 139 else one[name]
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image['file_name']}"
        miniatures.photo(tmp_path / "lvis" / "train2017" / image["file_name"])
    (tmp_path / "lvis" / "lvis_v1_train.json").write_text(json.dumps(content), encoding="utf-8")
    (lvis,) = list_data_sets(tmp_path / "lvis", split="train")
    miniatures.write_panoptic(tmp_path / "panoptic", "train2017")
    path = tmp_path / "panoptic" / "annotations" / "panoptic_train2017.json"
    path.write_text(path.read_text().replace('"id": 139', '"id": 16449').replace('_id": 139', '_id": 16449'))
    (panoptic,) = list_data_sets(tmp_path / "panoptic", split="train")
    for listing in (lvis, panoptic):
        assert [record.name for record in listing.records] == ["000000000285"]
        assert listing.skipped.excluded_images == 1
    assert len(UNFIT) == 21


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"annotations": [{"image_id": 7}]}, "its image_id 7 is not among the images"),
        ({"annotations": [{"image_id": 139, "segments_info": 3}]}, "no proper 'segments_info'"),
        ({"annotations": [{"image_id": 139, "segments_info": [{"id": "x"}]}]}, "a segment: it has no proper 'id'"),
        ({"annotations": [{"image_id": 139, "file_name": "../x.png", "segments_info": [{"id": 1}]}]}, "does not lie"),
        ({"annotations": [{"image_id": 139, "file_name": "x.png", "segments_info": [{"id": 1}]}]}, "x.png is missing"),
    ],
)
def test_a_wrong_panoptic_annotation_is_named(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    miniatures.write_panoptic(tmp_path, **change)
    with pytest.raises(DataError, match=sentence):
        images_of(tmp_path)


def test_a_folder_of_data_sets_may_hold_every_layout_at_once(tmp_path: Path) -> None:
    for name, (_, write, _) in SETS.items():
        write(tmp_path / name)
    (tmp_path / "notes").mkdir()
    records, skipped = find_images(tmp_path)
    assert {record.dataset: record.layout for record in records} == {n: SETS[n][0] for n in SETS}
    assert skipped.empty_objects == skipped.masks_without_image == 0


def test_asking_for_one_layout_leaves_the_others_alone(tmp_path: Path) -> None:
    for name in ("SBD", "VOC", "zoo"):
        SETS[name][1](tmp_path / name)
    assert {record.dataset for record in images_of(tmp_path, "sbd")} == {"SBD"}


def test_grabcut_ignores_128_and_calls_all_above_it_object(tmp_path: Path) -> None:
    miniatures.write_grabcut(tmp_path / "GrabCut")
    record = images_of(tmp_path / "GrabCut")[0].load()
    assert record.ignore is not None
    assert np.array_equal(record.ignore, miniatures.numbers() == 255)
    assert record.label_map()[0].tolist() == [255] * miniatures.WIDTH


@pytest.mark.parametrize(("name", "layout"), [("GrabCut", "grabcut"), ("Berkeley", "berkeley"), ("davis", "davis")])
def test_focuscuts_releases_of_the_small_sets_are_told_apart_by_their_names(
    name: str, layout: str, tmp_path: Path
) -> None:
    miniatures.write_focuscut(tmp_path / name)
    records = images_of(tmp_path / name)
    assert {record.layout for record in records} == {layout}
    labelled = records[0].load()
    assert [int(mask.sum()) for mask in labelled.masks] == [SQUARE]
    assert labelled.ignore is not None
    assert int(labelled.ignore.sum()) == miniatures.WIDTH


def test_the_border_of_pascalvoc_is_ignored_and_its_numbers_are_palette_indices(tmp_path: Path) -> None:
    miniatures.write_pascalvoc(tmp_path)
    labelled = images_of(tmp_path)[0].load()
    assert labelled.ids == ("1", "2")
    assert np.array_equal(labelled.label_map(), miniatures.numbers())


def test_parts_of_a_set_are_kept_apart_and_the_measured_one_is_the_default(tmp_path: Path) -> None:
    miniatures.write_sbd(tmp_path / "sbd")
    assert [p.name for p in images_of(tmp_path / "sbd")] == ["2008_000002", "2008_000007"]
    assert [p.name for p in images_of(tmp_path / "sbd", split="train")] == ["2008_000099"]
    miniatures.write_pascalvoc(tmp_path / "voc")
    assert [p.name for p in images_of(tmp_path / "voc", split="train")] == ["2007_000061"]
    miniatures.write_hqseg(tmp_path / "hq")
    parts = [p.name.split("/")[0] for p in images_of(tmp_path / "hq", split="train")]
    assert parts == ["DIS-TR", "ThinObject5K-TR", "fss_all", "DUTS-TR", "DUTS-TE", "ecssd", "MSRA_10K"]


def test_a_part_that_a_set_does_not_have_is_refused_but_own_folders_are_given_whole(tmp_path: Path) -> None:
    miniatures.write_grabcut(tmp_path / "GrabCut")
    with pytest.raises(DataError, match="no part 'train'"):
        images_of(tmp_path / "GrabCut", split="train")
    write_zoo(tmp_path, ("zoo",))
    assert len(images_of(tmp_path / "zoo", split="train")) == len(images_of(tmp_path / "zoo")) == 2


@pytest.mark.parametrize("info", [True, False])
def test_only_camouflaged_images_are_measured_and_the_others_are_counted(info: bool, tmp_path: Path) -> None:
    miniatures.write_cod10k(tmp_path, info=info)
    records, skipped = find_images(tmp_path)
    assert [record.name for record in records] == ["COD10K-CAM-1-Aquatic-1-BatFish-1"]
    assert skipped.excluded_images == 1


def test_mvtec_is_measured_without_good_ones_and_without_the_two_defects_that_cannot_be_seen(tmp_path: Path) -> None:
    miniatures.write_mvtec(tmp_path)
    records, skipped = find_images(tmp_path)
    names = [record.name for record in records]
    assert names == ["bottle/broken_large/000", "bottle/contamination/000", "transistor/bent_lead/000"]
    assert skipped.excluded_images == 2
    one_category = images_of(tmp_path / "bottle")
    assert [record.name for record in one_category] == names[:2]


def test_fine_structures_count_soft_pixels_as_object(tmp_path: Path) -> None:
    miniatures.write_hqseg(tmp_path)
    assert {int(record.load().masks[0].sum()) for record in images_of(tmp_path)} == {SQUARE}


def test_a_crowd_is_ignored_instead_of_asked_for(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    records, skipped = find_images(tmp_path)
    assert [record.keys for record in records] == [("11", "12"), ("21",)]
    assert (skipped.crowd_regions, skipped.images_without_objects) == (1, 1)
    labelled = records[0].load()
    assert np.array_equal(labelled.label_map(), miniatures.numbers())
    assert records[1].load().ignore is None


def test_a_crowd_never_covers_an_object(tmp_path: Path) -> None:
    content = miniatures.coco_content()
    content["annotations"][2]["segmentation"] = [[0, 0, 32, 0, 32, 24, 0, 24]]
    miniatures.write_coco(tmp_path, annotations=content["annotations"])
    labelled = images_of(tmp_path)[0].load()
    assert labelled.ignore is not None
    assert int(labelled.ignore.sum()) == miniatures.HEIGHT * miniatures.WIDTH - SQUARE - BAR


def test_lvis_finds_its_images_in_both_folders_of_coco(tmp_path: Path) -> None:
    miniatures.write_lvis(tmp_path)
    assert [record.image_path.parent.name for record in images_of(tmp_path)] == ["train2017", "val2017"]


def test_coco_images_may_lie_in_images(tmp_path: Path) -> None:
    miniatures.write_coco(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    assert len(images_of(tmp_path)) == 2
