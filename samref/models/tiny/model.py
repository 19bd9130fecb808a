"""The embedded base behind the common interface."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.models.checkpoints import load_into, load_safetensors, weights_folder
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.models.layers import channels_last, fit_frame, load_pixels, randomize, resize, soft_iou
from samref.models.sam_ref import windows
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.windows import Window
from samref.models.tiny.network import Embedding, EncoderConfig, TinyConfig, TinyNet

LOW_RES_STRIDE = 4
"""Model pixels per cell of the answer."""

PIXELS_PER_FRAME = 4
"""The image kept for the local refiner has at most this many times the model frame's longest side."""

FRAME_MULTIPLE = 16
"""Coarsest stride; images are padded to it and no further, so that a wide image costs what it covers."""

TINY_REFINER = SamRefConfig(
    width=32,
    global_blocks=3,
    local_blocks=3,
    residual_detail=True,
    inject_embedding=False,
    crop=256,
    rule="object",
    closer=384,
    drop_islands=True,
)
"""Why it looks at the whole object, and closer: docs/adr/0007 and 0009."""

_RANDOM = TinyConfig(image_size=128, encoder=EncoderConfig(0.125), context=16, widths=(8, 8, 16), heads=2, blocks=1)
_RANDOM_REFINER = SamRefConfig(
    width=8, global_blocks=1, local_blocks=1, embedding_channels=16, crop=64, minimum=8, rule="object"
)


class TinyModel:
    """Encode: letterbox, MobileNetV2, neck. Decode: one coarse mask."""

    def __init__(self, net: TinyNet, spec: ModelSpec) -> None:
        self.net = net.eval()
        self.spec = spec

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, self.net.config.image_size, FRAME_MULTIPLE)

    def to(self, device: torch.device, dtype: torch.dtype) -> TinyModel:
        return TinyModel(channels_last(copy.deepcopy(self.net), device, dtype), self.spec)

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
        config = self.net.config
        padded = prompts.frame.padded
        size = (padded.height // config.map_stride, padded.width // config.map_stride)
        per_cell = 1 / config.map_stride
        frame = MapFrame(*size, scale_xy=(per_cell, per_cell), pixel_centre_xy=prompts.frame.pixel_centre_xy)
        rough = None if prompts.mask is None else resize(prompts.mask.float(), size)
        embedding = Embedding(features.parts["level4"], features.parts["level8"], features.image_embedding)
        logits = self._answer(embedding, self._draw(prompts, frame, rough), state.low_res_logits)
        yield MaskOutput(
            stage="coarse",
            logits=logits,
            iou_prediction=float(soft_iou(logits)),
            state=DecoderState(step=state.step + 1, low_res_logits=logits, final_logits=logits),
        )

    @torch.no_grad()
    def look_closer(
        self, features: ImageFeatures, prompts: PromptBatch, logits: Tensor, window: Window, side: int
    ) -> Tensor:
        """Encode ``window`` of the image anew and answer the same prompts there; see :class:`Magnifier`."""
        config = self.net.config
        box = window.in_pixels(LOW_RES_STRIDE)
        size = _grid(box, side)
        crop = windows.crop_image(features, box, size).to(self._parameter.dtype)
        embedding = self.net.embed(crop.contiguous(memory_format=torch.channels_last))
        drawn = (size[0] // config.map_stride, size[1] // config.map_stride)
        frame = windows.map_frame_over(box, drawn, prompts.frame)
        cells = torch.tensor([window])
        rough = None if prompts.mask is None else windows.sample_window(prompts.mask.float(), cells, drawn)
        before = windows.sample_window(logits.float(), cells, (size[0] // LOW_RES_STRIDE, size[1] // LOW_RES_STRIDE))
        return self._answer(embedding, self._draw(prompts, frame, rough), before)

    def _answer(self, embedding: Embedding, maps: Tensor, previous: Tensor | None) -> Tensor:
        """Low-res logits (1, 1, h, w) from maps (1, 5, 2h, 2w) and the logits of the previous answer."""
        like = self._parameter
        height, width = (side * self.net.config.map_stride // LOW_RES_STRIDE for side in maps.shape[-2:])
        mask_input = torch.zeros(1, 1, height, width) if previous is None else resize(previous.float(), (height, width))
        has_mask = torch.full((1, 1, 1, 1), float(previous is not None))
        answer: Tensor = self.net.decoder(embedding, maps.to(like), mask_input.to(like), has_mask.to(like))
        return answer.float()

    def _draw(self, batch: PromptBatch, frame: MapFrame, rough: Tensor | None) -> Tensor:
        """Maps (1, 5, h, w): what was drawn, and the rough mask (logits of the maps' size) that was given."""
        config = self.net.config
        maps = draw_prompt_maps(batch.prompts, frame, config.click_radius / config.map_stride)
        drawn = torch.from_numpy(np.stack([maps.positive, maps.negative, maps.box, maps.region]))[None].float()
        given = torch.zeros_like(drawn[:, :1]) if rough is None else (rough.cpu() > 0).float()
        return torch.cat([drawn, given], dim=1)


def _grid(box_xyxy: tuple[float, float, float, float], side: int) -> tuple[int, int]:
    """(rows, columns) of an image of ``box_xyxy``: longest side ``side``, both sides multiples of the last stride."""
    height, width = box_xyxy[3] - box_xyxy[1], box_xyxy[2] - box_xyxy[0]
    per_pixel = side / max(height, width) / FRAME_MULTIPLE
    rows, columns = (FRAME_MULTIPLE * max(1, round(length * per_pixel)) for length in (height, width))
    return rows, columns


def build_tiny(spec: ModelSpec, *, folder: Path | None = None, seed: int = 0) -> SamRefModel:
    """The embedded base with its refiner, on the CPU in float32.

    ``folder`` has both files when they are not those that come with samref; their digests are then not checked.
    """
    is_test = spec.purpose == "test"
    base, refiner = (TinyNet(_RANDOM), SamRef(_RANDOM_REFINER)) if is_test else (TinyNet(), SamRef(TINY_REFINER))
    if spec.checkpoints:
        for module, file in zip((base, refiner), spec.checkpoints, strict=True):
            path = (folder or weights_folder()) / file.file_name
            load_into(module, load_safetensors(path, None if folder else file.sha256), spec.name)
    else:
        randomize(base, seed)
        randomize(refiner, seed + 1)
    return SamRefModel(TinyModel(base, spec), refiner, spec)
