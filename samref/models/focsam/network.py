"""FocSAM's refiner (arXiv 2405.18706): makes SAM's image embedding anew for one object, looking only around it.

Twelve blocks of window attention ("Dwin-MSA") pull the embedding and the object's mask token towards each other. A
window is computed only where the coarse mask's grown box (:func:`active_cells`) touches it, so the cost falls with the
object's size; elsewhere the embedding passes through.

Source: papers.md §3.2 to §3.4, read in the authors' code. Modules have the names that released weights have them by.
The deformable convolution is Zhu et al., "Deformable ConvNets v2" (2019), in plain PyTorch: torchvision and mmcv have
compiled operators for it, which must match torch to the patch release and are missing on some platforms; both share
the channel layout that is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.core.geometry import ImageSize


def object_boxes(inside: Tensor) -> Tensor:
    """The smallest boxes around masks; the whole frame for an empty one.

    bool (..., H, W) to int64 (..., 4): left, top, right, bottom, the last two exclusive.
    """
    height, width = inside.shape[-2:]

    def span(hit: Tensor, length: int) -> tuple[Tensor, Tensor]:
        first = hit.int().argmax(-1)
        last = length - hit.flip(-1).int().argmax(-1)
        return first, last  # 0 and `length` where nothing is hit

    left, right = span(inside.any(-2), width)
    top, bottom = span(inside.any(-1), height)
    return torch.stack((left, top, right, bottom), dim=-1)


def expanded_boxes(boxes: Tensor, ratio_height: float, ratio_width: float, frame: ImageSize) -> Tensor:
    """Boxes grown about their middles, rounded half to even in float32 and clipped to the frame.

    int64 (..., 4), left, top, right, bottom, to the same.
    """
    left, top, right, bottom = boxes.unbind(-1)

    def grow(low: Tensor, high: Tensor, ratio: float, length: int) -> tuple[Tensor, Tensor]:
        middle = (low + high).float() / 2
        grown_low, grown_high = (middle - ratio * (middle - end.float()) for end in (low, high))
        return grown_low.round().clamp_min(0), grown_high.round().clamp_max(length)

    left, right = grow(left, right, ratio_width, frame.width)
    top, bottom = grow(top, bottom, ratio_height, frame.height)
    return torch.stack((left, top, right, bottom), dim=-1).long()


def active_cells(boxes: Tensor, frame: ImageSize, grid: ImageSize) -> Tensor:
    """Cells of a grid over the frame that boxes touch: what adaptive max pooling makes of the filled boxes.

    int64 (B, 4), left, top, right, bottom, in pixels of ``frame``, to bool (B, 1, h, w) of ``grid``.
    """

    def touched(low: Tensor, high: Tensor, cells: int, length: int) -> Tensor:
        index = torch.arange(cells, device=boxes.device)
        begin, end = index * length // cells, -(-(index + 1) * length // cells)
        return (begin < high[:, None]) & (end > low[:, None])  # B cells

    left, top, right, bottom = boxes.unbind(-1)
    rows, columns = touched(top, bottom, grid.height, frame.height), touched(left, right, grid.width, frame.width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]  # B 1 h w


SIDE = 3
TAPS = SIDE * SIDE
"""Places a 3x3 kernel looks at."""


def deform_conv2d(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution (stride 1, padding 1, no bias) whose nine taps look elsewhere, each with a weight of its own.

    Tap ``t`` of output pixel ``(row, column)`` reads ``x`` bilinearly at ``(row + t // 3 - 1 + dy, column + t % 3 - 1 +
    dx)``; outside, ``x`` is zero, so that a position less than one pixel outside fades out.

    Args:
        x: (B, C, H, W).
        offset: (B, 18, H, W), for each tap in row-major order dy, then dx, in pixels.
        modulation: (B, 9, H, W), factor of each tap.
        weight: (O, C, 3, 3).

    Returns:
        (B, O, H, W).
    """
    B, C, H, W = x.shape
    O = weight.shape[0]  # noqa: E741 - output channels, as in the literature
    rows = torch.arange(H, dtype=x.dtype, device=x.device).view(H, 1)
    columns = torch.arange(W, dtype=x.dtype, device=x.device)
    step = torch.arange(SIDE, dtype=x.dtype, device=x.device) - SIDE // 2
    tap_row = step.repeat_interleave(SIDE).view(TAPS, 1, 1)
    tap_column = step.repeat(SIDE).view(TAPS, 1, 1)
    dy, dx = offset.view(B, TAPS, 2, H, W).unbind(2)  # B 9 H W each
    at_row, at_column = rows + tap_row + dy, columns + tap_column + dx
    # grid_sample counts from -1 to 1 between the outer edges of the first and the last pixel.
    grid = torch.stack(((2 * at_column + 1) / W - 1, (2 * at_row + 1) / H - 1), dim=-1)  # B 9 H W 2
    seen = F.grid_sample(x, grid.view(B, TAPS * H, W, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    seen = seen.view(B, C, TAPS, H * W) * modulation.view(B, 1, TAPS, H * W)
    return (weight.reshape(O, C * TAPS) @ seen.view(B, C * TAPS, H * W)).view(B, O, H, W)


class _TapWeights(nn.Module):
    """The kernel, under the name that released weights have it by."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, SIDE, SIDE))
        nn.init.xavier_normal_(self.weight)


class DeformableConv(nn.Module):
    """Deformable convolution that decides itself, by an ordinary one, where to look and how much to trust each tap.

    Source: papers.md §3.3 (``DCN``): offsets first, then the modulation, which a sigmoid brings to 0..1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dcn_offset = nn.Conv2d(width, 3 * TAPS, SIDE, padding=SIDE // 2)
        self.dcn = _TapWeights(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        offset, modulation = self.dcn_offset(x).split((2 * TAPS, TAPS), dim=1)
        return deform_conv2d(x, offset, modulation.sigmoid(), self.dcn.weight)


LEAST_ACTIVE = 0.01
"""A smaller share of active windows does not scale the token's step any further."""


@dataclass(frozen=True, slots=True)
class RefinerConfig:
    """Sizes of the refiner; the defaults are those of the released model.

    Attributes:
        width: C, of the image embedding and of the mask token.
        depth: blocks, shifted ones at odd places.
        heads: of every attention.
        mlp_ratio: hidden width of the token's MLP over C.
        window: side of a window in cells of the embedding.
        dynamic_windows: whether only the object's windows are computed; else all are, wherever the object is.
        dynamic_relu: whether P-DyReLU brings the token to the pixels; else a plain ReLU takes its place, and there is
            no token.
    """

    width: int = 256
    depth: int = 12
    heads: int = 8
    mlp_ratio: float = 4.0
    window: int = 16
    dynamic_windows: bool = True
    dynamic_relu: bool = True


class NullKeyAttention(nn.Module):
    """Multi-head attention with one more key and value, all zero: a query may attend to nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key_value: Tensor) -> Tensor:
        """(B, N, C) and (B, M, C) to (B, N, C)."""

        def split(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)  # B N C -> B heads N C/heads

        q, k, v = split(self.q_proj(query)), split(self.k_proj(key_value)), split(self.v_proj(key_value))
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        answer = F.scaled_dot_product_attention(q, k, v)  # scales by (C/heads) ** -0.5
        attended: Tensor = self.proj(answer.transpose(1, 2).flatten(2))
        return attended


class PDyReLU(nn.Module):
    """Pixel-wise dynamic ReLU: the larger of two lines through each value, one chosen by how much the pixel is like the
    token, the other by the mean of all pixels.
    """  # noqa: D205

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pixel_mlp, self.channel_mlp = (
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 2 * width), nn.Tanh())
            for inputs in (1, width)
        )
        self.pixel_scale, self.pixel_bias, self.channel_scale, self.channel_bias = (
            nn.Parameter(torch.zeros(2 * width)) for _ in range(4)
        )

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """(B, N, C) and (B, 1, C) to (B, N, C)."""
        likeness = x @ token.transpose(-1, -2)  # B N 1, not scaled
        pixel = self.pixel_mlp(likeness) * self.pixel_scale.exp() + self.pixel_bias  # B N 2C
        channel = self.channel_mlp(x.mean(1, keepdim=True)) * self.channel_scale.exp() + self.channel_bias  # B 1 2C
        (pixel_slope, pixel_shift), (channel_slope, channel_shift) = pixel.chunk(2, -1), channel.chunk(2, -1)
        return torch.maximum(pixel_slope * x + pixel_shift, channel_slope * x + channel_shift)


class TokenUpdate(nn.Module):
    """The token learns from the pixels of a window: cross-attention, then an MLP (``img2cls``)."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.mlp_ratio * config.width)
        self.norm_q, self.norm_kv, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = NullKeyAttention(width, config.heads)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.gamma1, self.gamma2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, token: Tensor, pixels: Tensor) -> Tensor:
        """(B, 1, C) and (B, N, C) to (B, 1, C)."""
        token = token + self.gamma1 * self.attn(self.norm_q(token), self.norm_kv(pixels))
        updated: Tensor = token + self.gamma2 * self.mlp(self.norm(token))
        return updated


class PixelUpdate(nn.Module):
    """The pixels of a window learn from each other and from the token (``cls2img``)."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        width = config.width
        dynamic = config.dynamic_relu
        self.cls_proj = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) if dynamic else None
        self.attn = NullKeyAttention(width, config.heads)
        self.norm1 = nn.LayerNorm(width)
        self.relu1 = PDyReLU(width) if dynamic else None
        self.conv2 = DeformableConv(width)
        self.norm2 = nn.GroupNorm(1, width)
        self.gamma1, self.gamma2 = (nn.Parameter(torch.ones(1, width, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, C) to (B, C, H, W)."""
        pixels = x.flatten(2).transpose(1, 2)  # B C H W -> B (H W) C
        active = self.norm1(self.attn(pixels, pixels))
        if self.relu1 is None or self.cls_proj is None:
            active = F.relu(active)
        else:
            active = self.relu1(active, self.cls_proj(token))
        mixed = x + self.gamma1 * active.transpose(1, 2).reshape(x.shape)
        # The residual starts from the block's input again, not from `mixed`.
        updated: Tensor = x + self.gamma2 * F.relu(self.norm2(self.conv2(mixed)))
        return updated


class FocusBlock(nn.Module):
    """One block of Dwin-MSA: both updates in every active window, then one token again from those of all windows."""

    def __init__(self, config: RefinerConfig, *, shifted: bool, scales_token: bool) -> None:
        """``shifted`` cuts the windows half a window further; ``scales_token`` undoes what inactive windows dilute."""
        super().__init__()
        self.window = config.window
        self.shift = config.window // 2 if shifted else 0
        self.img2cls = TokenUpdate(config) if config.dynamic_relu else None
        self.cls2img = PixelUpdate(config)
        self.cls_scale_proj = nn.Linear(1, 1) if scales_token and config.dynamic_relu else None
        if self.cls_scale_proj is not None:
            nn.init.ones_(self.cls_scale_proj.weight)
            nn.init.zeros_(self.cls_scale_proj.bias)

    def forward(self, x: Tensor, token: Tensor, cells: Tensor, *, skips: bool = True) -> tuple[Tensor, Tensor]:
        """One step for embedding and token.

        ``x`` (B, C, H, W) is unchanged, bit for bit, in windows without a marked cell of ``cells``, bool (B, 1, H, W);
        the token is (B, 1, C). ``skips`` says whether such windows cost nothing: a graph of fixed shapes computes them
        and throws them away.
        """
        B, _, H, W = x.shape
        below, beside = -H % self.window, -W % self.window
        padded = self._shifted(F.pad(x, (0, beside, 0, below)), -self.shift)
        marked = self._shifted(F.pad(cells, (0, beside, 0, below)), -self.shift)
        windows = self._cut(padded)  # (B windows) C window window
        is_active = self._cut(marked).flatten(1).any(1)
        tokens = token.repeat_interleave(len(windows) // B, dim=0)  # (B windows) 1 C
        if not skips:
            learnt = self._learn(tokens, windows)
            tokens = learnt.where(is_active[:, None, None], tokens)
            windows = self.cls2img(windows, learnt).where(is_active[:, None, None, None], windows)
        elif len(active := is_active.nonzero()[:, 0]):
            chosen = windows[active]
            learnt = self._learn(tokens[active], chosen)
            tokens = tokens.index_copy(0, active, learnt)
            windows = windows.index_copy(0, active, self.cls2img(chosen, learnt))
        padded = self._shifted(self._join(windows, padded.shape), self.shift)
        mean = tokens.view(B, -1, *token.shape[1:]).mean(1)  # (B windows) 1 C -> B 1 C
        if self.cls_scale_proj is not None:
            share = is_active.view(B, 1, -1).to(x.dtype).mean(-1, keepdim=True)  # B 1 1
            scale = self.cls_scale_proj(-share.clamp_min(LEAST_ACTIVE).log()).exp()
            mean = token + scale * (mean - token)
        return padded[..., :H, :W], mean

    def _learn(self, tokens: Tensor, windows: Tensor) -> Tensor:
        """The tokens after their windows; unchanged where no pixel will ask them."""
        if self.img2cls is None:
            return tokens
        learnt: Tensor = self.img2cls(tokens, windows.flatten(2).transpose(1, 2))
        return learnt

    def _shifted(self, x: Tensor, by: int) -> Tensor:
        return x.roll((by, by), (-2, -1)) if by else x

    def _cut(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        side = self.window
        cut = x.reshape(B, C, H // side, side, W // side, side).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(-1, C, side, side)  # B C H W -> (B rows columns) C side side

    def _join(self, windows: Tensor, shape: torch.Size) -> Tensor:
        B, C, H, W = shape
        side = self.window
        joined = windows.view(B, H // side, W // side, C, side, side).permute(0, 3, 1, 4, 2, 5)
        return joined.reshape(shape)


class FocusRefiner(nn.Module):
    """Embedding and mask token in, the embedding refocused on one object out."""

    def __init__(self, config: RefinerConfig = RefinerConfig()) -> None:
        super().__init__()
        self.config = config
        self.embed_proj = nn.Conv2d(config.width, config.width, 1)
        self.token_proj = nn.Linear(config.width, config.width) if config.dynamic_relu else None
        self.blocks = nn.ModuleList(
            FocusBlock(config, shifted=index % 2 == 1, scales_token=index < config.depth - 1)
            for index in range(config.depth)
        )

    def forward(self, image_embedding: Tensor, mask_token: Tensor, cells: Tensor, *, skips: bool = True) -> Tensor:
        """The refocused embedding ``F_ref``.

        ``F_enc`` (B, C, h, w) to the same shape, by mask token 0 (B, 1, C) as it leaves the transformer of the coarse
        decode; ``cells``, bool (B, 1, h, w), are those of :func:`active_cells`, ``skips`` :class:`FocusBlock`'s.
        """
        x: Tensor = image_embedding
        for x, _ in self.steps(image_embedding, mask_token, cells, skips=skips):  # noqa: B007 - the last one counts
            pass
        return x

    def steps(
        self, image_embedding: Tensor, mask_token: Tensor, cells: Tensor, *, skips: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Embedding and token after each block."""
        x, token = self.embed_proj(image_embedding), mask_token
        if self.token_proj is not None:
            token = self.token_proj(mask_token)
        if not self.config.dynamic_windows:
            cells = torch.ones_like(cells)
        for block in self.blocks:
            x, token = block(x, token, cells, skips=skips)
            yield x, token
