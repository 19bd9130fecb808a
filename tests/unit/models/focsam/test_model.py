"""FocSAM as a model: when the embedding is made anew, and that nothing else remembers it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import ModelError, PromptError
from samref.models.focsam.model import FocsamConfig, FocsamModel, decode_single_mask
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    PromptBatch,
)
from samref.models.registry import build_model
from samref.models.sam.model import SamModel
from samref.models.sam.prompts import to_sam_prompt

SIZE = ImageSize(120, 200)
A, B, C = Click(60, 40), Click(150, 90, positive=False), Click(90, 70)


@pytest.fixture(scope="module")
def model() -> FocsamModel:
    built = build_model("focsam-random")
    assert isinstance(built, FocsamModel)
    return built


def image(size: ImageSize = SIZE) -> Tensor:
    values = np.random.default_rng(5).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@pytest.fixture(scope="module")
def features(model: FocsamModel) -> ImageFeatures:
    return model.encode(ImageInput(image(), model.frame(SIZE)))


def batch(features: ImageFeatures, *items: Prompt, mask: Tensor | None = None) -> PromptBatch:
    frame = features.frame
    return PromptBatch(Prompts(items).mapped(frame.to_model, frame.scale_xy[0]), frame, mask)


def answers(
    model: FocsamModel, features: ImageFeatures, *items: Prompt, state: DecoderState | None = None
) -> list[MaskOutput]:
    return list(model.decode(features, batch(features, *items), state or DecoderState()))


def stages(outputs: list[MaskOutput]) -> list[str]:
    return [output.stage for output in outputs]


def with_config(model: FocsamModel, **changes: Any) -> FocsamModel:
    return FocsamModel(model.base, model.refiner, model.spec, FocsamConfig(**changes))


def single_sam(model: FocsamModel) -> SamModel:
    return SamModel(model.base.spec, model.base.config, model.base.network, multimask="single")


class TestSequence:
    def test_it_is_an_interactive_model_of_two_stages(self, model: FocsamModel) -> None:
        assert isinstance(model, InteractiveModel)
        assert model.spec.stages == ("coarse", "refined")
        assert model.spec.prompts == {"click", "box", "scribble", "polygon", "mask"}

    def test_the_first_click_is_plain_sams_single_mask(self, model: FocsamModel, features: ImageFeatures) -> None:
        (output,) = answers(model, features, A)
        (sam,) = single_sam(model).decode(features, batch(features, A), DecoderState())
        torch.testing.assert_close(output.logits, sam.logits)
        assert output.stage == "coarse"
        assert output.state.refocused is None
        assert 0 <= output.iou_prediction <= 1

    def test_the_second_click_is_answered_twice_from_two_embeddings(
        self, model: FocsamModel, features: ImageFeatures
    ) -> None:
        state = answers(model, features, A)[-1].state
        coarse, refined = answers(model, features, A, B, state=state)
        (sam,) = single_sam(model).decode(features, batch(features, A, B), state)
        assert (coarse.stage, refined.stage) == ("coarse", "refined")
        torch.testing.assert_close(coarse.logits, sam.logits)
        refocused = refined.state.refocused
        assert refocused is not None
        assert refocused.shape == features.image_embedding.shape
        prompt = to_sam_prompt(batch(features, A, B), state, model.base.low_res)
        assert torch.equal(refined.logits, model.predict_mask(refocused, prompt).logits)
        assert torch.equal(
            refocused, model.refocus(features.image_embedding, model.predict_mask(features.image_embedding, prompt))
        )

    def test_what_goes_back_to_sam_is_the_final_mask(self, model: FocsamModel, features: ImageFeatures) -> None:
        state = answers(model, features, A)[-1].state
        for outputs in (answers(model, features, A), answers(model, features, A, B, state=state)):
            final = outputs[-1]
            for kept in (final.state.low_res_logits, final.state.final_logits):
                assert kept is not None
                assert torch.equal(kept, final.logits)
            assert final.state.step == (1 if len(outputs) == 1 else 2)

    def test_later_clicks_run_no_refiner(self, model: FocsamModel, features: ImageFeatures) -> None:
        assert model.refiner is not None
        calls: list[int] = []
        handle = model.refiner.register_forward_hook(lambda *_: calls.append(1))
        state = answers(model, features, A)[-1].state
        assert calls == []
        state = answers(model, features, A, B, state=state)[-1].state
        assert calls == [1]
        third = answers(model, features, A, B, C, state=state)
        handle.remove()
        assert calls == [1]
        assert stages(third) == ["refined"]
        assert state.refocused is not None
        assert third[0].state.refocused is state.refocused

    def test_undoing_the_second_click_goes_back_to_the_images_own_embedding(
        self, model: FocsamModel, features: ImageFeatures
    ) -> None:
        first = answers(model, features, A)[-1]
        second = answers(model, features, A, B, state=first.state)
        undone = answers(model, features, A, C, state=first.state)
        assert first.state.refocused is None
        assert stages(undone) == ["coarse", "refined"]
        prompt = to_sam_prompt(batch(features, A, C), first.state, model.base.low_res)
        assert torch.equal(undone[0].logits, model.predict_mask(features.image_embedding, prompt).logits)
        redone = answers(model, features, A, B, state=first.state)
        assert torch.equal(redone[-1].logits, second[-1].logits)

    def test_several_clicks_at_once_are_refocused_at_once(self, model: FocsamModel, features: ImageFeatures) -> None:
        assert stages(answers(model, features, A, B, C)) == ["coarse", "refined"]

    def test_who_stops_at_the_coarse_mask_has_plain_sam(self, model: FocsamModel, features: ImageFeatures) -> None:
        sam, state, plain = single_sam(model), DecoderState(), DecoderState()
        for count in (1, 2, 3):
            clicks = (A, B, C)[:count]
            coarse = next(model.decode(features, batch(features, *clicks), state))
            (own,) = sam.decode(features, batch(features, *clicks), plain)
            torch.testing.assert_close(coarse.logits, own.logits)
            assert coarse.stage == "coarse"
            state, plain = coarse.state, own.state

    def test_the_step_of_refocusing_can_be_chosen(self, model: FocsamModel, features: ImageFeatures) -> None:
        assert stages(answers(with_config(model, refocus_at=1), features, A)) == ["coarse", "refined"]
        late = with_config(model, refocus_at=3)
        state = answers(late, features, A)[-1].state
        second = answers(late, features, A, B, state=state)
        assert stages(second) == ["coarse"]
        assert stages(answers(late, features, A, B, C, state=second[-1].state)) == ["coarse", "refined"]

    def test_saying_nothing_is_refused(self, model: FocsamModel, features: ImageFeatures) -> None:
        with pytest.raises(PromptError, match="Click on the object"):
            answers(model, features)


class TestOtherPrompts:
    @pytest.mark.parametrize(
        "prompt",
        [
            Box(20, 30, 120, 90),
            Scribble(((20, 20), (90, 60), (150, 60))),
            Polygon(((20, 20), (120, 30), (80, 100))),
        ],
    )
    def test_a_first_prompt_that_tells_the_extent_is_refocused_at_once(
        self, model: FocsamModel, features: ImageFeatures, prompt: Prompt
    ) -> None:
        outputs = answers(model, features, prompt)
        assert stages(outputs) == ["coarse", "refined"]
        then = answers(model, features, prompt, B, state=outputs[-1].state)
        assert stages(then) == ["refined"]
        waiting = with_config(model, refocus_areas_at_once=False)
        assert stages(answers(waiting, features, prompt)) == ["coarse"]

    def test_a_dab_is_like_a_click(self, model: FocsamModel, features: ImageFeatures) -> None:
        assert stages(answers(model, features, Scribble(((60, 40), (62, 41))))) == ["coarse"]

    def test_a_rough_mask_is_refocused_at_once(self, model: FocsamModel, features: ImageFeatures) -> None:
        given = batch(features, mask=torch.ones(1, 1, 64, 64))
        assert stages(list(model.decode(features, given, DecoderState()))) == ["coarse", "refined"]

    def test_a_box_after_a_click_is_a_second_prompt(self, model: FocsamModel, features: ImageFeatures) -> None:
        state = answers(model, features, A)[-1].state
        assert stages(answers(model, features, A, Box(20, 30, 120, 90), state=state)) == ["coarse", "refined"]


class TestWindow:
    def test_the_coarse_masks_box_grows_by_two_fifths(self, model: FocsamModel) -> None:
        logits = torch.full((1, 1, 64, 64), -8.0)
        logits[..., 20:30, 10:40] = 8
        wide = model.window(logits)[0].tolist()
        tight = with_config(model, expand_height=1.0, expand_width=1.0).window(logits)[0].tolist()
        assert (tight[2] - tight[0], tight[3] - tight[1]) == pytest.approx((120, 40), abs=4)
        assert (wide[2] - wide[0]) / (tight[2] - tight[0]) == pytest.approx(1.4, abs=0.02)
        assert (wide[3] - wide[1]) / (tight[3] - tight[1]) == pytest.approx(1.4, abs=0.05)

    def test_without_a_coarse_mask_the_whole_frame_is_looked_at(self, model: FocsamModel) -> None:
        assert model.window(torch.full((1, 1, 64, 64), -1.0))[0].tolist() == [0, 0, 256, 256]


class TestPurity:
    def test_encoding_and_decoding_change_nothing(self, model: FocsamModel) -> None:
        assert model.refiner is not None
        rgb = image()
        parts = (model.base.network, model.refiner)
        before = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
        features = model.encode(ImageInput(rgb, model.frame(SIZE)))
        embedding = features.image_embedding.clone()
        state = answers(model, features, A, B)[-1].state
        kept = [x.clone() for x in (state.low_res_logits, state.refocused) if x is not None]
        first, second = (answers(model, features, A, B, C, state=state)[-1] for _ in range(2))
        assert torch.equal(first.logits, second.logits)
        assert torch.equal(rgb, image())
        assert torch.equal(features.image_embedding, embedding)
        now = [x for x in (state.low_res_logits, state.refocused) if x is not None]
        assert len(kept) == len(now) == 2
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
        for part, weights in zip(parts, before, strict=True):
            assert all(torch.equal(value, weights[key]) for key, value in part.state_dict().items())

    def test_two_objects_of_one_image_do_not_meet(self, model: FocsamModel, features: ImageFeatures) -> None:
        alone = answers(model, features, A, B, state=answers(model, features, A)[-1].state)[-1]
        mine = answers(model, features, A)[-1].state
        answers(model, features, C, A, state=answers(model, features, C)[-1].state)
        assert torch.equal(answers(model, features, A, B, state=mine)[-1].logits, alone.logits)

    def test_the_weights_are_frozen_and_gradients_reach_the_refiner_through_the_decoder(self) -> None:
        model = build_model("focsam-random")
        assert isinstance(model, FocsamModel)
        assert model.refiner is not None
        features = model.encode(ImageInput(image(), model.frame(SIZE)))
        assert not answers(model, features, A, B)[-1].logits.requires_grad
        model.refiner.requires_grad_(True)
        outputs = answers(model, features, A, B)
        outputs[-1].logits.square().mean().backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None for p in model.refiner.parameters())
        assert all(p.grad is None for p in model.base.network.parameters())
        refocused = outputs[-1].state.refocused
        assert refocused is not None
        assert not refocused.requires_grad


class TestWithoutRefiner:
    def test_it_is_sam_to_the_bit_in_every_respect(self, model: FocsamModel, features: ImageFeatures) -> None:
        bare = FocsamModel(model.base, None, replace(model.spec, stages=("coarse",)))
        state, sam_state = DecoderState(), DecoderState()
        for count in (1, 2, 3):
            given = batch(features, *(A, B, C)[:count])
            (own,), (sam,) = bare.decode(features, given, state), model.base.decode(features, given, sam_state)
            assert torch.equal(own.logits, sam.logits)
            assert own.iou_prediction == sam.iou_prediction
            state, sam_state = own.state, sam.state


class TestElsewhere:
    def test_lower_precision_is_the_encoders_alone(self, model: FocsamModel, features: ImageFeatures) -> None:
        low = model.to(torch.device("cpu"), torch.bfloat16)
        assert low.refiner is not None
        assert low.base.dtype == torch.bfloat16
        assert {p.dtype for p in low.refiner.parameters()} == {torch.float32}
        assert model.base.dtype == torch.float32
        low_features = low.encode(ImageInput(image(), features.frame))
        wanted = answers(model, features, A, B)[-1].logits
        error = (answers(low, low_features, A, B)[-1].logits - wanted).abs().mean() / wanted.std()
        assert error < 0.1
        assert model.to(torch.device("cpu"), torch.float32) is model

    def test_a_refiner_of_another_width_is_refused(self, model: FocsamModel) -> None:
        with pytest.raises(ModelError, match="16 wide"):
            FocsamModel(model.base, FocusRefiner(RefinerConfig(16, 1, 2)), model.spec)


def test_the_single_mask_is_the_packages_own_and_batches(model: FocsamModel, features: ImageFeatures) -> None:
    network = model.base.network
    prompts = [to_sam_prompt(batch(features, click), DecoderState(), model.base.low_res) for click in (A, C)]
    embedded = [model.base.embed_prompt(prompt) for prompt in prompts]
    sparse, dense = (torch.cat(parts) for parts in zip(*embedded, strict=True))
    embedding = features.image_embedding
    both = decode_single_mask(network.mask_decoder, embedding.expand(2, -1, -1, -1), model.base.image_pe, sparse, dense)
    assert both.token.shape == (2, 1, 32)
    for index, prompt in enumerate(prompts):
        logits, _ = model.base.predict_masks(features, prompt, multimask=False)
        torch.testing.assert_close(both.logits[index : index + 1], logits, rtol=1e-4, atol=1e-5)
