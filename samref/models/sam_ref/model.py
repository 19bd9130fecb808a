"""SAM-REF over a base: coarse mask, global refiner, detail window, local refiner, selector (arXiv 2408.11535).

The refiner's own part of a step is :mod:`samref.models.sam_ref.step`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Click, Point
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    ModelSpec,
    Patch,
    PromptBatch,
)
from samref.models.layers import channels_last, fit_frame, soft_iou
from samref.models.sam_ref import step, windows
from samref.models.sam_ref.network import SamRef


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
