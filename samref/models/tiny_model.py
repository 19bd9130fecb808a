"""The embedded base behind the common interface."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.models.layers import channels_last, fit_frame, load_pixels, resize, soft_iou
from samref.models.tiny import Embedding, TinyNet

__all__ = ["TinyModel"]

PIXELS_PER_FRAME = 4
"""The picture kept for the local refiner has at most this many times the model frame's longest side."""

FRAME_MULTIPLE = 16
"""Coarsest stride; pictures are padded to it and no further, so that a wide picture costs what it covers."""


class TinyModel:
    """Encode: letterbox, MobileNetV2, neck. Decode: one coarse mask; see :mod:`samref.models.sam_ref` for the rest."""

    def __init__(self, net: TinyNet, spec: ModelSpec) -> None:
        self.net = net.eval()
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, self.net.config.image_size, FRAME_MULTIPLE)

    def to(self, device: torch.device, dtype: torch.dtype) -> TinyModel:
        return TinyModel(channels_last(copy.deepcopy(self.net), device, dtype), self._spec)

    @property
    def _parameter(self) -> Tensor:
        return self.net.decoder.head.weight

    @torch.inference_mode()
    def encode(self, image: ImageInput) -> ImageFeatures:
        """Maps at strides 4, 8 and 16; the last is the ``image_embedding``."""
        pixels = load_pixels(image.rgb, PIXELS_PER_FRAME * self.net.config.image_size).to(self._parameter.device)
        framed = fit_frame(pixels, image.frame).to(self._parameter.dtype)
        embedding = self.net.embed(framed.contiguous(memory_format=torch.channels_last))
        parts = {"level4": embedding.level4, "level8": embedding.level8}
        return ImageFeatures(embedding.level16, pixels, image.frame, parts)

    @torch.inference_mode()
    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The coarse mask at stride 4."""
        like = self._parameter
        maps = self._draw(prompts).to(like.device, like.dtype)
        height, width = (side * self.net.config.map_stride // 4 for side in maps.shape[-2:])
        previous = state.low_res_logits
        mask_input = torch.zeros(1, 1, height, width) if previous is None else resize(previous.float(), (height, width))
        has_mask = torch.full((1, 1, 1, 1), float(previous is not None))
        embedding = Embedding(features.parts["level4"], features.parts["level8"], features.image_embedding)
        logits = self.net.decoder(embedding, maps, mask_input.to(like), has_mask.to(like)).float()
        yield MaskOutput(
            stage="coarse",
            logits=logits,
            iou_prediction=float(soft_iou(logits)),
            state=DecoderState(step=state.step + 1, low_res_logits=logits, final_logits=logits),
        )

    def _draw(self, batch: PromptBatch) -> Tensor:
        config = self.net.config
        padded = batch.frame.padded
        size = (padded.height // config.map_stride, padded.width // config.map_stride)
        per_cell = 1 / config.map_stride
        frame = MapFrame(*size, scale_xy=(per_cell, per_cell), pixel_centre_xy=batch.frame.pixel_centre_xy)
        maps = draw_prompt_maps(batch.prompts, frame, config.click_radius * per_cell)
        drawn = torch.from_numpy(np.stack([maps.positive, maps.negative, maps.box, maps.region]))[None].float()
        rough = torch.zeros(1, 1, *size)
        if batch.mask is not None:
            rough = (resize(batch.mask.float().cpu(), size) > 0).float()
        return torch.cat([drawn, rough], dim=1)
