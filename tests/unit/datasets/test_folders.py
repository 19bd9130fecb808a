from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.images import encode_png
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.datasets import find_images, images_of, sample_objects
from samref.errors import DataError
from samref.labels.annotations import Annotation
from samref.labels.events import AnnotationsImported
from samref.labels.folder import DATABASE_NAME
from samref.labels.store import ProjectStore


def grey(*rows: list[int]) -> NDArray[np.uint8]:
    return np.array(rows, dtype=np.uint8)


def write_image(folder: Path, name: str, height: int = 2, width: int = 3) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    (folder / "images" / name).write_bytes(encode_png(np.zeros((height, width, 3), dtype=np.uint8)))


def write_mask(folder: Path, name: str, values: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    (folder / "masks" / name).write_bytes(encode_png(values))


NUMBERED = grey([0, 1, 1], [2, 255, 1])


def test_a_numbered_mask_holds_one_object_per_number_and_255_is_ignored(tmp_path: Path) -> None:
    write_image(tmp_path / "zoo", "cat.png")
    write_mask(tmp_path / "zoo", "cat.png", NUMBERED)
    (record,), skipped = find_images(tmp_path / "zoo")
    assert record.dataset == "zoo"
    assert record.keys == ("1", "2")
    assert record.sample_id("2") == "zoo/cat#2"
    assert skipped.empty_objects == 0
    first, second = record.read_objects(record.read_image())
    assert first.gt.tolist() == [[False, True, True], [False, False, True]]
    assert second.gt.sum() == 1
    assert first.ignore is not None
    assert first.ignore.tolist() == [[False, False, False], [False, True, False]]


def write_plain(folder: Path, **masks: NDArray[np.uint8]) -> Path:
    for name, mask in masks.items():
        write_image(folder, f"{name}.png")
        write_mask(folder, f"{name}.png", mask)
    return folder


WHITE = grey([0, 255, 255], [0, 0, 255])


def test_black_and_white_masks_hold_one_object_each(tmp_path: Path) -> None:
    shop = write_plain(tmp_path / "shop", a=WHITE, b=grey([255, 0, 0], [0, 0, 0]), c=grey([0, 0, 0], [0, 0, 0]))
    records, skipped = find_images(shop)
    assert [record.sample_id(key) for record in records for key in record.keys or ()] == ["shop/a#1", "shop/b#1"]
    (one,) = records[0].read_objects(records[0].read_image())
    assert one.ignore is None
    assert one.gt.tolist() == (WHITE > 0).tolist()
    assert (skipped.empty_objects, skipped.images_without_objects, skipped.ignored_objects) == (1, 1, 0)


def test_255_stays_ignored_beside_the_number_one(tmp_path: Path) -> None:
    zoo = write_plain(tmp_path / "zoo", a=grey([0, 1, 1], [0, 0, 255]))
    (record,), _ = find_images(zoo)
    (one,) = record.read_objects(record.read_image())
    assert one.gt.sum() == 2
    assert one.ignore is not None
    assert one.ignore.sum() == 1


def test_one_mask_with_a_number_makes_255_mean_ignored_in_the_whole_folder(tmp_path: Path) -> None:
    """An image with nothing but ignored pixels is no object; it is counted as ignored, not passed over in silence."""
    zoo = write_plain(tmp_path / "zoo", a=WHITE, b=WHITE, c=grey([0, 7, 7], [0, 0, 0]))
    records, skipped = find_images(zoo)
    assert [record.name for record in records] == ["c"]
    assert (skipped.ignored_objects, skipped.images_without_objects, skipped.empty_objects) == (2, 2, 0)
    labelled = images_of(zoo)[0].load()
    assert labelled.masks == ()
    assert labelled.label_map().tolist() == WHITE.tolist()


def test_a_white_mask_without_black_is_ignored_altogether(tmp_path: Path) -> None:
    _, skipped = find_images(write_plain(tmp_path / "shop", a=WHITE, b=grey([255, 255, 255], [255, 255, 255])))
    assert (skipped.ignored_objects, skipped.images_without_objects) == (1, 1)


def test_sixteen_bit_numbers_beyond_255_are_objects_too(tmp_path: Path) -> None:
    write_image(tmp_path, "a.png")
    write_mask(tmp_path, "a.png", np.array([[0, 300, 300], [1, 255, 0]], dtype=np.uint16))
    (record,), _ = find_images(tmp_path)
    assert record.keys == ("1", "300")
    assert [int(one.gt.sum()) for one in record.read_objects(record.read_image())] == [1, 2]


def test_single_object_masks_read_128_as_ignore_and_higher_as_object(tmp_path: Path) -> None:
    write_image(tmp_path, "a.png")
    write_mask(tmp_path, "a__dog.png", grey([0, 128, 255], [0, 0, 255]))
    write_mask(tmp_path, "a__2.png", grey([255, 0, 0], [0, 0, 0]))
    (record,), _ = find_images(tmp_path)
    assert record.keys == ("2", "dog")
    plain, dog = record.read_objects(record.read_image())
    assert plain.ignore is None
    assert dog.gt.tolist() == [[False, False, True], [False, False, True]]
    assert dog.ignore is not None
    assert dog.ignore.tolist() == [[False, True, False], [False, False, False]]


def test_single_object_masks_of_zeros_and_ones_and_of_one_bit_are_understood(tmp_path: Path) -> None:
    write_image(tmp_path, "a.png")
    write_mask(tmp_path, "a__1.png", grey([0, 1, 1], [0, 0, 0]))
    Image.fromarray(np.array([[True, False, False], [False, False, False]])).save(tmp_path / "masks" / "a__2.png")
    (record,), _ = find_images(tmp_path)
    assert [int(one.gt.sum()) for one in record.read_objects(record.read_image())] == [2, 1]


def test_a_name_with_two_underscores_belongs_to_the_image_of_exactly_that_name(tmp_path: Path) -> None:
    for name in ("a.png", "a__b.png"):
        write_image(tmp_path, name)
    write_mask(tmp_path, "a__b.png", NUMBERED)
    write_mask(tmp_path, "a__1.png", grey([0, 0, 255], [0, 0, 0]))
    records, _ = find_images(tmp_path)
    assert [record.keys for record in records] == [("1",), ("1", "2")]


def test_empty_objects_and_lonely_masks_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "d.png"):
        write_image(tmp_path, name)
    write_mask(tmp_path, "a__1.png", grey([0, 0, 255], [0, 0, 0]))
    write_mask(tmp_path, "a__2.png", grey([0, 0, 0], [128, 0, 0]))
    write_mask(tmp_path, "b.png", grey([0, 0, 0], [255, 0, 0]))
    write_mask(tmp_path, "c.png", NUMBERED)
    write_mask(tmp_path, "d.png", NUMBERED)
    (record, _), skipped = find_images(tmp_path)
    assert record.keys == ("1",)
    assert (skipped.empty_objects, skipped.images_without_objects, skipped.masks_without_image) == (1, 1, 1)


