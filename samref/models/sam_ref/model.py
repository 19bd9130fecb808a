"""SAM-REF over a base: coarse mask, global refiner, detail window, local refiner, selector (arXiv 2408.11535).

The refiner's own part of a step is :mod:`samref.models.sam_ref.step`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import Tensor, nn

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Click, Point
from samref.errors import CheckpointInvalidError
from samref.models.checkpoints import load_into, load_safetensors, place_of
from samref.models.interface import (
    Checkpoint,
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    ModelSpec,
    Patch,
    PromptBatch,
)
from samref.models.layers import channels_last, fit_frame, randomize, soft_iou
from samref.models.sam.model import build_sam
from samref.models.sam.network import build_sam_network
from samref.models.sam_ref import step, windows
from samref.models.sam_ref.network import SamRef, SamRefConfig

AGNOSTIC_REFINER = SamRefConfig(
    width=32,
    global_blocks=5,
    local_blocks=3,
    dilations=(1, 2, 4, 8, 1),
    residual_detail=True,
    surest=4.0,
    inject_embedding=False,
    rule="change",
)
"""The refiner that fits any base with a frame like SAM's: it sees image, prompts and mask, never an embedding."""

SMALL_REFINER = SamRefConfig(width=8, global_blocks=1, local_blocks=1, embedding_channels=32, crop=64, minimum=8)
"""The paper's form over ``sam-random``: to try things in seconds."""

_CONFIGS = {
    "sam-ref-random": SMALL_REFINER,
    "sam-ref-vit-b-c64": SamRefConfig(width=64),
    "sam-ref-vit-b-c32": SamRefConfig(width=32),
}
"""Refiners that need weights of their own; all other models have the one that fits any base."""

_CONFIG_KEY = "sam_ref"

# A SAM below a refiner always answers with its single mask: papers.md 1.3, step 1 (mask token 0 at every click).


class _Answer(NamedTuple):
    """A refined answer in the making: low-res logits without and with the patch pasted in, and the patch."""

    canvas: Tensor
    final: Tensor
    patch: Patch | None


class SamRefModel:
    """A base model with the SAM-REF refiner on top."""

    def __init__(self, base: InteractiveModel, refiner: SamRef, spec: ModelSpec) -> None:
        self.base = base
        self.refiner = refiner.eval()
        self.spec = spec

    def frame(self, size: ImageSize) -> Frame:
        return self.base.frame(size)

    def to(self, device: torch.device, dtype: torch.dtype) -> SamRefModel:
        refiner = channels_last(copy.deepcopy(self.refiner), device, dtype)
        return SamRefModel(self.base.to(device, dtype), refiner, self.spec)

    def encode(self, image: ImageInput) -> ImageFeatures:
        return self.prepare(self.base.encode(image))

    @torch.inference_mode()
    def prepare(self, features: ImageFeatures) -> ImageFeatures:
        """The base's features, and of the refiner all that depends on the image alone."""
        parts = dict(features.parts)
        framed = fit_frame(features.pixels, features.frame).to(self.refiner.global_refiner.dtype)
        parts["refiner.image"] = self.refiner.global_refiner.image_stem(framed)
        low_res = parts["refiner.image"].shape[-2:]
        projected = self.refiner.project(features.image_embedding, (low_res[0], low_res[1]))
        if projected is not None:
            parts["refiner.embedding"] = projected
        return replace(features, parts=parts)

    @torch.inference_mode()
    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The base's answer as the coarse stage, then the refined one."""
        config = self.refiner.config
        given = state
        if config.feedback == "final" and state.final_logits is not None:
            given = replace(state, low_res_logits=state.final_logits)
        coarse: MaskOutput | None = None
        for output in self.base.decode(features, prompts, given):
            coarse = output
            yield replace(output, stage="coarse")
        assert coarse is not None
        yield self._refine(features, prompts, state, coarse)

    def _refine(
        self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState, coarse: MaskOutput
    ) -> MaskOutput:
        config = self.refiner.config
        image = features.parts["refiner.image"]
        embedding = features.parts.get("refiner.embedding")
        padded = features.frame.padded
        frame = MapFrame(padded.height, padded.width, pixel_centre_xy=features.frame.pixel_centre_xy)
        maps = step.draw_signs(prompts.prompts, frame, config.click_radius).to(image.device)
        refined = step.refine_global(self.refiner, image, maps, embedding, coarse.logits.float())
        global_logits = refined.logits.float()
        error_count = int((refined.error > 0).sum())
        previous = state.final_logits
        if previous is not None and (previous.shape != global_logits.shape or not bool((previous > 0).any())):
            previous = None
        canvas = global_logits
        if previous is not None and windows.keeps_previous(
            config.selector, error_count, state.error_count, config.selector_threshold
        ):
            canvas = previous.float()
        answer = _Answer(canvas, canvas, None)
        window = self._window(global_logits, previous, prompts) if config.use_local else None
        if window is not None:
            seen = step.look_closer(
                config, features, prompts, global_logits, window, embedding=embedding, base=self.base
            )
            patch = Patch(window.in_pixels(config.low_res_stride), step.refine_local(self.refiner, seen).logits.float())
            answer = _Answer(canvas, windows.paste(canvas, window, patch.logits), patch)
        if config.drop_islands:
            answer = self._without_islands(answer, prompts)
        return MaskOutput(
            stage="refined",
            logits=answer.canvas,
            iou_prediction=float(soft_iou(answer.final)),
            state=replace(coarse.state, final_logits=answer.final, error_count=error_count),
            patch=answer.patch,
            error_logits=refined.error.float(),
        )

    def _without_islands(self, answer: _Answer, prompts: PromptBatch) -> _Answer:
        """The parts of the mask that somebody pointed at; all of it where nobody pointed at one."""
        points = self._in_cells(windows.pointed_at(prompts))
        stray = windows.stray_cells(_inside(answer.final), points) if points else None
        if stray is None:
            return answer
        marked = torch.from_numpy(stray)[None, None].to(answer.final.device)
        patch = answer.patch
        if patch is not None:
            box = torch.tensor([patch.box_xyxy]) / self.refiner.config.low_res_stride
            near = windows.sample_window(marked.float(), box, patch.logits.shape[-1], nearest=True) > 0
            patch = replace(patch, logits=windows.sunk(patch.logits, near))
        return _Answer(windows.sunk(answer.canvas, marked), windows.sunk(answer.final, marked), patch)

    def _in_cells(self, points_xy: list[Point]) -> list[Point]:
        stride = self.refiner.config.low_res_stride
        return [(x / stride, y / stride) for x, y in points_xy]

    def _window(self, logits: Tensor, previous: Tensor | None, prompts: PromptBatch) -> windows.Window | None:
        config = self.refiner.config
        stride = config.low_res_stride
        limit = windows.covered_cells(prompts.frame, stride)
        mask = windows.inside(logits[0, 0], limit)
        if config.rule == "object":
            points = self._in_cells([(click.x, click.y) for click in prompts.prompts.clicks if click.positive])
            return windows.object_window(mask, points, expand=config.expand, minimum=config.minimum, limit=limit)
        newest = prompts.prompts.items[-1] if prompts.prompts.items else None
        click = (newest.x / stride, newest.y / stride) if isinstance(newest, Click) else None
        before = None if previous is None else _inside(previous)
        return windows.change_window(mask, before, click, expand=config.expand, minimum=config.minimum, limit=limit)


