"""The embedded model's base: MobileNetV2 once per image, dense prompt maps fused late, a light coarse decoder.

The encoder is plain convolutions with bias, batch norm already folded in: the layer table of Sandler et al., CVPR 2018
(table 2). As in DeepLab's use of it, the last two stages keep stride 16 and dilate instead, so that deep features stay
as fine as the grid they are fused on.

Dense maps instead of SAM's sparse tokens because they learn from little data (SegNext, ablation of its dense
representation). Everything that depends on the image alone (:class:`ImageNeck`) is computed once and cached; a prompt
costs only :class:`CoarseDecoder`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samref.models.layers import ResBlock, downsample, resize


class Stage(NamedTuple):
    """Blocks of the encoder; ``dilation`` is of every block but the first (see DeepLab's output stride)."""

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


MAP_CHANNELS = 5
"""Positive, negative, box, polygon, and the probability of a rough mask the user gave."""


@dataclass(frozen=True, slots=True)
class TinyConfig:
    """Every size of the embedded model's base.

    Attributes:
        image_size: longest side of the model frame.
        encoder: widths of the image encoder.
        context: channels of the pooled-context block (initialised from DeepLab's).
        widths: channels of the fused maps at strides 4, 8, 16.
        heads, blocks: of the attention at stride 16.
        map_stride: model pixels per cell of the drawn prompt map.
        click_radius: of a click's disk, in model pixels.
    """

    image_size: int = 512
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    context: int = 256
    widths: tuple[int, int, int] = (24, 48, 128)
    heads: int = 4
    blocks: int = 2
    map_stride: int = 2
    click_radius: float = 5.0


class Embedding(NamedTuple):
    """What the neck leaves of an image: fused maps at strides 4, 8 and 16."""

    level4: Tensor
    level8: Tensor
    level16: Tensor


class ImageNeck(nn.Module):
    """Context over the deepest features (1x1 and pooled branch, as DeepLab's), then top-down to stride 4."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        width4, width8, width16 = config.widths
        level4, level8, level16, deep16 = MobileNetV2(config.encoder).widths
        self.aspp = nn.Conv2d(deep16, config.context, 1)
        self.pooled = nn.Conv2d(deep16, config.context, 1)
        self.merge = nn.Conv2d(2 * config.context, config.context, 1)
        self.lateral16 = nn.Sequential(nn.Conv2d(level16 + config.context, width16, 1), nn.GroupNorm(1, width16))
        self.lateral8 = nn.Conv2d(level8, width8, 1)
        self.lateral4 = nn.Conv2d(level4, width4, 1)
        self.down8 = nn.Conv2d(width16, width8, 1)
        self.down4 = nn.Conv2d(width8, width4, 1)
        self.smooth8 = nn.Sequential(nn.Conv2d(width8, width8, 3, padding=1), nn.GroupNorm(1, width8))
        self.smooth4 = nn.Sequential(nn.Conv2d(width4, width4, 3, padding=1), nn.GroupNorm(1, width4))

    def forward(self, level4: Tensor, level8: Tensor, level16: Tensor, deep16: Tensor) -> Embedding:
        pooled = F.relu(self.pooled(deep16.mean(dim=(2, 3), keepdim=True))).expand(-1, -1, *deep16.shape[2:])
        context = F.relu(self.merge(torch.cat([pooled, F.relu(self.aspp(deep16))], dim=1)))
        out16 = self.lateral16(torch.cat([level16, context], dim=1))
        out8 = self.smooth8(F.gelu(self.lateral8(level8) + resize(self.down8(F.gelu(out16)), level8.shape[-2:])))
        out4 = self.smooth4(F.gelu(self.lateral4(level4) + resize(self.down4(F.gelu(out8)), level4.shape[-2:])))
        return Embedding(out4, out8, out16)


class AttentionBlock(nn.Module):
    """Attention of every cell to 2x2-pooled cells, then a feed-forward part; its depthwise 3x3 tells where a cell lies.

    Pooling keys and values (as pyramid vision transformers do) quarters the cost, which is what training on a CPU
    pays for most.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # B C h w -> B (h w) C
        normed = self.norm1(tokens)
        pooled = F.avg_pool2d(normed.transpose(1, 2).reshape(x.shape), 2, ceil_mode=True)
        query = self._split(self.query(normed))
        key, value = self.key_value(pooled.flatten(2).transpose(1, 2)).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(query, self._split(key), self._split(value))
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        hidden = self.widen(self.norm2(tokens))
        spatial = hidden.transpose(1, 2).reshape(batch, 2 * width, height, columns)
        spatial = F.gelu(spatial + self.depthwise(spatial))
        tokens = tokens + self.narrow(spatial.flatten(2).transpose(1, 2))
        out: Tensor = tokens.transpose(1, 2).reshape(batch, width, height, columns)
        return out

    def _split(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.heads, width // self.heads).transpose(1, 2)  # B n C -> B heads n C/heads


class CoarseDecoder(nn.Module):
    """Prompt maps and the previous answer, embedded at strides 4, 8, 16, added to the image's maps and decoded."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        width4, width8, width16 = config.widths
        self.map_stem = nn.Sequential(nn.Conv2d(MAP_CHANNELS, 16, 3, 2, 1), nn.GELU())
        self.map4 = nn.Sequential(nn.Conv2d(16 + 2, width4, 3, padding=1), nn.GroupNorm(1, width4), nn.GELU())
        self.map8 = downsample(width4, width8)
        self.map16 = downsample(width8, width16)
        self.blocks = nn.Sequential(*(AttentionBlock(width16, config.heads) for _ in range(config.blocks)))
        self.up8 = nn.Conv2d(width16, width8, 1)
        self.fuse8 = ResBlock(width8, bias=True)
        self.up4 = nn.Conv2d(width8, width4, 1)
        self.fuse4 = ResBlock(width4, bias=True)
        self.head = nn.Conv2d(width4, 1, 3, padding=1)

    def forward(self, image: Embedding, maps: Tensor, mask_input: Tensor, has_mask: Tensor) -> Tensor:
        """Low-res logits of the object.

        From the image's maps, a batch of 1 or B: drawn prompts ``maps`` (B, 5, H/2, W/2), ``mask_input`` (B, 1, H/4,
        W/4) the logits of the previous answer and ``has_mask`` (B, 1, 1, 1) whether there is one, to (B, 1, H/4, W/4).
        """
        previous = mask_input.sigmoid() * has_mask
        flag = has_mask.expand_as(previous)
        map4 = self.map4(torch.cat([self.map_stem(maps), previous, flag], dim=1))
        map8 = self.map8(map4)
        map16 = self.map16(map8)
        x16 = self.blocks(image.level16 + map16)
        x8 = self.fuse8(F.gelu(image.level8 + map8 + resize(self.up8(x16), map8.shape[-2:])))
        x4 = self.fuse4(F.gelu(image.level4 + map4 + resize(self.up4(x8), map4.shape[-2:])))
        logits: Tensor = self.head(x4)
        return logits


class TinyNet(nn.Module):
    """Encoder, neck and coarse decoder; the refiner lives apart, in :mod:`samref.models.sam_ref.network`."""

    def __init__(self, config: TinyConfig = TinyConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = MobileNetV2(config.encoder)
        self.neck = ImageNeck(config)
        self.decoder = CoarseDecoder(config)

    def embed(self, image: Tensor) -> Embedding:
        """RGB in [-1, 1] (B, 3, H, W), sides multiples of 16, to the image's maps."""
        embedding: Embedding = self.neck(*self.encoder(image))
        return embedding
