"""Every model by name: what it is, and how it is put together with its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from samref.errors import UnknownModelError
from samref.models.checkpoints import load_into, load_safetensors, weights_folder
from samref.models.focsam.model import FocsamModel
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.focsam.weights import build_focsam, focsam_specs
from samref.models.interface import Checkpoint, InteractiveModel, ModelSpec, PromptKind
from samref.models.layers import randomize
from samref.models.sam.model import SAM_SPECS, build_sam
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.weights import build_sam_ref, sam_ref_specs
from samref.models.segnext.model import SEGNEXT_SPECS, build_segnext
from samref.models.tiny.model import TinyModel
from samref.models.tiny.network import EncoderConfig, TinyConfig, TinyNet

ALL_PROMPTS: frozenset[PromptKind] = frozenset(("click", "box", "scribble", "polygon", "mask"))

TINY_REFINER = SamRefConfig(
    width=32,
    global_blocks=3,
    local_blocks=3,
    residual_detail=True,
    inject_embedding=False,
    crop=256,
    rule="object",
    closer=384,
    drop_islands=True,
)
"""The embedded model's. Why it looks at the whole object, and closer: docs/adr/0007 and 0009."""

_RANDOM_TINY = TinyConfig(
    image_size=128, encoder=EncoderConfig(0.125), context=16, widths=(8, 8, 16), heads=2, blocks=1
)
_RANDOM_REFINER = SamRefConfig(
    width=8, global_blocks=1, local_blocks=1, embedding_channels=16, crop=64, minimum=8, rule="object"
)

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
)
_TINY_RANDOM = replace(
    _TINY,
    name="tiny-random",
    title="Embedded model, random weights",
    image_size=128,
    checkpoints=(),
    source="",
    note="Random weights: for tests only.",
)
_RANDOM_FOCUS = RefinerConfig(width=32, depth=3, heads=4, mlp_ratio=2.0, window=8)
_FOCSAM_RANDOM = replace(
    SAM_SPECS["sam-random"],
    name="focsam-random",
    title="FocSAM over Segment Anything, random weights",
    stages=("coarse", "refined"),
    source="",
)


_ABLATIONS = frozenset(("segnext-b-sum",))
"""Models that only answer a question of a paper: built by name, offered to nobody."""


def _specs() -> dict[str, ModelSpec]:
    sam, dense = SAM_SPECS.values(), SEGNEXT_SPECS.values()
    found = (_TINY, *sam, *sam_ref_specs(), *dense, *focsam_specs(), _TINY_RANDOM, _FOCSAM_RANDOM)
    return {spec.name: spec for spec in found}


def list_models() -> tuple[ModelSpec, ...]:
    """Every model there is but those of ablations, the default first."""
    return tuple(spec for name, spec in _specs().items() if name not in _ABLATIONS)


def get_spec(name: str) -> ModelSpec:
    """The model of that name.

    Raises:
        UnknownModelError: there is none; the message lists those there are.
    """
    specs = _specs()
    if name not in specs:
        public = ", ".join(known for known in specs if not known.endswith("random"))
        raise UnknownModelError(f"There is no model {name[:60]!r}. There are: {public}.")
    return specs[name]


def build_model(
    name: str,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> InteractiveModel:
    """The model of that name with its weights.

    Args:
        name: see :func:`list_models`.
        device: where it shall run; the CPU unless told.
        dtype: precision of its heavy part.
        checkpoint: for SAM, SegNext and FocSAM, the official file when it is not in the cache; for SAM-REF over SAM
            that, or a file of your own training; for ``tiny``, a folder with two such files. The digest of what you
            trained is not checked.
        seed: of the random weights of the ``*-random`` models.

    Raises:
        UnknownModelError: there is none of that name.
        CheckpointMissingError: the weights are not on this machine.
        CheckpointInvalidError: they are damaged or belong to another model.
    """
    spec = get_spec(name)
    model: InteractiveModel
    if name == "tiny":
        folder = checkpoint or weights_folder()
        base, refiner = TinyNet(), SamRef(TINY_REFINER)
        for module, file in zip((base, refiner), spec.checkpoints, strict=True):
            load_into(module, load_safetensors(folder / file.file_name, None if checkpoint else file.sha256), name)
        model = SamRefModel(TinyModel(base, spec), refiner, spec)
    elif name == "tiny-random":
        base, refiner = TinyNet(_RANDOM_TINY), SamRef(_RANDOM_REFINER)
        randomize(base, seed)
        randomize(refiner, seed + 1)
        model = SamRefModel(TinyModel(base, spec), refiner, spec)
    elif name in SEGNEXT_SPECS:
        model = build_segnext(name, checkpoint=checkpoint, seed=seed)
    elif name == "focsam-random":
        focus = FocusRefiner(_RANDOM_FOCUS)
        randomize(focus, seed + 1)
        model = FocsamModel(build_sam("random", seed=seed), focus, spec)
    elif name.startswith("focsam-"):
        model = build_focsam(name, checkpoint=checkpoint)
    elif name.startswith("sam-ref-"):
        model = build_sam_ref(spec, checkpoint=checkpoint, seed=seed)
    else:
        variant = name.rsplit("-", 1)[-1]
        assert variant in ("b", "l", "h", "random")
        model = build_sam(variant, checkpoint=checkpoint, seed=seed)  # type: ignore[arg-type]
    return model.to(device or torch.device("cpu"), dtype)
