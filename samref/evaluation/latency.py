"""SAT latency: how long a model takes for a whole image, one click after the other.

The image is encoded once; then a grid of 16 x 16 single positive clicks is answered, each as a new object and one at
a time, with the final mask of each at the image's own size.

Source: papers.md §2.4 (SegNext, "segment anything task"). Deviation: SAM's figures there come from its mask generator,
which also filters masks; nothing is filtered here, for any model.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.evaluation.noc import EvaluatedPredictor, Stage, last_answer

__all__ = ["GRID_SIDE", "SatTiming", "grid_clicks", "mean_timing", "sat_latency"]

GRID_SIDE = 16
"""Clicks per row and per column."""


@dataclass(frozen=True, slots=True)
class SatTiming:
    """Seconds for one image.

    Attributes:
        encode_s: for its embedding.
        clicks_s: for all clicks together.
        clicks: how many.
    """

    encode_s: float
    clicks_s: float
    clicks: int

    @property
    def total_s(self) -> float:
        """SAT latency."""
        return self.encode_s + self.clicks_s

    @property
    def click_s(self) -> float:
        """Seconds per click, the encoder left out."""
        return self.clicks_s / self.clicks


def grid_clicks(size: ImageSize, side: int = GRID_SIDE) -> list[Click]:
    """Positive clicks in the middles of ``side`` x ``side`` equal tiles of an image, row by row."""
    xs = [int((2 * column + 1) * size.width / (2 * side)) for column in range(side)]
    ys = [int((2 * row + 1) * size.height / (2 * side)) for row in range(side)]
    return [Click(x, y, True) for y in ys for x in xs]


def sat_latency(
    predictor: EvaluatedPredictor, image: DecodedImage, *, stage: Stage = "refined", side: int = GRID_SIDE
) -> SatTiming:
    """Encode an image once and answer a grid of single clicks, one after the other.

    Args:
        predictor: the model or baseline.
        image: the image.
        stage: whose masks are waited for.
        side: clicks per row and per column.
    """
    start = time.perf_counter()
    embedding = predictor.embed(image)
    encoded = time.perf_counter()
    clicks = grid_clicks(image.size, side)
    for click in clicks:
        last_answer(predictor.predict(embedding, Prompts((click,)), None), stage)
    return SatTiming(encoded - start, time.perf_counter() - encoded, len(clicks))


def mean_timing(timings: Sequence[SatTiming]) -> SatTiming:
    """The mean over images of the same number of clicks."""
    return SatTiming(
        statistics.fmean(one.encode_s for one in timings),
        statistics.fmean(one.clicks_s for one in timings),
        timings[0].clicks,
    )
