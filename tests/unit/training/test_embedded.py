"""The embedded model's training on made-up images: its scenes, that it learns, and that it resumes to the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.layers import randomize
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.tiny.network import EncoderConfig, TinyConfig, TinyNet
from samref.training import scenes
from samref.training.recipes import SCENE_RECIPES, SceneRecipe
from samref.training.scenes import SceneFeed, half_labels, make_scene
from samref.training.stages import find_training_images
from samref.training.tiny_stage import BaseObjective, RefinerObjective, load_backbone
from samref.training.trainer import Trainee, Trainer

SMALL = TinyConfig(image_size=128, encoder=EncoderConfig(0.125), context=16, widths=(8, 8, 16), heads=2, blocks=1)
SMALL_REFINER = SamRefConfig(
    width=8, global_blocks=1, local_blocks=1, embedding_channels=16, crop=64, minimum=8, rule="object"
)
CPU = torch.device("cpu")


def feed_of(shapes: Path, recipe: SceneRecipe = SCENE_RECIPES["smoke-base"]) -> SceneFeed:
    return SceneFeed(find_training_images(shapes).records, recipe)


def trainer_of(objective: Trainee, recipe: SceneRecipe, shapes: Path, out: Path) -> Trainer:
    return Trainer(objective, recipe, feed_of(shapes, recipe), out, CPU, bf16=False, workers=0)


def base_trainer(shapes: Path, out: Path, steps: int = 6) -> Trainer:
    torch.manual_seed(0)
    recipe = replace(SCENE_RECIPES["smoke-base"], steps=steps)
    return trainer_of(BaseObjective(TinyNet(SMALL)), recipe, shapes, out)


def test_training_lowers_the_loss(shapes: Path, tmp_path: Path) -> None:
    net = TinyNet(SMALL)
    randomize(net, 0)
    recipe = replace(SCENE_RECIPES["smoke-base"], steps=90, rate=3e-3, warmup=5, encoder_rate=1.0)
    trainer_of(BaseObjective(net), recipe, shapes, tmp_path).run(log_every=30)
    losses = [json.loads(line)["loss1"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0], losses


def test_a_resumed_run_ends_in_the_same_weights(shapes: Path, tmp_path: Path) -> None:
    through = base_trainer(shapes, tmp_path / "a")
    through.run()
    first = base_trainer(shapes, tmp_path / "b")
    batches = first._batches()
    for _ in range(3):
        first._train_step(batches)
        first.step += 1
    first.save()
    second = base_trainer(shapes, tmp_path / "b")
    assert second.step == 3
    second.run()
    for name, weight in through.averaged.state_dict().items():
        torch.testing.assert_close(second.averaged.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["tiny-base", "tiny-base-2", "tiny-base-3", "tiny-refiner"])
def test_the_embedded_recipes_run(name: str, shapes: Path, tmp_path: Path) -> None:
    """With all their numbers but the sizes: every framing, pasted objects, favoured data sets."""
    torch.manual_seed(0)
    full = SCENE_RECIPES[name]
    forms = tuple(replace(shape, images=2, side=128) for shape in full.shapes)
    recipe = replace(full, shapes=forms, steps=5, warmup=1, pasted=max(full.pasted, 0.5))
    base = TinyNet(SMALL)
    objective = BaseObjective(base) if full.part == "base" else RefinerObjective(base, SamRef(SMALL_REFINER))
    before = {key: value.clone() for key, value in base.state_dict().items()}
    start = [parameter.detach().clone() for parameter in objective.trained.parameters()]
    trainer_of(objective, recipe, shapes, tmp_path).run(log_every=5)
    values = json.loads((tmp_path / "log.jsonl").read_text())
    assert values["step"] == 5
    assert all(np.isfinite(value) for value in values.values())
    assert {"loss1"} | ({"coarse1", "global1", "final1"} if full.part == "refiner" else {"iou1"}) <= set(values)
    assert any(not torch.equal(old, new) for old, new in zip(start, objective.trained.parameters(), strict=True))
    kept = [key for key, value in base.state_dict().items() if torch.equal(value, before[key])]
    assert (set(kept) == set(before)) == (full.part == "refiner")


def test_frozen_stages_stay_as_they_were(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = TinyNet(SMALL)
    stem, late = net.encoder.stem.weight.clone(), net.encoder.stages[4].state_dict()
    late = {name: value.clone() for name, value in late.items()}
    trainer_of(BaseObjective(net), replace(SCENE_RECIPES["smoke-base"], steps=3), shapes, tmp_path).run()
    assert torch.equal(net.encoder.stem.weight, stem)
    assert any(not torch.equal(late[name], value) for name, value in net.encoder.stages[4].state_dict().items())


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    recipe = replace(SCENE_RECIPES["tiny-base"], steps=1000, warmup=100, cooldown=0.2)
    assert [recipe.rate_factor(step) for step in (0, 500, 900, 1000)] == pytest.approx([0.01, 1, 0.5, 0])


def test_batches_depend_on_seed_and_number_alone(shapes: Path) -> None:
    one, two = feed_of(shapes), feed_of(shapes)
    one.batch(4)
    assert np.array_equal(one.batch(5).rgb, two.batch(5).rgb)
    assert not np.array_equal(one.batch(5).rgb, one.batch(6).rgb)


def test_images_kept_in_memory_stay_within_their_size(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, short = feed_of(shapes), feed_of(shapes)
    batches = [free.batch(number) for number in range(6)]
    monkeypatch.setattr(scenes, "KEPT_BYTES", 2 * 4 * 96 * 128)
    for number, batch in enumerate(batches):
        assert np.array_equal(short.batch(number).labels, batch.labels)
    assert (len(free._kept), len(short._kept)) == (6, 2)


def test_every_data_set_is_drawn_by_the_root_of_its_size_and_as_favoured(shapes: Path) -> None:
    records = find_training_images(shapes).records
    few = [r for r in records if r.dataset == "coco_shapes"][:1] + [r for r in records if r.dataset == "lvis_shapes"]
    recipe = replace(SCENE_RECIPES["smoke-base"], favoured=(("coco_shapes", 3.0),))
    assert SceneFeed(few, recipe)._shares.tolist() == pytest.approx([3 / (3 + 3**0.5), 3**0.5 / (3 + 3**0.5)])


def test_a_scene_shows_objects_where_its_image_has_them(shapes: Path) -> None:
    rgb = np.asarray(Image.open(shapes / "coco_shapes/images/1.png"))
    ids = np.asarray(Image.open(shapes / "coco_shapes/masks/1.png"))
    for seed in range(6):
        scene = make_scene(rgb, ids, 96, 2, "whole" if seed % 2 else "object", np.random.default_rng(seed))
        assert scene is not None
        for label in scene.labels:
            assert scene.rgb[label == 1].mean() > scene.rgb[label == 0].mean() + 30


def test_a_scene_of_a_image_that_is_halved_first_lies_under_its_labels() -> None:
    rows, columns = np.mgrid[0:512, 0:512]
    disk = (rows - 255.5) ** 2 + (columns - 255.5) ** 2 < 150**2
    rgb = np.where(disk[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    off = []
    for seed in range(24):
        scene = make_scene(rgb, disk.astype(np.uint8), 128, 1, "whole", np.random.default_rng(seed))
        assert scene is not None
        grey = scene.rgb.astype(float).max(axis=2)
        shown = (grey - grey.min()) / (grey.max() - grey.min())
        off += [abs(_middle(shown, axis) - _middle(scene.labels[0].astype(float), axis)) for axis in (0, 1)]
    assert np.median(off) < 0.04, "half a pixel of the image is 0.12 of the scene"


def _middle(weights: NDArray[np.float64], axis: int) -> float:
    along = weights.sum(axis=1 - axis)
    return float((along * np.arange(along.size)).sum() / along.sum())


def test_a_backbone_must_exist_and_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError):
        load_backbone(TinyNet(SMALL), tmp_path / "none.npz")
    table: dict[str, Any] = {"op00.weight": np.zeros((1, 2)), "op00.bias": np.zeros(1)}
    np.savez(tmp_path / "bad.npz", **table)
    with pytest.raises(CheckpointInvalidError):
        load_backbone(TinyNet(SMALL), tmp_path / "bad.npz")
    (tmp_path / "text.npz").write_text("not a table")
    with pytest.raises(CheckpointInvalidError):
        load_backbone(TinyNet(SMALL), tmp_path / "text.npz")


def test_labels_of_half_the_size_are_neither_wider_nor_narrower_than_the_object() -> None:
    labels = torch.zeros(4, 1, 64, 64, dtype=torch.uint8)
    labels[..., 11:51, 13:53] = 1  # every outline cuts a row or column of cells in halves
    labels[2, 0, :, :8] = 255
    half, numeric = half_labels(labels)
    areas = half[:, 0].sum(dim=(1, 2)) * 4
    assert (areas - 40 * 40).abs().max() < 8  # were halves always inside: 42 x 42
    assert set(np.unique(numeric)) == {0, 1, 255}
    assert not half[2, 1, :, :4].any()
    assert half[0, 1].all()
    assert (numeric[0] == 1).sum() == int(half[0, 0].sum())
