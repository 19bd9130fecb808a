"""The network of SegNext: a plain ViT for the image, prompts as dense maps, self-attention over their sum.

Source: Liu et al., "Rethinking Interactive Image Segmentation with Low Latency, High Quality, and Diverse Prompts"
(arXiv 2404.00741) and the authors' published code; docs/papers.md lists each step. Names of modules are the
official ones, so that official weights load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.models.layers import resize
from samref.models.segnext.encoder import FUSION_EPS, Block, DensePromptsConfig, Encoder, PatchEmbed

__all__ = ["DensePromptsConfig", "DensePromptsNet", "normalize_pixels", "seeded_weights", "stretch"]

Levels: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB on 0..1."""

PROMPT_GAIN = 10.0
"""Of random weights: a disk covers few pixels of a patch, and shall be seen all the same."""


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, width)


class _SimpleFpn(nn.Module):
    """Tokens to maps at strides 4, 8, 16 and 32, each straight from the tokens."""

    def __init__(self, width: int, out: tuple[int, int, int, int]) -> None:
        super().__init__()
        wide4, wide8, wide32 = max(2 * out[0], width // 2), max(out[1], width // 2), max(out[3], 2 * width)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(width, wide4, 2, 2),
            _norm(wide4),
            nn.GELU(),
            nn.ConvTranspose2d(wide4, wide4 // 2, 2, 2),
            _norm(wide4 // 2),
            nn.Conv2d(wide4 // 2, out[0], 1),
            _norm(out[0]),
            nn.GELU(),
        )
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(width, wide8, 2, 2),
            _norm(wide8),
            nn.Conv2d(wide8, out[1], 1),
            _norm(out[1]),
            nn.GELU(),
        )
        self.down_16 = nn.Sequential(nn.Conv2d(width, out[2], 1), _norm(out[2]), nn.GELU())
        self.down_32 = nn.Sequential(
            nn.Conv2d(width, wide32, 2, 2),
            _norm(wide32),
            nn.Conv2d(wide32, out[3], 1),
            _norm(out[3]),
            nn.GELU(),
        )

    def forward(self, x: Tensor) -> Levels:
        return self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)


class _ConvRelu(nn.Module):
    """1x1 convolution and ReLU."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class _Head(nn.Module):
    """All levels to one width, resized to the finest, concatenated and mixed into one logit per cell."""

    def __init__(self, widths: Sequence[int], width: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_ConvRelu(level, width) for level in widths)
        self.fusion_conv = _ConvRelu(width * len(widths), width)
        self.dropout = nn.Dropout2d(dropout)
        self.seg_conv = nn.Conv2d(width, 1, 1)

    def forward(self, levels: Levels) -> Tensor:
        size = levels[0].shape[-2:]
        mix = self.fusion_conv.conv
        # A 1x1 convolution and a resize may change places, and a convolution of a concatenation is a sum: so each
        # level is mixed at its own size, which is half the arithmetic and a quarter of the memory.
        parts = mix.weight.chunk(len(levels), dim=1)
        biases = (mix.bias, None, None, None)  # once is enough
        mixed = (
            resize(F.conv2d(conv(level), part, bias), size)
            for conv, level, part, bias in zip(self.convs, levels, parts, biases, strict=True)
        )
        logits: Tensor = self.seg_conv(self.dropout(F.relu(reduce(torch.add, mixed))))
        return logits


class DensePromptsNet(nn.Module):
    """Image and prompt maps to logits. Of an image, :meth:`embed` needs to be called only once."""

    def __init__(self, config: DensePromptsConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Encoder(config)
        self.visual_prompts_encoder = PatchEmbed(config.width, config.patch_size)
        self.fusion_blocks = nn.Sequential(
            *(Block(config.width, config.heads, config.mlp_ratio, FUSION_EPS) for _ in range(config.fusion_blocks))
        )
        self.neck = _SimpleFpn(config.width, config.neck_widths)
        self.head = _Head(config.neck_widths, config.head_width, config.dropout)

    def prepare(self, image: Tensor) -> Tensor:
        """RGB (B, 3, H, W), 0..1, image frame, to the encoder's input (B, 3, S, S): first normalised, then resized."""
        return stretch(normalize_pixels(image), self.config.image_size)

    def embed(self, prepared: Tensor) -> Tensor:
        """The image embedding (B, C, h, w) of :meth:`prepare`'s answer."""
        embedding: Tensor = self.backbone(prepared)
        return embedding

    def fuse(self, image_embedding: Tensor, maps: Tensor) -> Tensor:
        """Image and prompts in one (B, C, h, w).

        Args:
            image_embedding: (B, C, h, w).
            maps: (B, 3, S, S) probability of the mask so far, positive and negative disks.
        """
        x = image_embedding + self.visual_prompts_encoder(maps)
        tokens = self.fusion_blocks(x.flatten(2).transpose(1, 2))  # B C h w -> B hw C
        fused: Tensor = tokens.transpose(1, 2).unflatten(2, x.shape[-2:])
        return fused

    def decode(self, image_embedding: Tensor, maps: Tensor) -> Tensor:
        """Logits (B, 1, S/4, S/4); arguments as of :meth:`fuse`."""
        logits: Tensor = self.head(self.neck(self.fuse(image_embedding, maps)))
        return logits

    def to_model_frame(self, low_res_logits: Tensor) -> Tensor:
        """Logits (B, 1, S, S). This resize, unlike all others, aligns the corners: so the released weights learnt."""
        side = self.config.image_size
        return F.interpolate(low_res_logits, (side, side), mode="bilinear", align_corners=True)

    def forward(self, prepared: Tensor, maps: Tensor) -> Tensor:
        """Logits (B, 1, S, S) of prepared images and prompt maps (training needs no more)."""
        return self.to_model_frame(self.decode(self.embed(prepared), maps))


def seeded_weights(config: DensePromptsConfig, seed: int) -> dict[str, Tensor]:
    """Random weights whose answers depend visibly on image and prompts."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    with torch.device("meta"):
        shapes = DensePromptsNet(config).state_dict()
    for key, value in shapes.items():
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("weight") and noise.dim() == 1:  # scale of a norm
            weights[key] = 1 + 0.1 * noise
        else:
            weights[key] = noise * (0.1 if noise.dim() < 2 else float(noise[0].numel()) ** -0.5)
    weights["visual_prompts_encoder.proj.weight"] *= PROMPT_GAIN
    return weights


def normalize_pixels(image: Tensor) -> Tensor:
    """RGB (B, 3, H, W) on 0..1, with ImageNet's mean and spread taken out."""
    mean, std = (torch.tensor(values, dtype=image.dtype, device=image.device) for values in (PIXEL_MEAN, PIXEL_STD))
    return (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def stretch(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) from the image frame to the model frame (B, C, side, side); without antialiasing."""
    return resize(x, (side, side))
