"""The result of a measurement: its numbers, what they rest on, and both as JSON values, as a table and as files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samref import __version__
from samref.datasets import ImageRecord, KeptMasks, Skipped
from samref.errors import DataError, StorageError
from samref.evaluation.bootstrap import Difference, stage_differences
from samref.evaluation.grabcut import GRABCUT
from samref.evaluation.noc import (
    GOOD,
    IOU_TARGETS,
    ClickCurve,
    ClickProtocol,
    Scores,
    Stage,
    average_scores,
    by_dataset,
    score_curves,
)
from samref.files import disk_errors, write_atomically
from samref.models.checkpoints import locate, weights_folder
from samref.models.interface import Checkpoint
from samref.models.registry import get_spec

FORMAT_VERSION = 2

TABLE_CLICKS = (1, 3, 5, 10)
"""IoU after so many clicks has a column of its own."""

TABLE_BOUNDARY_CLICKS = (1, 5, 10)

_TIMES = ("encode_s", "click_s", "click_s_mean", "click_s_p95", "amortised_s")

CPU_INFO = Path("/proc/cpuinfo")

_WHOLE_SHA256 = 64


@dataclass(frozen=True)
class Report:
    """All curves of a measurement, and where they come from.

    Attributes:
        model: name of the model or baseline.
        data: name of the folder.
        skipped: what was found and could not be measured.
        machine: what the times depend on.
        curves: per stage, one curve per object.
        weights: SHA-256 of the model's weights, by file name.
        data_sha256: see :func:`data_digest`.
        measured_before: objects that an interrupted run had measured already; their times are from then.
    """

    model: str
    data: str
    protocol: ClickProtocol
    skipped: Skipped
    machine: Mapping[str, str | int]
    curves: Mapping[Stage, tuple[ClickCurve, ...]]
    weights: Mapping[str, str] = field(default_factory=dict)
    data_sha256: str = ""
    measured_before: int = 0

    @cached_property
    def datasets(self) -> dict[Stage, dict[str, Scores]]:
        """Numbers per stage and data set."""
        return {
            stage: {name: score_curves(own, self.protocol.max_clicks) for name, own in by_dataset(curves).items()}
            for stage, curves in self.curves.items()
        }

    @cached_property
    def macro(self) -> dict[Stage, Scores]:
        """Mean over data sets, each with the same weight."""
        return {stage: average_scores(list(scores.values())) for stage, scores in self.datasets.items()}

    @cached_property
    def differences(self) -> list[Difference]:
        """What the refiner changes, with intervals; empty where only one stage was measured."""
        return stage_differences(self.curves, self.protocol.max_clicks)


# ---- what the numbers rest on: files measured, weights, software, machine


def data_digest(records: Sequence[ImageRecord]) -> str:
    """SHA-256 over the images and the masks that are measured; the same wherever and however they are stored."""
    total = hashlib.sha256()
    for record in records:
        masks = record.masks
        kept = masks if isinstance(masks, KeptMasks) else KeptMasks.of(record.image_path, masks.read())
        total.update(f"{record.dataset}/{record.name} {file_digest(record.image_path)}\n".encode())
        for key, gt, ignore in kept.objects:
            if record.keys is None or key in record.keys:
                total.update(f"{key} {gt.counts} {'' if ignore is None else ignore.counts}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def weights_digests(model: str, checkpoint: Path | None = None) -> dict[str, str]:
    """SHA-256 of each file of a model's weights, by file name.

    Weights that samref takes by their whole digest only are not read again. ``checkpoint`` is what was given instead:
    a file, or a folder of files.
    """
    if model == GRABCUT:
        return {}
    if checkpoint is not None and not checkpoint.is_dir():
        return {checkpoint.name: file_digest(locate(Checkpoint(checkpoint.name), model, checkpoint))}
    digests = {}
    for file in get_spec(model).checkpoints:
        if checkpoint is None and file.sha256 is not None and len(file.sha256) == _WHOLE_SHA256:
            digests[file.file_name] = file.sha256
            continue
        own = checkpoint or weights_folder()
        given = own / file.file_name if checkpoint is not None or file.comes_with_samref else None
        digests[file.file_name] = file_digest(locate(file, model, given))
    return digests


def describe_machine(predictor: Any = None) -> dict[str, str | int]:
    """What the times depend on; the predictor's own device and precision where it has them."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _cpu_name(),
        "cores": os.cpu_count() or 0,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "torch": torch.__version__,
        "samref": __version__,
    }
    facts |= {name: str(getattr(predictor, name)) for name in ("device", "dtype") if hasattr(predictor, name)}
    if str(facts.get("device", "")).startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(facts["device"])
    return facts


