"""Modulated deformable 3x3 convolution in plain PyTorch: runs and differentiates wherever torch does.

Source: Zhu et al., "Deformable ConvNets v2" (2019). torchvision and mmcv have compiled operators for it, which must
match torch to the patch release and are missing on some platforms; both share the channel layout that is used here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TAPS", "DeformableConv", "deform_conv2d"]

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
