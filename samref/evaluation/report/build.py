"""The result of a measurement, and its plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from samref.core.oracle import ClickRule
from samref.datasets import Skipped
from samref.evaluation.bootstrap import Difference, stage_differences
from samref.evaluation.first_prompts import FirstPrompt
from samref.evaluation.noc import (
    ClickCurve,
    Scores,
    Stage,
    average_scores,
    score_curves,
)

__all__ = ["FORMAT_VERSION", "Protocol", "Report", "report_to_dict", "scores_to_dict"]

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Protocol:
    """How it was measured; see :func:`samref.evaluation.run.evaluate`.

    Attributes:
        layouts: names of the layouts that the data sets were found to have.
        sam_masks: when SAM computed three masks; None: as the model does by itself.
    """

    max_clicks: int
    stages: tuple[Stage, ...]
    first_prompt: FirstPrompt
    stop_at: float | None
    limit_per_dataset: int | None
    seed: int
    workers: int
    rule: ClickRule = "ritm"
    layouts: tuple[str, ...] = ()
    split: str | None = None
    sam_masks: str | None = None


@dataclass(frozen=True)
class Report:
    """All curves of a measurement, and where they come from.

    Attributes:
        model: name of the model or baseline.
        data: name of the folder.
        protocol: how it was measured.
        skipped: what was found and could not be measured.
        machine: what the times depend on.
        curves: per stage, one curve per object.
        weights: SHA-256 of the model's weights, by file name.
        data_sha256: of the names and contents of all files measured.
        measured_before: objects that an interrupted run had measured already; their times are from then.
    """

    model: str
    data: str
    protocol: Protocol
    skipped: Skipped
    machine: Mapping[str, str | int]
    curves: Mapping[Stage, tuple[ClickCurve, ...]]
    weights: Mapping[str, str] = field(default_factory=dict)
    data_sha256: str = ""
    measured_before: int = 0

    @cached_property
    def datasets(self) -> dict[Stage, dict[str, Scores]]:
        """Numbers per stage and data set."""
        return {stage: _by_dataset(curves, self.protocol.max_clicks) for stage, curves in self.curves.items()}

    @cached_property
    def macro(self) -> dict[Stage, Scores]:
        """Mean over data sets, each with the same weight."""
        return {stage: average_scores(list(scores.values())) for stage, scores in self.datasets.items()}

    @cached_property
    def differences(self) -> list[Difference]:
        """What the refiner changes, with intervals; empty where only one stage was measured."""
        return stage_differences(self.curves, self.protocol.max_clicks)


def report_to_dict(report: Report) -> dict[str, Any]:
    """The report as plain JSON values: numbers per stage, their mean over data sets, and every object's curve."""
    return {
        "format": FORMAT_VERSION,
        "model": report.model,
        "weights": dict(report.weights),
        "data": report.data,
        "data_sha256": report.data_sha256,
        "protocol": asdict(report.protocol),
        "skipped": asdict(report.skipped),
        "machine": dict(report.machine),
        "measured_before": report.measured_before,
        "refined_minus_coarse": [asdict(one) for one in report.differences],
        "stages": {
            stage: {
                "macro": scores_to_dict(report.macro[stage]),
                "datasets": {name: scores_to_dict(scores) for name, scores in report.datasets[stage].items()},
                "objects": [_curve_to_dict(curve) for curve in report.curves[stage]],
            }
            for stage in report.curves
        },
    }


def _by_dataset(curves: Sequence[ClickCurve], max_clicks: int) -> dict[str, Scores]:
    names = dict.fromkeys(curve.dataset for curve in curves)
    return {name: score_curves([c for c in curves if c.dataset == name], max_clicks) for name in names}


def scores_to_dict(scores: Scores) -> dict[str, Any]:
    """The numbers of one data set, or of their mean, as plain JSON values; null where there is none."""
    return {
        "objects": scores.objects,
        "noc": {_percent(target): _rounded(value, 4) for target, value in scores.noc.items()},
        "nof_never": {_percent(target): value for target, value in scores.never.items()},
        "nof_never_rate": {_percent(target): _rounded(value, 4) for target, value in scores.never_rate.items()},
        "nof_at_max": {_percent(target): value for target, value in scores.at_max.items()},
        "miou": {str(k): _rounded(value, 5) for k, value in scores.miou.items()},
        "boundary_iou": {str(k): _rounded(value, 5) for k, value in scores.mbiou.items()},
        "encode_s": _seconds(scores.encode_s),
        "click_s": _seconds(scores.click_s),
        "click_s_mean": _seconds(scores.click_s_mean),
        "click_s_p95": _seconds(scores.click_s_p95),
        "amortised_s": _seconds(scores.amortised_s),
        "harmful_rate": _rounded(scores.harmful_rate, 4),
    }


def _curve_to_dict(curve: ClickCurve) -> dict[str, Any]:
    return {
        "id": curve.sample_id,
        "dataset": curve.dataset,
        "ious": [_shortest(iou) for iou in curve.ious],
        "bious": [_shortest(biou) for biou in curve.bious],
        "encode_s": _seconds(curve.encode_s),
        "click_s": [_seconds(second) for second in curve.click_s],
    }


def _percent(target: float) -> str:
    return f"{target * 100:.0f}"


def _shortest(value: float) -> float | None:
    """The fewest digits that give the same float32 again; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(str(np.float32(value)))


def _seconds(value: float) -> float | None:
    return _rounded(value, 5)


def _rounded(value: float, digits: int) -> float | None:
    """None for NaN: the mean of a data set in which an object has no pixel that counts."""
    return None if math.isnan(value) else round(value, digits)
