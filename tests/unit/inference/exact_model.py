"""A model small and exact enough to reason about: every answer depends on all prompts and on the whole memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Prompts, prompt_to_dict
from samref.inference.predictor import Predictor
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    MaskOutput,
    ModelSpec,
    Patch,
    PromptBatch,
    PromptKind,
    Stage,
)

SIDE = 16
ALL_KINDS: frozenset[PromptKind] = frozenset(("click", "box", "scribble", "polygon", "mask"))


def make_image(seed: int = 0, height: int = 24, width: int = 32) -> DecodedImage:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return DecodedImage(rgb, ImageSize(height, width), hashlib.sha256(rgb.tobytes()).hexdigest())


@dataclass
class Watch:
    """What a model was asked to do, and brakes to hold it where a test wants it."""

    encodes: int = 0
    stages: list[str] = field(default_factory=list)
    before_encode: threading.Event | None = None
    before_refined: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    fail_at: str = ""
    fails: int = -1
    """How often; -1 is always."""

    def enter(self, what: str, brake: threading.Event | None = None) -> None:
        self.stages.append(what)
        self.reached.set()
        if brake is not None:
            assert brake.wait(20), "the test forgot to let go"
        if what == self.fail_at and self.fails != 0:
            self.fails -= 1
            raise RuntimeError(f"no {what} today")


class ExactModel:
    """Logits are noise seeded by the prompts, mixed with the memory; the refined stage adds a patch."""

    def __init__(
        self,
        name: str = "exact",
        stages: tuple[Stage, ...] = ("coarse", "refined"),
        prompts: frozenset[PromptKind] = ALL_KINDS,
        watch: Watch | None = None,
    ) -> None:
        self._spec = ModelSpec(name, name.title(), "letterbox", SIDE, prompts, stages, note=f"{name} is a test")
        self.watch = watch or Watch()

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, SIDE)

    def to(self, device: torch.device, dtype: torch.dtype) -> ExactModel:
        return self

    def encode(self, image: ImageInput) -> ImageFeatures:
        self.watch.encodes += 1
        self.watch.enter("encode", self.watch.before_encode)
        mean = image.rgb.float().mean(dim=(0, 1))[None, :, None, None]
        return ImageFeatures(mean, image.rgb.permute(2, 0, 1)[None], image.frame)

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        self.watch.enter("coarse")
        noise = self._noise(prompts.prompts, features)
        grid = (SIDE // 2, SIDE // 2)
        memory = torch.zeros(1, 1, *grid)
        if state.final_logits is not None:  # of a corrected mask it is a grid of its own
            memory = torch.nn.functional.interpolate(state.final_logits, grid)
        rough = 0.0 if prompts.mask is None else torch.nn.functional.interpolate(prompts.mask, grid)
        coarse = noise + 0.6 * memory + 0.1 * rough
        step = DecoderState(state.step + 1, coarse, coarse)
        yield MaskOutput("coarse", coarse, 0.25, step)
        if "refined" not in self._spec.stages:
            return
        self.watch.enter("refined", self.watch.before_refined)
        refined = coarse.roll(1, dims=3) + 0.3
        patch = Patch((2.0, 1.5, 9.5, 8.0), -noise[..., :5, :5])
        state = DecoderState(step.step, coarse, refined + noise)
        yield MaskOutput("refined", refined, 0.75, state, patch, error_logits=-refined)

    def _noise(self, prompts: Prompts, features: ImageFeatures) -> Tensor:
        words = repr([prompt_to_dict(prompt) for prompt in prompts.items]) + repr(features.image_embedding.tolist())
        seed = int.from_bytes(hashlib.sha256((self._spec.name + words).encode()).digest()[:6], "big")
        return torch.randn(1, 1, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(seed)) * 3


def make_predictor(name: str = "exact", watch: Watch | None = None, **options: object) -> Predictor:
    return Predictor(ExactModel(name, watch=watch, **options))  # type: ignore[arg-type]
