"""Every stage of the papers takes steps on a GPU and begins with the loss it has on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from samref.training.recipes import PAPER_RECIPES
from samref.training.stages import StageFiles, build_stage, find_training_images
from samref.training.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.fixture
def disks(tmp_path: Path) -> Path:
    place = tmp_path / "disks"
    (place / "images").mkdir(parents=True)
    (place / "masks").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = np.zeros((96, 128), dtype=np.uint8)
        cv2.circle(mask, (40 + 10 * index, 48), 26, 1, -1)
        rgb = rng.integers(0, 80, (96, 128, 3), dtype=np.uint8) + 150 * mask[..., None]
        cv2.imwrite(str(place / "images" / f"{index}.png"), rgb)
        cv2.imwrite(str(place / "masks" / f"{index}.png"), mask)
    return place


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_a_stage_takes_steps_on_the_gpu(name: str, disks: Path, tmp_path: Path) -> None:
    recipe = replace(PAPER_RECIPES[name], batch=2, steps=2, minimum_area=20, background=0.0)
    model = "segnext-random" if recipe.part == "segnext" else "sam-random"
    losses = {}
    for device in ("cpu", "cuda"):
        stage = build_stage(replace(recipe, model=model), StageFiles(), torch.device(device))
        feed = stage.feed(find_training_images(disks).records)
        trainer = Trainer(stage.objective, recipe, feed, tmp_path / device, torch.device(device), workers=0)
        losses[device] = trainer._train_step(trainer._batches())["loss"]
        trainer.step = 1
        trainer.run()
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.3)  # dropout differs, clicks may where masks nearly tie
