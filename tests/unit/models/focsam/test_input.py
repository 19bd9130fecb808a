"""How FocSAM's own evaluation prepares images: padded first, resized as a tensor, blue first."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.inference.postprocess import mask_from_logits
from samref.inference.predictor import Predictor, _mask_prompt
from samref.models.focsam.model import ChannelOrder, FocsamConfig, FocsamModel
from samref.models.interface import ImageInput
from samref.models.registry import build_model
from tests.unit.inference.exact_model import make_image

SIZE = ImageSize(75, 113)
SIDE = 256


def model(rule: Literal["sam", "focsam"], order: ChannelOrder = "rgb") -> FocsamModel:
    built = build_model("focsam-random")
    assert isinstance(built, FocsamModel)
    return FocsamModel(built.base, built.refiner, built.spec, FocsamConfig(input_rule=rule, channel_order=order))


def image() -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (75, 113, 3), dtype=np.uint8))


def test_the_image_is_padded_to_multiples_of_32_before_it_is_resized() -> None:
    frame = model("focsam").frame(ImageSize(300, 451))
    assert frame.canvas == ImageSize(320, 480)
    assert frame.resized == ImageSize(171, 256)  # 320 / 480 of 256, half up
    assert frame.image == ImageSize(300, 451)
    assert frame.padded == ImageSize(256, 256)
    assert frame.to_model(451, 300) == pytest.approx((451 * 256 / 480, 300 * 171 / 320))
    assert frame.to_image(*frame.to_model(17, 31)) == pytest.approx((17, 31))


def test_a_image_of_such_sizes_has_the_frame_that_sam_gives_it() -> None:
    size = ImageSize(96, 128)
    ours, sams = model("focsam").frame(size), model("sam").frame(size)
    assert (ours.resized, ours.padded, ours.scale_xy) == (sams.resized, sams.padded, sams.scale_xy)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_encoders_input_is_made_in_the_order_of_the_authors_code(order: ChannelOrder) -> None:
    focsam = model("focsam", order)
    prepared = focsam.preprocess(ImageInput(image(), focsam.frame(SIZE)))
    channels = image().permute(2, 0, 1).float()
    if order == "bgr":
        channels = channels[[2, 1, 0]]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])  # of RGB in any order
    normalised = (channels - mean[:, None, None]) / std[:, None, None]
    canvas = torch.zeros(1, 3, 96, 128)
    canvas[0, :, :75, :113] = normalised
    resized = F.interpolate(canvas, (192, 256), mode="bilinear", align_corners=False, antialias=False)
    expected = torch.zeros(1, 3, SIDE, SIDE)
    expected[..., :192, :] = resized
    torch.testing.assert_close(prepared, expected)


def test_sams_own_input_in_either_order_of_channels() -> None:
    sam, swapped = model("sam"), model("sam", "bgr")
    given = ImageInput(image(), sam.frame(SIZE))
    assert torch.equal(sam.preprocess(given), sam.base.preprocess(given))
    flipped = ImageInput(image().flip(-1), given.frame)
    assert torch.equal(swapped.preprocess(given), sam.base.preprocess(flipped))
    assert not torch.equal(swapped.preprocess(given), sam.preprocess(given))


def test_the_mask_goes_back_the_same_way() -> None:
    frame = model("focsam").frame(SIZE)
    logits = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    padded = F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
    canvas = F.interpolate(padded[..., :192, :256], (96, 128), mode="bilinear", align_corners=False)
    expected = canvas[0, 0, :75, :113]
    differs = mask_from_logits(logits, frame).to_mask() != (expected > 0).numpy()
    assert not (differs & (expected.abs() > 1e-4).numpy()).any()
    assert differs.mean() < 0.001


def test_a_rough_mask_lies_where_the_image_lies() -> None:
    frame = model("focsam").frame(SIZE)
    pixels = np.zeros((75, 113), dtype=np.bool_)
    pixels[20:60, 50:113] = True
    prompt = _mask_prompt(Rle.from_mask(pixels), frame)
    assert prompt.shape == (1, 1, 64, 64)
    again = mask_from_logits(prompt, frame).to_mask()
    assert (again & pixels).sum() / (again | pixels).sum() > 0.93


def test_predictions_have_the_images_size() -> None:
    predictor = Predictor(model("focsam", "bgr"))
    image = make_image(0, 75, 113)
    *_, last = predictor.predict(predictor.embed(image), Prompts((Click(112, 74), Click(3, 3))))
    assert (last.mask.height, last.mask.width) == (75, 113)
    assert last.stage == "refined"
