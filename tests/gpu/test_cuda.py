"""The same masks on a GPU as on the CPU (skipped, with the reason, where there is none)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import mask_iou
from samref.core.prompts import Box, Click, Prompts
from samref.inference.predictor import Predictor
from samref.models.registry import build_model

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["tiny-random", "sam-random", "sam-ref-random", "segnext-random", "focsam-random"])
def test_a_gpu_gives_the_masks_of_the_cpu(name: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    image = DecodedImage(rgb, ImageSize(240, 320), "digest")
    prompts = Prompts((Box(40, 30, 200, 180), Click(100, 90), Click(250, 200, positive=False)))
    stages = {}
    for device in ("cpu", "cuda"):
        predictor = Predictor(build_model(name), torch.device(device), torch.float32)
        stages[device] = list(predictor.predict(predictor.embed(image), prompts))
    for on_cpu, on_gpu in zip(stages["cpu"], stages["cuda"], strict=True):
        assert on_cpu.stage == on_gpu.stage
        assert mask_iou(on_cpu.mask.to_mask(), on_gpu.mask.to_mask()) > 0.99
