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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samref.errors import DataError
from samref.evaluation.noc import ClickCurve, Stage

Measure: TypeAlias = Callable[[ClickCurve], float]
"""A number of one object; NaN where it has none."""

Unit: TypeAlias = Literal["object", "image"]
"""What is drawn. Objects of one image resemble each other, so drawing whole images gives wider intervals."""

REPORTED = ("NoC@85", "NoC@90", "IoU@1", "IoU@5", "BIoU@1", "BIoU@5")

RESAMPLES = 10_000
_LEAST = 2
"""Units that an interval needs."""

_DRAWN_AT_ONCE = 2_000_000
"""Numbers drawn at once: bounds the memory of a large data set."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, with the interval that holds it.

    Attributes:
        measure: of what, e.g. "NoC@90".
        mean: over data sets of equal weight.
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval, e.g. 0.95.
        objects: objects that have a number in both.
        unit: what was drawn.
    """

    measure: str
    mean: float
    low: float
    high: float
    confidence: float
    objects: int
    unit: Unit = "object"

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
    unit: Unit = "object",
) -> Difference:
    """The difference ``second - first`` over the objects that both have labelled.

    Args:
        first: curves of one model or stage, of any data sets.
        second: of the other.
        measure: see :func:`measure_named`.
        max_clicks: what a failure counts as.
        confidence: of the interval.
        resamples: draws.
        seed: of the draws.
        unit: draw objects, or whole images.
    """
    value = measure_named(measure, max_clicks)
    partners = {curve.sample_id: curve for curve in second}
    by_dataset: dict[str, dict[str, list[float]]] = {}
    objects = 0
    for curve in first:
        if curve.sample_id not in partners:
            continue
        difference = value(partners[curve.sample_id]) - value(curve)
        if not np.isnan(difference):
            objects += 1
            group = curve.sample_id if unit == "object" else curve.sample_id.rpartition("#")[0]
            by_dataset.setdefault(curve.dataset, {}).setdefault(group, []).append(difference)
    values = [by_dataset[name].values() for name in sorted(by_dataset)]
    if sum(map(len, values)) < _LEAST:
        raise DataError(f"Fewer than two {unit}s were labelled by both, so there is no interval to give.")
    found = bootstrap_mean(values, confidence=confidence, resamples=resamples, seed=seed)
    return Difference(measure, found.mean, found.low, found.high, confidence, objects, unit)


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


def bootstrap_mean(
    datasets: Iterable[Iterable[Sequence[float]]],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over data sets of equal weight, each the mean of its values, and its interval.

    Args:
        datasets: of each, the values of every unit that is drawn as a whole (an object, or an image's objects).
        confidence: of the interval.
        resamples: draws.
        seed: of the draws.

    Raises:
        DataError: there are fewer than two units, or a number is out of range.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise DataError("The confidence of an interval lies between 0 and 1, and it needs at least one draw.")
    samples = [_Sample.of(units) for units in datasets]
    if sum(sample.sums.size for sample in samples) < _LEAST:
        raise DataError("There are fewer than two values, so there is no interval to give.")
    mean = float(np.mean([sample.mean for sample in samples]))
    if min(sample.sums.size for sample in samples) < _LEAST:
        samples = [_together(samples)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled(samples, resamples, np.random.default_rng(seed)), [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Units to draw from: the sum of each one's values, and its weight."""

    sums: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, units: Iterable[Sequence[float]]) -> _Sample:
        kept = list(units)
        return cls(np.array([sum(unit) for unit in kept]), np.array([float(len(unit)) for unit in kept]))

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.weights.sum())


def _together(samples: Sequence[_Sample]) -> _Sample:
    """All units in one sample in which each data set has the same weight."""
    totals = [sample.weights.sum() for sample in samples]
    return _Sample(
        np.concatenate([sample.sums / total for sample, total in zip(samples, totals, strict=True)]),
        np.concatenate([sample.weights / total for sample, total in zip(samples, totals, strict=True)]),
    )


def _resampled(samples: Sequence[_Sample], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means over ``samples`` of the weighted mean of as many units as each has, drawn anew each time."""
    total = np.zeros(resamples)
    for sample in samples:
        count = sample.sums.size
        at_once = max(1, _DRAWN_AT_ONCE // count)
        for start in range(0, resamples, at_once):
            part = slice(start, min(start + at_once, resamples))
            chosen = rng.integers(count, size=(part.stop - part.start, count))
            means = sample.sums[chosen].sum(axis=1) / sample.weights[chosen].sum(axis=1)
            total[part] += sample.mean + (means - sample.mean) * (count / (count - 1)) ** 0.5
    return total / len(samples)
