"""SAM behind the common interface, with random weights of a small size."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import CheckpointInvalidError, CheckpointMissingError, ModelError, PromptError
from samref.models.checkpoints import load_into
from samref.models.interface import (
    Checkpoint,
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    PromptBatch,
)
from samref.models.sam import RANDOM, SPECS, VIT_B
from samref.models.sam import model as sam
from samref.models.sam.model import MultimaskMode, SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS, build_sam_network, random_weights
from samref.models.sam.prompts import to_sam_prompt

SIZE = ImageSize(120, 200)


@pytest.fixture(scope="module")
def model() -> SamModel:
    return build_sam(RANDOM)


def image(size: ImageSize = SIZE) -> torch.Tensor:
    values = np.random.default_rng(5).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.fixture(scope="module")
def features(model: SamModel) -> ImageFeatures:
    return model.encode(ImageInput(image(), model.frame(SIZE)))


def decode(model: SamModel, features: ImageFeatures, *items: Prompt, state: DecoderState | None = None) -> MaskOutput:
    prompts = Prompts(items).mapped(features.frame.to_model, features.frame.scale_xy[0])
    (output,) = model.decode(features, PromptBatch(prompts, features.frame), state or DecoderState())
    return output


def test_it_is_an_interactive_model(model: SamModel) -> None:
    assert isinstance(model, InteractiveModel)
    assert model.spec.stages == ("coarse",)
    assert model.spec.prompts == {"click", "box", "scribble", "polygon", "mask"}


def test_an_embedding_holds_the_image_unpadded(model: SamModel, features: ImageFeatures) -> None:
    assert features.image_embedding.shape == (1, 32, 16, 16)
    assert features.pixels.shape == (1, 3, 120, 200)
    assert features.pixels.dtype == torch.uint8
    assert torch.equal(features.pixels[0].permute(1, 2, 0), image())
    assert features.size_bytes == 32 * 16 * 16 * 4 + 3 * 120 * 200


def test_a_large_image_is_kept_at_most_2048_pixels_long(model: SamModel) -> None:
    size = ImageSize(30, 4100)
    features = model.encode(ImageInput(image(size), model.frame(size)))
    assert features.pixels.shape == (1, 3, 15, 2048)


@pytest.mark.parametrize("size", [ImageSize(1, 1), ImageSize(1, 500), ImageSize(700, 2)])
def test_the_thinnest_images_have_an_answer(model: SamModel, size: ImageSize) -> None:
    features = model.encode(ImageInput(image(size), model.frame(size)))
    assert decode(model, features, Click(0, 0)).logits.isfinite().all()


@pytest.mark.parametrize(
    "prompt",
    [
        Click(100, 60),
        Click(100, 60, positive=False),
        Box(20, 30, 120, 90),
        Scribble(((20, 20), (90, 60), (150, 60))),
        Polygon(((20, 20), (120, 30), (80, 100))),
        Polygon(((20, 20), (120, 30), (80, 100)), positive=False),
    ],
)
def test_every_prompt_has_one_coarse_answer(model: SamModel, features: ImageFeatures, prompt: Prompt) -> None:
    output = decode(model, features, prompt)
    assert output.stage == "coarse"
    assert output.logits.shape == (1, 1, 64, 64)
    assert output.logits.isfinite().all()
    assert 0 <= output.iou_prediction <= 1
    assert output.state.step == 1
    for remembered in (output.state.low_res_logits, output.state.final_logits):
        assert remembered is not None
        assert torch.equal(remembered, output.logits)


def test_a_rough_mask_alone_has_an_answer(model: SamModel, features: ImageFeatures) -> None:
    batch = PromptBatch(Prompts(), features.frame, torch.ones(1, 1, 256, 256))
    (output,) = model.decode(features, batch, DecoderState())
    assert output.logits.shape == (1, 1, 64, 64)


def test_saying_nothing_is_refused(model: SamModel, features: ImageFeatures) -> None:
    with pytest.raises(PromptError, match="Click on the object"):
        decode(model, features)


def test_the_answer_depends_on_where_on_the_sign_and_on_the_answer_before(
    model: SamModel, features: ImageFeatures
) -> None:
    first = decode(model, features, Click(30, 30))
    assert not torch.equal(decode(model, features, Click(150, 90)).logits, first.logits)
    assert not torch.equal(decode(model, features, Click(30, 30, positive=False)).logits, first.logits)
    two = Click(30, 30), Click(150, 90, positive=False)
    with_memory = decode(model, features, *two, state=first.state)
    assert not torch.equal(with_memory.logits, decode(model, features, *two).logits)
    assert with_memory.state.step == 2


def test_encoding_and_decoding_are_pure(model: SamModel) -> None:
    rgb = image()
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    features = model.encode(ImageInput(rgb, model.frame(SIZE)))
    embedding = features.image_embedding.clone()
    state = decode(model, features, Click(30, 30)).state
    assert state.low_res_logits is not None
    logits = state.low_res_logits.clone()
    one = decode(model, features, Click(30, 30), Polygon(((5, 5), (90, 5), (60, 80))), state=state)
    two = decode(model, features, Click(30, 30), Polygon(((5, 5), (90, 5), (60, 80))), state=state)
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(rgb, image())
    assert torch.equal(features.image_embedding, embedding)
    assert torch.equal(state.low_res_logits, logits)
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())


@pytest.mark.parametrize(("multimask", "first", "second"), [("single", 1, 1), ("first-click", 3, 1), ("always", 3, 3)])
def test_the_multimask_mode_says_when_the_best_of_three_is_taken(
    model: SamModel, features: ImageFeatures, multimask: MultimaskMode, first: int, second: int
) -> None:
    chosen = SamModel(model.spec, model.config, model.network, multimask)
    clicks = Click(30, 30), Click(150, 90, positive=False)
    state = DecoderState()
    for count, masks in ((1, first), (2, second)):
        output = decode(chosen, features, *clicks[:count], state=state)
        prompts = Prompts(clicks[:count]).mapped(features.frame.to_model, 1.0)
        prompt = to_sam_prompt(PromptBatch(prompts, features.frame), state, model.low_res)
        logits, ious = model.predict_masks(features, prompt, multimask=masks == 3)
        assert logits.shape[1] == masks
        best = int(ious[0].argmax())
        assert torch.equal(output.logits, logits[:, best : best + 1])
        state = output.state


def test_an_unknown_multimask_mode_is_refused(model: SamModel) -> None:
    with pytest.raises(ModelError, match="first-click"):
        SamModel(model.spec, model.config, model.network, cast(MultimaskMode, "sometimes"))


def test_another_precision_is_another_model_close_to_this_one(model: SamModel, features: ImageFeatures) -> None:
    low = model.to(torch.device("cpu"), torch.bfloat16)
    assert model.dtype == torch.float32
    assert low.dtype == torch.bfloat16
    assert low.network.mask_decoder.iou_token.weight.dtype == torch.float32
    low_features = low.encode(ImageInput(image(), features.frame))
    assert low_features.image_embedding.dtype == torch.bfloat16
    wanted = decode(model, features, Click(100, 60)).logits
    error = (decode(low, low_features, Click(100, 60)).logits - wanted).abs().mean() / wanted.std()
    assert error < 0.1
    assert model.to(torch.device("cpu"), torch.float32) is model


def test_the_weights_are_frozen_and_a_part_can_be_trained(features: ImageFeatures) -> None:
    model = build_sam(RANDOM)
    assert not decode(model, features, Click(30, 30)).logits.requires_grad
    model.network.mask_decoder.requires_grad_(True)
    decode(model, features, Click(30, 30)).logits.mean().backward()  # type: ignore[no-untyped-call]
    assert model.network.mask_decoder.iou_token.weight.grad is not None
    assert model.network.image_encoder.pos_embed.grad is None


def test_the_seed_names_the_random_weights() -> None:
    one, same, other = (build_sam(RANDOM, seed=seed).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["image_encoder.pos_embed"], other["image_encoder.pos_embed"])


def test_the_package_is_loaded_without_torchvision() -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from samref.models.sam import RANDOM\n"
        "from samref.models.sam.model import build_sam\n"
        "build_sam(RANDOM)\n"
        "assert 'segment_anything' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_sizes_of_the_released_variants_are_the_packages_own() -> None:
    from samref.models.sam.network import segment_anything_module

    registry = segment_anything_module("build_sam").sam_model_registry
    for letter in "blh":
        with torch.device("meta"):
            theirs = registry[f"vit_{letter}"]()
            ours = build_sam_network(SAM_CONFIGS[f"sam-vit-{letter}"])
        assert repr(ours) == repr(theirs)
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in theirs.state_dict().items()
        }


def test_a_network_built_without_memory_normalises_as_the_packages_does(model: SamModel) -> None:
    own = build_sam_network(model.config)
    load_into(own, random_weights(model.config, 0), "random")
    prepared = model.preprocess(ImageInput(image(), model.frame(SIZE)))
    assert torch.equal(own.pixel_mean, model.network.pixel_mean)
    assert torch.equal(own.pixel_std, model.network.pixel_std)
    with torch.no_grad():
        assert torch.equal(own.image_encoder(prepared), model.network.image_encoder(prepared))


class TestOfficialWeights:
    def test_every_released_variant_has_address_size_and_whole_digest(self) -> None:
        for letter in "blh":
            (checkpoint,) = SPECS[f"sam-vit-{letter}"].checkpoints
            assert checkpoint.file_name.startswith(f"sam_vit_{letter}_")
            assert checkpoint.url == f"https://dl.fbaipublicfiles.com/segment_anything/{checkpoint.file_name}"
            assert checkpoint.sha256 is not None
            assert len(checkpoint.sha256) == 64
            assert checkpoint.size_bytes
            assert SPECS[f"sam-vit-{letter}"].licence == "Apache-2.0"

    def test_without_the_file_the_command_that_fetches_it_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
        with pytest.raises(CheckpointMissingError, match="models fetch sam-vit-b"):
            build_sam(VIT_B)

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "sam.pth"
        path.write_bytes(b"something else")
        with pytest.raises(CheckpointInvalidError, match="bytes"):
            build_sam(VIT_B, checkpoint=path)

    def test_a_checkpoint_on_disk_gives_the_model_its_weights(
        self, tmp_path: Path, model: SamModel, features: ImageFeatures
    ) -> None:
        path = tmp_path / "small.pth"
        torch.save(dict(model.network.state_dict()), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        spec = replace(model.spec, checkpoints=(Checkpoint(path.name, None, digest, path.stat().st_size),))
        loaded = build_sam(spec, "first-click", checkpoint=path)
        wanted = decode(model, features, Click(30, 30)).logits
        assert torch.equal(decode(loaded, features, Click(30, 30)).logits, wanted)

    def test_weights_of_another_variant_are_refused_by_name(
        self, tmp_path: Path, model: SamModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "other.pth"
        torch.save(dict(model.network.state_dict()), path)
        monkeypatch.setattr(sam, "SAM_CONFIGS", {"sam-vit-b": replace(model.config, depth=3)})
        with pytest.raises(CheckpointInvalidError, match=r"image_encoder\.blocks\.2"):
            build_sam(replace(VIT_B, checkpoints=(Checkpoint("other.pth"),)), checkpoint=path)
