"""The one interface every model has: encode an image once, decode it per prompt.

A model is a function with weights. It holds no image and no user; what one object remembers between prompts is an
explicit :class:`DecoderState`. Models speak the *model frame* only (see :mod:`samref.core.geometry`). No
torch is imported here, so that models can be listed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from samref.core.geometry import Frame, ImageSize, Resize
from samref.core.prompts import Prompts

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Stage: TypeAlias = Literal["coarse", "refined"]
PromptKind: TypeAlias = Literal["click", "box", "scribble", "polygon", "mask"]
ALL_PROMPTS: frozenset[PromptKind] = frozenset(("click", "box", "scribble", "polygon", "mask"))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where weights come from and how they are known to be the right ones."""

    file_name: str
    url: str | None = None
    sha256: str | None = None
    """Whole SHA-256, or the leading hex digits that are published."""
    size_bytes: int | None = None
    page: str | None = None
    """Where a person downloads it by hand; for files without an address whose content is known."""

    @property
    def comes_with_samref(self) -> bool:
        """Whether it lies beside the package, so that nobody has to get it."""
        return self.url is None and self.page is None


def _itself(spec: ModelSpec) -> ModelSpec:
    return spec


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model is, without its weights, and how it is put together with them.

    Attributes:
        name: what it is asked for by.
        title: what people see.
        resize, image_size: how images lie in its frame.
        prompts: kinds it understands.
        stages: of its answers.
        checkpoints: files of its weights.
        licence, source: of the weights.
        note: one sentence a person should know before using it (missing refiner weights, random weights, ...).
        build: from this spec, a path and a seed to the model, on the CPU in float32. The path is of weights that do not
            lie where they belong, or None; the seed is of random weights. It imports torch, the spec does not. None: a
            model that is not built by name.
        purpose: "use" it for masks; "test" has random weights; "ablation" only answers a question of a paper, so it is
            built by name and offered to nobody.
        as_found: the spec with what depends on the files of weights that are on this machine now.
    """

    name: str
    title: str
    resize: Resize
    image_size: int
    prompts: frozenset[PromptKind]
    stages: tuple[Stage, ...]
    checkpoints: tuple[Checkpoint, ...] = ()
    licence: str = ""
    source: str = ""
    note: str = ""
    build: Callable[[ModelSpec, Path | None, int], InteractiveModel] | None = None
    purpose: Literal["use", "test", "ablation"] = "use"
    as_found: Callable[[ModelSpec], ModelSpec] = _itself


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One decoded image on its way into an encoder.

    Attributes:
        rgb: uint8 (H, W, 3), image frame.
        frame: how it lies in the model frame.
    """

    rgb: Tensor
    frame: Frame


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """All that depends on the image alone; what the cache holds.

    Attributes:
        image_embedding: (1, C, h, w) encoder output.
        pixels: uint8 (1, 3, H', W') the image itself, at most a few times larger than the model frame; the local
            refiner crops it. Covers ``frame.resized``, without padding.
        frame: how the image lies in the model frame.
        parts: further tensors by name, for the model that made them (neck levels, refiner stems, ...).
    """

    image_embedding: Tensor
    pixels: Tensor
    frame: Frame
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Memory of all tensors."""
        tensors = (self.image_embedding, self.pixels, *self.parts.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """The prompts of one object, in the model frame.

    Attributes:
        prompts: coordinates in model pixels; a point that names a pixel names the *position* of that pixel's index
            (SAM's habit: the +0.5 is added by the model).
        mask: float (1, 1, h, w) logits of a rough mask over the padded frame, or None. Only what the user gave;
            the model's own previous answer is in :class:`DecoderState`.
    """

    prompts: Prompts
    frame: Frame
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What one object remembers between prompts. ``None`` everywhere means: nothing yet.

    Attributes:
        step: prompts answered so far.
        low_res_logits: (1, 1, h, w) the coarse stage's own last answer, given back to it as ``mask_input``.
        final_logits: (1, 1, h, w) the last final answer in the low-res frame.
        error_count: pixels the global refiner's error head marked at the last step (dynamic selector).
        refocused: (1, C, h, w) FocSAM's replacement of the image embedding for this object.
    """

    step: int = 0
    low_res_logits: Tensor | None = None
    final_logits: Tensor | None = None
    error_count: int | None = None
    refocused: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of the answer at its own resolution, pasted over ``logits``.

    Attributes:
        box_xyxy: window in model pixels, exclusive ends; may reach into the padding by less than one low-res cell.
        logits: (1, 1, g, g) covering exactly that window.
    """

    box_xyxy: tuple[float, float, float, float]
    logits: Tensor


@dataclass(frozen=True, slots=True)
class MaskOutput:
    """One stage's answer.

    Attributes:
        stage: "coarse" first, "refined" last.
        logits: (1, 1, h, w) before the threshold 0, covering the whole padded model frame.
        iou_prediction: the model's own estimate of its IoU, 0..1.
        state: what to give back at the next prompt (of the final stage; an earlier stage carries it as far as known).
        patch: a window with more detail than ``logits``, or None.
        error_logits: (1, 1, h, w) where the refiner believed the coarse mask wrong, or None.
    """

    stage: Stage
    logits: Tensor
    iou_prediction: float
    state: DecoderState
    patch: Patch | None = None
    error_logits: Tensor | None = None


@runtime_checkable
class InteractiveModel(Protocol):
    """Encode once, decode per prompt. Both are pure: calling them never changes the model or their arguments."""

    @property
    def spec(self) -> ModelSpec: ...

    def frame(self, size: ImageSize) -> Frame:
        """How an image of ``size`` lies in this model's frame."""
        ...

    def encode(self, image: ImageInput) -> ImageFeatures:
        """Slow, once per image."""
        ...

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        """Fast, once per prompt: yields the coarse answer at once, then the refined one; the last one is final."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> InteractiveModel:
        """The same model elsewhere or in another precision."""
        ...
