from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Prompts
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, PromptBatch
from samref.models.layers import randomize
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import FusionRefiner, SamRef, SamRefConfig

SIZE = ImageSize(90, 120)


@pytest.fixture(scope="module")
def model() -> SamRefModel:
    built = build_model("tiny-random")
    assert isinstance(built, SamRefModel)
    return built


@pytest.fixture(scope="module")
def features(model: SamRefModel) -> ImageFeatures:
    rgb = np.random.default_rng(0).integers(0, 256, (SIZE.height, SIZE.width, 3), dtype=np.uint8)
    return model.encode(ImageInput(torch.from_numpy(rgb), model.frame(SIZE)))


def batch(model: SamRefModel, *items: Click | Box) -> PromptBatch:
    frame = model.frame(SIZE)
    scale_x, scale_y = frame.scale_xy
    return PromptBatch(Prompts(items).mapped(frame.to_model, (scale_x * scale_y) ** 0.5), frame)


def with_refiner(model: SamRefModel, **changes: object) -> SamRefModel:
    """The same model with other switches; weights as they are."""
    refiner = SamRef(replace(model.refiner.config, **changes))  # type: ignore[arg-type]
    refiner.load_state_dict(model.refiner.state_dict())
    return SamRefModel(model.base, refiner, model.spec)


def with_error_bias(model: SamRefModel, bias: float) -> SamRefModel:
    changed = with_refiner(model)
    for part in (changed.refiner.global_refiner, changed.refiner.local_refiner):
        nn.init.zeros_(part.error_head.weight)
        assert part.error_head.bias is not None
        nn.init.constant_(part.error_head.bias, bias)
    return changed


def answers(
    model: SamRefModel, features: ImageFeatures, *items: Click | Box, state: DecoderState | None = None
) -> tuple[MaskOutput, MaskOutput]:
    coarse, refined = model.decode(features, batch(model, *items), state or DecoderState())
    return coarse, refined


@pytest.mark.parametrize(("width", "parameters"), [(32, 215_716), (64, 836_932)])
def test_the_papers_two_widths_have_the_parameters_they_should(width: int, parameters: int) -> None:
    assert sum(p.numel() for p in SamRef(SamRefConfig(width=width)).parameters()) == parameters


def test_coarse_comes_first_and_refined_last(model: SamRefModel, features: ImageFeatures) -> None:
    coarse, refined = answers(model, features, Click(60, 40))
    assert (coarse.stage, refined.stage) == ("coarse", "refined")
    assert coarse.error_logits is None
    assert refined.error_logits is not None
    assert refined.patch is not None
    assert 0 <= refined.iou_prediction <= 1


def test_no_error_anywhere_reproduces_the_base_exactly(model: SamRefModel, features: ImageFeatures) -> None:
    coarse, refined = answers(with_error_bias(with_refiner(model, use_local=False), -1e4), features, Click(60, 40))
    assert torch.equal(refined.logits, coarse.logits)


def test_error_everywhere_reproduces_the_detail_mask() -> None:
    refiner = FusionRefiner(8, 2, second_stride=2)
    randomize(refiner, 3)
    nn.init.zeros_(refiner.error_head.weight)
    assert refiner.error_head.bias is not None
    nn.init.constant_(refiner.error_head.bias, 1e4)
    image, maps, mask = torch.randn(1, 8, 16, 16), torch.rand(1, 3, 64, 64), torch.randn(1, 1, 16, 16)
    seen: list[Tensor] = []
    refiner.detail_head.register_forward_hook(lambda *call: seen.append(call[2]))
    assert torch.equal(refiner(image, maps, None, mask).logits, seen[0])


def test_untrained_it_starts_close_to_the_base() -> None:
    refiner = FusionRefiner(8, 1, second_stride=2)
    nn.init.zeros_(refiner.error_head.weight)
    mask = torch.randn(1, 1, 16, 16)
    out = refiner(torch.randn(1, 8, 16, 16), torch.rand(1, 3, 64, 64), None, mask)
    torch.testing.assert_close(out.logits, mask * (1 - torch.sigmoid(torch.tensor(-3.0))))


