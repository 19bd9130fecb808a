"""Small layers that the embedded model and the SAM-REF refiner share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import Frame, ImageSize

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M, device: torch.device, dtype: torch.dtype | None = None) -> M:
    """``module`` on ``device`` in the memory layout that convolutions are fastest in (changes it in place)."""
    moved: M = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def downsample(width_in: int, width_out: int) -> nn.Sequential:
    """3x3 convolution of stride 2, one-group norm, GELU."""
    return nn.Sequential(nn.Conv2d(width_in, width_out, 3, 2, 1), nn.GroupNorm(1, width_out), nn.GELU())


class ResBlock(nn.Module):
    """conv3x3, norm, GELU, conv3x3, norm, + identity, GELU (SAM-REF's block; docs/papers.md).

    ``dilation`` spreads both kernels: a wider view at the same cost.
    """

    def __init__(self, width: int, *, bias: bool = False, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=bias),
            nn.GroupNorm(1, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=bias),
            nn.GroupNorm(1, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners not aligned: the only way samref resizes feature maps."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def soft_iou(logits: Tensor) -> Tensor:
    """The IoU that a mask has in expectation if its probabilities are right: (B,) from logits (B, 1, h, w)."""
    probability = logits.float().sigmoid()
    inside = (logits > 0).float()
    hit = (probability * inside).sum(dim=(1, 2, 3))
    union = inside.sum(dim=(1, 2, 3)) + (probability * (1 - inside)).sum(dim=(1, 2, 3))
    return hit / union.clamp_min(1e-6)


def load_pixels(rgb: Tensor, longest: int) -> Tensor:
    """uint8 (H, W, 3) to uint8 (1, 3, H', W') with its longest side at most ``longest`` (antialiased)."""
    pixels = rgb.permute(2, 0, 1)[None]
    height, width = rgb.shape[:2]
    if max(height, width) <= longest:
        return pixels.contiguous()
    return resized_pixels(pixels, Frame.letterbox(ImageSize(height, width), longest).resized)


def resized_pixels(pixels: Tensor, size: ImageSize) -> Tensor:
    """uint8 (1, 3, H, W) at another size, antialiased where it shrinks."""
    target = (size.height, size.width)
    shrinking = pixels.shape[-2] > size.height or pixels.shape[-1] > size.width
    if pixels.device.type == "cpu":  # torch's uint8 kernel, ten times as fast as its float one; CUDA has none
        return F.interpolate(pixels, size=target, mode="bilinear", align_corners=False, antialias=shrinking)
    scaled = F.interpolate(pixels.float(), size=target, mode="bilinear", align_corners=False, antialias=shrinking)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def to_unit(pixels: Tensor) -> Tensor:
    """0..255 to [-1, 1]."""
    return pixels.float() / 127.5 - 1


def fit_frame(pixels: Tensor, frame: Frame) -> Tensor:
    """An image, uint8 (1, 3, H', W'), in the padded model frame, as [-1, 1] with padding 0 (mid grey)."""
    right, bottom = frame.padded.width - frame.resized.width, frame.padded.height - frame.resized.height
    return F.pad(to_unit(resized_pixels(pixels, frame.resized)), (0, right, 0, bottom))


def randomize(module: nn.Module, seed: int) -> None:
    """Reproducible weights that give varied, finite answers whatever was drawn before."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(drawn * (1.5 / parameter[0].numel()) ** 0.5)
            else:
                parameter.copy_(0.1 * drawn + float(name.endswith("weight")))  # norms scale by about one


def seeded_weights(shapes: Mapping[str, Tensor], seed: int, spread: float) -> dict[str, Tensor]:
    """Random weights with which every part does something; ``spread`` is of biases and other vectors."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, value in shapes.items():
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("gaussian_matrix"):  # SAM's frequencies of positions
            weights[key] = noise
        elif key.endswith("weight") and noise.dim() == 1:  # scale of a norm
            weights[key] = 1 + 0.1 * noise
        else:
            weights[key] = noise * (spread if noise.dim() < 2 else float(noise[0].numel()) ** -0.5)
    return weights
