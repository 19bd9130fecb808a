"""FocSAM as an :class:`InteractiveModel`: SAM, whose image embedding is made anew for each object (arXiv 2405.18706).

The first click is answered with the image's embedding. At the second, SAM's coarse mask says where the object is, the
refiner makes the embedding anew around it, and SAM answers again from that one; every later prompt of the object uses
the same refocused embedding, which lives in :class:`DecoderState`. So undoing the second click goes back to the
image's own embedding, and redoing it comes back.

The paper knows clicks only. Ours [decision]: a first prompt that says more than one lone click (a box, an outline, a
rough mask, a scribble long enough for two points) already says how far the object reaches, which is all that the
second click is waited for, so its answer is refocused at once. Where the refiner looks is decided by the coarse mask
for every kind of prompt. SAM's word for each is in :mod:`samref.models.sam.prompts`.

Source: papers.md §3.1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.errors import ModelError, PromptError
from samref.models.focsam.network import FocusRefiner, active_cells, expanded_boxes, object_boxes
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    MaskOutput,
    ModelSpec,
    PromptBatch,
    Stage,
)
from samref.models.layers import load_pixels, resize, soft_iou
from samref.models.sam.model import LONGEST_PIXELS, SamModel
from samref.models.sam.prompts import SamPrompt, to_sam_prompt

InputRule: TypeAlias = Literal["sam", "focsam"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]

CANVAS_MULTIPLE = 32
"""FocSAM's evaluation pads the image to multiples of this, before it is resized."""


@dataclass(frozen=True, slots=True)
class FocsamConfig:
    """What FocSAM decides besides its weights.

    Attributes:
        expand_height, expand_width: growth of the coarse mask's box (drawn from 1.0..1.4 in the paper's training).
        refocus_at: number of prompts at which the embedding is made anew; 2 in the paper.
        refocus_areas_at_once: whether a first prompt that says more than a lone click does it already.
        input_rule: "sam" resizes the image with Pillow's filter and normalises it then; "focsam" normalises it, pads
            it to multiples of 32 and resizes the tensor without antialiasing, as the authors' evaluation does.
        channel_order: of the encoder's input. As far as the authors' code shows they ran on BGR, normalised with the
            constants of RGB; it does not show what mmcv was set to, so try both where it matters.
    """

    expand_height: float = 1.4
    expand_width: float = 1.4
    refocus_at: int = 2
    refocus_areas_at_once: bool = True
    input_rule: InputRule = "sam"
    channel_order: ChannelOrder = "rgb"


class SingleMask(NamedTuple):
    """Answer of SAM's mask token 0.

    Attributes:
        logits: (B, 1, h, w), low-res frame.
        token: (B, 1, C), as it leaves the two-way transformer.
    """

    logits: Tensor
    token: Tensor


def decode_single_mask(
    mask_decoder: Any,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompt_embeddings: Tensor,
    dense_prompt_embeddings: Tensor,
) -> SingleMask:
    """SAM's single mask, and the mask token that the package's own ``forward`` keeps to itself.

    The other mask tokens of the package's ``mask_decoder`` take part in the attention, as always. Shapes: embeddings
    (B, C, h, w), ``image_pe`` (1, C, h, w), sparse prompts (B, N, C).
    """
    B = len(sparse_prompt_embeddings)
    own = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(B, -1, -1), sparse_prompt_embeddings], dim=1)
    attended, pixels = mask_decoder.transformer(
        image_embedding + dense_prompt_embeddings, image_pe.expand(B, -1, -1, -1), tokens
    )
    token = attended[:, 1:2]  # behind the IoU token
    upscaled = mask_decoder.output_upscaling(pixels.transpose(1, 2).reshape(image_embedding.shape))
    logits = mask_decoder.output_hypernetworks_mlps[0](token) @ upscaled.flatten(2)  # B 1 c @ B c (h w)
    return SingleMask(logits.view(B, 1, *upscaled.shape[-2:]), token)


