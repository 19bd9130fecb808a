from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble
from samref.errors import CheckpointMissingError, UnknownModelError
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, InteractiveModel, PromptBatch
from samref.models.registry import build_model, get_spec, list_models
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef
from samref.models.sam_ref.windows import Window
from samref.models.tiny.model import TinyModel
from samref.models.tiny.network import MobileNetV2, SameConv


def tiny_base() -> TinyModel:
    model = build_model("tiny-random")
    assert isinstance(model, SamRefModel)
    assert isinstance(model.base, TinyModel)
    return model.base


def encoded(model: InteractiveModel, size: ImageSize) -> ImageFeatures:
    rgb = np.random.default_rng(0).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    return model.encode(ImageInput(torch.from_numpy(rgb), model.frame(size)))


@pytest.mark.parametrize("size", [ImageSize(40, 300), ImageSize(301, 77), ImageSize(1, 1), ImageSize(3000, 2000)])
def test_images_of_any_shape_get_logits_over_their_padded_frame(size: ImageSize) -> None:
    model = build_model("tiny-random")
    frame = model.frame(size)
    features = model.encode(ImageInput(torch.zeros(size.height, size.width, 3, dtype=torch.uint8), frame))
    batch = PromptBatch(Prompts((Click(0, 0),)), frame)
    for output in model.decode(features, batch, DecoderState()):
        assert tuple(output.logits.shape[-2:]) == (frame.padded.height // 4, frame.padded.width // 4)
        assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize(
    "prompt",
    [
        Click(30, 30, positive=False),
        Box(10, 10, 60, 50),
        Scribble(((10.0, 10.0), (60.0, 40.0))),
        Polygon(((10.0, 10.0), (60.0, 12.0), (40.0, 60.0))),
    ],
)
def test_every_kind_of_prompt_changes_the_answer(prompt: Click | Box | Scribble | Polygon) -> None:
    model = build_model("tiny-random")
    size = ImageSize(100, 120)
    features = encoded(model, size)

    def logits(prompts: Prompts, mask: torch.Tensor | None = None) -> torch.Tensor:
        batch = PromptBatch(prompts, model.frame(size), mask)
        return next(model.decode(features, batch, DecoderState())).logits

    nothing = logits(Prompts())
    assert not torch.equal(logits(Prompts((prompt,))), nothing)
    assert not torch.equal(logits(Prompts(), torch.full((1, 1, 28, 32), 8.0)), nothing)


def test_looking_closer_at_the_whole_frame_is_the_answer_itself() -> None:
    model = tiny_base()
    size = ImageSize(128, 96)  # the frame of the random model, so that nothing is resized
    features = encoded(model, size)
    batch = PromptBatch(Prompts((Click(40, 50), Box(20, 20, 70, 90))), model.frame(size))
    before = torch.randn(1, 1, 32, 24, generator=torch.Generator().manual_seed(1))
    (answer,) = model.decode(features, batch, DecoderState(low_res_logits=before))
    closer = model.look_closer(features, batch, before, Window(0, 0, 24, 32), 128)
    torch.testing.assert_close(closer, answer.logits, atol=1e-4, rtol=1e-4)


def test_looking_closer_shows_prompts_and_pixels_of_the_window_only() -> None:
    model = tiny_base()
    size = ImageSize(128, 128)
    features = encoded(model, size)
    pixels = features.pixels.clone()
    pixels[..., 80:, :] = 0
    elsewhere = replace(features, pixels=pixels)
    window = Window(4, 4, 14, 12)
    before = torch.zeros(1, 1, 32, 32)

    def closer(seen: ImageFeatures, *items: Click) -> torch.Tensor:
        return model.look_closer(seen, PromptBatch(Prompts(items), model.frame(size)), before, window, 96)

    inside = closer(features, Click(30, 30))
    assert tuple(inside.shape) == (1, 1, 20, 24)  # 80 of 96 pixels high, a quarter of each
    torch.testing.assert_close(closer(elsewhere, Click(30, 30)), inside, atol=0, rtol=0)
    torch.testing.assert_close(closer(features, Click(30, 30), Click(120, 120)), inside, atol=0, rtol=0)
    assert not torch.equal(closer(features, Click(45, 40)), inside)


def test_looking_closer_changes_the_refined_mask_inside_the_window_only() -> None:
    model = build_model("tiny-random")
    assert isinstance(model, SamRefModel)
    refiner = SamRef(replace(model.refiner.config, closer=96))
    refiner.load_state_dict(model.refiner.state_dict())
    closer = SamRefModel(model.base, refiner, model.spec).to(torch.device("cpu"), torch.float32)
    size = ImageSize(100, 120)
    features = encoded(model, size)
    batch = PromptBatch(Prompts((Click(30, 30),)), model.frame(size))
    (coarse, plain), (same, refined) = (tuple(m.decode(features, batch, DecoderState())) for m in (model, closer))
    assert torch.equal(coarse.logits, same.logits)
    assert torch.equal(plain.logits, refined.logits)
    assert plain.patch is not None
    assert refined.patch is not None
    assert plain.patch.box_xyxy == refined.patch.box_xyxy
    assert not torch.equal(plain.patch.logits, refined.patch.logits)


def test_moving_a_model_leaves_the_first_as_it_is() -> None:
    model = build_model("tiny-random")
    half = model.to(torch.device("cpu"), torch.bfloat16)
    size = ImageSize(64, 64)
    assert encoded(model, size).image_embedding.dtype == torch.float32
    assert encoded(half, size).image_embedding.dtype == torch.bfloat16


def test_two_builds_with_one_seed_are_equal_and_with_another_differ() -> None:
    size = ImageSize(64, 64)
    first, same, other = (encoded(build_model("tiny-random", seed=seed), size) for seed in (1, 1, 2))
    assert torch.equal(first.image_embedding, same.image_embedding)
    assert not torch.equal(first.image_embedding, other.image_embedding)


def test_same_padding_is_tensorflows() -> None:
    conv = SameConv(1, 1, 3, 2)
    torch.nn.init.ones_(conv.weight)
    assert conv.bias is not None
    torch.nn.init.zeros_(conv.bias)
    even = conv(torch.ones(1, 1, 4, 4))
    assert torch.equal(even[0, 0], torch.tensor([[9.0, 6.0], [6.0, 4.0]]))  # padded right and bottom only
    odd = conv(torch.ones(1, 1, 5, 5))
    assert torch.equal(odd[0, 0, 0], torch.tensor([4.0, 6.0, 4.0]))  # padded on both sides


def test_the_encoder_has_the_published_layers() -> None:
    encoder = MobileNetV2()
    assert len(encoder.convolutions()) == 51
    levels = encoder(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [(24, 16, 24), (32, 8, 12), (96, 4, 6), (320, 4, 6)]


def test_the_default_comes_first_and_an_unknown_name_lists_the_others() -> None:
    assert list_models()[0].name == "tiny"
    with pytest.raises(UnknownModelError, match=r"There is no model 'nope'.*tiny, sam-vit-b"):
        get_spec("nope")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError):
        build_model("tiny", checkpoint=tmp_path)