def in_words(machine: Mapping[str, str | int]) -> str:
    """``system Linux x86_64, cores 2, ...``."""
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def _cpu_name() -> str:
    """The processor in its maker's words, as far as the system tells."""
    try:
        lines = CPU_INFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# ---- plain JSON values


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
        "refined_minus_coarse": [{**asdict(one), "unit": "object"} for one in report.differences],
        "stages": {
            stage: {
                "macro": scores_to_dict(report.macro[stage]),
                "datasets": {name: scores_to_dict(scores) for name, scores in report.datasets[stage].items()},
                "objects": [_curve_to_dict(curve) for curve in report.curves[stage]],
            }
            for stage in report.curves
        },
    }


def scores_to_dict(scores: Scores) -> dict[str, Any]:
    """The numbers of one data set, or of their mean, as plain JSON values; null where there is none."""
    return {
        "objects": scores.objects,
        "noc": {percent(target): _rounded(value, 4) for target, value in scores.noc.items()},
        "nof_never": {percent(target): value for target, value in scores.never.items()},
        "nof_never_rate": {percent(target): _rounded(value, 4) for target, value in scores.never_rate.items()},
        "nof_at_max": {percent(target): value for target, value in scores.at_max.items()},
        "miou": {str(k): _rounded(value) for k, value in scores.miou.items()},
        "boundary_iou": {str(k): _rounded(value) for k, value in scores.mbiou.items()},
        **{name: _rounded(getattr(scores, name)) for name in _TIMES},
        "harmful_rate": _rounded(scores.harmful_rate, 4),
        "on_good": scores.on_good,
        "breaking": scores.breaking,
    }


def _curve_to_dict(curve: ClickCurve) -> dict[str, Any]:
    return {
        "id": curve.sample_id,
        "dataset": curve.dataset,
        "ious": [_shortest(iou) for iou in curve.ious],
        "bious": [_shortest(biou) for biou in curve.bious],
        "encode_s": _rounded(curve.encode_s),
        "click_s": [_rounded(second) for second in curve.click_s],
    }


def percent(target: float) -> str:
    """``90`` for 0.9."""
    return f"{target * 100:.0f}"