def test_a_folder_of_data_sets_gives_each_by_its_own_name(tmp_path: Path) -> None:
    for dataset in ("zoo", "air"):
        write_image(tmp_path / dataset, "a.png")
        write_mask(tmp_path / dataset, "a.png", NUMBERED)
    (tmp_path / "notes").mkdir()
    records, _ = find_images(tmp_path)
    assert [record.dataset for record in records] == ["air", "zoo"]


def read_all(folder: Path) -> None:
    for record in find_images(folder)[0]:
        record.read_objects(record.read_image())


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(folder)
    return str(caught.value)


def test_a_folder_that_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere")
    assert "neither" in refusal(tmp_path)
    (tmp_path / "images").mkdir()
    assert "no folder masks" in refusal(tmp_path)
    (tmp_path / "masks").mkdir()
    assert "no image with an object" in refusal(tmp_path)


def test_a_image_without_mask_is_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path, "cat.png")
    message = refusal(tmp_path)
    assert "cat.png has no mask" in message
    assert "cat__1.png" in message


def test_masks_of_both_forms_for_one_image_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path, "cat.png")
    write_mask(tmp_path, "cat.png", NUMBERED)
    write_mask(tmp_path, "cat__1.png", NUMBERED)
    assert "both cat.png and cat__1.png" in refusal(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path, "cat.png")
    write_image(tmp_path, "cat.webp")
    assert "same name" in refusal(tmp_path)


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    write_image(tmp_path, "cat.png", height=4, width=5)
    write_mask(tmp_path, "cat.png", NUMBERED)
    message = refusal(tmp_path)
    assert "3 x 2" in message
    assert "5 x 4" in message


