"""FocSAM as an :class:`InteractiveModel`: SAM, whose image embedding is made anew for each object (arXiv 2405.18706).

The first click is answered with the image's embedding. At the second, SAM's coarse mask says where the object is, the
refiner makes the embedding anew around it, and SAM answers again from that one; every later prompt of the object uses
the same refocused embedding, which lives in :class:`DecoderState`. So undoing the second click goes back to the
image's own embedding, and redoing it comes back.

The paper knows clicks only. Ours [decision]: a first prompt that says more than one lone click (a box, an outline, a
rough mask, a scribble long enough for two points) already says how far the object reaches, which is all that the
second click is waited for, so its answer is refocused at once. Where the refiner looks is decided by the coarse mask
for every kind of prompt. SAM's word for each is in :mod:`samref.models.sam.prompts`.

Source: papers.md §3.1.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import Tensor, nn
from torch.serialization import safe_globals

from samref.core.geometry import Frame, ImageSize
from samref.errors import CheckpointInvalidError, CheckpointMissingError, ModelError, PromptError
from samref.models.checkpoints import cached_path, how_to_get, load_into, load_safetensors, load_torch, locate
from samref.models.focsam.network import FocusRefiner, RefinerConfig, active_cells, expanded_boxes, object_boxes
from samref.models.interface import (
    Checkpoint,
    DecoderState,
    ImageFeatures,
    ImageInput,
    MaskOutput,
    ModelSpec,
    PromptBatch,
    Stage,
)
from samref.models.layers import load_pixels, randomize, resize, soft_iou
from samref.models.sam.model import LONGEST_PIXELS, SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS, build_sam_network, network_from
from samref.models.sam.prompts import SamPrompt, to_sam_prompt

InputRule: TypeAlias = Literal["sam", "focsam"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]

CANVAS_MULTIPLE = 32
"""FocSAM's evaluation pads the image to multiples of this, before it is resized."""


@dataclass(frozen=True, slots=True)
class FocsamConfig:
    """What FocSAM decides besides its weights.

    Attributes:
        expand_height, expand_width: growth of the coarse mask's box (drawn from 1.0..1.4 in the paper's training).
        refocus_at: number of prompts at which the embedding is made anew; 2 in the paper.
        refocus_areas_at_once: whether a first prompt that says more than a lone click does it already.
        input_rule: "sam" resizes the image with Pillow's filter and normalises it then; "focsam" normalises it, pads
            it to multiples of 32 and resizes the tensor without antialiasing, as the authors' evaluation does.
        channel_order: of the encoder's input. As far as the authors' code shows they ran on BGR, normalised with the
            constants of RGB; it does not show what mmcv was set to, so try both where it matters.
    """

    expand_height: float = 1.4
    expand_width: float = 1.4
    refocus_at: int = 2
    refocus_areas_at_once: bool = True
    input_rule: InputRule = "sam"
    channel_order: ChannelOrder = "rgb"


class SingleMask(NamedTuple):
    """Answer of SAM's mask token 0.

    Attributes:
        logits: (B, 1, h, w), low-res frame.
        token: (B, 1, C), as it leaves the two-way transformer.
    """

    logits: Tensor
    token: Tensor


def decode_single_mask(
    mask_decoder: Any,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompt_embeddings: Tensor,
    dense_prompt_embeddings: Tensor,
) -> SingleMask:
    """SAM's single mask, and the mask token that the package's own ``forward`` keeps to itself.

    The other mask tokens of the package's ``mask_decoder`` take part in the attention, as always. Shapes: embeddings
    (B, C, h, w), ``image_pe`` (1, C, h, w), sparse prompts (B, N, C).
    """
    B = len(sparse_prompt_embeddings)
    own = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(B, -1, -1), sparse_prompt_embeddings], dim=1)
    attended, pixels = mask_decoder.transformer(
        image_embedding + dense_prompt_embeddings, image_pe.expand(B, -1, -1, -1), tokens
    )
    token = attended[:, 1:2]  # behind the IoU token
    upscaled = mask_decoder.output_upscaling(pixels.transpose(1, 2).reshape(image_embedding.shape))
    logits = mask_decoder.output_hypernetworks_mlps[0](token) @ upscaled.flatten(2)  # B 1 c @ B c (h w)
    return SingleMask(logits.view(B, 1, *upscaled.shape[-2:]), token)


