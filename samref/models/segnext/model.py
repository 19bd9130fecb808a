"""SegNext as an :class:`InteractiveModel`: prompts as dense maps, one answer, the previous mask given back.

The published code knows clicks and the previous mask; the paper has boxes, polygons and scribbles too, without saying
how they are drawn. Here:

* a click is a disk in the map of its sign, a scribble that disk drawn along its line (the released weights have seen
  nothing else in these maps, so the width of the brush is lost);
* a box or a positive polygon is a rough mask: while it is new it is filled with 1 in the map of the mask so far;
  afterwards the network's own answer, which has seen it, stands there;
* a negative polygon is filled in the negative map, and while it is new cut out of the mask so far.

Source: arXiv 2404.00741 and the authors' published code; papers.md section 2.1 (boxes and the like are our reading).
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_disk, empty_maps, fill_area
from samref.core.prompts import Box, Click, Point, Polygon, Prompts, Scribble
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
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet, random_weights, stretch

THRESHOLD = 0.49
"""Probability above which a pixel belongs to the mask, in the published code."""

LOGIT_SHIFT = math.log((1 - THRESHOLD) / THRESHOLD)
"""Added to the network's logits, so that 0 is the threshold here as everywhere in samref."""

LONGEST_PIXELS = 2048
"""Longest side of the image kept with the embedding for a local refiner: twice the model frame."""


PADDING = (-1.0, -1.0, -1.0)


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

    A spec without a checkpoint gets random weights; ``checkpoint`` is the official file when it is not in the cache
    folder.
    """
    config = SEGNEXT_CONFIGS[spec.name]
    if spec.checkpoints:
        weights = _load_official(locate(spec.checkpoints[0], spec.name, checkpoint))
    else:
        weights = random_weights(config, seed)
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


# ---- the maps that the network sees: mask so far, positive and negative disks


def list_points(clicks: Iterable[Click]) -> NDArray[np.float32]:
    """Clicks as the published code lists them: float32 (2N, 3) of (row, column, index).

    First N positive ones, then N negative ones; the shorter half is filled up with -1.
    """
    numbered = [(click.y, click.x, float(index), click.positive) for index, click in enumerate(clicks)]
    halves = [[point[:3] for point in numbered if point[3] is sign] for sign in (True, False)]
    longest = max(1, *map(len, halves))
    rows = [row for half in halves for row in (*half, *[PADDING] * (longest - len(half)))]
    return np.array(rows, dtype=np.float32)


def scale_points(points: NDArray[np.float32], image: ImageSize, frame: ImageSize) -> NDArray[np.float32]:
    """Listed points of the image frame as whole pixels of the model frame.

    Rounded half up in float32, per axis; points of a negative index stay as they are. In images of twice the model
    frame or more a point of the last row or column lands just outside of it, as in the published code.
    """
    scale = np.array([frame.height / image.height, frame.width / image.width], dtype=np.float32)
    scaled = points.astype(np.float32)
    real = scaled[:, 2] > -1
    scaled[real, :2] = np.floor(scaled[real, :2] * scale + np.float32(0.5))
    return scaled


def draw_points(points: NDArray[np.float32], size: ImageSize, radius: float) -> NDArray[np.uint8]:
    """Maps (2, H, W) of the positive and the negative half of a list of points, a disk each.

    A point is left out only where row *and* column are negative; its index does not matter here.
    """
    maps = np.zeros((2, size.height, size.width), dtype=np.uint8)
    for target, half in zip(maps, np.split(points, 2), strict=True):
        for row, column, _ in half.tolist():
            if row >= 0 or column >= 0:
                draw_disk(target, column, row, radius)
    return maps


def draw_signed_maps(prompts: Prompts, frame: Frame, radius: float) -> NDArray[np.uint8]:
    """Maps (2, H, W) over the padded frame: clicks, scribbles and negative polygons."""
    # Back to the image frame first: there the published code rounds.
    named = [Click(*frame.to_image(click.x, click.y), click.positive) for click in prompts.clicks]
    drawn = draw_points(scale_points(list_points(named), frame.image, frame.resized), frame.padded, radius)
    cells = MapFrame(frame.padded.height, frame.padded.width)
    maps = empty_maps(cells)
    lines = empty_maps(cells)
    for prompt in prompts.items:
        match prompt:
            case Scribble(points, positive):
                _draw_line(lines.positive if positive else lines.negative, points)
            case Polygon(positive=False):
                fill_area(maps.negative, prompt, cells)
    for target, line in ((maps.positive, lines.positive), (maps.negative, lines.negative)):
        if line.any():
            np.maximum(target, cv2.dilate(line, _disk(radius)), out=target)
    return np.maximum(drawn, np.stack([maps.positive, maps.negative]))


def _draw_line(target: NDArray[np.uint8], points: Sequence[Point]) -> None:
    pixels = np.floor(np.array([*points, points[-1]], dtype=np.float64) + 0.5).astype(np.int32)  # a lone point, too
    cv2.polylines(target, [pixels], False, 1)


def _disk(radius: float) -> NDArray[np.uint8]:
    reach = np.arange(-int(radius), int(radius) + 1)
    return (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)


def paint_areas(mask: NDArray[np.float32], prompts: Prompts, seen: int) -> NDArray[np.float32]:
    """The mask so far with the boxes and polygons that are new.

    ``mask`` holds probabilities (H, W) over the padded frame; ``seen`` counts the prompts that were answered before.
    """
    painted = mask.copy()
    cells = MapFrame(*mask.shape)
    for prompt in prompts.items[seen:]:
        if isinstance(prompt, (Box, Polygon)):
            is_cut_out = isinstance(prompt, Polygon) and not prompt.positive
            fill_area(painted, prompt, cells, 0.0 if is_cut_out else 1.0)
    return painted
