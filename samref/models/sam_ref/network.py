"""SAM-REF: a light refiner that fuses image and prompts again on top of any late-fusion base (arXiv 2408.11535).

The global refiner (GFR) looks at the whole model frame once more and corrects the base's mask where its error head
says so; the local refiner (LFR) does the same in a detail window cut from the original pixels; the dynamic selector
(DS) decides whether the window is pasted on the new mask or on the previous one. Specification and trust labels:
docs/papers.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from samref.models.layers import ResBlock, resize

Selector: TypeAlias = Literal["above", "below", "always", "never"]


@dataclass(frozen=True, slots=True)
class SamRefConfig:
    """Every size and every decision of the refiner (papers.md 1.3; what the paper leaves open is a field).

    Attributes:
        width: C, channels of both refiners.
        global_blocks, local_blocks: N_G and N_L residual blocks.
        dilations: of the blocks' convolutions, taken in turn. The paper's blocks are plain; spread ones see farther at
            the same cost, which a refiner without the base's embedding needs.
        residual_detail: whether the detail head says what to *add* to the mask (True) or what to put in its place. The
            paper's form is the second; the first starts at the base's mask exactly and learns in far fewer steps.
        surest: the largest magnitude of a mask's logits that detail is added to: a base that is very sure can be
            contradicted, too. 0: no limit. Needs ``residual_detail``.
        embedding_channels: of the base's image embedding.
        inject_embedding: whether the base's embedding is added (False: the refiner fits any base).
        low_res_stride: model pixels per low-res cell.
        click_radius: of disks in the model frame and in the crop, in pixels of each.
        crop: side of the detail crop in pixels; the local grid has half of it.
        rule: "change" is the paper's window, "object" covers the whole object at every prompt.
        expand, minimum: growth of the window, and its least side in low-res cells.
        selector: when the window is pasted on the previous mask instead of the new one: "above" or "below" the
            threshold, "always" or "never". The paper does not say which side; "above" is the one that fits its words.
        selector_threshold: of the dynamic selector, on the ratio of error counts.
        feedback: which mask the base gets back, its own ("coarse") or the final one.
        closer: side in pixels at which a base that can (``Magnifier``) encodes the detail window anew; its answer there
            is what the local refiner corrects. 0 is the paper's form, which never runs the encoder again.
        drop_islands: whether parts of the final mask that nobody pointed at are left out (not in the paper).
        use_local: whether there is a local refiner at all (for ablations).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # files say it in their metadata

    width: int = 64
    global_blocks: int = 5
    local_blocks: int = 5
    dilations: tuple[int, ...] = (1,)
    residual_detail: bool = False
    surest: float = 0.0
    embedding_channels: int = 256
    inject_embedding: bool = True
    low_res_stride: int = 4
    click_radius: float = 5.0
    crop: int = 512
    rule: Literal["change", "object"] = "change"
    expand: float = 1.4
    minimum: int = 32
    selector: Selector = "above"
    selector_threshold: float = 1.1
    feedback: Literal["coarse", "final"] = "coarse"
    closer: int = 0
    drop_islands: bool = False
    use_local: bool = True

    @property
    def local_grid(self) -> int:
        return self.crop // 2


class Refined(NamedTuple):
    """Logits of one refiner: ``error`` marks where the mask given was wrong, ``logits`` is the corrected mask."""

    error: Tensor
    logits: Tensor


def build_stem(width: int, second_stride: int) -> nn.Sequential:
    """3 channels to ``width`` at a half (``second_stride`` 1) or a quarter of the size."""
    return nn.Sequential(
        nn.Conv2d(3, width // 2, 3, 2, 1),
        nn.GroupNorm(1, width // 2),
        nn.GELU(),
        nn.Conv2d(width // 2, width, 3, second_stride, 1),
        nn.GroupNorm(1, width),
        nn.GELU(),
    )


class FusionRefiner(nn.Module):
    """GFR or LFR: image stem + map stem + embedding, N residual blocks that see the embedding again, two heads."""

    def __init__(
        self,
        width: int,
        blocks: int,
        second_stride: int,
        *,
        residual_detail: bool = False,
        surest: float = 0.0,
        dilations: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__()
        self.residual_detail = residual_detail
        self.surest = surest
        self.image_stem = build_stem(width, second_stride)
        self.map_stem = build_stem(width, second_stride)
        self.blocks = nn.ModuleList(
            ResBlock(width, dilation=dilations[index % len(dilations)]) for index in range(blocks)
        )
        self.error_head = nn.Conv2d(width, 1, 3, padding=1)
        self.detail_head = nn.Conv2d(width, 1, 3, padding=1)
        assert self.error_head.bias is not None
        assert self.detail_head.bias is not None
        nn.init.constant_(self.error_head.bias, -3.0)  # training starts at the base's own mask
        nn.init.zeros_(self.detail_head.weight)
        nn.init.zeros_(self.detail_head.bias)

    @property
    def dtype(self) -> torch.dtype:
        return self.error_head.weight.dtype

    def forward(self, image: Tensor, maps: Tensor, embedding: Tensor | None, mask: Tensor) -> Refined:
        """Correct ``mask``.

        Args:
            image: (B, C, h, w) output of :attr:`image_stem` (cached for the global refiner).
            maps: (B, 3, H, W) positive, negative, probability of ``mask``.
            embedding: (B, C, h, w) the base's embedding, projected and resized; None where injection is off.
            mask: (B, 1, h, w) logits to correct.
        """
        fused = image + self.map_stem(maps)
        if embedding is not None:
            fused = fused + embedding
        for block in self.blocks:
            fused = block(fused) if embedding is None else block(fused) + embedding
        error, detail = self.error_head(fused), self.detail_head(fused)
        if self.residual_detail:
            believed = mask.clamp(-self.surest, self.surest) if self.surest else mask
            detail = believed + detail
        gate = error.sigmoid()
        return Refined(error, gate * detail + (1 - gate) * mask)


class SamRef(nn.Module):
    """Both refiners and the embedding projection they share."""

    def __init__(self, config: SamRefConfig = SamRefConfig()) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Conv2d(config.embedding_channels, config.width, 1) if config.inject_embedding else None
        build = partial(
            FusionRefiner,
            config.width,
            residual_detail=config.residual_detail,
            surest=config.surest,
            dilations=config.dilations,
        )
        self.global_refiner = build(config.global_blocks, 2)
        self.local_refiner = build(config.local_blocks, 1)

    def project(self, image_embedding: Tensor, size: tuple[int, int]) -> Tensor | None:
        """The base's embedding in the low-res frame (B, C, h, w), or None where injection is off."""
        return None if self.embedding is None else resize(self.embedding(image_embedding), size)