class FocsamModel:
    """SAM with FocSAM's refiner; without one it is SAM, to the bit, and ``spec.note`` has to say so.

    Attributes:
        base: SAM; its prompt encoder and mask decoder are used at every prompt.
        refiner: makes the embedding anew, frozen; runs in float32 like SAM's decoder. None: no trained weights.
        spec: what it is.
        config: its decisions.
    """

    def __init__(
        self,
        base: SamModel,
        refiner: FocusRefiner | None,
        spec: ModelSpec,
        config: FocsamConfig = FocsamConfig(),
    ) -> None:
        """``base`` and ``refiner`` must hold their final weights and are not to be changed by the caller afterwards."""
        if refiner is not None and refiner.config.width != base.config.prompt_dim:
            raise ModelError(
                f"The refiner is {refiner.config.width} wide, but embeddings of {base.spec.name} have "
                f"{base.config.prompt_dim} channels."
            )
        self.base = base
        self.refiner = None if refiner is None else refiner.requires_grad_(False).eval()
        self.spec = spec
        self.config = config

    def to(self, device: torch.device, dtype: torch.dtype) -> FocsamModel:
        """The same model elsewhere; ``dtype`` is the image encoder's."""
        base = self.base.to(device, dtype)
        if base is self.base:
            return self
        refiner = None if self.refiner is None else copy.deepcopy(self.refiner).to(device)
        return FocsamModel(base, refiner, self.spec, self.config)

    # ---- once per image

    def frame(self, size: ImageSize) -> Frame:
        if self.config.input_rule == "sam":
            return self.base.frame(size)
        height, width = (-(-side // CANVAS_MULTIPLE) * CANVAS_MULTIPLE for side in (size.height, size.width))
        canvas = ImageSize(height, width)
        return replace(self.base.frame(canvas), image=size, canvas=canvas)

    def preprocess(self, image: ImageInput) -> Tensor:
        """The encoder's input (1, 3, S, S) float32, as the configuration says."""
        rgb = image.rgb if self.config.channel_order == "rgb" else image.rgb.flip(-1)
        if self.config.input_rule == "sam":
            return self.base.preprocess(ImageInput(rgb, image.frame))
        network, frame = self.base.network, image.frame
        pixels = rgb.to(self.base.device, torch.float32).permute(2, 0, 1)  # H W 3 -> 3 H W
        normalised = ((pixels - network.pixel_mean) / network.pixel_std)[None]
        resized = resize(_extended(normalised, frame.covered), (frame.resized.height, frame.resized.width))
        return _extended(resized, frame.padded)

    def encode(self, image: ImageInput) -> ImageFeatures:
        """The image's own embedding, ``F_enc``."""
        with torch.no_grad():
            embedding = self.base.network.image_encoder(self.preprocess(image).to(self.base.dtype))
        return ImageFeatures(embedding, load_pixels(image.rgb, LONGEST_PIXELS).to(self.base.device), image.frame)

    # ---- once per prompt

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """The coarse answer where the object has not been refocused yet, then the refined one where it has (or is now).

        A consumer that stops after the coarse answer and gives its state back never pays for the refiner: it has SAM.
        """
        if self.refiner is None:
            yield from self.base.decode(features, prompts, state)
            return
        if not prompts.prompts.items and prompts.mask is None:
            raise PromptError("Click on the object first, or draw a box around it.")
        prompt = to_sam_prompt(prompts, state, self.base.low_res)
        embedding = features.image_embedding.to(self.base.device, torch.float32)
        refocused = state.refocused
        if refocused is None:
            coarse = self.predict_mask(embedding, prompt)
            yield _answer("coarse", coarse.logits, prompts, state)
            if not self._refocuses(prompts, prompt):
                return
            refocused = self.refocus(embedding, coarse)
            state = replace(state, refocused=refocused.detach())  # from here on one tensor for all steps
        refined = self.predict_mask(refocused.to(self.base.device), prompt)
        yield _answer("refined", refined.logits, prompts, state)

    def predict_mask(self, image_embedding: Tensor, prompt: SamPrompt) -> SingleMask:
        """SAM's answer from one embedding or the other, in float32."""
        sparse, dense = self.base.embed_prompt(prompt)
        return decode_single_mask(self.base.network.mask_decoder, image_embedding, self.base.image_pe, sparse, dense)

    def refocus(self, image_embedding: Tensor, coarse: SingleMask) -> Tensor:
        """The embedding made anew around the coarse mask: ``F_ref`` (1, C, h, w)."""
        assert self.refiner is not None, "decode says who refocuses"
        height, width = image_embedding.shape[-2:]
        cells = active_cells(self.window(coarse.logits), self._square, ImageSize(height, width))
        refocused: Tensor = self.refiner(image_embedding, coarse.token, cells)
        return refocused

    def window(self, coarse_logits: Tensor) -> Tensor:
        """Where the refiner looks: (B, 4) left, top, right, bottom in model pixels, from low-res logits."""
        square = self._square
        boxes = object_boxes(resize(coarse_logits.detach(), (square.height, square.width))[:, 0] > 0)
        return expanded_boxes(boxes, self.config.expand_height, self.config.expand_width, square)

    @property
    def _square(self) -> ImageSize:
        return ImageSize(self.base.config.image_size, self.base.config.image_size)

    def _refocuses(self, prompts: PromptBatch, prompt: SamPrompt) -> bool:
        count = len(prompts.prompts.items)
        at_once = self.config.refocus_areas_at_once and count <= 1 and not prompt.is_lone_click
        return at_once or count >= self.config.refocus_at


def _answer(stage: Stage, logits: Tensor, prompts: PromptBatch, state: DecoderState) -> MaskOutput:
    """SAM's IoU head is not trained along with FocSAM's decoder, so the mask's own certainty is the score."""
    kept = logits.detach()
    after = replace(state, step=len(prompts.prompts.items), low_res_logits=kept, final_logits=kept)
    return MaskOutput(stage, logits, float(soft_iou(kept)), after)


def _extended(x: Tensor, size: ImageSize) -> Tensor:
    """``x`` (1, 3, H, W) with zeros at the bottom and on the right."""
    return F.pad(x, (0, size.width - x.shape[-1], 0, size.height - x.shape[-2]))


# ---- weights
#
# The authors' file has ``backbone.``, ``neck.``, ``decode_head.`` (SAM's parts, as they call them) and
# ``refine_head.``. A file may also hold ``refine_head.`` alone, or with ``decode_head.``; the rest is then the official
# Segment Anything.

OFFICIAL_INPUT = FocsamConfig(input_rule="focsam", channel_order="bgr")
"""How the authors' evaluation prepares images; taken with whole files, which were trained so."""

_RANDOM = RefinerConfig(width=32, depth=3, heads=4, mlp_ratio=2.0, window=8)
_Switch = Literal["dynamic_windows", "dynamic_relu"]
_SWITCHES_KEY = "focsam_refiner"
"""Where a file of safetensors says which parts of the refiner it does without."""

SAM_PARTS = frozenset(("image_encoder", "prompt_encoder", "mask_decoder"))
_NECK_NAMES = {"pe_layer": "pos_embed_layer", "point_embeddings": "point_embeds"}


def build_random(spec: ModelSpec, over: ModelSpec, seed: int) -> FocsamModel:
    """FocSAM over the SAM that ``over`` describes, both with random weights."""
    refiner = FocusRefiner(_RANDOM if spec.purpose == "test" else RefinerConfig())
    randomize(refiner, seed + 1)
    return FocsamModel(build_sam(replace(over, checkpoints=()), seed=seed), refiner, spec)


def build_focsam(
    plain: ModelSpec,
    refined: ModelSpec,
    over: ModelSpec,
    own: Checkpoint,
    *,
    checkpoint: Path | None = None,
) -> FocsamModel:
    """FocSAM with the weights there are, on the CPU in float32.

    The specs are of the model without (``plain``) and with a refiner and of the SAM below. ``checkpoint`` is a whole
    FocSAM file, a refiner (with or without its decoder), or an official SAM file; else what lies in the cache folder
    counts.
    """
    name = plain.name
    path = checkpoint or cached_path(own)
    if checkpoint is None and not path.is_file():
        return FocsamModel(_plain(name, over, own), None, plain)
    weights = _read(locate(own, name, path))
    parts = {key.partition(".")[0] for key in weights}
    sam_config = SAM_CONFIGS[over.name]
    if parts <= SAM_PARTS:
        return FocsamModel(SamModel(over, sam_config, network_from(sam_config, weights, name)), None, plain)
    with torch.device("meta"):
        refiner, network = FocusRefiner(_config_of(path)), build_sam_network(sam_config)
    is_whole = not parts <= {"refine_head", "decode_head"}
    load_into(
        official_parts(network, refiner, None if is_whole else parts | {"refine_head"}), weights, name, assign=True
    )
    if is_whole:
        base = SamModel(over, sam_config, network_from(sam_config, network.state_dict(), name))
    else:
        base = _base_of_refiner(path, over)
        if "decode_head" in parts:
            base.network.mask_decoder = network.mask_decoder.requires_grad_(False)
    return FocsamModel(base, refiner, refined, OFFICIAL_INPUT if is_whole else FocsamConfig())


def about_focus(config: RefinerConfig) -> dict[str, str]:
    """What a file's metadata must say about the refiner in it; nothing where it is the published one."""
    told = {name: value for name, value in asdict(config).items() if name in get_args(_Switch) and not value}
    return {_SWITCHES_KEY: json.dumps(told)} if told else {}


def _config_of(path: Path) -> RefinerConfig:
    """The published refiner, or the part of it that a file of an ablation says it holds."""
    if path.suffix != ".safetensors":
        return RefinerConfig()
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_SWITCHES_KEY, "{}")
    try:
        return RefinerConfig(**TypeAdapter(dict[_Switch, bool]).validate_json(told, strict=True))
    except ValidationError as error:
        raise CheckpointInvalidError(
            f"{path} does not say properly which FocSAM refiner it holds. Export it again."
        ) from error


def official_parts(network: Any, refiner: FocusRefiner, parts: Iterable[str] | None = None) -> nn.Module:
    """The same modules under FocSAM's names, for reading and writing its files.

    ``parts`` says which of the four; all unless told otherwise.
    """
    neck = nn.Module()
    for name, child in network.prompt_encoder.named_children():
        neck.add_module(_NECK_NAMES.get(name, name), child)
    named = {"backbone": network.image_encoder, "neck": neck, "decode_head": network.mask_decoder}
    whole = nn.Module()
    for name, child in {**named, "refine_head": refiner}.items():
        if parts is None or name in parts:
            whole.add_module(name, child)
    return whole


def _plain(name: str, over: ModelSpec, own: Checkpoint) -> SamModel:
    """SAM alone, where there is no refiner."""
    try:
        return build_sam(over)
    except CheckpointMissingError as error:
        get_own = f"Put a file of your own training at {cached_path(own)}, or name it with --checkpoint."
        raise CheckpointMissingError(
            f"{name} has no weights on this machine. {get_own if own.page is None else how_to_get(own, name)} "
            f"For plain SAM's masks meanwhile: python -m samref models fetch {name}"
        ) from error


def _base_of_refiner(path: Path, over: ModelSpec) -> SamModel:
    try:
        return build_sam(over)
    except CheckpointMissingError as error:
        raise CheckpointMissingError(f"{path} holds a refiner without the SAM it belongs to. {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        weights = load_safetensors(path)
    else:
        with safe_globals([(_NotNeeded, told) for told in _TRAINING_LOG]):
            weights = load_torch(path)
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}


class _NotNeeded:
    """Takes the place of whatever mmengine writes beside the weights; swallows everything and does nothing."""

    def __new__(cls, *_: object) -> _NotNeeded:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


_TRAINING_LOG = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)
"""Names in mmengine's log of losses, which torch refuses in a file of weights. None of them is ever called: each name
means :class:`_NotNeeded` while such a file is read. Any other name is refused as always."""
