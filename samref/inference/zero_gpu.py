"""Encodes images with big models on a GPU that Hugging Face lends for seconds (ZeroGPU); imported nowhere else.

Each call runs in a process that is forked off this one and may be used again for a later call. Arguments and results
are pickled, so no tensor travels; the process that answers clicks never touches a GPU. Why, and why there is one such
function only: docs/adr/0019-zero-gpu.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spaces
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.errors import ModelError
from samref.inference.device import load_predictor
from samref.inference.predictor import Embedding, Predictor
from samref.models.interface import ImageFeatures
from samref.models.registry import get_spec

GPU_SECONDS = 6
"""What a call asks for. Hugging Face multiplies it by 1.5 and compares it with what the visitor has left: an encoder as
large as ViT-H needs two or three, the first time, most of them to move its weights."""

DEVICE = "cuda"
"""In the process that is forked off; nowhere else."""

_ready: dict[str, Predictor] = {}
"""The last big model of this process, on its CPU: what is forked off has its weights without reading a file."""

_on_gpu: dict[str, Predictor] = {}
"""Used in what was forked off only: it may be asked again."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An embedding as it travels between processes: floating point numbers are half as long as they were.

    Attributes:
        image_embedding: float16 (1, C, h, w).
        pixels: uint8 (1, 3, H', W'), as in :class:`samref.models.interface.ImageFeatures`.
        parts: as there, float16.
        seconds: it took, without the way there.
    """

    image_embedding: NDArray[np.float16]
    pixels: NDArray[np.uint8]
    parts: dict[str, NDArray[np.float16]]
    seconds: float


@spaces.GPU(duration=GPU_SECONDS)  # type: ignore[untyped-decorator, unused-ignore]  # ships no types
def encode_on_gpu(model: str, rgb: NDArray[np.uint8]) -> EncodedImage:
    """What a model sees in an image, uint8 (H, W, 3); runs in a process of its own."""
    if model not in _on_gpu:
        _on_gpu.clear()
        _on_gpu[model] = (_ready.get(model) or load_predictor(model)).on(DEVICE)
    embedding = _on_gpu[model].embed(DecodedImage(rgb, ImageSize(*rgb.shape[:2]), digest=""))
    features = embedding.features
    return EncodedImage(
        _to_half(features.image_embedding),
        features.pixels.cpu().numpy(),
        {name: _to_half(part) for name, part in features.parts.items()},
        embedding.encode_s,
    )


class ZeroGpu:
    """The GPU that is lent, as the server uses it."""

    def is_for(self, model: str) -> bool:
        """Whether a model is big enough for it: any but those that come with samref, which a CPU encodes at once."""
        return any(not checkpoint.comes_with_samref for checkpoint in get_spec(model).checkpoints)

    def encode(self, predictor: Predictor, image: DecodedImage) -> Embedding:
        """The embedding of an image, made by the GPU, for a predictor of this process.

        It has to be called with the context of the request of Gradio's queue that it serves, whose visitor pays.

        Raises:
            gradio.Error: no GPU was lent, or the process there died; its title says why.
            ModelError: what came back is not a number.
        """
        name = predictor.spec.name
        if name not in _ready:
            _ready.clear()
            _ready[name] = predictor
        encoded: EncodedImage = encode_on_gpu(name, image.rgb)
        features = ImageFeatures(
            _to_float(encoded.image_embedding),
            torch.from_numpy(encoded.pixels),
            predictor.frame(image.size),
            {part: _to_float(values) for part, values in encoded.parts.items()},
        )
        return Embedding(image.digest, name, features, encoded.seconds, features.size_bytes)


def _to_half(tensor: Tensor) -> NDArray[np.float16]:
    return tensor.half().cpu().numpy()


def _to_float(values: NDArray[np.float16]) -> Tensor:
    if not np.isfinite(values).all():
        raise ModelError("The GPU's answer is not a number.")
    return torch.from_numpy(values.astype(np.float32))
