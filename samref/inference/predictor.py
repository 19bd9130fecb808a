"""A model in the image frame: images and prompts in, masks of the image out. Holds no image and no user."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.images import DecodedImage
from samref.core.masks import Mask, MaskWindow, Rle
from samref.core.prompts import Box, Click, Point, Polygon, Prompt, Prompts, Scribble, check_prompts
from samref.errors import ModelError, PromptError
from samref.inference.image_source import ImageSource, image_from
from samref.inference.postprocess import mask_from_logits, windowed_mask
from samref.models.interface import (
    DecoderState,
    ImageFeatures,
    ImageInput,
    InteractiveModel,
    MaskOutput,
    ModelSpec,
    PromptBatch,
    PromptKind,
    Stage,
)

__all__ = ["Embedding", "Prediction", "Predictor", "check_prompt_kinds", "prompts_from", "rgb_tensor"]

ClickLike: TypeAlias = Click | tuple[float, float] | tuple[float, float, bool]

_LOW_RES_STRIDE = 4
"""Model pixels per cell of a mask prompt: SAM's low-res frame, a quarter of the model frame."""

_SURE = np.float32(8.0)
"""Logit inside a mask prompt: about as sure as a model is of its own answers, which mask prompts look like."""

_NAMES: dict[PromptKind, str] = {
    "click": "clicks",
    "box": "boxes",
    "scribble": "scribbles",
    "polygon": "polygons",
    "mask": "masks",
}


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a model made of an image; all that is needed to answer prompts.

    Attributes:
        image_digest: of the image.
        model_name: of the model; an embedding is of no use to another one.
        features: tensors, model frame.
        encode_s: seconds it took.
        size_bytes: memory of the tensors.
    """

    image_digest: str
    model_name: str
    features: ImageFeatures
    encode_s: float
    size_bytes: int

    @property
    def frame(self) -> Frame:
        return self.features.frame


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stage's answer, in the image frame.

    Attributes:
        mask: of the image's size.
        window: the same mask cut to its box.
        score: the model's own IoU estimate, 0..1.
        stage: which part of the model answered.
        seconds: model time from the prompt to this mask (so the last one's is the whole click); time that the
            consumer took between two stages is not counted.
        state: what to give to :meth:`Predictor.predict` with the object's next prompt.
        error_mask: where the refiner believed the coarse mask wrong; None unless asked for.
    """

    mask: Rle
    window: MaskWindow
    score: float
    stage: Stage
    seconds: float
    state: DecoderState
    error_mask: Rle | None = None