def test_a_broken_or_coloured_file_is_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path, "cat.png")
    (tmp_path / "masks" / "cat.png").write_bytes(b"")
    assert "cat.png: The file is empty" in refusal(tmp_path)
    (tmp_path / "masks" / "cat.png").write_bytes(encode_png(np.zeros((2, 3, 3), dtype=np.uint8)))
    assert "one channel" in refusal(tmp_path)
    write_mask(tmp_path, "cat.png", NUMBERED)
    (tmp_path / "images" / "cat.png").write_bytes(b"no image")
    assert "not an image" in refusal(tmp_path)


def test_a_sample_is_the_same_every_time_and_independent_of_other_data_sets(tmp_path: Path) -> None:
    for dataset in ("zoo", "air"):
        for number in range(4):
            write_image(tmp_path / dataset, f"{number}.png")
            write_mask(tmp_path / dataset, f"{number}.png", NUMBERED)
    records, _ = find_images(tmp_path)

    def ids(limit: int | None, seed: int, of: str = "") -> list[str]:
        chosen = [record for record in records if of in record.dataset]
        return [p.sample_id(key) for p in sample_objects(chosen, limit, seed) for key in p.keys or ()]

    assert ids(3, 5) == ids(3, 5)
    assert len(ids(3, 5)) == 6
    assert [name for name in ids(3, 5) if name.startswith("zoo")] == ids(3, 5, of="zoo")
    assert {tuple(ids(3, seed)) for seed in range(6)} != {tuple(ids(3, 5))}
    assert set(ids(3, 5)) <= set(ids(5, 5)) <= set(ids(None, 5))
    assert len(ids(100, 0)) == len(ids(None, 0)) == 16


def write_project(folder: Path) -> None:
    """What a server leaves: an image with an object and an empty one, and an image without any."""
    store = ProjectStore(folder / DATABASE_NAME)
    workspace = store.create_workspace().id
    for value in (10, 20):
        rgb = np.full((6, 8, 3), value, dtype=np.uint8)
        digest = store.add_image(workspace, encode_png(rgb), f"{value}.png", ImageSize(6, 8))
        if value == 10:
            mask = np.zeros((6, 8), dtype=np.bool_)
            mask[1:4, 2:5] = True
            moment = datetime(2026, 11, 21, tzinfo=UTC)
            whole = Annotation("a", 1, Rle.from_mask(mask), Prompts(), "tiny", 0.9, moment, "Ada", 2.0, 1)
            store.append(workspace, digest, AnnotationsImported((whole, replace(whole, id="b", mask=Rle.empty(6, 8)))))
    store.close()


def test_the_folder_of_a_labelling_server_is_a_data_set_of_its_accepted_objects(tmp_path: Path) -> None:
    write_project(tmp_path / "team")
    records, skipped = find_images(tmp_path / "team")
    assert [(record.layout, record.keys) for record in records] == [("project", ("a",))]
    (one,) = records[0].read_objects(records[0].read_image())
    assert (int(one.gt.sum()), one.ignore) == (9, None)
    assert (skipped.empty_objects, skipped.images_without_objects) == (1, 1)


def test_a_labelling_server_without_an_accepted_object_is_no_data_set(tmp_path: Path) -> None:
    ProjectStore(tmp_path / DATABASE_NAME).close()
    assert "no accepted annotation" in refusal(tmp_path)
