"""The whole of FocSAM, click by click, against numbers the authors' code computed (every ``focsam_flow*.npz``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompts import Click, Prompts
from samref.inference.postprocess import mask_from_logits
from samref.models.checkpoints import load_into
from samref.models.focsam.model import FocsamModel, official_parts
from samref.models.focsam.network import FocusRefiner, active_cells, object_boxes
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.models.sam.model import SamModel
from samref.models.sam.network import SamConfig, build_sam_network, network_from
from samref.models.sam.prompts import to_sam_prompt
from tests.parity.recordings import Arrays, cases, load, require, strided
from tests.parity.weights import array, assert_close, official_value

LIMIT = 1e-3
MASK_LIMIT = 1e-4


class GivenEmbedding:
    """An encoder that always makes the reference's embedding, in the frame that its clicks were moved to.

    An embedding has no image, so the file does not say whether the image was padded to multiples of 32 before it
    was resized; its coordinates do.
    """

    def __init__(self, embedding: Tensor, side: int, reference: Arrays) -> None:
        self.embedding = embedding
        self.side = side
        self.reference = reference

    def frame(self, size: ImageSize) -> Frame:
        canvas = ImageSize(-(-size.height // 32) * 32, -(-size.width // 32) * 32)
        padded_first = replace(Frame.letterbox(canvas, self.side), image=size, canvas=canvas)
        return min(Frame.letterbox(size, self.side), padded_first, key=self._distance)

    def _distance(self, frame: Frame) -> float:
        moved = np.array([frame.to_model(x, y) for y, x, _ in self.reference["clicks"].tolist()])
        return float(np.abs(moved - self.reference["model_coords_xy"]).max())

    def encode(self, image: ImageInput) -> ImageFeatures:
        return ImageFeatures(self.embedding, torch.zeros(1, 3, 1, 1, dtype=torch.uint8), image.frame)

    def to(self, device: torch.device, dtype: torch.dtype) -> GivenEmbedding:
        return self


class Flow:
    """One ``focsam_flow*`` file and our answers to its clicks."""

    def __init__(self, name: str) -> None:
        self.reference = reference = load(require(f"{name}.npz"))
        self.size = ImageSize(*(int(side) for side in reference["image_hw"]))
        config = SamConfig(16, 1, 1, (0,))  # the encoder plays no part
        network, refiner = build_sam_network(config), FocusRefiner()
        whole = official_parts(network, refiner)
        weights = {
            key: torch.from_numpy(official_value(key, tuple(value.shape))) for key, value in whole.state_dict().items()
        }
        weights["decode_head.output_upscaling.3.bias"].fill_(float(reference["upscaling_bias"]))
        weights["decode_head.output_hypernetworks_mlps.0.layers.2.bias"].fill_(float(reference["hyper_bias"]))
        load_into(whole, weights, name)
        spec = ModelSpec(name, name, "letterbox", config.image_size, frozenset(), ("coarse", "refined"))
        base = SamModel(replace(spec, stages=("coarse",)), config, network_from(config, network.state_dict(), name))
        encoder = GivenEmbedding(self._embedding(config), config.image_size, reference)
        self.model = FocsamModel(base, refiner, spec)
        frame = encoder.frame(self.size)
        image = torch.zeros(self.size.height, self.size.width, 3, dtype=torch.uint8)
        self.features = encoder.encode(ImageInput(image, frame))
        self.clicks = [Click(float(x), float(y), bool(positive)) for y, x, positive in reference["clicks"]]
        self.answers = list(self._answers())

    def _embedding(self, config: SamConfig) -> Tensor:
        reference, grid = self.reference, config.image_size // config.patch_size
        rng = np.random.default_rng(int(reference["seed"]))
        noise = rng.standard_normal((1, config.prompt_dim, grid, grid), dtype=np.float32)
        background, object_ = (rng.standard_normal((config.prompt_dim,), dtype=np.float32) for _ in range(2))
        row, column, radius = reference["disk"]
        rows, columns = np.indices((grid, grid))
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        value = np.where(inside, object_[:, None, None], background[:, None, None])[None]
        return torch.from_numpy((value + np.float32(0.05) * noise).astype(np.float32))

    def batch(self, count: int) -> PromptBatch:
        frame = self.features.frame
        return PromptBatch(Prompts(tuple(self.clicks[:count])).mapped(frame.to_model, 1.0), frame)

    def _answers(self) -> Iterator[list[MaskOutput]]:
        state = DecoderState()
        for count in range(1, len(self.clicks) + 1):
            with torch.no_grad():
                outputs = list(self.model.decode(self.features, self.batch(count), state))
            state = outputs[-1].state
            yield outputs


@pytest.fixture(scope="module", params=cases("focsam_flow*", pytest.mark.slow))
def flow(request: pytest.FixtureRequest) -> Flow:
    return Flow(request.param)


def test_clicks_reach_the_model_frame_as_in_the_reference(flow: Flow) -> None:
    moved = np.array([[click.x, click.y] for click in flow.batch(len(flow.clicks)).prompts.clicks])
    np.testing.assert_allclose(moved, flow.reference["model_coords_xy"], rtol=1e-6)


def test_every_click_gives_the_logits_and_masks_of_the_reference(flow: Flow) -> None:
    reference = flow.reference
    frame, side = flow.features.frame, flow.features.frame.padded.width
    expected = np.unpackbits(reference["masks"], axis=-1, count=flow.size.width).astype(bool)
    for index, outputs in enumerate(flow.answers):
        logits = outputs[-1].logits
        low = reference["low_logits_s2"][index]
        assert_close(strided(array(logits)[0, 0], low), low, LIMIT, f"click {index + 1}")
        padded = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        inner = padded[..., : frame.resized.height, : frame.resized.width]
        covered = (frame.covered.height, frame.covered.width)
        full = array(F.interpolate(inner, covered, mode="bilinear", align_corners=False))[0, 0]
        full = full[: flow.size.height, : flow.size.width]
        open_pixels = np.abs(full) <= MASK_LIMIT * full.std()
        assert not (((full > 0) != expected[index]) & ~open_pixels).any()
        assert not ((mask_from_logits(logits, frame).to_mask() != expected[index]) & ~open_pixels).any()


def test_the_stages_are_coarse_then_both_then_refined(flow: Flow) -> None:
    stages = [[output.stage for output in outputs] for outputs in flow.answers]
    assert stages[:2] == [["coarse"], ["coarse", "refined"]]
    assert all(later == ["refined"] for later in stages[2:])


def test_the_second_click_refocuses_as_in_the_reference(flow: Flow) -> None:
    reference, model = flow.reference, flow.model
    coarse_output, refined = flow.answers[1]
    prompt = to_sam_prompt(flow.batch(2), flow.answers[0][-1].state, model.base.low_res)
    with torch.no_grad():
        coarse = model.predict_mask(flow.features.image_embedding, prompt)
    assert torch.equal(coarse.logits, coarse_output.logits)
    expected = reference["coarse_logits_s2"]
    assert_close(strided(array(coarse.logits)[0, 0], expected), expected, LIMIT, "coarse logits")
    assert_close(array(coarse.token)[0, 0], reference["coarse_token"], LIMIT, "token")
    side = model.base.config.image_size
    up = F.interpolate(coarse.logits, (side, side), mode="bilinear", align_corners=False)
    np.testing.assert_array_equal(object_boxes(up[0, 0] > 0).numpy(), reference["bbox"])
    window = model.window(coarse.logits)
    np.testing.assert_array_equal(window[0].numpy(), reference["expanded"])
    grid = ImageSize(*reference["mask64"].shape)
    cells = active_cells(window, ImageSize(side, side), grid)[0, 0]
    np.testing.assert_array_equal(cells.numpy(), reference["mask64"] > 0)
    refocused = refined.state.refocused
    assert refocused is not None
    assert_close(array(refocused)[:, ::8, ::4, ::4], reference["refined_crop"], LIMIT, "refined_crop")
    assert_close(array(refocused[0].mean((1, 2))), reference["refined_mean"], LIMIT, "refined_mean")
    assert_close(array(refocused[0].flatten(1).std(1, correction=0)), reference["refined_std"], LIMIT, "refined_std")


def test_later_clicks_use_the_embedding_of_the_second_one(flow: Flow) -> None:
    kept = flow.answers[1][-1].state.refocused
    assert kept is not None
    assert flow.answers[0][-1].state.refocused is None
    for outputs in flow.answers[2:]:
        assert outputs[-1].state.refocused is kept
