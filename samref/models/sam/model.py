"""Segment Anything as an :class:`InteractiveModel`: an adapter on the ``segment-anything`` package's own modules.

Image encoder, prompt encoder and mask decoder are the package's (:mod:`samref.models.sam.network`); preparing the
image, translating prompts (:mod:`samref.models.sam.prompts`) and choosing among masks are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.errors import ModelError, PromptError
from samref.models.checkpoints import load_torch, locate
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    ModelSpec,
    PromptBatch,
)
from samref.models.layers import load_pixels
from samref.models.sam.network import SAM_CONFIGS, SamConfig, network_from, random_weights
from samref.models.sam.prompts import SamPrompt, to_sam_prompt

MultimaskMode: TypeAlias = Literal["single", "first-click", "always"]
"""When SAM's three masks are computed and the one it believes best is taken (papers.md 4.5; results differ visibly):
"single" never (FocSAM, HQ-SAM), "first-click" for a lone first click (the usual demo), "always" (SegNext's baseline).
"""

LONGEST_PIXELS = 2048
"""Longest side of the image kept with the embedding for a local refiner: twice SAM's own frame."""


class SamModel:
    """SAM behind the common interface; batch of one, one stage.

    ``network`` is the package's ``Sam`` (``image_encoder``, ``prompt_encoder``, ``mask_decoder`` below it), its
    weights frozen; who wants to train a part says ``requires_grad_(True)`` on it. Only the image encoder takes a
    lower precision: prompt encoder and mask decoder are a hundredth of the work, and bfloat16 cannot tell two
    neighbouring pixels of a 1024 frame apart.

    Attributes:
        spec: what it is.
        config: its sizes.
        network: the modules.
        multimask: when three masks are computed and the best taken.
        image_pe: (1, C, h, w) positional encoding of the grid, the same for every image.
    """

    def __init__(
        self, spec: ModelSpec, config: SamConfig, network: Any, multimask: MultimaskMode = "first-click"
    ) -> None:
        """``network`` must hold its final weights and is not to be changed by the caller afterwards."""
        if multimask not in get_args(MultimaskMode):
            raise ModelError(
                f"There is no multimask mode {multimask!r}; use one of {', '.join(get_args(MultimaskMode))}."
            )
        self.spec = spec
        self.config = config
        self.network = network.requires_grad_(False).eval()
        self.multimask: MultimaskMode = multimask
        self.image_pe: Tensor = network.prompt_encoder.get_dense_pe()

    @property
    def device(self) -> torch.device:
        return self.image_pe.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the image encoder and of the embeddings it makes."""
        dtype: torch.dtype = self.network.image_encoder.patch_embed.proj.weight.dtype
        return dtype

    @property
    def low_res(self) -> ImageSize:
        """Size of the logits and of the mask prompt: 256 x 256 for the released variants."""
        height, width = self.network.prompt_encoder.mask_input_size
        return ImageSize(height, width)

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, self.config.image_size)

    def preprocess(self, image: ImageInput) -> Tensor:
        """The encoder's input (1, 3, S, S) float32: Pillow's bilinear filter on uint8, normalised, then padded."""
        resized = image.frame.resized
        pil_image = Image.fromarray(image.rgb.cpu().numpy()).resize(
            (resized.width, resized.height), Image.Resampling.BILINEAR
        )
        pixels = torch.from_numpy(np.array(pil_image)).permute(2, 0, 1)[None]  # H W 3 -> 1 3 H W
        prepared: Tensor = self.network.preprocess(pixels.to(self.device, torch.float32))
        return prepared

    def encode(self, image: ImageInput) -> ImageFeatures:
        with torch.no_grad():
            embedding = self.network.image_encoder(self.preprocess(image).to(self.dtype))
        return ImageFeatures(embedding, load_pixels(image.rgb, LONGEST_PIXELS).to(self.device), image.frame)

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The one answer of plain SAM, stage "coarse".

        All prompts go in each time, with SAM's own previous low-res logits as mask prompt. How scribbles and
        polygons are said in SAM's words stands in :mod:`samref.models.sam.prompts`.
        """
        if not prompts.prompts.items and prompts.mask is None:
            raise PromptError("Click on the object first, or draw a box around it.")
        prompt = to_sam_prompt(prompts, state, self.low_res)
        multimask = self.multimask == "always" or (self.multimask == "first-click" and prompt.is_lone_click)
        logits, ious = self.predict_masks(features, prompt, multimask=multimask)
        best = int(ious[0].argmax())
        answer = logits[:, best : best + 1]
        kept = answer.detach()
        after = replace(state, step=len(prompts.prompts.items), low_res_logits=kept, final_logits=kept)
        yield MaskOutput("coarse", answer, float(ious[0, best].detach().clamp(0, 1)), after)

    def predict_masks(self, features: ImageFeatures, prompt: SamPrompt, *, multimask: bool) -> tuple[Tensor, Tensor]:
        """SAM's own two answers to a prompt, in float32.

        low-res logits (1, M, h, w) and predicted IoUs (1, M), M = 3 with ``multimask``, else 1.
        """
        sparse_prompt_embeddings, dense_prompt_embeddings = self.embed_prompt(prompt)
        logits, ious = self.network.mask_decoder(
            image_embeddings=features.image_embedding.to(self.device, torch.float32),
            image_pe=self.image_pe,
            sparse_prompt_embeddings=sparse_prompt_embeddings,
            dense_prompt_embeddings=dense_prompt_embeddings,
            multimask_output=multimask,
        )
        return logits, ious

    def embed_prompt(self, prompt: SamPrompt) -> tuple[Tensor, Tensor]:
        """Sparse (1, N, C) and dense (1, C, h, w) prompt embeddings."""
        points = boxes = masks = None
        if prompt.points_xy:
            points_xy = torch.tensor([prompt.points_xy], dtype=torch.float32, device=self.device)
            points = points_xy, torch.tensor([prompt.labels], dtype=torch.int32, device=self.device)
        if prompt.box_xyxy is not None:
            boxes = torch.tensor([prompt.box_xyxy], dtype=torch.float32, device=self.device)
        if prompt.mask_input is not None:
            masks = prompt.mask_input.to(self.device)
        sparse, dense = self.network.prompt_encoder(points=points, boxes=boxes, masks=masks)
        return sparse, dense

    def to(self, device: torch.device, dtype: torch.dtype) -> SamModel:
        """The same model elsewhere; this one stays as it is. ``dtype`` is the image encoder's."""
        if (device, dtype) == (self.device, self.dtype):
            return self
        weights = {
            key: value.to(device, dtype if key.startswith("image_encoder.") else torch.float32)
            for key, value in self.network.state_dict().items()
        }
        return SamModel(self.spec, self.config, network_from(self.config, weights, self.spec.name), self.multimask)


def with_multimask(model: InteractiveModel, mode: MultimaskMode) -> InteractiveModel:
    """The same model with another habit; the weights are shared."""
    if not isinstance(model, SamModel):
        raise ModelError(
            f"The model {model.spec.name} does not choose among Segment Anything's three masks; only plain Segment "
            "Anything (sam-vit-b, sam-vit-l, sam-vit-h) does. Leave that choice out."
        )
    return SamModel(model.spec, model.config, model.network, mode)


def build_sam(
    spec: ModelSpec, multimask: MultimaskMode = "first-click", *, checkpoint: Path | None = None, seed: int = 0
) -> SamModel:
    """A SAM with its weights, on the CPU in float32.

    A spec without a checkpoint gets random weights; ``checkpoint`` is the official file when it is not in the cache
    folder.
    """
    config = SAM_CONFIGS[spec.name]
    if spec.checkpoints:
        weights = load_torch(locate(spec.checkpoints[0], spec.name, checkpoint), spec.checkpoints[0])
    else:
        weights = random_weights(config, seed)
    return SamModel(spec, config, network_from(config, weights, spec.name), multimask)
