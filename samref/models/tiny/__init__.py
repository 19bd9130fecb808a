"""The embedded model: small encoder, prompt fusion, decoder, with SAM-REF's refiner over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from samref.models.interface import ALL_PROMPTS, Checkpoint, InteractiveModel, ModelSpec


def _build(spec: ModelSpec, checkpoint: Path | None, seed: int) -> InteractiveModel:
    from samref.models.tiny.model import build_tiny

    return build_tiny(spec, folder=checkpoint, seed=seed)


_TINY = ModelSpec(
    name="tiny",
    title="Embedded model",
    resize="letterbox",
    image_size=512,
    prompts=ALL_PROMPTS,
    stages=("coarse", "refined"),
    checkpoints=(
        Checkpoint(
            "tiny-base.safetensors",
            sha256="3121097d4d05976ed79e5ac7420c7efab5dfb873c740448469e471b60817bb06",
            size_bytes=5_166_498,
        ),
        Checkpoint(
            "tiny-refiner.safetensors",
            sha256="75f3c6de55b0c93d924bf3f7ffb30a4e3acd72c53f55e85fd4fd80ce492671d5",
            size_bytes=273_992,
        ),
    ),
    licence="Apache-2.0",
    source="assets/weights/README.md",
    build=_build,
)
_RANDOM = replace(
    _TINY,
    name="tiny-random",
    title="Embedded model, random weights",
    image_size=128,
    checkpoints=(),
    source="",
    note="Random weights: for tests only.",
    purpose="test",
)
SPECS: Mapping[str, ModelSpec] = {spec.name: spec for spec in (_TINY, _RANDOM)}
