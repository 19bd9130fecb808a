"""Measures a predictor on folders of images with known objects, and goes on where a killed run stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from samref.datasets import AUTO, ImageRecord, find_images, sample_objects
from samref.errors import ModelError
from samref.evaluation.grabcut import GRABCUT, GrabCutPredictor
from samref.evaluation.noc import ClickCurve, ClickProtocol, EvaluatedPredictor, Stage, click_curve
from samref.evaluation.report import (
    Report,
    check_target,
    data_digest,
    describe_machine,
    is_device,
    report_to_dict,
    weights_digests,
    write_json,
)
from samref.evaluation.report.page import check_page, write_page
from samref.files import Journal
from samref.inference.device import load_predictor
from samref.models.sam import SPECS as SAM_SPECS
from samref.models.sam.model import MultimaskMode

Curves: TypeAlias = dict[tuple[Stage, str], ClickCurve]
"""By stage and object."""

JOURNAL_SUFFIX = ".partial.jsonl"

_MULTIMASK: Mapping[str, MultimaskMode] = {"single": "single", "first": "first-click", "best": "always"}
"""Modes of SAM by their names in :attr:`ClickProtocol.sam_masks`."""


def evaluate_model(
    data: Path,
    model: str,
    protocol: ClickProtocol,
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    layout: str = AUTO,
    json_path: Path | None = None,
    html_path: Path | None = None,
    restart: bool = False,
    progress: bool = False,
) -> Report:
    """As :func:`evaluate`, of a model by its name; where its report can go is checked before it is loaded."""
    _check_targets(json_path, html_path)
    target = None if restart else json_path or html_path
    if precision == "auto" and target is not None:
        # "auto" measures and may choose differently this time, but one report has one precision
        begun_in = str(read_header(journal_path(target)).get("dtype"))
        precision = {"torch.float32": "fp32", "torch.bfloat16": "bf16"}.get(begun_in, precision)
    predictor = build_measured(model, checkpoint, device, precision, protocol.sam_masks)
    if protocol.sam_masks is None and model in SAM_SPECS:
        protocol = replace(protocol, sam_masks="first")  # what it does when it is not told, so that a report says it
    return evaluate(
        data,
        predictor,
        protocol,
        model=model,
        weights=weights_digests(model, checkpoint),
        layout=layout,
        json_path=json_path,
        html_path=html_path,
        restart=restart,
        progress=progress,
    )


def build_measured(
    model: str, checkpoint: Path | None, device: str, precision: str, sam_masks: str | None = None
) -> EvaluatedPredictor:
    """The model or baseline of that name."""
    if model != GRABCUT:
        mode = None if sam_masks is None else _MULTIMASK[sam_masks]
        return load_predictor(model, device=device, precision=precision, checkpoint=checkpoint, multimask=mode)
    if sam_masks is not None:
        raise ModelError("--sam-masks is for Segment Anything; grabcut has no such choice. Leave it out.")
    return GrabCutPredictor()


def evaluate(
    data: Path,
    predictor: EvaluatedPredictor,
    protocol: ClickProtocol,
    *,
    model: str = "",
    weights: Mapping[str, str] | None = None,
    layout: str = AUTO,
    json_path: Path | None = None,
    html_path: Path | None = None,
    restart: bool = False,
    keep_journal: bool = False,
    progress: bool = False,
) -> Report:
    """Let a simulated annotator label every object under ``data`` and say how many clicks it took.

    Each image is encoded once, for all its objects and both stages. Where a file is to be written, a journal lies
    beside it while the measurement runs: killed and started again with the same arguments, it goes on where it was.

    Args:
        data: a data set folder or a folder of those.
        predictor: the model or baseline.
        protocol: how to measure.
        model: its name, for the report.
        weights: SHA-256 of its weights by file name, for the report.
        layout: see :func:`samref.datasets.images_of`.
        json_path: where to write the report as well.
        html_path: where to write it as a page with plots and images.
        restart: begin anew although an interrupted run left a journal.
        keep_journal: leave the journal beside the finished report, so that the next call measures nothing again.
        progress: show a bar where somebody looks.
    """
    _check_targets(json_path, html_path)
    found, skipped = find_images(data, layout, protocol.split)
    records = sample_objects(found, protocol.limit_per_dataset, protocol.seed)
    protocol = replace(protocol, layouts=tuple(dict.fromkeys(record.layout for record in records)))
    report = Report(
        model=model,
        data=data.resolve().name,
        protocol=protocol,
        skipped=skipped,
        machine=describe_machine(predictor),
        curves={},
        weights=dict(weights or {}),
        data_sha256=data_digest(records),
    )
    target = next((path for path in (json_path, html_path) if path is not None and not is_device(path)), None)
    journal = None if target is None else CurveJournal(journal_path(target), _header(report), restart=restart)
    ids = [record.sample_id(key) for record in records for key in record.keys or ()]
    with nullcontext() if journal is None else closing(journal):
        curves = {} if journal is None else dict(journal.curves)
        known = sum(all((stage, name) in curves for stage in protocol.stages) for name in ids)
        for stage, curve in _measure(predictor, records, protocol, curves, journal, progress):
            curves[stage, curve.sample_id] = curve
        by_stage = {stage: tuple(curves[stage, name] for name in ids) for stage in protocol.stages}
        report = replace(report, curves=by_stage, measured_before=known)
        if json_path is not None:
            write_json(report_to_dict(report), json_path)
        if html_path is not None:
            write_page(report, predictor, records, html_path)
        if journal is not None and not keep_journal:
            journal.remove()
    return report


def _check_targets(json_path: Path | None, html_path: Path | None) -> None:
    for target in (json_path, html_path):
        if target is not None:
            check_target(target)
    if html_path is not None:
        check_page()


def _header(report: Report) -> dict[str, Any]:
    """Everything that the masks, and so the numbers, depend on; times and the number of workers are not among it."""
    arguments = {name: value for name, value in asdict(report.protocol).items() if name != "workers"}
    software = {name: report.machine[name] for name in ("samref", "torch", "device", "dtype") if name in report.machine}
    told = {name: getattr(report, name) for name in ("model", "weights", "data", "data_sha256")}
    return {**told, **arguments, **software}


def _measure(
    predictor: EvaluatedPredictor,
    records: Sequence[ImageRecord],
    protocol: ClickProtocol,
    known: Curves,
    journal: CurveJournal | None,
    progress: bool,
) -> Iterator[tuple[Stage, ClickCurve]]:
    """The curves that are not known yet, image by image as they are done; each is in the journal before the next."""
    todo = []
    for record in records:
        wanted = [(stage, key) for stage in protocol.stages for key in record.keys or ()]
        missing = [(stage, key) for stage, key in wanted if (stage, record.sample_id(key)) not in known]
        if missing:
            todo.append((record, missing))
    total = sum(len(record.keys or ()) for record in records)
    bar = tqdm(
        total=total,
        initial=total - sum(len({key for _, key in wanted}) for _, wanted in todo),
        unit="object",
        dynamic_ncols=True,
        leave=False,
        disable=None if progress else True,  # None: shown where standard error is a terminal
    )
    with bar, ThreadPoolExecutor(protocol.workers, thread_name_prefix="evaluate") as pool:
        futures = [pool.submit(_measure_image, predictor, *job, protocol, journal) for job in todo]
        try:
            for future in as_completed(futures):
                found = future.result()
                bar.update(len({curve.sample_id for _, curve in found}))
                yield from found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _measure_image(
    predictor: EvaluatedPredictor,
    record: ImageRecord,
    wanted: Sequence[tuple[Stage, str]],
    protocol: ClickProtocol,
    journal: CurveJournal | None,
) -> list[tuple[Stage, ClickCurve]]:
    """Curves of one image's objects, which share its embedding."""
    image = record.read_image()
    objects = {one.key: one for one in record.read_objects(image)}
    embedding = predictor.embed(image)
    found = []
    for stage, key in wanted:
        curve = click_curve(
            predictor,
            embedding,
            objects[key],
            protocol,
            stage,
            sample_id=record.sample_id(key),
            dataset=record.dataset,
        )
        if journal is not None:
            journal.keep(stage, curve)
        found.append((stage, curve))
    return found


# ---- what a running measurement leaves on disk, so that a killed one goes on where it stopped


def journal_path(target: Path) -> Path:
    """Where the journal of a report lies: beside it."""
    return target.with_name(target.name + JOURNAL_SUFFIX)


def read_header(path: Path) -> dict[str, Any]:
    """What an interrupted run was told; empty where there was none or its header cannot be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


class CurveJournal(Journal):
    """What a running measurement has found out so far; :attr:`curves` is what earlier runs left."""

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        """Open it, or begin it where there is none; ``header`` is everything the numbers depend on, as JSON values."""
        self.curves: Curves = {}
        super().__init__(path, header, self._read, restart=restart)

    def keep(self, stage: Stage, curve: ClickCurve) -> None:
        """Keep one object's curve."""
        self.add({"stage": stage, **asdict(curve)})

    def _read(self, values: dict[str, Any]) -> None:
        stage = values.pop("stage")
        parts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        curve = ClickCurve(**parts)
        self.curves[stage, curve.sample_id] = curve
