"""SegNext: prompts as dense maps, fused with the image by self-attention (arXiv 2404.00741)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from samref.models.interface import ALL_PROMPTS, Checkpoint, InteractiveModel, ModelSpec

_PAGE = "https://github.com/uncbiag/SegNext"


def _build(spec: ModelSpec, checkpoint: Path | None, seed: int) -> InteractiveModel:
    from samref.models.segnext.model import build_segnext

    return build_segnext(spec, checkpoint=checkpoint, seed=seed)


_SAX1 = ModelSpec(
    name="segnext-b-sax1",
    title="SegNext, ViT-B, SA x1",
    resize="stretch",
    image_size=1024,
    prompts=ALL_PROMPTS,
    stages=("coarse",),
    checkpoints=(Checkpoint("vitb_sa1_cocolvis_epoch_90.pth", page=_PAGE),),
    licence="MIT",
    source=_PAGE,
    build=_build,
)
_SAX2 = replace(
    _SAX1,
    name="segnext-b-sax2",
    title="SegNext, ViT-B, SA x2",
    checkpoints=(Checkpoint("vitb_sa2_cocolvis_hq44k_epoch_0.pth", page=_PAGE),),
    note="Looks for the weights fine-tuned on HQSeg-44K; vitb_sa2_cocolvis_epoch_90.pth works with --checkpoint.",
)
_SUM = replace(
    _SAX1,
    name="segnext-b-sum",
    title="SegNext, ViT-B, plain sum",
    checkpoints=(Checkpoint("vitb_sum.pth"),),
    note="The paper's ablation without attention between image and prompts. No weights are published: train your own.",
    purpose="ablation",
)
_RANDOM = replace(
    _SAX1,
    name="segnext-random",
    title="SegNext, random weights",
    image_size=128,
    checkpoints=(),
    note="Random weights: for tests only.",
    purpose="test",
)
SPECS: Mapping[str, ModelSpec] = {spec.name: spec for spec in (_SAX1, _SAX2, _SUM, _RANDOM)}
