"""Training end to end on made-up images: it learns, resumes to the same numbers, and refuses what it should."""

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
from typer.testing import CliRunner

from samref.cli.main import build_app
from samref.cli.train import load_backbone
from samref.errors import CheckpointInvalidError, CheckpointMissingError, DataError, TrainingError
from samref.models.checkpoints import load_into, load_safetensors
from samref.models.layers import randomize
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.tiny.network import EncoderConfig, TinyConfig, TinyNet
from samref.training.dataset import BatchShape, SceneBatches, find_images, make_scene
from samref.training.objectives import BaseObjective
from samref.training.recipes import RECIPES
from samref.training.refine import RefinerObjective
from samref.training.run_state import export_weights
from samref.training.scenes import half_labels
from samref.training.trainer import Trainer, rate_factor

SMALL = TinyConfig(image_size=128, encoder=EncoderConfig(0.125), context=16, widths=(8, 8, 16), heads=2, blocks=1)
SMALL_REFINER = SamRefConfig(
    width=8, global_blocks=1, local_blocks=1, embedding_channels=16, crop=64, minimum=8, rule="object"
)
CPU = torch.device("cpu")


def base_trainer(shapes: Path, out: Path, steps: int = 6) -> Trainer:
    torch.manual_seed(0)
    recipe = replace(RECIPES["smoke-base"], steps=steps)
    return Trainer(BaseObjective(TinyNet(SMALL)), recipe, shapes, out, CPU, bf16=False)


def test_training_lowers_the_loss(shapes: Path, tmp_path: Path) -> None:
    net = TinyNet(SMALL)
    randomize(net, 0)
    recipe = replace(RECIPES["smoke-base"], steps=90, rate=3e-3, warmup=5, encoder_rate=1.0)
    Trainer(BaseObjective(net), recipe, shapes, tmp_path, CPU, bf16=False).run(log_every=30)
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


def test_a_state_of_another_recipe_is_refused(shapes: Path, tmp_path: Path) -> None:
    base_trainer(shapes, tmp_path, steps=1).run()
    other = replace(RECIPES["smoke-base"], name="other")
    with pytest.raises(TrainingError, match="smoke-base"):
        Trainer(BaseObjective(TinyNet(SMALL)), other, shapes, tmp_path, CPU)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(shapes: Path, tmp_path: Path) -> None:
    base_trainer(shapes, tmp_path, steps=2).run()
    kept = (tmp_path / "state.pt").read_bytes()
    broken = base_trainer(shapes, tmp_path, steps=4)
    with torch.no_grad():
        broken.trained.decoder.head.weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match="not finite at step 2"):
        broken.run()
    assert (tmp_path / "state.pt").read_bytes() == kept


def test_the_refiner_trains_over_a_frozen_base(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = TinyNet(SMALL)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    refiner = SamRef(SMALL_REFINER)
    start = {name: value.clone() for name, value in refiner.state_dict().items()}
    trainer = Trainer(RefinerObjective(base, refiner), RECIPES["smoke-refiner"], shapes, tmp_path, CPU, bf16=False)
    trainer.run(log_every=2)
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())
    assert any(not torch.equal(start[name], value) for name, value in refiner.state_dict().items())
    names = {key for line in (tmp_path / "log.jsonl").read_text().splitlines() for key in json.loads(line)}
    assert {"coarse1", "global1", "final1", "loss1"} <= names


@pytest.mark.parametrize("name", ["tiny-base", "tiny-base-2", "tiny-base-3", "tiny-refiner"])
def test_the_embedded_recipes_run(name: str, shapes: Path, tmp_path: Path) -> None:
    """With all their numbers but the sizes: every framing, pasted objects, favoured data sets."""
    torch.manual_seed(0)
    full = RECIPES[name]
    forms = tuple(replace(shape, images=2, side=128) for shape in full.shapes)
    recipe = replace(full, shapes=forms, steps=5, warmup=1, pasted=max(full.pasted, 0.5))
    base = TinyNet(SMALL)
    objective = BaseObjective(base) if full.part == "base" else RefinerObjective(base, SamRef(SMALL_REFINER))
    before = {key: value.clone() for key, value in base.state_dict().items()}
    Trainer(objective, recipe, shapes, tmp_path, CPU, bf16=False).run(log_every=5)
    values = json.loads((tmp_path / "log.jsonl").read_text())
    assert values["step"] == 5
    assert all(np.isfinite(value) for value in values.values())
    assert any(key.startswith("loss") for key in values)
    kept = [key for key, value in base.state_dict().items() if torch.equal(value, before[key])]
    assert (set(kept) == set(before)) == (full.part == "refiner")


def test_frozen_stages_stay_as_they_were(shapes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = TinyNet(SMALL)
    stem, late = net.encoder.stem.weight.clone(), net.encoder.stages[4].state_dict()
    late = {name: value.clone() for name, value in late.items()}
    Trainer(BaseObjective(net), replace(RECIPES["smoke-base"], steps=3), shapes, tmp_path, CPU, bf16=False).run()
    assert torch.equal(net.encoder.stem.weight, stem)
    assert any(not torch.equal(late[name], value) for name, value in net.encoder.stages[4].state_dict().items())


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    recipe = replace(RECIPES["tiny-base"], steps=1000, warmup=100, cooldown=0.2)
    assert rate_factor(0, recipe) == pytest.approx(0.01)
    assert rate_factor(500, recipe) == 1
    assert rate_factor(900, recipe) == pytest.approx(0.5)
    assert rate_factor(1000, recipe) == 0


def test_batches_depend_on_seed_and_number_alone(shapes: Path) -> None:
    form = (BatchShape(2, 64, 0.5, 1.0),)
    images = find_images(shapes)
    one, two = SceneBatches(images, form, 2, seed=1), SceneBatches(images, form, 2, seed=1, start=5)
    assert np.array_equal(one.batch(5).rgb, next(iter(two)).rgb)
    assert not np.array_equal(one.batch(5).rgb, one.batch(6).rgb)


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


def test_folders_without_images_or_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No data set"):
        find_images(tmp_path)
    (tmp_path / "x" / "images").mkdir(parents=True)
    (tmp_path / "x" / "images" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="has no mask"):
        find_images(tmp_path)


def test_weights_go_out_in_half_precision_and_come_back(tmp_path: Path) -> None:
    net = TinyNet(SMALL)
    export_weights(net, tmp_path / "w.safetensors", {"recipe": "x"})
    other = TinyNet(SMALL)
    load_into(other, load_safetensors(tmp_path / "w.safetensors"), "tiny")
    torch.testing.assert_close(other.decoder.head.weight, net.decoder.head.weight, rtol=1e-3, atol=1e-4)


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


def test_the_command_refuses_an_unknown_recipe(shapes: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app("train"), ["train", "nope", "--data", str(shapes), "--out", str(tmp_path)])
    assert isinstance(result.exception, TrainingError)
    assert "tiny-base" in str(result.exception)


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