class FocsamModel:
    """SAM with FocSAM's refiner; without one it is SAM, to the bit, and ``spec.note`` has to say so.

    Attributes:
        base: SAM; its prompt encoder and mask decoder are used at every prompt.
        refiner: makes the embedding anew, frozen; runs in float32 like SAM's decoder. None: no trained weights.
        spec: what it is.
        config: its decisions.
    """

    def __init__(
        self,
        base: SamModel,
        refiner: FocusRefiner | None,
        spec: ModelSpec,
        config: FocsamConfig = FocsamConfig(),
    ) -> None:
        """``base`` and ``refiner`` must hold their final weights and are not to be changed by the caller afterwards."""
        if refiner is not None and refiner.config.width != base.config.prompt_dim:
            raise ModelError(
                f"The refiner is {refiner.config.width} wide, but embeddings of {base.spec.name} have "
                f"{base.config.prompt_dim} channels."
            )
        self.base = base
        self.refiner = None if refiner is None else refiner.requires_grad_(False).eval()
        self.spec = spec
        self.config = config

    def to(self, device: torch.device, dtype: torch.dtype) -> FocsamModel:
        """The same model elsewhere; ``dtype`` is the image encoder's."""
        base = self.base.to(device, dtype)
        if base is self.base:
            return self
        refiner = None if self.refiner is None else copy.deepcopy(self.refiner).to(device)
        return FocsamModel(base, refiner, self.spec, self.config)

    # ---- once per image

    def frame(self, size: ImageSize) -> Frame:
        if self.config.input_rule == "sam":
            return self.base.frame(size)
        height, width = (-(-side // CANVAS_MULTIPLE) * CANVAS_MULTIPLE for side in (size.height, size.width))
        canvas = ImageSize(height, width)
        return replace(self.base.frame(canvas), image=size, canvas=canvas)

    def preprocess(self, image: ImageInput) -> Tensor:
        """The encoder's input (1, 3, S, S) float32, as the configuration says."""
        rgb = image.rgb if self.config.channel_order == "rgb" else image.rgb.flip(-1)
        if self.config.input_rule == "sam":
            return self.base.preprocess(ImageInput(rgb, image.frame))
        network, frame = self.base.network, image.frame
        pixels = rgb.to(self.base.device, torch.float32).permute(2, 0, 1)  # H W 3 -> 3 H W
        normalised = ((pixels - network.pixel_mean) / network.pixel_std)[None]
        resized = resize(_extended(normalised, frame.covered), (frame.resized.height, frame.resized.width))
        return _extended(resized, frame.padded)

    def encode(self, image: ImageInput) -> ImageFeatures:
        """The image's own embedding, ``F_enc``."""
        with torch.no_grad():
            embedding = self.base.network.image_encoder(self.preprocess(image).to(self.base.dtype))
        return ImageFeatures(embedding, load_pixels(image.rgb, LONGEST_PIXELS).to(self.base.device), image.frame)

    # ---- once per prompt

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The coarse answer where the object has not been refocused yet, then the refined one where it has (or is now).

        A consumer that stops after the coarse answer and gives its state back never pays for the refiner: it has SAM.
        """
        if self.refiner is None:
            yield from self.base.decode(features, prompts, state)
            return
        if not prompts.prompts.items and prompts.mask is None:
            raise PromptError("Click on the object first, or draw a box around it.")
        prompt = to_sam_prompt(prompts, state, self.base.low_res)
        embedding = features.image_embedding.to(self.base.device, torch.float32)
        refocused = state.refocused
        if refocused is None:
            coarse = self.predict_mask(embedding, prompt)
            yield _answer("coarse", coarse.logits, prompts, state)
            if not self._refocuses(prompts, prompt):
                return
            refocused = self.refocus(embedding, coarse)
            state = replace(state, refocused=refocused.detach())  # from here on one tensor for all steps
        refined = self.predict_mask(refocused.to(self.base.device), prompt)
        yield _answer("refined", refined.logits, prompts, state)

    def predict_mask(self, image_embedding: Tensor, prompt: SamPrompt) -> SingleMask:
        """SAM's answer from one embedding or the other, in float32."""
        sparse, dense = self.base.embed_prompt(prompt)
        return decode_single_mask(self.base.network.mask_decoder, image_embedding, self.base.image_pe, sparse, dense)

    def refocus(self, image_embedding: Tensor, coarse: SingleMask) -> Tensor:
        """The embedding made anew around the coarse mask: ``F_ref`` (1, C, h, w)."""
        assert self.refiner is not None, "decode says who refocuses"
        height, width = image_embedding.shape[-2:]
        cells = active_cells(self.window(coarse.logits), self._square, ImageSize(height, width))
        refocused: Tensor = self.refiner(image_embedding, coarse.token, cells)
        return refocused

    def window(self, coarse_logits: Tensor) -> Tensor:
        """Where the refiner looks: (B, 4) left, top, right, bottom in model pixels, from low-res logits."""
        square = self._square
        boxes = object_boxes(resize(coarse_logits.detach(), (square.height, square.width))[:, 0] > 0)
        return expanded_boxes(boxes, self.config.expand_height, self.config.expand_width, square)

    @property
    def _square(self) -> ImageSize:
        return ImageSize(self.base.config.image_size, self.base.config.image_size)

    def _refocuses(self, prompts: PromptBatch, prompt: SamPrompt) -> bool:
        count = len(prompts.prompts.items)
        at_once = self.config.refocus_areas_at_once and count <= 1 and not prompt.is_lone_click
        return at_once or count >= self.config.refocus_at


def _answer(stage: Stage, logits: Tensor, prompts: PromptBatch, state: DecoderState) -> MaskOutput:
    """SAM's IoU head is not trained along with FocSAM's decoder, so the mask's own certainty is the score."""
    kept = logits.detach()
    after = replace(state, step=len(prompts.prompts.items), low_res_logits=kept, final_logits=kept)
    return MaskOutput(stage, logits, float(soft_iou(kept)), after)


def _extended(x: Tensor, size: ImageSize) -> Tensor:
    """``x`` (1, 3, H, W) with zeros at the bottom and on the right."""
    return F.pad(x, (0, size.width - x.shape[-1], 0, size.height - x.shape[-2]))
