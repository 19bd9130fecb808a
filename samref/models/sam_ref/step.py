"""The step of SAM-REF's refiner (papers.md 1.3): the model, its training and its ONNX graphs all make it here.

Both halves take a batch of objects. What an object's window shows is cut out one by one (:func:`look_closer`), because
windows differ in size, and put together with :func:`together`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from samref.core.prompt_maps import MapFrame, draw_prompt_maps
from samref.core.prompts import Prompts
from samref.models.interface import ImageFeatures, PromptBatch
from samref.models.layers import resize
from samref.models.sam_ref import windows
from samref.models.sam_ref.network import FusionRefiner, Refined, SamRef, SamRefConfig


@runtime_checkable
class Magnifier(Protocol):
    """A base whose encoder is quick enough to run again on a part of the image while the user waits."""

    def look_closer(
        self, features: ImageFeatures, prompts: PromptBatch, logits: Tensor, window: windows.Window, side: int
    ) -> Tensor:
        """Encode ``window`` anew at a longest side of ``side`` pixels and answer the same prompts there.

        ``prompts`` and the mask so far (``logits`` (1, 1, h, w), low-res frame) are of the whole image; the answer's
        logits (1, 1, h', w') cover exactly the window.
        """
        ...


class Closeup(NamedTuple):
    """What the local refiner sees of B windows: crops of side s, and a grid of side g over each.

    Attributes:
        image: (B, 3, s, s) the image's own pixels in [-1, 1].
        maps: (B, 2, s, s) see :func:`draw_signs`.
        embedding: (B, C, g, g) the injected embedding, None where injection is off.
        logits: (B, 1, g, g) the mask to correct.
    """

    image: Tensor
    maps: Tensor
    embedding: Tensor | None
    logits: Tensor


def refine_global(refiner: SamRef, image: Tensor, maps: Tensor, embedding: Tensor | None, logits: Tensor) -> Refined:
    """GFR: the mask corrected over the whole frame.

    ``image`` (B, C, h, w) is what the image stem makes of the framed image; ``maps`` (B, 2, H, W) see
    :func:`draw_signs`; ``embedding`` (B, C, h, w) see :meth:`SamRef.project`; ``logits`` (B, 1, h, w) are the base's
    answer.
    """
    return _correct(refiner.global_refiner, image, maps, embedding, logits)


def refine_local(refiner: SamRef, seen: Closeup) -> Refined:
    """LFR: image, prompts and mask fused again inside windows, from the image's own pixels."""
    fusion = refiner.local_refiner
    image = fusion.image_stem(seen.image.to(fusion.dtype))
    return _correct(fusion, image, seen.maps, seen.embedding, seen.logits)


def _correct(fusion: FusionRefiner, image: Tensor, maps: Tensor, embedding: Tensor | None, logits: Tensor) -> Refined:
    # The probability is shown, not learnt through.
    probability = resize(logits.detach().sigmoid(), maps.shape[-2:])
    stack = torch.cat([maps, probability], dim=1).to(fusion.dtype)
    refined: Refined = fusion(image, stack, embedding, logits.to(fusion.dtype))
    return refined


def look_closer(
    config: SamRefConfig,
    features: ImageFeatures,
    prompts: PromptBatch,
    logits: Tensor,
    window: windows.Window,
    *,
    embedding: Tensor | None = None,
    base: object = None,
) -> Closeup:
    """What the local refiner sees of one object.

    ``logits`` (1, 1, h, w) are the global refiner's answer, ``embedding`` (1, C, h, w) is of the whole frame, see
    :meth:`SamRef.project`. The ``base`` looks closer itself where it can (:class:`Magnifier`) and ``config.closer``
    says so; the local refiner then corrects its answer, else that of the global one.
    """
    box = window.in_pixels(config.low_res_stride)
    cells = torch.tensor([window])
    crop = windows.crop_image(features, box, config.crop)
    frame = windows.map_frame_over(box, config.crop, features.frame)
    maps = draw_signs(prompts.prompts, frame, config.click_radius).to(crop.device)
    if config.closer and isinstance(base, Magnifier):
        closer = base.look_closer(features, prompts, logits, window, config.closer)
        start = resize(closer, (config.local_grid, config.local_grid))
    else:
        start = windows.sample_window(logits, cells, config.local_grid)
    if embedding is not None:
        embedding = windows.sample_window(embedding, cells, config.local_grid)
    return Closeup(crop, maps, embedding, start)


def together(closeups: Sequence[Closeup]) -> Closeup:
    """One batch of many."""
    injected = [one.embedding for one in closeups if one.embedding is not None]
    return Closeup(
        torch.cat([one.image for one in closeups]),
        torch.cat([one.maps for one in closeups]),
        torch.cat(injected) if injected else None,
        torch.cat([one.logits for one in closeups]),
    )


def draw_signs(prompts: Prompts, frame: MapFrame, radius: float) -> Tensor:
    """Maps (1, 2, h, w) of what was said to be inside and outside.

    Clicks and strokes only: boxes and outlines reach the refiner through the base's mask.
    """
    maps = draw_prompt_maps(Prompts((*prompts.clicks, *prompts.scribbles)), frame, radius)
    return torch.from_numpy(np.stack([maps.positive, maps.negative]))[None].float()
