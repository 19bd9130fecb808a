"""Data for training: recognised by itself, from the team's own labels too, and what is wrong with it said plainly."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.images import encode_png
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.datasets.records import KeptMasks, ObjectMask
from samref.errors import DataError
from samref.labels.annotations import Annotation
from samref.labels.events import AnnotationsImported
from samref.labels.store import ProjectStore
from samref.training.recipes import PAPER_RECIPES, SCENE_RECIPES, PaperRecipe
from samref.training.samples import SampleFeed, painted
from samref.training.scenes import SceneFeed
from samref.training.stages import StageFiles, build_stage, find_training_images
from samref.training.trainer import Trainer
from tests.unit.datasets import miniatures

RECIPE = replace(PAPER_RECIPES["sam-ref-decoder"], model="sam-random", batch=2, steps=1)
CPU = torch.device("cpu")


def noisy_disk(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rgb = np.random.default_rng(seed).integers(0, 80, (60, 90, 3), dtype=np.uint8)
    mask = np.zeros((60, 90), dtype=np.uint8)
    cv2.circle(mask, (30, 30), 20, 1, -1)
    rgb[mask > 0] += 120
    return rgb, mask


def folder_of(place: Path, masks: list[NDArray[np.uint8]]) -> Path:
    (place / "images").mkdir(parents=True)
    (place / "masks").mkdir()
    for index, mask in enumerate(masks):
        cv2.imwrite(str(place / "images" / f"{index}.png"), noisy_disk(index)[0])
        cv2.imwrite(str(place / "masks" / f"{index}.png"), mask)
    return place


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """What ``samref serve`` leaves: two workspaces; accepted objects, empty ones, and an image without any."""
    store = ProjectStore(tmp_path / "team" / "samref.sqlite")
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    for workspace, seeds in ((store.create_workspace().id, (0, 1)), (store.create_workspace().id, (2,))):
        for seed in seeds:
            rgb, mask = noisy_disk(seed)
            digest = store.add_image(workspace, encode_png(rgb), f"{seed}.png", ImageSize(60, 90))
            if seed == 1:
                continue
            whole = Annotation("a", 1, Rle.from_mask(mask > 0), Prompts(), "tiny", 0.9, moment, "Ada", 2.0, 1)
            empty = replace(whole, id="b", mask=Rle.empty(60, 90))
            store.append(workspace, digest, AnnotationsImported((whole, empty)))
    store.close()
    return tmp_path / "team"


def test_accepted_annotations_are_found_by_themselves(team: Path) -> None:
    found = find_training_images(team)
    assert [record.dataset for record in found.records] == ["project", "project"]
    labelled = found.records[0].load()
    rgb, mask = noisy_disk(0)
    assert np.array_equal(labelled.rgb, rgb)
    assert np.array_equal(labelled.label_map(), mask)
    assert "2 objects without a pixel" in found.summary
    assert "1 images without an object" in found.summary


def test_the_embedded_and_the_papers_recipes_learn_from_a_project(team: Path, tmp_path: Path) -> None:
    found = find_training_images(team)
    assert SceneFeed(found.records, SCENE_RECIPES["smoke-base"]).batch(0).labels.any()
    assert found.summary.startswith("2 images of project")
    stage = build_stage(RECIPE, StageFiles(), CPU)
    Trainer(stage.objective, RECIPE, stage.feed(found.records), tmp_path / "out", CPU, workers=0).run(log_every=1)
    assert json.loads((tmp_path / "out" / "log.jsonl").read_text())["loss"] > 0


def test_folders_without_labels_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not look like project.*samref.sqlite"):
        find_training_images(tmp_path, "project")
    ProjectStore(tmp_path / "samref.sqlite").close()
    with pytest.raises(DataError, match="no accepted annotation"):
        find_training_images(tmp_path)
    with pytest.raises(DataError, match="There is no layout 'nonsense'"):
        find_training_images(tmp_path, "nonsense")


def test_an_annotated_image_whose_file_is_lost_is_counted(team: Path) -> None:
    find_training_images(team).records[0].image_path.unlink()
    assert "1 images that are named but not there" in find_training_images(team).summary


def feed_of(place: Path, recipe: PaperRecipe = RECIPE) -> SampleFeed:
    return SampleFeed(find_training_images(place).records, recipe, 64)


def test_images_without_a_usable_object_are_skipped_and_counted(tmp_path: Path) -> None:
    empty, ignored = np.zeros((60, 90), dtype=np.uint8), np.full((60, 90), 255, dtype=np.uint8)
    feed = feed_of(folder_of(tmp_path / "mixed", [empty, ignored, noisy_disk(2)[1], empty]))
    batches = [feed.batch(number) for number in range(6)]
    assert sum(batch.skipped for batch in batches) > 0
    assert all((sample.labels == 1).any() for batch in batches for sample in batch.samples)


def test_data_without_any_usable_object_is_given_up(tmp_path: Path) -> None:
    ignored = np.full((60, 90), 255, dtype=np.uint8)
    place = folder_of(tmp_path / "all" / "ignored", [ignored, ignored])
    with pytest.raises(DataError, match="in a row have no object to learn from"):
        feed_of(place).batch(0)
    with pytest.raises(DataError, match="in a row have no object large enough"):
        SceneFeed(find_training_images(tmp_path / "all").records, SCENE_RECIPES["smoke-base"]).batch(0)


RITM = replace(PAPER_RECIPES["segnext-sax1"], batch=1, minimum_area=20)


def empty_ones(feed: SampleFeed, count: int) -> float:
    return float(np.mean([not feed.sample(number)[0].parts for number in range(count)]))


def test_a_image_with_an_object_in_its_frame_never_makes_an_empty_sample(tmp_path: Path) -> None:
    """RITM's 5 % are of the images whose objects augmentation has moved out of the frame, not of all."""
    feed = feed_of(folder_of(tmp_path / "seen", [noisy_disk(index)[1] for index in range(3)]), RITM)
    assert RITM.background == 0.05
    assert empty_ones(feed, 150) == 0


