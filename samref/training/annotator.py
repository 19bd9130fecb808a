"""Many simulated people at once: the prompts of a batch of objects, drawn as maps and corrected step by step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.prompt_maps import MapFrame, PromptMaps, draw_prompt
from samref.core.prompts import Click, Prompt
from samref.training import simulate

__all__ = ["FIRST_PROMPTS", "BatchAnnotator"]

FIRST_PROMPTS = {"click": 0.64, "box": 0.11, "scribble": 0.11, "polygon": 0.06, "mask": 0.08}
"""How often an object starts with which prompt."""


class BatchAnnotator:
    """Holds label maps uint8 (N, h, w) with 0, 1, 255 and the prompts given so far.

    Attributes:
        maps: uint8 (N, 5, h, w): positive, negative, box, polygon, rough mask.
        prompts: what was said about each object, in label cells.
    """

    def __init__(self, labels: NDArray[np.uint8], radius: float, rng: np.random.Generator) -> None:
        count, height, width = labels.shape
        self.gt = (labels == 1).astype(np.uint8)
        self.ignore = (labels == 255).astype(np.uint8)
        self.maps: NDArray[np.uint8] = np.zeros((count, 5, height, width), dtype=np.uint8)
        self.prompts: list[list[Prompt]] = [[] for _ in range(count)]
        self.radius = radius
        self.rng = rng
        self._frame = MapFrame(height, width)

    def begin(self) -> None:
        """Give every object its first prompt."""
        kinds, shares = list(FIRST_PROMPTS), list(FIRST_PROMPTS.values())
        for index, gt in enumerate(self.gt):
            kind = self.rng.choice(kinds, p=shares)
            prompt: Prompt | None = None
            if kind == "mask":
                self.maps[index, 4] = simulate.careless_mask(gt, self.rng)
                continue
            if kind == "box":
                prompt = simulate.careless_box(gt, self.rng)
            elif kind == "scribble":
                prompt = simulate.scribble_in(gt, True, self.rng)
            elif kind == "polygon":
                prompt = simulate.careless_polygon(gt, self.rng)
            self._add(index, prompt or simulate.click_in(gt, True, self.rng))

    def correct(self, logits: Tensor) -> None:
        """One correction per object, from logits (N, 1, h, w) of the label maps' size."""
        for index, pred in enumerate((logits[:, 0] > 0).to(torch.uint8).numpy()):
            self._add(index, simulate.correction(pred, self.gt[index], self.ignore[index], self.rng))

    def latest_click(self, index: int) -> Click | None:
        """The newest prompt of an object when that is a click."""
        newest = self.prompts[index][-1] if self.prompts[index] else None
        return newest if isinstance(newest, Click) else None

    def _add(self, index: int, prompt: Prompt | None) -> None:
        if prompt is None:
            return
        self.prompts[index].append(prompt)
        draw_prompt(PromptMaps(*self.maps[index, :4]), prompt, self._frame, self.radius)
