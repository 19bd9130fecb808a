"""The model without page, server or session: what every mask on the page is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import samref
from samref.core.images import decode_image
from samref.core.masks import Mask
from samref.core.prompts import Prompts, prompt_from_dict
from samref.inference.predictor import Embedding, Prediction, Predictor
from samref.models.interface import DecoderState

__all__ = ["Answer", "Offline"]


@dataclass(frozen=True)
class Answer:
    """Both stages' masks for one list of prompts."""

    coarse: Mask
    refined: Mask
    score: float


class Offline:
    """``samref.load_predictor``, asked prompt by prompt."""

    def __init__(self) -> None:
        self._predictor: Predictor = samref.load_predictor("tiny", device="cpu", precision="fp32")
        self._embeddings: dict[bytes, Embedding] = {}

    def answer(self, image: bytes, prompts: Sequence[dict[str, Any]], bases: Sequence[int] | None = None) -> Answer:
        """The answer to the last prompt.

        Args:
            image: bytes of the file.
            prompts: in the order given, as the page holds them.
            bases: for each prompt the number (from 1; 0 is none) of the one whose memory its answer starts from, see
                ``samref/inference/draft.py``; the one before it unless told otherwise.
        """
        if image not in self._embeddings:
            self._embeddings[image] = self._predictor.embed(decode_image(image))
        said = [prompt_from_dict(prompt) for prompt in prompts]
        before = list(range(len(said))) if bases is None else list(bases)
        known: dict[int, list[Prediction]] = {}

        def stages(number: int) -> list[Prediction]:
            if number not in known:
                basis = before[number - 1]
                state = DecoderState() if basis == 0 else stages(basis)[-1].state
                embedding = self._embeddings[image]
                known[number] = list(self._predictor.predict(embedding, Prompts(tuple(said[:number])), state))
            return known[number]

        coarse, refined = stages(len(said))
        assert (coarse.stage, refined.stage) == ("coarse", "refined")
        return Answer(coarse.mask.to_mask(), refined.mask.to_mask(), refined.score)
