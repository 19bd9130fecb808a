"""FocSAM: Segment Anything with the image embedding refocused on one object (arXiv 2405.18706)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from samref.models import sam
from samref.models.checkpoints import cached_path
from samref.models.interface import Checkpoint, InteractiveModel, ModelSpec

_SOURCE = "https://github.com/YouHuang67/focsam"
_PAGE = f"{_SOURCE} (the link FocSAM-ViT-H; unzip it and rename iter_160000.pth so)"


def _refined(spec: ModelSpec, own: Checkpoint) -> ModelSpec:
    """With a refiner. Its file is marked as one that a person brings; SAM's, if needed too, is asked for when built."""
    return replace(spec, stages=("coarse", "refined"), checkpoints=(replace(own, page=_PAGE),), note="")


def _as_found(spec: ModelSpec, own: Checkpoint) -> ModelSpec:
    return _refined(spec, own) if cached_path(own).is_file() else spec


def _build(
    spec: ModelSpec, checkpoint: Path | None, seed: int, *, over: ModelSpec, own: Checkpoint
) -> InteractiveModel:
    from samref.models.focsam import model

    if not spec.checkpoints:
        return model.build_random(replace(spec, stages=("coarse", "refined")), over, seed)
    plain = SPECS[spec.name]
    return model.build_focsam(plain, _refined(plain, own), over, own, checkpoint=checkpoint)


def _over(base: ModelSpec, name: str, own: Checkpoint) -> ModelSpec:
    """As it is without a refiner: plain SAM, which it says."""
    where = f"FocSAM's own are at {_SOURCE}" if own.page else "none of this size have been published"
    return replace(
        base,
        name=name,
        title=f"FocSAM over {base.title}",
        licence="MIT (FocSAM), Apache-2.0 (Segment Anything)",
        source=_SOURCE,
        note=f"It has no refiner weights, so it gives plain SAM's mask; {where}.",
        build=partial(_build, over=base, own=own),
        as_found=partial(_as_found, own=own),
    )


_RANDOM = replace(
    sam.RANDOM,
    name="focsam-random",
    title="FocSAM over Segment Anything, random weights",
    stages=("coarse", "refined"),
    source="",
    build=partial(_build, over=sam.RANDOM, own=Checkpoint("")),
)
_MODELS = (
    _over(sam.VIT_B, "focsam-vit-b", Checkpoint("focsam_vit_b.pth")),
    _over(sam.VIT_L, "focsam-vit-l", Checkpoint("focsam_vit_l.pth")),
    _over(sam.VIT_H, "focsam-vit-h", Checkpoint("focsam_vit_h.pth", page=_PAGE)),
    _RANDOM,
)
SPECS: Mapping[str, ModelSpec] = {spec.name: spec for spec in _MODELS}
"""The authors have published weights of ViT-H only; others are looked for in the cache folder by these names."""
