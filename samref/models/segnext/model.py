"""SegNext as an :class:`InteractiveModel`: prompts as dense maps, one answer, the previous mask given back.

The network is :mod:`samref.models.segnext.network`, the drawing :mod:`samref.models.segnext.prompt_maps`.
Source: arXiv 2404.00741 and the authors' published code.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.errors import CheckpointInvalidError, PromptError
from samref.models.checkpoints import load_into, load_torch, locate
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    MaskOutput,
    ModelSpec,
    PromptBatch,
)
from samref.models.layers import load_pixels, resize, soft_iou
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet, seeded_weights, stretch
from samref.models.segnext.prompt_maps import draw_signed_maps, paint_areas

THRESHOLD = 0.49
"""Probability above which a pixel belongs to the mask, in the published code."""

LOGIT_SHIFT = math.log((1 - THRESHOLD) / THRESHOLD)
"""Added to the network's logits, so that 0 is the threshold here as everywhere in samref."""

LONGEST_PIXELS = 2048
"""Longest side of the image kept with the embedding for a local refiner: twice the model frame."""


class SegNextModel:
    """SegNext behind the common interface; batch of one, one stage.

    What an object remembers is the network's low-res logits as they are (``DecoderState.low_res_logits``): from them
    the previous mask is made again in the image frame, where the published predictor keeps it, so the two agree.

    Attributes:
        network: the modules, their weights frozen; who wants to train uses :class:`SegNextNet` itself.
    """

    def __init__(self, spec: ModelSpec, network: SegNextNet) -> None:
        """``network`` must hold its final weights and is not to be changed by the caller afterwards."""
        self.spec = spec
        self.network = network.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return self.network.head.seg_conv.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network; maps are drawn and logits resized in float32."""
        return self.network.head.seg_conv.weight.dtype

    def frame(self, size: ImageSize) -> Frame:
        return Frame.stretch(size, self.network.config.image_size)

    def encode(self, image: ImageInput) -> ImageFeatures:
        """The ViT's tokens (1, C, h, w); all that a click needs of the image."""
        rgb = image.rgb.to(self.device).permute(2, 0, 1)[None].float() / 255  # H W 3 -> 1 3 H W
        with torch.no_grad():
            embedding = self.network.embed(self.network.prepare(rgb).to(self.dtype))
        return ImageFeatures(embedding, load_pixels(image.rgb, LONGEST_PIXELS).to(self.device), image.frame)

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The one answer, stage "coarse": logits (1, 1, S, S), shifted by :data:`LOGIT_SHIFT`."""
        if prompts.prompts.is_empty() and prompts.mask is None:
            raise PromptError("Click on the object first, or draw a box around it.")
        maps = self.draw_maps(prompts, state).to(self.device, self.dtype)
        low_res_logits = self.network.decode(features.image_embedding.to(self.device, self.dtype), maps).float()
        kept = low_res_logits.detach()
        shifted = kept + LOGIT_SHIFT
        yield MaskOutput(
            stage="coarse",
            logits=self.network.to_model_frame(low_res_logits) + LOGIT_SHIFT,
            iou_prediction=float(soft_iou(shifted)),
            state=replace(state, step=len(prompts.prompts.items), low_res_logits=kept, final_logits=shifted),
        )

    def draw_maps(self, batch: PromptBatch, state: DecoderState) -> Tensor:
        """The network's prompt maps (1, 3, S, S), float32: mask so far, positive, negative."""
        mask = paint_areas(self._mask_so_far(batch, state)[0, 0].cpu().numpy(), batch.prompts, state.step)
        signed = draw_signed_maps(batch.prompts, batch.frame, self.network.config.click_radius)
        return torch.from_numpy(np.concatenate([mask[None], signed.astype(np.float32)]))[None]

    def _mask_so_far(self, batch: PromptBatch, state: DecoderState) -> Tensor:
        """Probability (1, 1, S, S): of the previous answer, else of the mask the user gave, else none."""
        side = self.network.config.image_size
        if state.low_res_logits is not None:
            return stretch(self.to_image(state.low_res_logits.float(), batch.frame).sigmoid(), side)
        if batch.mask is not None:
            return stretch(batch.mask.float().sigmoid(), side)
        return torch.zeros(1, 1, side, side)

    def to_image(self, low_res_logits: Tensor, frame: Frame) -> Tensor:
        """The network's logits in the image frame (1, 1, H, W), not shifted: what the published predictor gives."""
        return resize(self.network.to_model_frame(low_res_logits), (frame.image.height, frame.image.width))

    def to(self, device: torch.device, dtype: torch.dtype) -> SegNextModel:
        """The same model elsewhere; this one stays as it is."""
        if (device, dtype) == (self.device, self.dtype):
            return self
        return SegNextModel(self.spec, copy.deepcopy(self.network).to(device, dtype))


def build_segnext(spec: ModelSpec, *, checkpoint: Path | None = None, seed: int = 0) -> SegNextModel:
    """A SegNext with its weights, on the CPU in float32.

    Args:
        spec: one of :data:`samref.models.segnext.SPECS`; one without a checkpoint gets random weights.
        checkpoint: the official file, when it is not in the cache folder.
        seed: of the random weights.
    """
    config = SEGNEXT_CONFIGS[spec.name]
    if spec.checkpoints:
        weights = _load_official(locate(spec.checkpoints[0], spec.name, checkpoint))
    else:
        weights = seeded_weights(config, seed)
    with torch.device("meta"):
        network = SegNextNet(config)
    load_into(network, weights, spec.name, assign=True)
    if spec.purpose == "test":
        _balance(network)
    return SegNextModel(spec, network)


def _balance(network: SegNextNet) -> None:
    """Move the logits of random weights so that masks are neither all object nor all rest."""
    side = network.config.image_size
    nothing = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        network.head.seg_conv.bias -= network.eval()(nothing, nothing).mean()


def _load_official(path: Path) -> dict[str, Tensor]:
    """``state_dict`` of a released file; its ``config`` is plain data, and is not needed."""
    try:
        return load_torch(path)
    except CheckpointInvalidError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
        raise CheckpointInvalidError(
            f"{path} was refused: it is damaged, or it holds Python objects besides its weights, and loading those "
            "could run code. If you trust where it comes from, write its weights alone, in the folder of the authors' "
            'code: python -c "import torch; '
            "torch.save(torch.load('OLD.pth', weights_only=False)['state_dict'], 'NEW.pth')\""
        ) from error