def test_outside_the_window_the_result_is_the_canvas_bit_for_bit(model: SamRefModel, features: ImageFeatures) -> None:
    _, refined = answers(with_refiner(model, rule="change"), features, Click(60, 40))
    assert refined.patch is not None
    final = refined.state.final_logits
    assert final is not None
    x0, y0, x1, y1 = (int(v) // model.refiner.config.low_res_stride for v in refined.patch.box_xyxy)
    inside = torch.zeros_like(final, dtype=torch.bool)
    inside[..., y0:y1, x0:x1] = True
    assert torch.equal(final[~inside], refined.logits[~inside])
    assert not torch.equal(final[inside], refined.logits[inside])


def test_a_further_click_runs_neither_encoder_nor_image_stem(model: SamRefModel, features: ImageFeatures) -> None:
    calls: list[str] = []
    handles = [
        model.base.net.encoder.register_forward_hook(lambda *_: calls.append("encoder")),  # type: ignore[attr-defined]
        model.refiner.global_refiner.image_stem.register_forward_hook(lambda *_: calls.append("stem")),
    ]
    _, first = answers(model, features, Click(60, 40))
    answers(model, features, Click(60, 40), Click(20, 20, positive=False), state=first.state)
    for handle in handles:
        handle.remove()
    assert calls == []


def test_the_selector_puts_the_window_on_the_previous_mask_when_the_base_wandered(
    model: SamRefModel, features: ImageFeatures
) -> None:
    _, first = answers(model, features, Click(60, 40))
    previous = first.state.final_logits
    assert previous is not None
    previous = previous.abs() + 0.5  # an accepted mask that the new one differs from
    calm = replace(first.state, final_logits=previous, error_count=10**9)
    alarmed = replace(first.state, final_logits=previous, error_count=0)
    steady = with_error_bias(model, 1.0)
    prompts = (Click(60, 40), Click(20, 20, positive=False))
    assert not torch.equal(answers(steady, features, *prompts, state=calm)[1].logits, previous)
    assert torch.equal(answers(steady, features, *prompts, state=alarmed)[1].logits, previous)
    ablated = with_refiner(steady, selector="never")
    assert not torch.equal(answers(ablated, features, *prompts, state=alarmed)[1].logits, previous)
    turned = with_refiner(steady, selector="below")
    assert torch.equal(answers(turned, features, *prompts, state=calm)[1].logits, previous)
    assert not torch.equal(answers(turned, features, *prompts, state=alarmed)[1].logits, previous)
    stubborn = with_refiner(steady, selector="always")
    assert torch.equal(answers(stubborn, features, *prompts, state=calm)[1].logits, previous)


def test_feedback_decides_which_mask_the_base_sees_again(model: SamRefModel, features: ImageFeatures) -> None:
    _, first = answers(model, features, Click(60, 40))
    prompts = (Click(60, 40), Click(20, 20, positive=False))
    own, _ = answers(model, features, *prompts, state=first.state)
    final, _ = answers(with_refiner(model, feedback="final"), features, *prompts, state=first.state)
    assert not torch.equal(own.logits, final.logits)


def test_injection_can_be_switched_off(model: SamRefModel) -> None:
    refiner = SamRef(replace(model.refiner.config, inject_embedding=False))
    randomize(refiner, 5)
    plain = SamRefModel(model.base, refiner, model.spec)
    rgb = torch.zeros(SIZE.height, SIZE.width, 3, dtype=torch.uint8)
    features = plain.encode(ImageInput(rgb, plain.frame(SIZE)))
    assert "refiner.embedding" not in features.parts
    assert answers(plain, features, Click(60, 40))[1].stage == "refined"


def test_it_runs_over_segment_anything_too() -> None:
    base = build_model("sam-random")
    stride = base.frame(SIZE).padded.width // 64
    refiner = SamRef(SamRefConfig(width=8, global_blocks=1, local_blocks=1, embedding_channels=32, crop=32, minimum=8))
    randomize(refiner, 1)
    model = SamRefModel(base, refiner, base.spec)
    rgb = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    features = model.encode(ImageInput(rgb, model.frame(SIZE)))
    coarse, refined = answers(model, features, Click(60, 40))
    assert stride == 4
    assert coarse.logits.shape == refined.logits.shape


def test_decoding_changes_neither_features_nor_state(model: SamRefModel, features: ImageFeatures) -> None:
    before = {name: part.clone() for name, part in features.parts.items()}
    _, first = answers(model, features, Click(60, 40))
    kept = None if first.state.final_logits is None else first.state.final_logits.clone()
    again = answers(model, features, Click(60, 40))[1]
    assert all(torch.equal(features.parts[name], part) for name, part in before.items())
    assert torch.equal(first.logits, again.logits)
    answers(model, features, Click(60, 40), Click(9, 9), state=first.state)
    assert kept is not None
    assert first.state.final_logits is not None
    assert torch.equal(first.state.final_logits, kept)


def test_half_precision_gives_nearly_the_same_masks(model: SamRefModel) -> None:
    half = model.to(torch.device("cpu"), torch.bfloat16)
    rgb = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    full_answers, half_answers = (
        answers(m, m.encode(ImageInput(rgb, m.frame(SIZE))), Click(60, 40)) for m in (model, half)
    )
    for full, rounded in zip(full_answers, half_answers, strict=True):
        assert torch.isfinite(rounded.logits).all()
        agree = ((full.logits > 0) == (rounded.logits > 0)).float().mean()
        assert agree > 0.97