def _inside(logits: Tensor) -> NDArray[np.bool_]:
    """The mask (h, w) of logits (1, 1, h, w)."""
    mask: NDArray[np.bool_] = (logits[0, 0] > 0).cpu().numpy()
    return mask


# ---- weights: a refiner of one's own training, or the one that fits any base
#
# A file of one's own training (``samref train sam-ref-64 --export``) holds ``refiner.`` and the ``mask_decoder.`` that
# it was trained over; its sizes and choices stand in the file's metadata. The rest is the official SAM.


def build_random(spec: ModelSpec, over: ModelSpec, seed: int) -> SamRefModel:
    """SAM-REF over the SAM that ``over`` describes, both with random weights."""
    refiner = SamRef(_CONFIGS.get(spec.name, AGNOSTIC_REFINER))
    randomize(refiner, seed + 1)
    return SamRefModel(build_sam(replace(over, checkpoints=()), "single", seed=seed), refiner, spec)


def build_agnostic(spec: ModelSpec, over: ModelSpec, weights: Checkpoint, checkpoint: Path | None) -> SamRefModel:
    """The refiner that fits any base over a SAM; ``checkpoint`` is SAM's official file when it is not in the cache."""
    return SamRefModel(build_sam(over, "single", checkpoint=checkpoint), load_agnostic_refiner(weights), spec)


def load_agnostic_refiner(weights: Checkpoint, config: SamRefConfig = AGNOSTIC_REFINER) -> SamRef:
    """The refiner that fits any base; ``config`` may use it differently, at the same sizes."""
    refiner = SamRef(config)
    load_into(refiner, load_safetensors(place_of(weights), weights.sha256), "agnostic-refiner")
    return refiner


def build_trained(spec: ModelSpec, over: ModelSpec, path: Path, seed: int) -> SamRefModel:
    """Decoder and refiner of one file over the rest of SAM, which answers with the mask they were trained on."""
    weights = {key: value.float() for key, value in load_safetensors(path).items()}
    config = _config_of(path)
    base = build_sam(over, "single", seed=seed)
    with torch.device("meta"):
        refiner, network = SamRef(config), build_sam_network(base.config)
    load_into(trained_parts(network, refiner), weights, spec.name, assign=True)
    base.network.mask_decoder = network.mask_decoder.requires_grad_(False).eval()
    return SamRefModel(base, refiner, spec)


def trained_parts(network: Any, refiner: SamRef) -> nn.Module:
    """What a training of SAM-REF leaves, under the names of its file.

    ``network`` is the package's ``Sam``, with the decoder that the refiner was trained over.
    """
    whole = nn.Module()
    whole.add_module("mask_decoder", network.mask_decoder)
    whole.add_module("refiner", refiner)
    return whole


def about_refiner(config: SamRefConfig) -> dict[str, str]:
    """What a file's metadata must say about the refiner in it."""
    return {_CONFIG_KEY: json.dumps(asdict(config))}


def _config_of(path: Path) -> SamRefConfig:
    """The choices a refiner was trained with, as its file says them."""
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_CONFIG_KEY, "")
    try:
        return TypeAdapter(SamRefConfig).validate_json(told, strict=True)
    except ValidationError as error:
        named = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
        odd = [field.name for field in fields(SamRefConfig) if field.name in named]
        if odd:
            raise CheckpointInvalidError(f"{path}: its SAM-REF refiner has an unusable {', '.join(odd)}.") from error
        raise CheckpointInvalidError(
            f"{path} does not say which SAM-REF refiner it holds. Export it with: python -m samref train --export FILE."
        ) from error
