"""When Segment Anything computes three masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.errors import ModelError
from samref.inference.device import load_predictor
from samref.inference.predictor import Predictor
from samref.models.registry import build_model
from samref.models.sam import RANDOM
from samref.models.sam.model import SamModel, build_sam, with_multimask


@pytest.mark.parametrize(("mode", "expected"), [("single", [1, 1]), ("first-click", [3, 1]), ("always", [3, 3])])
def test_the_mode_says_when_sam_computes_three_masks_and_the_best_ones_logits_go_back(
    mode: Any, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_multimask(build_sam(RANDOM), mode)
    assert isinstance(model, SamModel)
    seen: list[Any] = []
    predict_masks = SamModel.predict_masks

    def listen(self: SamModel, features: Any, prompt: Any, *, multimask: bool) -> Any:
        logits, ious = predict_masks(self, features, prompt, multimask=multimask)
        seen.append((prompt.mask_input, logits, ious))
        return logits, ious

    monkeypatch.setattr(SamModel, "predict_masks", listen)
    rgb = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    predictor = Predictor(model)
    embedding = predictor.embed(DecodedImage(rgb, ImageSize(40, 60), "digest"))
    clicks = (Click(30, 20, True), Click(5, 5, False))
    first = next(iter(predictor.predict(embedding, Prompts(clicks[:1]))))
    next(iter(predictor.predict(embedding, Prompts(clicks), first.state)))
    assert [logits.shape[1] for _, logits, _ in seen] == expected
    _, logits, ious = seen[0]
    best = int(ious[0].argmax())
    assert seen[0][0] is None
    assert seen[1][0].equal(logits[:, best : best + 1])


def test_a_model_without_that_choice_says_so() -> None:
    with pytest.raises(ModelError, match="tiny-random does not choose"):
        with_multimask(build_model("tiny-random"), "single")
    with pytest.raises(ModelError, match="tiny-random does not choose"):
        load_predictor("tiny-random", device="cpu", precision="fp32", multimask="always")
    with pytest.raises(ModelError, match="no multimask mode"):
        with_multimask(build_sam(RANDOM), "twice")  # type: ignore[arg-type]
