"""SegNext behind the common interface, with random weights of a small size."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import PromptError
from samref.inference.engine import LocalEngine
from samref.inference.predictor import Predictor
from samref.inference.session import Session
from samref.labels.events import Event
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, InteractiveModel, MaskOutput, PromptBatch
from samref.models.registry import build_model
from samref.models.segnext import SPECS
from samref.models.segnext.model import LOGIT_SHIFT, SegNextModel, build_segnext
from tests.unit.inference.desk import session_of, settled, visible
from tests.unit.inference.exact_model import make_image

SIZE = ImageSize(60, 100)
EVERY_PROMPT: list[Prompt] = [
    Click(50, 30),
    Click(50, 30, positive=False),
    Box(20, 10, 70, 50),
    Scribble(((10, 10), (50, 30), (60, 30))),
    Scribble(((10, 10), (50, 30)), positive=False),
    Polygon(((10, 10), (50, 12), (30, 50))),
    Polygon(((10, 10), (50, 12), (30, 50)), positive=False),
]


@pytest.fixture(scope="module")
def model() -> SegNextModel:
    return build_segnext(SPECS["segnext-random"])


def image(size: ImageSize = SIZE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def features(model: SegNextModel) -> ImageFeatures:
    return model.encode(ImageInput(image(), model.frame(SIZE)))


def batch(model: SegNextModel, *items: Prompt, mask: torch.Tensor | None = None) -> PromptBatch:
    frame = model.frame(SIZE)
    return PromptBatch(Prompts(items).mapped(frame.to_model, 1.0), frame, mask)


def decode(
    model: SegNextModel, features: ImageFeatures, *items: Prompt, state: DecoderState | None = None
) -> MaskOutput:
    (output,) = model.decode(features, batch(model, *items), state or DecoderState())
    return output


def test_it_is_an_interactive_model_of_one_stage_that_takes_every_prompt(model: SegNextModel) -> None:
    assert isinstance(model, InteractiveModel)
    assert model.spec.stages == ("coarse",)
    assert model.spec.prompts == {"click", "box", "scribble", "polygon", "mask"}
    assert model.frame(ImageSize(300, 451)).resized == ImageSize(128, 128), "stretched, aspect lost"


@pytest.mark.parametrize("prompt", EVERY_PROMPT)
def test_every_prompt_has_an_answer_of_its_own(model: SegNextModel, features: ImageFeatures, prompt: Prompt) -> None:
    output = decode(model, features, prompt)
    assert output.stage == "coarse"
    assert output.logits.shape == (1, 1, 128, 128)
    assert output.logits.isfinite().all()
    assert 0 <= output.iou_prediction <= 1
    assert output.state.step == 1
    others = [decode(model, features, other).logits for other in EVERY_PROMPT if other != prompt]
    assert not any(torch.equal(other, output.logits) for other in others)


def test_a_rough_mask_alone_has_an_answer(model: SegNextModel, features: ImageFeatures) -> None:
    mask = torch.full((1, 1, 32, 32), -8.0)
    empty, half = (
        next(model.decode(features, batch(model, mask=given), DecoderState()))
        for given in (mask, mask.clone().index_fill_(3, torch.arange(16), 8.0))
    )
    assert not torch.equal(empty.logits, half.logits)


def test_nothing_said_is_refused(model: SegNextModel, features: ImageFeatures) -> None:
    with pytest.raises(PromptError, match="Click"):
        decode(model, features)


def test_logit_zero_is_the_published_threshold(model: SegNextModel, features: ImageFeatures) -> None:
    output = decode(model, features, Click(50, 30))
    low_res_logits = output.state.low_res_logits
    assert low_res_logits is not None
    probability = model.network.to_model_frame(low_res_logits).sigmoid()
    clear = (probability - 0.49).abs() > 1e-6
    assert torch.equal((output.logits > 0)[clear], (probability > 0.49)[clear])
    assert 0 < (probability > 0.49).float().mean() < 1
    assert output.state.final_logits is not None
    assert torch.equal(output.state.final_logits, low_res_logits + LOGIT_SHIFT)


def test_the_previous_mask_goes_through_the_image_frame(model: SegNextModel, features: ImageFeatures) -> None:
    state = decode(model, features, Click(50, 30)).state
    assert state.low_res_logits is not None
    model_frame = F.interpolate(state.low_res_logits, (128, 128), mode="bilinear", align_corners=True)
    image_frame = F.interpolate(model_frame, (60, 100), mode="bilinear", align_corners=False).sigmoid()
    wanted = F.interpolate(image_frame, (128, 128), mode="bilinear", align_corners=False)
    maps = model.draw_maps(batch(model, Click(50, 30), Click(20, 20, positive=False)), state)
    assert torch.allclose(maps[:, :1], wanted, atol=1e-6)
    forgotten = decode(model, features, Click(50, 30), Click(20, 20, positive=False))
    remembered = decode(model, features, Click(50, 30), Click(20, 20, positive=False), state=state)
    assert not torch.equal(forgotten.logits, remembered.logits)


def test_one_more_click_does_not_run_the_encoder_again() -> None:
    model = build_segnext(SPECS["segnext-random"])
    encoded: list[int] = []
    model.network.backbone.register_forward_hook(lambda *_: encoded.append(1))
    predictor = Predictor(model)
    embedding = predictor.embed(make_image())
    prompts, state = Prompts(), None
    for click in (Click(5, 6), Click(20, 10, positive=False), Click(9, 15)):
        prompts = prompts.add(click)
        (answer,) = predictor.predict(embedding, prompts, state)
        state = answer.state
    assert len(encoded) == 1


def test_decoding_changes_neither_its_arguments_nor_the_model(model: SegNextModel, features: ImageFeatures) -> None:
    state = decode(model, features, Click(50, 30)).state
    assert state.low_res_logits is not None
    before = state.low_res_logits.clone(), features.image_embedding.clone()
    weights = {key: value.clone() for key, value in model.network.state_dict().items()}
    items = (Click(50, 30), Click(20, 20, positive=False), Box(20, 10, 70, 50))
    first, again = (decode(model, features, *items, state=state) for _ in range(2))
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(state.low_res_logits, before[0])
    assert torch.equal(features.image_embedding, before[1])
    assert all(torch.equal(value, weights[key]) for key, value in model.network.state_dict().items())


@pytest.mark.parametrize("size", [ImageSize(1, 1), ImageSize(1, 500), ImageSize(700, 2)])
def test_the_thinnest_images_have_an_answer(model: SegNextModel, size: ImageSize) -> None:
    rgb = image(size).numpy()
    predictor = Predictor(model)
    embedding = predictor.embed(DecodedImage(rgb, size, "thin"))
    state, prompts = None, Prompts()
    for _ in range(2):
        prompts = prompts.add(Click(0, 0))
        (answer,) = predictor.predict(embedding, prompts, state)
        state = answer.state
        assert (answer.mask.height, answer.mask.width) == (size.height, size.width)


def test_another_precision_is_another_model_close_to_this_one(model: SegNextModel, features: ImageFeatures) -> None:
    low = model.to(torch.device("cpu"), torch.bfloat16)
    assert (model.dtype, low.dtype) == (torch.float32, torch.bfloat16)
    low_features = low.encode(ImageInput(image(), features.frame))
    assert low_features.image_embedding.dtype == torch.bfloat16
    output, wanted = (decode(one, seen, Click(50, 30)) for one, seen in ((low, low_features), (model, features)))
    assert output.logits.dtype == torch.float32
    assert (output.logits - wanted.logits).abs().mean() < 0.1 * wanted.logits.std()
    assert model.to(torch.device("cpu"), torch.float32) is model


def test_the_seed_names_the_random_weights() -> None:
    one, same, other = (build_model("segnext-random", seed=seed) for seed in (1, 1, 2))
    seen = [next(iter(m.encode(ImageInput(image(), m.frame(SIZE))).image_embedding)) for m in (one, same, other)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


class TestSession:
    def session(self, model: SegNextModel, events: list[Event]) -> Session:
        predictor = Predictor(model)
        return session_of(LocalEngine(lambda _: predictor, "segnext-random"), "segnext-random", make_image(), events)

    def test_undo_and_redo_come_back_to_the_same_masks(self, model: SegNextModel) -> None:
        session = self.session(model, [])
        seen = []
        for prompt in (Click(9, 8), Click(20, 10, positive=False), Box(2, 2, 20, 18)):
            session.do(session.prompt(prompt))
            seen.append(mask_of(settled(session)[-1]))
        assert len({mask.counts for mask in seen}) == 3
        session.do(session.undo())
        assert mask_of(session.view) == seen[1]
        session.do(session.undo())
        assert mask_of(session.view) == seen[0]
        session.do(session.redo())
        session.do(session.redo())
        assert mask_of(settled(session)[-1]) == seen[2]

    def test_a_replay_is_the_session(self, model: SegNextModel) -> None:
        events: list[Event] = []
        session = self.session(model, events)
        for click in (Click(5, 6), Click(20, 10, positive=False)):
            session.do(session.prompt(click))
            settled(session)
        session.do(session.undo())
        session.prompt(Scribble(((4, 4), (15, 12))))
        settled(session)
        assert visible(settled(self.session(model, events))[-1]) == visible(session.view)


def mask_of(view: Any) -> Rle:
    mask = view.draft.mask
    assert isinstance(mask, Rle)
    return mask


def test_a_state_holds_nothing_but_what_the_next_click_needs(model: SegNextModel, features: ImageFeatures) -> None:
    state = decode(model, features, Click(50, 30)).state
    held = {one.name for one in fields(state) if isinstance(getattr(state, one.name), torch.Tensor)}
    assert held == {"low_res_logits", "final_logits"}
