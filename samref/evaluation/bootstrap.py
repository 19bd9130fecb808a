"""How sure a mean is: a bootstrap over data sets of equal weight, and the paired difference of two models or stages.

Two that are compared have labelled the same objects, so each object gives one difference. Objects are drawn with
replacement within each data set, the mean difference of each data set is taken, and data sets count with equal weight,
as in the report. The interval holds the middle of these means (percentile method, widened by n / (n - 1) in variance,
which matters where data sets are small). A data set with a single object tells nothing of how objects differ: where
there is one, objects are drawn from all data sets together, which keeps their weights and also counts how much data
sets differ. Deterministic: the draw depends on ``seed`` only.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from samref.errors import DataError
from samref.evaluation.noc import ClickCurve, Stage, by_dataset

Measure: TypeAlias = Callable[[ClickCurve], float]
"""A number of one object; NaN where it has none."""

REPORTED = ("NoC@85", "NoC@90", "IoU@1", "IoU@5", "BIoU@1", "BIoU@5")

RESAMPLES = 10_000
_LEAST = 2
"""Objects that an interval needs."""

_DRAWN_AT_ONCE = 2_000_000
"""Numbers drawn at once: bounds the memory of a large data set."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, the mean over data sets of equal weight, with the interval that holds it.

    Attributes:
        measure: of what, e.g. "NoC@90".
        confidence: of the interval from ``low`` to ``high``, e.g. 0.95.
        objects: objects that have a number in both.
    """

    measure: str
    mean: float
    low: float
    high: float
    confidence: float
    objects: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign of the difference is sure at this confidence."""
        return self.low > 0 or self.high < 0

    def to_sentence(self, second: str, first: str) -> str:
        """``refined minus coarse, NoC@90: -0.52 (95 % interval -0.61 to -0.43)``."""
        digits = 2 if self.measure.startswith("NoC") else 4
        interval = f"{self.low:+.{digits}f} to {self.high:+.{digits}f}"
        mean = f"{self.mean:+.{digits}f}"
        return f"{second} minus {first}, {self.measure}: {mean} ({self.confidence * 100:g} % interval {interval})"


def measure_named(name: str, max_clicks: int) -> Measure:
    """``NoC@90``, ``IoU@5``, ``BIoU@1``, ...; a failure counts as ``max_clicks`` in NoC."""
    kind, _, number = name.partition("@")
    if kind not in ("NoC", "IoU", "BIoU") or not number.isdigit() or not 1 <= int(number) <= 200:
        raise DataError(f"There is no measure {name!r}. Use one like NoC@90, IoU@5 or BIoU@1.")
    after = int(number)
    if kind == "NoC":
        return lambda curve: float(curve.clicks_to(after / 100) or max_clicks)
    return (lambda curve: curve.iou_after(after)) if kind == "IoU" else (lambda curve: curve.biou_after(after))


def paired_difference(
    first: Sequence[ClickCurve],
    second: Sequence[ClickCurve],
    measure: str,
    *,
    max_clicks: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The difference ``second - first`` over the objects that both have labelled, by :func:`measure_named`.

    A failure counts as ``max_clicks`` in NoC; ``resamples`` is how often objects are drawn.
    """
    value = measure_named(measure, max_clicks)
    partners = {curve.sample_id: curve for curve in second}
    samples = []
    for _, curves in sorted(by_dataset(curve for curve in first if curve.sample_id in partners).items()):
        differences = np.array([value(partners[curve.sample_id]) - value(curve) for curve in curves])
        known = differences[~np.isnan(differences)]
        if known.size:
            samples.append(_Sample(known, np.ones_like(known)))
    objects = sum(sample.values.size for sample in samples)
    if objects < _LEAST:
        raise DataError("Fewer than two objects were labelled by both, so there is no interval to give.")
    mean = float(np.mean([sample.mean for sample in samples]))
    if min(sample.values.size for sample in samples) < _LEAST:
        samples = [_together(samples)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled(samples, resamples, np.random.default_rng(seed)), [tail, 1 - tail])
    return Difference(measure, mean, float(low), float(high), confidence, objects)


def stage_differences(
    curves: Mapping[Stage, Sequence[ClickCurve]], max_clicks: int, measures: Sequence[str] = REPORTED
) -> list[Difference]:
    """What the refiner changes: refined minus coarse, where both were measured; else nothing."""
    if "coarse" not in curves or "refined" not in curves:
        return []
    if len({curve.sample_id for curve in curves["coarse"]}) < _LEAST:
        return []
    possible = [name for name in measures if name.startswith("NoC") or int(name.partition("@")[2]) <= max_clicks]
    return [paired_difference(curves["coarse"], curves["refined"], name, max_clicks=max_clicks) for name in possible]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Objects to draw from: the value of each times its weight, and its weight."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.values.sum() / self.weights.sum())


def _together(samples: Sequence[_Sample]) -> _Sample:
    """All objects in one sample in which each data set has the same weight."""
    totals = [sample.weights.sum() for sample in samples]
    return _Sample(
        np.concatenate([sample.values / total for sample, total in zip(samples, totals, strict=True)]),
        np.concatenate([sample.weights / total for sample, total in zip(samples, totals, strict=True)]),
    )


def _resampled(samples: Sequence[_Sample], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means over ``samples`` of the weighted mean of as many objects as each has, drawn anew each time."""
    total = np.zeros(resamples)
    for sample in samples:
        count = sample.values.size
        at_once = max(1, _DRAWN_AT_ONCE // count)
        for start in range(0, resamples, at_once):
            part = slice(start, min(start + at_once, resamples))
            chosen = rng.integers(count, size=(part.stop - part.start, count))
            means = sample.values[chosen].sum(axis=1) / sample.weights[chosen].sum(axis=1)
            total[part] += sample.mean + (means - sample.mean) * (count / (count - 1)) ** 0.5
    return total / len(samples)