def test_images_without_an_object_large_enough_make_empty_samples(tmp_path: Path) -> None:
    bare = np.zeros((60, 90), dtype=np.uint8)
    feed = feed_of(folder_of(tmp_path / "half", [bare, noisy_disk(1)[1]]), RITM)
    assert empty_ones(feed, 150) == pytest.approx(0.5, abs=0.12)
    small = feed_of(folder_of(tmp_path / "small", [noisy_disk(1)[1]]), replace(RITM, minimum_area=64 * 64))
    sample, skipped = small.sample(0)
    assert (sample.parts, skipped) == ((), 0)
    assert not (sample.labels == 1).any()
    assert sample.others.any()  # so that no negative falls on it


def test_an_object_at_the_rim_is_augmented_anew_until_it_is_in_the_frame(tmp_path: Path) -> None:
    """One pixel in a corner leaves the frame in about a quarter of the augmentations."""
    corner = np.zeros((60, 90), dtype=np.uint8)
    corner[0, 0] = 1
    place = folder_of(tmp_path / "rim", [corner])
    shares = {}
    for background in (0.05, 1.0):
        feed = feed_of(place, replace(RITM, minimum_area=0, background=background))
        masks = [corner]
        ignore = np.zeros_like(corner)
        rngs = [np.random.default_rng(seed) for seed in range(400)]
        shares[background] = np.mean([not feed._vary(noisy_disk(0)[0], masks, ignore, rng)[1][0].any() for rng in rngs])
    lost = shares[1.0]
    assert lost > 0.1
    assert shares[0.05] == pytest.approx(0.05 * lost / (1 - 0.95 * lost), abs=0.03)
    assert shares[0.05] > 0


def test_others_too_small_to_be_asked_for_are_no_other_objects(tmp_path: Path) -> None:
    mask = noisy_disk(0)[1]
    mask[55:57, 80:83] = 2
    place = folder_of(tmp_path / "crumb", [mask])
    crumb, none = (feed_of(place, replace(RITM, minimum_area=least)).sample(0)[0].others for least in (1, 40))
    assert crumb.any()
    assert not none.any()


def box_object(key: str, x0: int, x1: int) -> ObjectMask:
    mask = np.zeros((4, 40), dtype=np.bool_)
    mask[:, x0:x1] = True
    return ObjectMask(key, mask, None)


def outcomes(objects: list[ObjectMask]) -> set[tuple[tuple[str, int], ...]]:
    """Columns of each object that is kept, over many orders."""
    return {
        tuple((one.key, int(one.gt[0].sum())) for one in painted(objects, 0.5, np.random.default_rng(seed)))
        for seed in range(40)
    }


def test_lvis_objects_that_cover_each_other_a_little_share_the_pixels_by_chance() -> None:
    assert outcomes([box_object("a", 0, 20), box_object("b", 10, 30)]) == {
        (("a", 10), ("b", 20)),
        (("a", 20), ("b", 10)),
    }, "half is not more than half"


def test_of_lvis_objects_that_cover_each_other_by_more_than_half_one_is_left_out() -> None:
    """Whichever comes second: a small part on a whole lies on it, the whole on the part would take all of it."""
    assert outcomes([box_object("whole", 0, 20), box_object("part", 2, 7)]) == {(("whole", 20),), (("part", 5),)}
    assert outcomes([box_object("a", 0, 20), box_object("b", 9, 29)]) == {(("a", 20),), (("b", 20),)}


def test_what_lies_on_several_objects_is_left_out_by_the_sum() -> None:
    assert outcomes([box_object("a", 0, 20), box_object("b", 20, 40), box_object("bridge", 13, 26)]) == {
        (("a", 20), ("b", 20)),  # both before the bridge, which then lies on them altogether
        (("b", 20), ("bridge", 7)),  # "a" would take 7 of the bridge's 13 columns, "b" takes 6
        (("b", 14), ("bridge", 13)),
    }