class Predictor:
    """A model on a device. Any number of threads may use it: nothing here changes after construction.

    Args:
        model: any interactive model.
        device: where to run it.
        dtype: precision of its heavy part; masks are always thresholded in float32 or better.
    """

    def __init__(
        self,
        model: InteractiveModel,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._device = torch.device(device)
        self._dtype = dtype
        self._model = model.to(self._device, dtype)

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def on(self, device: torch.device | str) -> Predictor:
        """The same model on another device; this one stays as it is."""
        return Predictor(self._model, device, self._dtype)

    def frame(self, size: ImageSize) -> Frame:
        """How an image of ``size`` lies in the model's frame."""
        return self._model.frame(size)

    def embed(self, image: DecodedImage) -> Embedding:
        """What the model sees in an image; slow, once per image."""
        started = time.perf_counter()
        with torch.inference_mode():
            rgb = rgb_tensor(image).to(self._device)
            features = self._model.encode(ImageInput(rgb, self._model.frame(image.size)))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - started
        return Embedding(image.digest, self.spec.name, features, seconds, features.size_bytes)

    def predict(
        self,
        embedding: Embedding,
        prompts: Prompts,
        state: DecoderState | None = None,
        *,
        corrected: Rle | None = None,
        error_map: bool = False,
        final_only: bool = False,
    ) -> Iterator[Prediction]:
        """Answer one object's prompts: the coarse mask first, then the refined one; the last is final.

        Each stage is computed when it is asked for, so a consumer that stops after the coarse mask pays for no more.

        Args:
            embedding: of this model.
            prompts: all that was said about the object so far, image frame.
            state: of the answer to the prompts before; None for a new object.
            corrected: the object's mask where a person changed it since that answer; the model goes on from it.
            error_map: whether to fill ``Prediction.error_mask``.
            final_only: give the last answer alone; no mask is drawn of those before it.

        Raises:
            PromptError: at the call, not at the first stage: no prompts, prompts that do not fit the image, or
                kinds this model does not take.
        """
        if embedding.model_name != self.spec.name:
            raise ValueError(f"an embedding of {embedding.model_name!r} was given to {self.spec.name!r}")
        if prompts.is_empty():
            raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
        check_prompts(prompts, embedding.frame.image)
        check_prompt_kinds(prompts, self.spec)
        state = state or DecoderState()
        if corrected is not None:
            logits = _mask_prompt(corrected, embedding.frame).to(self._device)
            state = replace(state, low_res_logits=logits, final_logits=logits)
        outputs = self._model.decode(embedding.features, self._batch(prompts, embedding.frame), state)
        return self._stages(embedding.frame, _last_of(outputs) if final_only else outputs, error_map)

    def segment(
        self,
        image: ImageSource,
        clicks: Sequence[ClickLike] = (),
        box: Box | Sequence[float] | None = None,
        *,
        scribbles: Sequence[Scribble | Sequence[Point]] = (),
        polygons: Sequence[Polygon | Sequence[Point]] = (),
        mask: Rle | Mask | None = None,
    ) -> Prediction:
        """Encode an image and give the final mask of one object, in one call.

        For several objects or several rounds of clicks on one image use :meth:`embed` and :meth:`predict`.

        Args:
            image: a file name, the bytes of a file, a Pillow image, a uint8 array (H, W, 3) or (H, W), or a decoded
                image.
            clicks: ``(x, y)`` or ``(x, y, positive)``.
            box: ``(x0, y0, x1, y1)``.
            scribbles: strokes on the object; a :class:`Scribble` can say more.
            polygons: rough outlines; a :class:`Polygon` can say more.
            mask: a rough mask of the image's size.

        Raises:
            ImageError: the image cannot be used.
            PromptError: nothing was said, or it cannot be used.
        """
        prompts = prompts_from(clicks, box, scribbles=scribbles, polygons=polygons, mask=mask)
        if prompts.is_empty():
            raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
        decoded = image_from(image)
        check_prompts(prompts, decoded.size)  # before the slow part
        check_prompt_kinds(prompts, self.spec)
        *_, final = self.predict(self.embed(decoded), prompts)
        return final

    @staticmethod
    def _stages(frame: Frame, outputs: Iterator[MaskOutput], error_map: bool) -> Iterator[Prediction]:
        seconds = 0.0
        started = time.perf_counter()
        while True:
            # Entered anew for each stage: inference mode belongs to the thread, and while this generator waits the
            # thread is the consumer's.
            with torch.inference_mode():
                output = next(outputs, None)
                if output is None:
                    return
                _check_finite(output)
                mask, window = windowed_mask(output.logits, frame, output.patch)
                wrong = output.error_logits if error_map else None
                error_mask = None if wrong is None else mask_from_logits(wrong, frame)
            score = min(1.0, max(0.0, float(output.iou_prediction)))
            seconds += time.perf_counter() - started
            yield Prediction(mask, window, score, output.stage, seconds, output.state, error_mask)
            started = time.perf_counter()

    def _batch(self, prompts: Prompts, frame: Frame) -> PromptBatch:
        scale_x, scale_y = frame.scale_xy
        moved = prompts.mapped(frame.to_model, (scale_x * scale_y) ** 0.5)
        mask = None if prompts.mask is None else _mask_prompt(prompts.mask, frame).to(self._device)
        return PromptBatch(moved, frame, mask)


def rgb_tensor(image: DecodedImage) -> Tensor:
    """The pixels of an image as uint8 (H, W, 3) on the CPU."""
    pixels = image.rgb if image.rgb.flags.writeable else image.rgb.copy()  # torch warns of read-only arrays
    return torch.from_numpy(np.ascontiguousarray(pixels))


def _last_of(outputs: Iterator[MaskOutput]) -> Iterator[MaskOutput]:
    """The last of a model's answers; all are computed when it is asked for."""
    *_, last = outputs
    yield last


def prompts_from(
    clicks: Sequence[ClickLike] = (),
    box: Box | Sequence[float] | None = None,
    *,
    scribbles: Sequence[Scribble | Sequence[Point]] = (),
    polygons: Sequence[Polygon | Sequence[Point]] = (),
    mask: Rle | Mask | None = None,
) -> Prompts:
    """What :meth:`Predictor.segment` is told about one object, in the order in which the model hears it."""
    items: list[Prompt] = []
    if box is not None:
        items.append(box if isinstance(box, Box) else Box(*box))
    items += [shape if isinstance(shape, Polygon) else Polygon(tuple(shape)) for shape in polygons]
    items += [stroke if isinstance(stroke, Scribble) else Scribble(tuple(stroke)) for stroke in scribbles]
    items += [click if isinstance(click, Click) else Click(*click) for click in clicks]
    return Prompts(tuple(items), mask if isinstance(mask, Rle) or mask is None else Rle.from_mask(mask))


def _check_finite(output: MaskOutput) -> None:
    """Refuse an answer that is not a number, which would otherwise look like "no object here".

    Raises:
        ModelError: damaged weights, or a precision that this machine does not compute properly.
    """
    answers = (output.logits,) if output.patch is None else (output.logits, output.patch.logits)
    if not all(bool(torch.isfinite(logits).all()) for logits in answers):
        raise ModelError("The model's answer is not a number. Try --precision fp32, or verify its weights.")


def _mask_prompt(mask: Rle, frame: Frame) -> Tensor:
    """A mask of the image as logits (1, 1, h, w) over the padded model frame; cells on its rim lie in between."""
    resized = (frame.resized.width, frame.resized.height)
    pixels: NDArray[np.float32] = np.zeros((frame.covered.height, frame.covered.width), dtype=np.float32)
    pixels[: frame.image.height, : frame.image.width] = mask.to_mask()
    shrinking = frame.resized.pixels < frame.covered.pixels
    covered = cv2.resize(pixels, resized, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    padded: NDArray[np.float32] = np.zeros((frame.padded.height, frame.padded.width), dtype=np.float32)
    padded[: frame.resized.height, : frame.resized.width] = covered
    low_res = (frame.padded.width // _LOW_RES_STRIDE, frame.padded.height // _LOW_RES_STRIDE)
    share = cv2.resize(padded, low_res, interpolation=cv2.INTER_AREA)
    logits: Tensor = torch.from_numpy((2 * share - 1) * _SURE)[None, None]
    return logits


def check_prompt_kinds(prompts: Prompts, spec: ModelSpec) -> None:
    """Refuse prompts of a kind that a model does not take.

    Raises:
        PromptError: with the kinds it does take.
    """
    given: dict[PromptKind, bool] = {
        "click": bool(prompts.clicks),
        "box": bool(prompts.boxes),
        "scribble": bool(prompts.scribbles),
        "polygon": bool(prompts.polygons),
        "mask": prompts.mask is not None,
    }
    refused = [_NAMES[kind] for kind, used in given.items() if used and kind not in spec.prompts]
    if refused:
        taken = ", ".join(name for kind, name in _NAMES.items() if kind in spec.prompts)
        raise PromptError(
            f"The model {spec.name} does not take {' and '.join(refused)}. It takes {taken}; choose another model "
            "or say it that way."
        )
