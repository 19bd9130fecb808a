"""Every model by name: what it is, and the model itself with its weights. Torch is imported once a model is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samref.errors import UnknownModelError
from samref.models import focsam, sam, sam_ref, segnext, tiny
from samref.models.interface import InteractiveModel, ModelSpec

if TYPE_CHECKING:
    import torch

SPECS: dict[str, ModelSpec] = {**tiny.SPECS, **sam.SPECS, **sam_ref.SPECS, **segnext.SPECS, **focsam.SPECS}
"""A family of models is a package with such a table."""


def list_models() -> tuple[ModelSpec, ...]:
    """Every model there is but those of ablations, the default first, those for tests last."""
    known = [spec for spec in SPECS.values() if spec.purpose != "ablation"]
    return tuple(spec.as_found(spec) for spec in sorted(known, key=lambda spec: spec.purpose != "use"))


def get_spec(name: str) -> ModelSpec:
    """The model of that name.

    Raises:
        UnknownModelError: there is none; the message lists those there are.
    """
    if name not in SPECS:
        offered = ", ".join(spec.name for spec in SPECS.values() if spec.purpose == "use")
        raise UnknownModelError(f"There is no model {name[:60]!r}. There are: {offered}.")
    return SPECS[name].as_found(SPECS[name])


def build_model(
    name: str,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> InteractiveModel:
    """The model of that name with its weights.

    For SAM, SegNext and FocSAM ``checkpoint`` is the official file when it is not in the cache; for SAM-REF over SAM
    that, or a file of your own training; for ``tiny`` a folder with two such files. The digest of what you trained is
    not checked. ``dtype`` is of the heavy part, ``seed`` of the random weights of the ``*-random`` models.
    """
    import torch

    return _build(get_spec(name), checkpoint, seed).to(device or torch.device("cpu"), dtype or torch.float32)


def build_untrained(name: str, seed: int = 0) -> InteractiveModel:
    """An architecture at its real size with seeded random weights, on the CPU in float32.

    It is for measuring time, parameters and memory. Its masks mean nothing, so no quality may be read from it; parts
    whose cost depends on the mask (FocSAM's window) are measured on whatever mask comes out.
    """
    spec = replace(
        get_spec(name),
        title=f"{name}, random weights",
        checkpoints=(),
        note="Random weights at the real size: for times and memory only, its masks mean nothing.",
    )
    return _build(spec, None, seed)


def _build(spec: ModelSpec, checkpoint: Path | None, seed: int) -> InteractiveModel:
    assert spec.build is not None, "every model of a table can be built"
    return spec.build(spec, checkpoint, seed)
