"""What SAM-REF's refiner costs over SAM ViT-B's own decoder, at the sizes of the released model, weights at random.

Only the decoder's sizes matter for a click, so the image encoder is a small one: it runs once per image.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.inference.predictor import Predictor
from samref.models.interface import DecoderState
from samref.models.layers import randomize
from samref.models.sam import SPECS as SAM_SPECS
from samref.models.sam.model import SamModel
from samref.models.sam.network import SAM_CONFIGS, network_from, random_weights
from samref.models.sam_ref.model import AGNOSTIC_REFINER, SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig

Record = Callable[[str, float, str], None]

ROUNDS = 5
CLICKS = (Click(500, 400), Click(700, 300, positive=False), Click(300, 500), Click(450, 600, positive=False))
WIDTHS = {"any base": AGNOSTIC_REFINER, "C 32, N 5": SamRefConfig(width=32), "C 64, N 5": SamRefConfig()}


@pytest.fixture(scope="module")
def sam() -> SamModel:
    config = replace(SAM_CONFIGS["sam-vit-b"], embed_dim=64, depth=1, heads=2, global_blocks=())
    network = network_from(config, random_weights(config, 0), "sam-vit-b")
    return SamModel(replace(SAM_SPECS["sam-vit-b"], checkpoints=()), config, network)


@pytest.mark.parametrize("name", list(WIDTHS))
def test_the_narrow_refiner_costs_at_most_five_of_sams_decodes_on_a_cpu(
    sam: SamModel, name: str, record: Record
) -> None:
    refiner = SamRef(WIDTHS[name])
    randomize(refiner, 1)
    predictor = Predictor(SamRefModel(sam, refiner, replace(sam.spec, stages=("coarse", "refined"))))
    rgb = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    embedding = predictor.embed(DecodedImage(rgb, ImageSize(768, 1024), "0"))
    coarse_s: list[float] = []
    refined_s: list[float] = []
    for _ in range(ROUNDS):
        state: DecoderState | None = None
        for count in range(1, len(CLICKS) + 1):
            coarse, refined = predictor.predict(embedding, Prompts(CLICKS[:count]), state)
            state = refined.state
            coarse_s.append(coarse.seconds)
            refined_s.append(refined.seconds - coarse.seconds)
    decoder, own = statistics.median(coarse_s), statistics.median(refined_s)
    record(f"SAM ViT-B decoder, {torch.get_num_threads()} threads", 1000 * decoder, "ms")
    record(f"refiner, {name}", 1000 * own, "ms")
    record(f"refiner over decoder, {name}", own / decoder, "x")
    if WIDTHS[name].width == 32:
        assert own <= 5 * decoder
