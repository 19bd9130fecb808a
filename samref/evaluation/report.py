"""The result of a measurement as JSON for machines and as a table for people."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samref.errors import StorageError
from samref.evaluation.datasets import Skipped
from samref.evaluation.first_prompts import FirstPrompt
from samref.evaluation.noc import (
    IOU_TARGETS,
    ClickCurve,
    Scores,
    Stage,
    average_scores,
    score_curves,
)

__all__ = ["FORMAT_VERSION", "Protocol", "Report", "check_target", "report_to_dict", "report_to_table", "write_json"]

FORMAT_VERSION = 1

TABLE_CLICKS = (1, 3, 5, 10)
"""IoU after so many clicks has a column of its own."""

TABLE_BOUNDARY_CLICKS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How it was measured; see :func:`samref.evaluation.run.evaluate`."""

    max_clicks: int
    stages: tuple[Stage, ...]
    first_prompt: FirstPrompt
    stop_at: float | None
    limit_per_dataset: int | None
    seed: int
    workers: int


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
    """

    model: str
    data: str
    protocol: Protocol
    skipped: Skipped
    machine: Mapping[str, str | int]
    curves: Mapping[Stage, tuple[ClickCurve, ...]]

    @cached_property
    def datasets(self) -> dict[Stage, dict[str, Scores]]:
        """Numbers per stage and data set."""
        return {stage: _by_dataset(curves, self.protocol.max_clicks) for stage, curves in self.curves.items()}

    @cached_property
    def macro(self) -> dict[Stage, Scores]:
        """Mean over data sets, each with the same weight."""
        return {stage: average_scores(list(scores.values())) for stage, scores in self.datasets.items()}


def report_to_dict(report: Report) -> dict[str, Any]:
    """The report as plain JSON values: numbers per stage, their mean over data sets, and every object's curve."""
    return {
        "format": FORMAT_VERSION,
        "model": report.model,
        "data": report.data,
        "protocol": asdict(report.protocol),
        "skipped": asdict(report.skipped),
        "machine": dict(report.machine),
        "stages": {
            stage: {
                "macro": _scores_to_dict(report.macro[stage]),
                "datasets": {name: _scores_to_dict(scores) for name, scores in report.datasets[stage].items()},
                "objects": [_curve_to_dict(curve) for curve in report.curves[stage]],
            }
            for stage in report.curves
        },
    }


def report_to_table(report: Report) -> str:
    """The report as plain text: one line per data set and one for their mean."""
    parts = []
    protocol = report.protocol
    for stage, datasets in report.datasets.items():
        title = f"{report.model or 'model'}, {stage} masks, first prompt: {protocol.first_prompt}, data: {report.data}"
        head = ["data set", "objects"]
        head += [f"NoC@{target * 100:.0f}" for target in IOU_TARGETS]
        head += [f"NoF@{target * 100:.0f}" for target in IOU_TARGETS]
        clicks = [k for k in TABLE_CLICKS if k <= protocol.max_clicks]
        boundary = [k for k in TABLE_BOUNDARY_CLICKS if k <= protocol.max_clicks]
        head += [f"IoU@{k}" for k in clicks] + [f"BIoU@{k}" for k in boundary] + ["encode s", "s/click"]
        rows = [_row(name, scores, clicks, boundary) for name, scores in datasets.items()]
        rows.append(_row("mean over data sets", report.macro[stage], clicks, boundary))
        parts.append("\n".join([title, "", *_align([head, *rows])]))
    parts.append(_notes(report))
    return "\n\n".join(parts) + "\n"


def check_target(path: Path) -> None:
    """Refuse, before a long measurement, a path that cannot be written.

    Raises:
        StorageError: it is a folder, or lies in none.
    """
    if path.is_dir():
        raise StorageError(f"The report cannot be written: {path} is a folder.")
    if not path.parent.is_dir():
        raise StorageError(f"The report cannot be written: there is no folder {path.parent}.")


def write_json(report: Report, path: Path) -> None:
    """Write the report whole or not at all; a file that was there stays when the disk is full.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    text = json.dumps(report_to_dict(report), indent=1, allow_nan=False) + "\n"
    try:
        if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
            path.write_text(text, encoding="utf-8")
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"The report could not be written to {path}: {error.strerror or error}.") from error


def _by_dataset(curves: Sequence[ClickCurve], max_clicks: int) -> dict[str, Scores]:
    names = dict.fromkeys(curve.dataset for curve in curves)
    return {name: score_curves([c for c in curves if c.dataset == name], max_clicks) for name in names}


def _scores_to_dict(scores: Scores) -> dict[str, Any]:
    return {
        "objects": scores.objects,
        "noc": {_percent(target): round(value, 4) for target, value in scores.noc.items()},
        "nof_never": {_percent(target): value for target, value in scores.never.items()},
        "nof_never_rate": {_percent(target): round(value, 4) for target, value in scores.never_rate.items()},
        "nof_at_max": {_percent(target): value for target, value in scores.at_max.items()},
        "miou": {str(k): round(value, 5) for k, value in scores.miou.items()},
        "boundary_iou": {str(k): round(value, 5) for k, value in scores.mbiou.items()},
        "encode_s": _seconds(scores.encode_s),
        "click_s": _seconds(scores.click_s),
        "click_s_mean": _seconds(scores.click_s_mean),
        "click_s_p95": _seconds(scores.click_s_p95),
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


def _seconds(value: float) -> float:
    return round(value, 5)


def _row(name: str, scores: Scores, clicks: Sequence[int], boundary: Sequence[int]) -> list[str]:
    return [
        name,
        str(scores.objects),
        *(f"{scores.noc[target]:.2f}" for target in IOU_TARGETS),
        *(str(scores.never[target]) for target in IOU_TARGETS),
        *(f"{scores.miou[k]:.3f}" for k in clicks),
        *(f"{scores.mbiou[k]:.3f}" for k in boundary),
        f"{scores.encode_s:.3f}",
        f"{scores.click_s:.3f}",
    ]


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _notes(report: Report) -> str:
    protocol, skipped = report.protocol, report.skipped
    lines = [
        f"NoC: mean clicks to that IoU, a failure counts as {protocol.max_clicks}. NoF: objects that never got there.",
        "Times are medians; s/click leaves the encoder out.",
        "The mean gives every data set the same weight; objects and NoF are sums.",
    ]
    for stage, scores in report.macro.items():
        counts = ", ".join(f"@{target * 100:.0f}: {count}" for target, count in scores.at_max.items())
        lines.append(f"{stage}: objects whose clicks equal {protocol.max_clicks} (the published count): {counts}.")
    if protocol.stop_at is not None:
        lines.append(f"The annotator stopped at IoU {protocol.stop_at:g}: IoU@k keeps the last mask from there on.")
    if protocol.limit_per_dataset is not None:
        lines.append(f"At most {protocol.limit_per_dataset} objects per data set, drawn with seed {protocol.seed}.")
    left_out = {
        "objects without a pixel": skipped.empty_objects,
        "pictures without an object": skipped.pictures_without_objects,
        "masks without a picture": skipped.masks_without_picture,
    }
    found = [f"{count} {what}" for what, count in left_out.items() if count]
    if found:
        lines.append(f"Left out: {', '.join(found)}.")
    lines.append("Machine: " + ", ".join(f"{key} {value}" for key, value in report.machine.items()) + ".")
    return "\n".join(lines)
