"""The refiner's step is one: batched or alone, in training or in use."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.prompts import Click, Prompt, Prompts, Scribble
from samref.models.interface import ImageInput, PromptBatch
from samref.models.registry import build_model
from samref.models.sam_ref import step
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.windows import Window
from samref.models.tiny.model import TinyModel
from samref.training.tiny_stage import RefinerObjective

SIDE = 128


@pytest.fixture(scope="module")
def model() -> SamRefModel:
    built = build_model("tiny-random")
    assert isinstance(built, SamRefModel)
    built.refiner.config = replace(built.refiner.config, closer=64)
    return built


def scenes(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8))


def in_use(model: SamRefModel, rgb: torch.Tensor, prompts: Prompts, logits: torch.Tensor, window: Window) -> Any:
    frame = model.frame(ImageSize(SIDE, SIDE))
    features = model.encode(ImageInput(rgb.permute(1, 2, 0), frame))
    embedding = features.parts["refiner.embedding"]
    said = PromptBatch(prompts, frame)
    return step.look_closer(
        model.refiner.config, features, said, logits, window, embedding=embedding, base=model.base
    ), embedding


def test_training_shows_the_local_refiner_what_it_sees_in_use(model: SamRefModel) -> None:
    assert isinstance(model.base, TinyModel)
    rgb, logits = scenes(2), torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    chosen = [Window(4, 6, 20, 16), Window(0, 0, 32, 32)]
    # Prompts of a training scene lie on labels of half its size.
    halved: list[list[Prompt]] = [
        [Click(20, 21), Click(30, 25, positive=False)],
        [Scribble(((5, 5), (30, 40)), True, 3)],
    ]
    whole = [
        Prompts((Click(40.5, 42.5), Click(60.5, 50.5, positive=False))),
        Prompts((Scribble(((10.5, 10.5), (60.5, 80.5)), True, 6),)),
    ]
    used = [in_use(model, *one) for one in zip(rgb, whole, logits[:, None], chosen, strict=True)]
    trainer = RefinerObjective(model.base.net, model.refiner)
    annotator: Any = SimpleNamespace(prompts=halved, maps=np.zeros((2, 5, 64, 64), dtype=np.uint8))
    lesson: Any = SimpleNamespace(rgb=rgb, objects=1, annotator=annotator)
    with torch.no_grad():
        seen = trainer._look_closer(lesson, logits, torch.cat([one[1] for one in used]), chosen)
    for index, (expected, _) in enumerate(used):
        for ours, theirs in zip(seen, expected, strict=True):
            assert ours is not None
            torch.testing.assert_close(ours[index : index + 1], theirs)


def test_a_batch_is_refined_as_each_object_alone(model: SamRefModel) -> None:
    rgb, logits = scenes(2), torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    prompts, window = Prompts((Click(50, 60),)), Window(4, 6, 20, 16)
    closeups = [in_use(model, one, prompts, own[None], window)[0] for one, own in zip(rgb, logits, strict=True)]
    with torch.inference_mode():
        together = step.refine_local(model.refiner, step.together(closeups))
        alone = [step.refine_local(model.refiner, one) for one in closeups]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]))
    torch.testing.assert_close(together.error, torch.cat([one.error for one in alone]))
