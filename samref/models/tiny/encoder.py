"""MobileNetV2 as the embedded model's image encoder: plain convolutions with bias, batch norm already folded in.

Layer table of Sandler et al., CVPR 2018 (table 2). As in DeepLab's use of it, the last two stages keep stride 16 and
dilate instead, so that deep features stay as fine as the grid they are fused on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EncoderConfig", "EncoderLevels", "MobileNetV2"]


class Stage(NamedTuple):
    expansion: int
    channels: int
    blocks: int
    stride: int
    dilation: int


STAGES = (
    Stage(1, 16, 1, 1, 1),
    Stage(6, 24, 2, 2, 1),
    Stage(6, 32, 3, 2, 1),
    Stage(6, 64, 4, 2, 1),
    Stage(6, 96, 3, 1, 1),
    Stage(6, 160, 3, 1, 2),
    Stage(6, 320, 1, 1, 2),
)
"""Expansion, channels, blocks, stride, dilation (of every block but the stage's first; see DeepLab's output stride)."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """``width`` scales every channel count (1.0 is the published net; tests use less)."""

    width: float = 1.0

    def channels(self, count: int) -> int:
        return max(4, round(count * self.width))


class EncoderLevels(NamedTuple):
    """Features at strides 4, 8, 16 and (dilated) 16."""

    level4: Tensor
    level8: Tensor
    level16: Tensor
    deep16: Tensor


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: at stride 2 an even side is padded at the right and bottom only."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in (1, 0):  # F.pad wants the last axis first
            size, stride, dilation = x.shape[2 + axis], self.stride[axis], self.dilation[axis]
            reach = dilation * (self.kernel_size[axis] - 1)
            total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] == pads[2] == pads[3]:
            return F.conv2d(x, self.weight, self.bias, self.stride, pads[0], self.dilation, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 project; residual where the shape stays."""

    def __init__(self, width_in: int, width_out: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        hidden = width_in * expansion
        self.expand = nn.Conv2d(width_in, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, 3, stride, dilation=dilation, groups=hidden)
        self.project = nn.Conv2d(hidden, width_out, 1)
        self.residual = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self.residual else y
        return out


class MobileNetV2(nn.Module):
    """RGB in ``[-1, 1]`` (B, 3, H, W), sides multiples of 16, to features at strides 4, 8 and 16."""

    def __init__(self, config: EncoderConfig = EncoderConfig()) -> None:
        super().__init__()
        width = config.channels(32)
        self.stem = SameConv(3, width, 3, 2)
        self.stages = nn.ModuleList()
        previous_dilation = 1
        for stage in STAGES:
            blocks = nn.Sequential()
            for index in range(stage.blocks):
                first = index == 0
                blocks.append(
                    InvertedResidual(
                        width,
                        config.channels(stage.channels),
                        stage.expansion,
                        stage.stride if first else 1,
                        previous_dilation if first else stage.dilation,
                    )
                )
                width = config.channels(stage.channels)
            previous_dilation = stage.dilation
            self.stages.append(blocks)
        self.widths = tuple(config.channels(count) for count in (24, 32, 96, 320))

    def forward(self, x: Tensor) -> EncoderLevels:
        x = F.relu6(self.stem(x))  # B 3 H W -> B 32 H/2 W/2
        outputs: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return EncoderLevels(outputs[1], outputs[2], outputs[4], outputs[6])

    def convolutions(self) -> list[nn.Conv2d]:
        """All convolutions in the order they run, as pretrained tables list them."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]
