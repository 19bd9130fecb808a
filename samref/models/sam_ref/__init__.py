"""SAM-REF: a light refiner over a late-fusion base (arXiv 2408.11535), here over Segment Anything.

Where there is no refiner of one's own training, the one that fits any base comes with samref.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from samref.models import sam
from samref.models.checkpoints import cached_path, locate
from samref.models.interface import Checkpoint, InteractiveModel, ModelSpec

AGNOSTIC_WEIGHTS = Checkpoint(
    "agnostic-refiner.safetensors",
    sha256="c3bdfe426b84dec3f4a549aa2f341766c261f7642bee643c68a743bad14156ac",
    size_bytes=349_904,
)
_AGNOSTIC_NOTE = (
    "Its refiner knows image, clicks and mask, not SAM's embedding; it was trained on the masks of other bases and "
    "changes little."
)


def _own_weights(spec: ModelSpec) -> Checkpoint:
    """Decoder and refiner of one's own training, looked for under the model's name where no file is named."""
    return Checkpoint(f"{spec.name}.safetensors", page="docs/training.md")


def _trained(spec: ModelSpec) -> ModelSpec:
    checkpoints = (*spec.checkpoints[:1], _own_weights(spec))
    return replace(spec, checkpoints=checkpoints, note="Its refiner and its decoder are of your own training.")


def _as_found(spec: ModelSpec) -> ModelSpec:
    return _trained(spec) if cached_path(_own_weights(spec)).is_file() else spec


def _build(spec: ModelSpec, checkpoint: Path | None, seed: int, *, over: ModelSpec) -> InteractiveModel:
    from samref.models.sam_ref import model

    own = _own_weights(spec)
    if checkpoint is None and spec.checkpoints and (spec.purpose == "ablation" or cached_path(own).is_file()):
        checkpoint = locate(own, spec.name)
    if checkpoint is not None and checkpoint.suffix == ".safetensors":
        return model.build_trained(_trained(spec), over, checkpoint, seed)
    if not spec.checkpoints:
        return model.build_random(spec, over, seed)
    return model.build_agnostic(spec, over, AGNOSTIC_WEIGHTS, checkpoint)


def _over(base: ModelSpec, name: str) -> ModelSpec:
    spec = replace(
        base,
        name=name,
        title=f"SAM-REF over {base.title}",
        stages=("coarse", "refined"),
        build=partial(_build, over=base),
    )
    if not base.checkpoints:
        return spec
    checkpoints = (*base.checkpoints, AGNOSTIC_WEIGHTS)
    return replace(spec, checkpoints=checkpoints, note=_AGNOSTIC_NOTE, as_found=_as_found)


def _paper(width: int) -> ModelSpec:
    """The paper's form, SAM's embedding injected; no weights are published."""
    spec = _over(sam.VIT_B, f"sam-ref-vit-b-c{width}")
    return replace(_trained(spec), title=f"SAM-REF over ViT-B, C={width}", purpose="ablation", as_found=_trained)


_MODELS = (
    _over(sam.VIT_B, "sam-ref-vit-b"),
    _over(sam.VIT_L, "sam-ref-vit-l"),
    _over(sam.VIT_H, "sam-ref-vit-h"),
    _over(sam.RANDOM, "sam-ref-random"),
    _paper(64),
    _paper(32),
)
SPECS: Mapping[str, ModelSpec] = {spec.name: spec for spec in _MODELS}