def _shortest(value: float) -> float | None:
    """The fewest digits that give the same float32 again; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(str(np.float32(value)))


def _rounded(value: float, digits: int = 5) -> float | None:
    """None for NaN: the mean of a data set in which an object has no pixel that counts."""
    return None if math.isnan(value) else round(value, digits)


# ---- text


def score_cells(
    scores: Scores,
    noc: Sequence[float] = IOU_TARGETS,
    nof: Sequence[float] = IOU_TARGETS,
    ious: Sequence[int] = TABLE_CLICKS,
    bious: Sequence[int] = TABLE_BOUNDARY_CLICKS,
) -> dict[str, str]:
    """The numbers of one line of a table by their headings: NoC and NoF at IoUs, IoU and boundary IoU after clicks.

    Numbers after more clicks than were made are left out.
    """
    return {
        **{f"NoC@{percent(target)}": f"{scores.noc[target]:.2f}" for target in noc},
        **{f"NoF@{percent(target)}": str(scores.never[target]) for target in nof},
        **{f"IoU@{k}": score_in_words(scores.miou[k]) for k in ious if k in scores.miou},
        **{f"BIoU@{k}": score_in_words(scores.mbiou[k]) for k in bious if k in scores.mbiou},
    }


def score_in_words(value: float) -> str:
    """``0.912``, or a dash where there is no number."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def text_table(rows: Sequence[Sequence[str]], *, has_sum: bool = True) -> str:
    """Aligned columns; the first row is the head and, where ``has_sum``, the last one the sum, each beside a rule."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], *([rule] if has_sum else []), lines[-1]])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head, numbers stand on the right."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def report_to_table(report: Report) -> str:
    """The report as plain text: one line per data set and one for their mean."""
    protocol = report.protocol

    def row(name: str, scores: Scores) -> list[str]:
        cells = score_cells(scores).values()
        return [name, str(scores.objects), *cells, f"{scores.encode_s:.3f}", f"{scores.click_s:.3f}"]

    parts = []
    for stage, datasets in report.datasets.items():
        title = f"{report.model or 'model'}, {stage} masks, first prompt: {protocol.first_prompt}, data: {report.data}"
        title += "" if protocol.rule == "ritm" else f", protocol: {protocol.rule}"
        title += "" if protocol.sam_masks is None else f", SAM's masks: {protocol.sam_masks}"
        macro = report.macro[stage]
        head = ["data set", "objects", *score_cells(macro), "encode s", "s/click"]
        rows = [row(name, scores) for name, scores in datasets.items()]
        parts += [title, text_table([head, *rows, row("mean of data sets", macro)])]
    return "\n\n".join([*parts, "\n".join(report_notes(report))]) + "\n"


def report_notes(report: Report) -> list[str]:
    """What a reader has to know about the numbers, a sentence each."""
    protocol, left_out = report.protocol, report.skipped.to_sentences()
    layouts = f"Layout of the data: {', '.join(protocol.layouts) or 'not told'}"
    lines = [
        f"{layouts}{'' if protocol.split is None else f', part {protocol.split}'}. Protocol: {protocol.rule}.",
        f"NoC: mean clicks to that IoU, a failure counts as {protocol.max_clicks}. NoF: objects that never got there.",
        "Times are medians; s/click leaves the encoder out.",
        "The mean gives every data set the same weight; objects and NoF are sums.",
    ]
    for stage, scores in report.macro.items():
        counts = ", ".join(f"@{percent(target)}: {count}" for target, count in scores.at_max.items())
        lines.append(f"{stage}: objects whose clicks equal {protocol.max_clicks} (the published count): {counts}.")
        harm = f"{100 * scores.harmful_rate:.1f} % of the clicks after the first lowered IoU by more than a point"
        broken = (
            f"{scores.breaking} of {scores.on_good} clicks on masks of IoU {GOOD} or more lowered it by more than 5"
        )
        lines.append(f"{stage}: {broken} points.")
        lines.append(f"{stage}: {harm}; {scores.amortised_s:.3f} s per click with a twentieth of the encoder.")
    lines += [f"{one.to_sentence('refined', 'coarse')}." for one in report.differences]
    if protocol.stop_at is not None:
        lines.append(f"The annotator stopped at IoU {protocol.stop_at:g}: IoU@k keeps the last mask from there on.")
    if report.measured_before:
        lines.append(f"{report.measured_before} objects were measured by an earlier run that was interrupted.")
    if protocol.limit_per_dataset is not None:
        lines.append(f"At most {protocol.limit_per_dataset} objects per data set, drawn with seed {protocol.seed}.")
    if left_out:
        lines.append(f"Left out: {', '.join(left_out)}.")
    lines.append(f"Machine: {in_words(report.machine)}.")
    return lines


# ---- files


def check_target(path: Path) -> None:
    """Refuse, before a long measurement, a path that cannot be written."""
    if path.is_dir():
        raise StorageError(f"The report cannot be written: {path} is a folder.")
    if not path.parent.is_dir():
        raise StorageError(f"The report cannot be written: there is no folder {path.parent}.")
    if not os.access(path if is_device(path) else path.parent, os.W_OK):
        raise StorageError(f"The report cannot be written: this program may not write in {path.parent}.")


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write plain values as JSON, as :func:`write_text` does."""
    write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a report whole or not at all; a file that was there stays when the disk is full."""
    if is_device(path):  # a device or a pipe cannot be replaced
        with disk_errors(f"{path} was not written"):
            path.write_text(text, encoding="utf-8")
    else:
        write_atomically(path, text.encode("utf-8"))


def is_device(path: Path) -> bool:
    """Whether it is a device or a pipe: written into, never replaced, and nothing is laid beside it."""
    return path.exists() and not path.is_file()
