"""Segment Anything: encode once, decode per prompt (Kirillov et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samref.models.interface import ALL_PROMPTS, Checkpoint, InteractiveModel, ModelSpec


def _build(spec: ModelSpec, checkpoint: Path | None, seed: int) -> InteractiveModel:
    from samref.models.sam.model import build_sam

    return build_sam(spec, checkpoint=checkpoint, seed=seed)


def _released(letter: str, digits: str, sha256: str, size_bytes: int) -> ModelSpec:
    """A released variant. The six digits in its file's name begin the *MD5*, so SHA-256 is given in full."""
    file_name = f"sam_vit_{letter}_{digits}.pth"
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{file_name}"
    return ModelSpec(
        name=f"sam-vit-{letter}",
        title=f"Segment Anything, ViT-{letter.upper()}",
        resize="letterbox",
        image_size=1024,
        prompts=ALL_PROMPTS,
        stages=("coarse",),
        checkpoints=(Checkpoint(file_name, url, sha256, size_bytes),),
        licence="Apache-2.0",
        source="https://github.com/facebookresearch/segment-anything",
        build=_build,
    )


VIT_B = _released("b", "01ec64", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375_042_383)
VIT_L = _released("l", "0b3195", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1_249_524_607)
VIT_H = _released("h", "4b8939", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 2_564_550_879)
RANDOM = ModelSpec(
    name="sam-random",
    title="Segment Anything, random weights",
    resize="letterbox",
    image_size=256,
    prompts=ALL_PROMPTS,
    stages=("coarse",),
    licence=VIT_B.licence,
    source=VIT_B.source,
    note="Random weights: for tests only.",
    build=_build,
    purpose="test",
)
SPECS: Mapping[str, ModelSpec] = {spec.name: spec for spec in (VIT_B, VIT_L, VIT_H, RANDOM)}
