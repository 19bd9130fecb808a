"""A predictor that is easy to reason about: each click paints a disk, the refined one larger than the coarse one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samref.core.images import DecodedImage, encode_png
from samref.core.masks import Mask, Rle
from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.evaluation.noc import Stage


@dataclass(frozen=True)
class Painting:
    mask: Rle
    stage: Stage
    state: Any


@dataclass(frozen=True)
class Canvas:
    shape: tuple[int, int]
    encode_s: float = 0.25


@dataclass
class Painter:
    """Counts its calls, so that a test can see what was asked of it."""

    coarse_radius: int = 3
    refined_radius: int = 6
    embedded: int = 0
    refined: int = 0
    states: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def embed(self, image: DecodedImage) -> Canvas:
        with self.lock:
            self.embedded += 1
        return Canvas((image.size.height, image.size.width))

    def predict(self, embedding: Canvas, prompts: Prompts, state: Any) -> Iterator[Painting]:
        self.states.append(state)
        number = len(prompts.items)
        yield Painting(paint(embedding.shape, prompts, self.coarse_radius), "coarse", ("coarse", number))
        with self.lock:
            self.refined += 1
        yield Painting(paint(embedding.shape, prompts, self.refined_radius), "refined", ("refined", number))


def paint(shape: tuple[int, int], prompts: Prompts, radius: int) -> Rle:
    rows, columns = np.indices(shape)
    mask: Mask = np.zeros(shape, dtype=np.bool_)
    for prompt in prompts.items:
        match prompt:
            case Click(x, y, positive):
                mask[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = positive
            case Box(x0, y0, x1, y1):
                mask[int(y0) : int(y1), int(x0) : int(x1)] = True
            case Scribble(points):
                for x, y in points:
                    mask[round(y), round(x)] = True
            case _:
                raise AssertionError(prompt)
    return Rle.from_mask(mask)


def write_zoo(folder: Path, names: tuple[str, ...] = ("zoo",), records: int = 2) -> None:
    """Data sets of 40 x 50 images with a 20 x 20 square (1) and a 6 x 30 bar (2) on noise."""
    ids = np.zeros((40, 50), dtype=np.uint8)
    ids[3:23, 5:25] = 1
    ids[30:36, 10:40] = 2
    ids[0, :] = 255
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name / "images").mkdir(parents=True)
        (folder / name / "masks").mkdir()
        for number in range(records):
            rgb = rng.integers(0, 60, (40, 50, 3), dtype=np.uint8)
            rgb[ids == 1] += np.array([180, 0, 0], dtype=np.uint8)
            rgb[ids == 2] += np.array([0, 180, 0], dtype=np.uint8)
            (folder / name / "images" / f"{number}.png").write_bytes(encode_png(rgb))
            (folder / name / "masks" / f"{number}.png").write_bytes(encode_png(ids))
