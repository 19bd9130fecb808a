"""The frames of an image, and the one place where a point crosses from one to another.

*image frame*: the pixels of the decoded image. *model frame*: what the encoder sees. Lengths are in pixels of the
frame they live in, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Resize: TypeAlias = Literal["letterbox", "stretch"]

MAX_PIXELS = 100_000_000
"""Pixels an image may have: 300 MB once decoded, more than any camera in a pocket makes."""

MAX_SIDE = 65_500
"""Longest side an image may have: the longest that libjpeg writes, so that every image can be shown."""


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Height and width in pixels."""

    height: int
    width: int

    @property
    def longest(self) -> int:
        return max(self.height, self.width)

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class Frame:
    """How an image lies in the model frame: ``image`` is resized to ``resized`` at the top left of ``padded``.

    Where there is a ``canvas``, the image lies at the top left of that, and the canvas is what was resized (FocSAM's
    official evaluation pads before it resizes).
    """

    image: ImageSize
    resized: ImageSize
    padded: ImageSize
    canvas: ImageSize | None = None

    @classmethod
    def letterbox(cls, image: ImageSize, side: int, multiple: int | None = None) -> Frame:
        """Aspect kept, longest side ``side``, padded at the bottom and right.

        Args:
            image: size of the image.
            side: length of the longest side in the model frame.
            multiple: pad only to the next multiple of this; None pads to a square of ``side``.

        The rounding (half up, per axis) is SAM's.
        """
        scale = side / image.longest
        resized = ImageSize(max(1, int(image.height * scale + 0.5)), max(1, int(image.width * scale + 0.5)))
        if multiple is None:
            return cls(image, resized, ImageSize(side, side))
        height, width = (-(-length // multiple) * multiple for length in (resized.height, resized.width))
        return cls(image, resized, ImageSize(height, width))

    @classmethod
    def stretch(cls, image: ImageSize, side: int) -> Frame:
        """A square of ``side``, aspect lost (SegNext at test time)."""
        square = ImageSize(side, side)
        return cls(image, square, square)

    @property
    def covered(self) -> ImageSize:
        """What ``resized`` shows, in image pixels: the canvas, or else the image."""
        return self.canvas or self.image

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Model pixels per image pixel on each axis (they differ by rounding)."""
        return self.resized.width / self.covered.width, self.resized.height / self.covered.height

    @property
    def pixel_centre_xy(self) -> tuple[float, float]:
        """Where the middle of a named image pixel lies relative to its index, in model pixels."""
        scale_x, scale_y = self.scale_xy
        return 0.5 * scale_x, 0.5 * scale_y

    def to_model(self, x: float, y: float) -> tuple[float, float]:
        """An image position in the model frame, not rounded."""
        scale_x, scale_y = self.scale_xy
        return x * scale_x, y * scale_y

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of :meth:`to_model`."""
        scale_x, scale_y = self.scale_xy
        return x / scale_x, y / scale_y
