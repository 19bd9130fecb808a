"""SegNext's image encoder, a plain ViT that looks through windows, and the blocks that its fusion shares.

Source: arXiv 2404.00741 and the authors' published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FUSION_EPS", "Block", "DensePromptsConfig", "Encoder", "PatchEmbed"]

ENCODER_EPS, FUSION_EPS = 1e-6, 1e-5
"""Of the layer norms: the encoder's follow MAE, those of the fusion are torch's default."""


@dataclass(frozen=True, slots=True)
class DensePromptsConfig:
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

    def __init__(self, config: DensePromptsConfig) -> None:
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
