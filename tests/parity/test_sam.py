"""Our SAM against numbers the authors' package computed: every ``sam_*.npz`` among the reference fixtures.

Prompts go the product's way (image frame, ``Frame``, ``decode``), so that frames and translation are compared too.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Prompts
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.models.sam.model import SamModel
from samref.models.sam.network import SAM_CONFIGS, SamConfig, build_sam_network, network_from
from samref.models.sam.prompts import SamPrompt, to_sam_prompt
from tests.parity.weights import PARITY, assert_close, official_value, official_weights, require

LIMIT = 2e-4
MASK_LIMIT = 1e-4

CONFIGS: dict[str, SamConfig] = {
    "sam_small": SamConfig(
        96,
        4,
        3,
        (1, 3),
        image_size=512,
        prompt_dim=64,
        decoder_mlp_dim=128,
        iou_hidden=64,
    ),
    **{name.replace("-", "_"): config for name, config in SAM_CONFIGS.items()},
}
CASES = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem != "sam_small" else [])
    for path in sorted(PARITY.glob("sam_*.npz"))
] or [pytest.param("sam_small", marks=pytest.mark.skip(f"no sam_*.npz in {PARITY} (set SAMREF_PARITY)"))]


class Case:
    """One fixture with our model of the same weights and its answers to the fixture's prompts."""

    def __init__(self, name: str) -> None:
        self.reference: dict[str, NDArray[Any]] = dict(np.load(PARITY / f"{name}.npz"))
        config = CONFIGS[name]
        with torch.device("meta"):
            shapes = build_sam_network(config).state_dict()
        network = network_from(config, official_weights(shapes), name)
        spec = ModelSpec(name, name, "letterbox", config.image_size, frozenset(), ("coarse",))
        self.model = SamModel(spec, config, network, multimask="single")
        rgb = torch.from_numpy(self.reference["image"])
        self.frame = self.model.frame(ImageSize(*rgb.shape[:2]))
        self.input = ImageInput(rgb, self.frame)
        self.features: ImageFeatures = self.model.encode(self.input)
        self.clicks = [Click(float(x), float(y)) for x, y in self.reference["c1"]]
        self.three = [
            Click(float(x), float(y), bool(label))
            for (x, y), label in zip(self.reference["c3"], self.reference["l3"], strict=True)
        ]
        self.box = Box(*(float(v) for v in self.reference["box"]))

    def batch(self, *items: Click | Box) -> PromptBatch:
        return PromptBatch(Prompts(items).mapped(self.frame.to_model, 1.0), self.frame)

    def decode(self, *items: Click | Box, state: DecoderState | None = None) -> MaskOutput:
        (output,) = self.model.decode(self.features, self.batch(*items), state or DecoderState())
        return output

    def masks(
        self, *items: Click | Box, state: DecoderState | None = None, multi: bool = False
    ) -> tuple[Tensor, Tensor]:
        prompt: SamPrompt = to_sam_prompt(self.batch(*items), state or DecoderState(), self.model.low_res)
        return self.model.predict_masks(self.features, prompt, multimask=multi)

    def full_size(self, logits: Tensor) -> NDArray[np.float32]:
        """In the image frame: up to the padded frame, padding cut off, then to the image (SAM's order)."""
        size, resized = self.frame.image, self.frame.resized
        side = self.model.config.image_size
        padded = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        inner = padded[..., : resized.height, : resized.width]
        result: NDArray[np.float32] = torch.nn.functional.interpolate(
            inner, (size.height, size.width), mode="bilinear", align_corners=False
        )[0].numpy()
        return result


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("name", ["sam_small", "sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_the_network_has_exactly_the_official_names_and_shapes(name: str) -> None:
    expected = json.loads(require(f"keys_{name}.json").read_text())
    with torch.device("meta"):
        own = {key: list(value.shape) for key, value in build_sam_network(CONFIGS[name]).state_dict().items()}
    assert own == expected


def test_the_weight_rule_gives_the_numbers_of_the_reference() -> None:
    for name, expected in json.loads(require("weights_check.json").read_text()).items():
        value = official_value(name, tuple(expected["shape"]))
        assert value.ravel()[:4].tolist() == pytest.approx(expected["first"], rel=1e-6), name
        assert float(value.sum(dtype=np.float64)) == pytest.approx(expected["sum"], rel=1e-5, abs=1e-5), name


def test_the_image_is_prepared_as_the_reference_prepares_it(case: Case) -> None:
    reference = case.reference
    height, width, _ = reference["resized_shape"]
    assert (case.frame.resized.height, case.frame.resized.width) == (height, width)
    prepared = case.model.preprocess(case.input)[0].numpy()
    assert_close(prepared[:, ::16, ::16], reference["preprocessed_s16"], LIMIT, "preprocessed")
    network = case.model.network
    pixels = (prepared * network.pixel_std.numpy() + network.pixel_mean.numpy()).round().astype(np.uint8)
    resized = pixels[:, :height, :width].transpose(1, 2, 0)
    np.testing.assert_array_equal(resized[::8, ::8], reference["resized_s8"])


def test_positions_reach_the_model_frame_as_in_the_reference(case: Case) -> None:
    moved = case.batch(*case.clicks, case.box).prompts
    assert_close(np.array([[c.x, c.y] for c in moved.clicks]), case.reference["c1_model"], LIMIT, "c1_model")
    (box,) = moved.boxes
    assert_close(np.array([[box.x0, box.y0, box.x1, box.y1]]), case.reference["box_model"], LIMIT, "box_model")


def test_the_embedding_is_that_of_the_reference(case: Case) -> None:
    embedding = case.features.image_embedding[0].numpy()
    assert_close(embedding[::4, ::4, ::4], case.reference["embedding_crop"], LIMIT, "embedding")
    assert_close(embedding.mean(axis=(1, 2)), case.reference["embedding_mean"], LIMIT, "mean")
    assert_close(embedding.std(axis=(1, 2)), case.reference["embedding_std"], LIMIT, "std")
    assert_close(case.model.image_pe[0].numpy()[::4, ::4, ::4], case.reference["dense_pe_crop"], LIMIT, "dense_pe")


@pytest.mark.parametrize("kind", ["multi", "single", "boxclick", "boxonly", "three"])
def test_the_masks_are_those_of_the_reference(case: Case, kind: str) -> None:
    if kind == "multi":
        logits, ious = case.masks(*case.clicks, multi=True)
    elif kind == "three":
        state = case.decode(*case.clicks).state
        logits, ious = case.masks(*case.three, state=state)
    else:
        prompts: dict[str, list[Click | Box]] = {
            "single": [*case.clicks],
            "boxclick": [*case.clicks, case.box],
            "boxonly": [case.box],
        }
        items = prompts[kind]
        logits, ious = case.masks(*items)
        assert torch.equal(case.decode(*items).logits, logits)
    step = case.model.low_res.height // 64
    full = case.full_size(logits)
    reference = case.reference
    assert_close(logits[0].numpy()[:, ::step, ::step], reference[f"{kind}_low"], LIMIT, "low-res logits")
    assert_close(ious[0].numpy(), reference[f"{kind}_iou"], LIMIT, "predicted IoU")
    assert_close(full[:, ::3, ::3], reference[f"{kind}_logits_s3"], LIMIT, "logits")
    expected = np.unpackbits(reference[f"{kind}_mask"], axis=-1, count=full.shape[-1]).astype(bool)
    differs = (full > 0) != expected
    assert not (differs & (np.abs(full) > MASK_LIMIT * full.std())).any()


def test_a_lone_first_click_takes_the_mask_with_the_best_predicted_iou(case: Case) -> None:
    model = SamModel(case.model.spec, case.model.config, case.model.network, multimask="first-click")
    (output,) = model.decode(case.features, case.batch(*case.clicks), DecoderState())
    best = int(case.reference["multi_iou"].argmax())
    step = case.model.low_res.height // 64
    expected = case.reference["multi_low"][best : best + 1]
    assert_close(output.logits[0].numpy()[:, ::step, ::step], expected, LIMIT, "low-res logits")
    assert output.iou_prediction == pytest.approx(float(case.reference["multi_iou"][best]), rel=LIMIT)
