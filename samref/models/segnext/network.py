"""The network of SegNext: a plain windowed ViT for the image, prompts as dense maps, self-attention over their sum.

Source: Liu et al., "Rethinking Interactive Image Segmentation with Low Latency, High Quality, and Diverse Prompts"
(arXiv 2404.00741) and the authors' published code; docs/papers.md lists each step. Names of modules are the
official ones, so that official weights load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.models.layers import resize, seeded_weights

ENCODER_EPS, FUSION_EPS = 1e-6, 1e-5
"""Of the layer norms: the encoder's follow MAE, those of the fusion are torch's default."""


@dataclass(frozen=True, slots=True)
class SegNextConfig:
    """Every size of the network; the defaults are those of the released ViT-B with one block of fusion (SA x1).

    Attributes:
        image_size, patch_size: side of the square model frame and of a token, in pixels.
        width, depth, heads: of the image encoder.
        global_every: each so-many-th block, and the last one, attends over the whole image.
        window: nominal side, in tokens, of the other blocks' windows; as many of at least this side are cut as fit.
        mlp_ratio: hidden width of all MLPs over ``width``.
        fusion_blocks: self-attention blocks over image and prompts together: "SA x1", "SA x2"; 0: plain sum.
        neck_widths: channels at strides 4, 8, 16 and 32.
        head_width: channels of the head.
        dropout: share of the head's channels left out in training.
        click_radius: of a click's disk, in model pixels.
    """

    image_size: int = 1024
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    global_every: int = 3
    window: int = 14
    mlp_ratio: int = 4
    fusion_blocks: int = 1
    neck_widths: tuple[int, int, int, int] = (128, 256, 512, 1024)
    head_width: int = 256
    dropout: float = 0.1
    click_radius: float = 5.0

    def __post_init__(self) -> None:
        if self.image_size % (2 * self.patch_size) or self.grid % self.windows or self.width % self.heads:
            raise ValueError(f"these sizes do not divide: {self}")

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.image_size // self.patch_size

    @property
    def windows(self) -> int:
        """Windows per side."""
        return max(1, self.grid // self.window)

    def is_global(self, block: int) -> bool:
        """Whether a block, counted from 0, attends over the whole image."""
        return (block + 1) % self.global_every == 0 or block + 1 == self.depth


SEGNEXT_CONFIGS: Mapping[str, SegNextConfig] = {
    "segnext-b-sax1": SegNextConfig(fusion_blocks=1),
    "segnext-b-sax2": SegNextConfig(fusion_blocks=2),
    "segnext-b-sum": SegNextConfig(fusion_blocks=0),
    "segnext-random": SegNextConfig(
        image_size=128, width=32, depth=4, heads=2, window=4, neck_widths=(8, 16, 24, 32), head_width=16
    ),
}


class PatchEmbed(nn.Module):
    """Three channels to tokens (B, C, h, w), one per patch."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x)
        return tokens


class _Attention(nn.Module):
    """Every token looks at every other one of its row of the batch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        query, key, value = self.qkv(x).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)  # B heads N C/heads
        mixed: Tensor = self.proj(seen.transpose(1, 2).reshape(B, N, C))
        return mixed


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and added to what came in; tokens (B, N, C)."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = _Mlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Encoder(nn.Module):
    """ViT whose blocks look through windows, except every third one; no norm at the end.

    ``fc_norm`` and the first row of ``pos_embed`` (a class token's) come with the official weights and are not used.
    """

    def __init__(self, config: SegNextConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.width, config.patch_size)
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.grid**2, config.width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, ENCODER_EPS) for _ in range(config.depth)
        )
        self.fc_norm = nn.LayerNorm(config.width, eps=ENCODER_EPS)

    def forward(self, image: Tensor) -> Tensor:
        grid, windows = self.config.grid, self.config.windows
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]  # B C h w -> B hw C
        cut = False
        for index, block in enumerate(self.blocks):
            windowed = not self.config.is_global(index)
            if windowed and not cut:
                x = _into_windows(x, grid, windows)
            elif cut and not windowed:
                x = _out_of_windows(x, grid, windows)
            cut = windowed
            x = block(x)
        embedding: Tensor = x.transpose(1, 2).unflatten(2, (grid, grid))  # the last block is global: B hw C -> B C h w
        return embedding


def _into_windows(tokens: Tensor, grid: int, windows: int) -> Tensor:
    """(B, grid², C) to (B windows², side², C): each window a row of the batch."""
    side, C = grid // windows, tokens.shape[-1]
    cells = tokens.view(-1, windows, side, windows, side, C).transpose(2, 3)
    return cells.reshape(-1, side**2, C)


def _out_of_windows(tokens: Tensor, grid: int, windows: int) -> Tensor:
    """The inverse of :func:`_into_windows`."""
    side, C = grid // windows, tokens.shape[-1]
    cells = tokens.view(-1, windows, windows, side, side, C).transpose(2, 3)
    return cells.reshape(-1, grid**2, C)


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


class SegNextNet(nn.Module):
    """Image and prompt maps to logits. Of an image, :meth:`embed` needs to be called only once."""

    def __init__(self, config: SegNextConfig) -> None:
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

        ``maps`` (B, 3, S, S) are the probability of the mask so far, positive and negative disks.
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


def random_weights(config: SegNextConfig, seed: int) -> dict[str, Tensor]:
    """Seeded weights whose answers depend visibly on image and prompts."""
    with torch.device("meta"):
        shapes = SegNextNet(config).state_dict()
    weights = seeded_weights(shapes, seed, 0.1)
    weights["visual_prompts_encoder.proj.weight"] *= PROMPT_GAIN
    return weights


def normalize_pixels(image: Tensor) -> Tensor:
    """RGB (B, 3, H, W) on 0..1, with ImageNet's mean and spread taken out."""
    mean, std = (torch.tensor(values, dtype=image.dtype, device=image.device) for values in (PIXEL_MEAN, PIXEL_STD))
    return (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def stretch(x: Tensor, side: int) -> Tensor:
    """(B, C, H, W) from the image frame to the model frame (B, C, side, side); without antialiasing."""
    return resize(x, (side, side))
