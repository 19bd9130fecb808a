from __future__ import annotations

import numpy as np
import pytest
import torch

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.errors import ModelError
from samref.inference.predictor import Predictor
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel


def test_an_answer_that_is_no_number_is_an_error_and_not_an_empty_mask() -> None:
    model = build_model("tiny-random")
    assert isinstance(model, SamRefModel)
    with torch.no_grad():
        next(model.refiner.local_refiner.parameters()).fill_(float("nan"))
    predictor = Predictor(model)
    image = DecodedImage(np.zeros((60, 80, 3), dtype=np.uint8), ImageSize(60, 80), "digest")
    stages = predictor.predict(predictor.embed(image), Prompts((Click(20, 20),)))
    assert next(stages).stage == "coarse"
    with pytest.raises(ModelError, match="not a number"):
        next(stages)
