"""SAM-REF over a base: coarse mask, global refiner, detail window, local refiner, selector (arXiv 2408.11535).

One step is :meth:`SamRefModel.decode`; :mod:`samref.models.sam_ref.network` has the networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.core.prompts import Click, Point, Prompts
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
from samref.models.layers import channels_last, fit_frame, resize, soft_iou
from samref.models.sam_ref import windows
from samref.models.sam_ref.network import SamRef


@runtime_checkable
class Magnifier(Protocol):
    """A base whose encoder is quick enough to run again on a part of the image while the user waits."""

    def look_closer(
        self, features: ImageFeatures, prompts: PromptBatch, logits: Tensor, window: windows.Window, side: int
    ) -> Tensor:
        """Encode ``window`` anew at a longest side of ``side`` pixels and answer the same prompts there.

        Args:
            features: of the whole image.
            prompts: all of the object's, model frame.
            logits: (1, 1, h, w) the mask so far, low-res frame.
            window: where to look, low-res cells.
            side: of the new image of it.

        Returns:
            (1, 1, h', w') logits that cover exactly the window.
        """
        ...


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
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def frame(self, size: ImageSize) -> Frame:
        return self.base.frame(size)

    def to(self, device: torch.device, dtype: torch.dtype) -> SamRefModel:
        refiner = channels_last(copy.deepcopy(self.refiner), device, dtype)
        return SamRefModel(self.base.to(device, dtype), refiner, self._spec)

    @property
    def _dtype(self) -> torch.dtype:
        return self.refiner.global_refiner.error_head.weight.dtype

    @torch.inference_mode()
    def encode(self, image: ImageInput) -> ImageFeatures:
        """The base's features, and of the refiner all that depends on the image alone."""
        features = self.base.encode(image)
        parts = dict(features.parts)
        framed = fit_frame(features.pixels, features.frame).to(self._dtype)
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
        base_logits = coarse.logits.float()
        image = features.parts["refiner.image"]
        embedding = features.parts.get("refiner.embedding")
        padded = features.frame.padded
        maps = self._draw(
            prompts, MapFrame(padded.height, padded.width, pixel_centre_xy=features.frame.pixel_centre_xy)
        )
        probability = resize(base_logits.sigmoid(), (padded.height, padded.width))
        refined = self.refiner.global_refiner(
            image,
            torch.cat([maps.to(image.device), probability], dim=1).to(self._dtype),
            embedding,
            base_logits.to(self._dtype),
        )
        global_logits = refined.logits.float()
        error_count = int((refined.error > 0).sum())
        previous = state.final_logits
        usable = previous is not None and previous.shape == global_logits.shape and bool((previous > 0).any())
        canvas = global_logits
        wandered = windows.keeps_previous(error_count, state.error_count, config.selector_threshold)
        if config.selector_direction == "below":
            wandered = not wandered
        if config.use_selector and wandered and usable and previous is not None:
            canvas = previous.float()
        window = self._window(global_logits, previous if usable else None, prompts) if config.use_local else None
        answer = _Answer(canvas, canvas, None)
        if window is not None:
            patch = self._look_closer(features, prompts, global_logits, window)
            answer = _Answer(canvas, windows.paste(canvas, window, patch.logits), patch)
        if previous is not None and usable and 0 < config.settled_after < len(prompts.prompts.items):
            answer = self._settled(answer, previous.float(), prompts)
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

    def _settled(self, answer: _Answer, previous: Tensor, prompts: PromptBatch) -> _Answer:
        """The previous mask wherever the newest prompt does not touch the change."""
        points = self._in_cells(windows.newest_points(prompts))
        if not points:
            return answer
        elsewhere = windows.changed_elsewhere(_inside(answer.final), _inside(previous), points)
        if elsewhere is None:
            return answer
        return self._edited(answer, elsewhere, previous)

    def _without_islands(self, answer: _Answer, prompts: PromptBatch) -> _Answer:
        """The parts of the mask that somebody pointed at; all of it where nobody pointed at one."""
        points = self._in_cells(windows.pointed_at(prompts))
        stray = windows.stray_cells(_inside(answer.final), points) if points else None
        if stray is None:
            return answer
        return self._edited(answer, stray, None)

    def _in_cells(self, points_xy: list[Point]) -> list[Point]:
        stride = self.refiner.config.low_res_stride
        return [(x / stride, y / stride) for x, y in points_xy]

    def _edited(self, answer: _Answer, cells: NDArray[np.bool_], instead: Tensor | None) -> _Answer:
        """Other low-res logits in ``cells`` of canvas, final mask and patch; without any, these sink below zero."""

        def edit(logits: Tensor, cells: Tensor, instead: Tensor | None) -> Tensor:
            return windows.sunk(logits, cells) if instead is None else instead.where(cells, logits)

        marked = torch.from_numpy(cells)[None, None].to(answer.final.device)
        patch = answer.patch
        if patch is not None:
            box = torch.tensor([patch.box_xyxy]) / self.refiner.config.low_res_stride
            grid = patch.logits.shape[-1]
            near = windows.sample_window(marked.float(), box, grid, nearest=True) > 0
            sampled = None if instead is None else windows.sample_window(instead, box, grid)
            patch = replace(patch, logits=edit(patch.logits, near, sampled))
        return _Answer(edit(answer.canvas, marked, instead), edit(answer.final, marked, instead), patch)

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

    def _look_closer(
        self, features: ImageFeatures, prompts: PromptBatch, logits: Tensor, window: windows.Window
    ) -> Patch:
        """LFR: image, prompts and mask fused again inside ``window``, from the image's own pixels."""
        config = self.refiner.config
        box = window.in_pixels(config.low_res_stride)
        window_cells = torch.tensor([window])
        crop = windows.crop_image(features, box, config.crop).to(self._dtype)
        maps = self._draw(prompts, windows.map_frame_over(box, config.crop, features.frame)).to(crop.device)
        if config.closer and isinstance(self.base, Magnifier):
            closer = self.base.look_closer(features, prompts, logits, window, config.closer)
            before = resize(closer, (config.local_grid, config.local_grid))
        else:
            before = windows.sample_window(logits, window_cells, config.local_grid)
        probability = resize(before.sigmoid(), (config.crop, config.crop))
        embedding = features.parts.get("refiner.embedding")
        if embedding is not None:
            embedding = windows.sample_window(embedding, window_cells, config.local_grid)
        refined = self.refiner.local_refiner(
            self.refiner.local_refiner.image_stem(crop),
            torch.cat([maps, probability], dim=1).to(self._dtype),
            embedding,
            before.to(self._dtype),
        )
        return Patch(box, refined.logits.float())

    def _draw(self, prompts: PromptBatch, frame: MapFrame) -> Tensor:
        maps = draw_prompt_maps(without_areas(prompts.prompts), frame, self.refiner.config.click_radius)
        return torch.stack([torch.from_numpy(maps.positive), torch.from_numpy(maps.negative)])[None].float()


def _inside(logits: Tensor) -> NDArray[np.bool_]:
    """The mask (h, w) of logits (1, 1, h, w)."""
    mask: NDArray[np.bool_] = (logits[0, 0] > 0).cpu().numpy()
    return mask


def without_areas(prompts: Prompts) -> Prompts:
    """Clicks and strokes only: boxes and outlines reach the refiner through the base's mask."""
    return Prompts((*prompts.clicks, *prompts.scribbles))