@pytest.mark.parametrize(("layout", "most"), [("lvis", 1), ("coco", 2)])
def test_only_focsams_recipes_and_only_lvis_know_the_rule(layout: str, most: int, tmp_path: Path) -> None:
    place = folder_of(tmp_path / "pair", [noisy_disk(0)[1]])
    (record,) = find_training_images(place).records
    whole = noisy_disk(0)[1] > 0
    part = whole.copy()
    part[:20] = False
    source = KeptMasks.of(place, [ObjectMask("whole", whole, None), ObjectMask("part", part, None)])
    feed = SampleFeed([replace(record, masks=source, layout=layout)], PAPER_RECIPES["focsam-decoder"], 90)
    samples = [feed.sample(number)[0] for number in range(12)]
    others = [bool(sample.others.any()) for sample in samples]
    assert others == [most == 2] * 12
    assert PAPER_RECIPES["sam-ref-decoder"].overlap is None


def test_stuff_is_an_object_in_three_of_ten_samples_of_ritms_set(tmp_path: Path) -> None:
    miniatures.write_coco_lvis(tmp_path / "set", "train")
    records = find_training_images(tmp_path / "set").records[:1]
    square, bar = miniatures.SQUARE, miniatures.BAR
    for stuff in (0.3, 0.0):
        assert PAPER_RECIPES["segnext-sax2"].stuff == 0.3
        feed = SampleFeed(records, replace(RECIPE, stuff=stuff), miniatures.WIDTH)
        samples = [feed.sample(number)[0] for number in range(150)]
        with_bar = [int(one.labels.sum()) == bar or bool(one.others.any()) for one in samples]
        assert np.mean(with_bar) == pytest.approx(stuff, abs=0.1 if stuff else 0)
        assert {int((one.labels == 1).sum()) for one in samples} == ({square, bar} if stuff else {square})


def test_a_mask_of_another_size_stops_training_with_its_own_sentence(tmp_path: Path) -> None:
    """The loader runs in a process of its own; its traceback is nothing for the person who started the training."""
    place = folder_of(tmp_path / "sizes", [np.ones((30, 30), dtype=np.uint8)])
    stage = build_stage(RECIPE, StageFiles(), CPU)
    feed = stage.feed(find_training_images(place).records)
    trainer = Trainer(stage.objective, RECIPE, feed, tmp_path / "out", CPU, workers=1)
    with pytest.raises(DataError, match=r"^\S+0\.png is 30 x 30 pixels, but 0\.png is 90 x 60") as raised:
        trainer.run()
    assert "Traceback" not in str(raised.value)


def test_a_image_without_its_mask_is_refused(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "bare", [noisy_disk(0)[1]])
    (place / "masks" / "0.png").unlink()
    with pytest.raises(DataError, match="has no mask"):
        find_training_images(place)


def test_a_sample_depends_on_its_number_alone(shapes: Path) -> None:
    small, large = feed_of(shapes), feed_of(shapes, replace(RECIPE, batch=4))
    two = [*small.batch(2).samples, *small.batch(3).samples]
    for one, other in zip(two, large.batch(1).samples, strict=True):
        assert one.number == other.number
        assert np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize("augmentation", ["none", "colour", "full"])
def test_labels_stay_on_their_objects_whatever_is_changed(shapes: Path, augmentation: str) -> None:
    recipe = replace(RECIPE, augmentation=augmentation, batch=8, minimum_area=30)  # type: ignore[arg-type]
    for sample in feed_of(shapes, recipe).batch(0).samples:
        height, width = sample.framed.shape[:2]
        shown = sample.labels[:height, :width] == 1
        around = ~shown & ~sample.others[:height, :width]
        bright = sample.framed.astype(float).mean(axis=2)
        assert bright[shown].mean() > bright[around].mean() + 20
        assert not sample.labels[height:].any()
        assert not sample.labels[:, width:].any()


def test_coco_files_are_recognised_and_their_train_part_is_taken(tmp_path: Path) -> None:
    (tmp_path / "COCO" / "annotations").mkdir(parents=True)
    (tmp_path / "COCO" / "train2017").mkdir()
    cv2.imwrite(str(tmp_path / "COCO" / "train2017" / "000000000001.png"), noisy_disk(0)[0])
    square, crowd = [[12.0, 12.0, 40.0, 12.0, 40.0, 40.0, 12.0, 40.0]], Rle.from_mask(noisy_disk(0)[1][:, ::-1] > 0)
    common = {"image_id": 1, "category_id": 1, "area": 784, "bbox": [12, 12, 28, 28]}
    annotations = [
        {"id": 1, "iscrowd": 0, "segmentation": square, **common},
        {"id": 2, "iscrowd": 1, "segmentation": crowd.to_coco(), **common},
    ]
    content = {
        "images": [{"id": 1, "file_name": "000000000001.png", "height": 60, "width": 90}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "COCO" / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    found = find_training_images(tmp_path / "COCO")
    assert [(record.dataset, record.layout) for record in found.records] == [("COCO", "coco")]
    sample, _ = SampleFeed(found.records, RECIPE, 90).sample(0)
    assert sample.data_set == "COCO (coco)"
    assert (sample.labels[:60] == 1).sum() == 784
    assert (sample.labels[:60] == 255).any()
