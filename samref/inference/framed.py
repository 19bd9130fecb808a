"""An image as the embedded model sees it, for whoever runs that model elsewhere: in the page."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from samref.core.geometry import Frame
from samref.core.images import DecodedImage
from samref.inference.predictor import rgb_tensor
from samref.models.layers import load_pixels, resized_pixels
from samref.models.tiny.model import FRAME_MULTIPLE, PIXELS_PER_FRAME
from samref.models.tiny.network import TinyConfig

__all__ = ["framed_pixels"]


def framed_pixels(image: DecodedImage) -> NDArray[np.uint8]:
    """uint8 (h, w, 3), longest side as the model frame's: the very numbers that the model's encoder gets on a CPU."""
    side = TinyConfig().image_size
    frame = Frame.letterbox(image.size, side, FRAME_MULTIPLE)
    with torch.inference_mode():
        pixels = load_pixels(rgb_tensor(image), PIXELS_PER_FRAME * side)
        framed: NDArray[np.uint8] = resized_pixels(pixels, frame.resized)[0].permute(1, 2, 0).contiguous().numpy()
    return framed
