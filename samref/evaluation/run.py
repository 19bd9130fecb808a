"""Measure a predictor on folders of images with known objects."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from samref.core.oracle import ClickRule
from samref.datasets import AUTO, ImageRecord, ObjectMask, find_images, sample_objects
from samref.errors import DataError
from samref.evaluation.first_prompts import FirstPrompt
from samref.evaluation.journal import Journal, journal_path
from samref.evaluation.noc import ClickCurve, EvaluatedPredictor, Stage, click_curve
from samref.evaluation.progress import Progress
from samref.evaluation.provenance import data_digest, describe_machine
from samref.evaluation.report.build import Protocol, Report, report_to_dict
from samref.evaluation.report.files import check_target, is_device, write_json
from samref.evaluation.report.page import check_page, write_page

__all__ = ["StageChoice", "evaluate"]

StageChoice: TypeAlias = Literal["coarse", "refined", "both"]


@dataclass(frozen=True, slots=True)
class _Job:
    """One image: its objects share the embedding, so they are measured together."""

    record: ImageRecord
    protocol: Protocol
    journal: Journal | None

    def known(self, stage: Stage, key: str) -> ClickCurve | None:
        """What an earlier run found out."""
        return None if self.journal is None else self.journal.curves.get((stage, self.record.sample_id(key)))

    @property
    def keys(self) -> tuple[str, ...]:
        """Its objects."""
        return self.record.keys or ()

    def count_known(self) -> int:
        """Objects that have nothing left to measure."""
        return sum(all(self.known(stage, key) is not None for stage in self.protocol.stages) for key in self.keys)


def evaluate(
    data: Path,
    predictor: EvaluatedPredictor,
    *,
    model: str = "",
    weights: Mapping[str, str] | None = None,
    max_clicks: int = 20,
    stage: StageChoice = "refined",
    first_prompt: FirstPrompt = "click",
    stop_at: float | None = None,
    rule: ClickRule = "ritm",
    layout: str = AUTO,
    split: str | None = None,
    sam_masks: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    json_path: Path | None = None,
    html_path: Path | None = None,
    restart: bool = False,
    keep_journal: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Let a simulated annotator label every object under ``data`` and say how many clicks it took.

    Each image is encoded once, for all its objects and both stages. The result depends on ``workers`` in its
    times only: with more than one they are those of a busy machine. Where a file is to be written, a journal lies
    beside it while the measurement runs: killed and started again with the same arguments, it goes on where it was.

    Args:
        data: a data set folder or a folder of those, see :mod:`samref.datasets.objects`.
        predictor: the model or baseline.
        model: its name, for the report.
        weights: SHA-256 of its weights by file name, for the report.
        max_clicks: interactions per object.
        stage: which mask the annotator looks at; "both" measures the two apart.
        first_prompt: kind of the first prompt; all others are clicks.
        stop_at: stop an object at this IoU. None clicks on to the end, which IoU after k clicks needs.
        rule: whose annotator and whose ignored pixels, see :func:`samref.evaluation.noc.click_curve`.
        layout: how the data lie in their folder, see :func:`samref.datasets.images_of`.
        split: which part of them; None: the one the field measures.
        sam_masks: for the report, what the predictor was told about SAM's three masks.
        limit: objects per data set, drawn at random but always alike.
        seed: of that draw.
        workers: images measured at the same time, in threads.
        json_path: where to write the report as well.
        html_path: where to write it as a page with plots and images.
        restart: begin anew although an interrupted run left a journal.
        keep_journal: leave the journal beside the finished report, so that the next call measures nothing again.
        progress: told how far it is.

    Raises:
        DataError: the folder does not hold what was expected, a number is out of range, or an interrupted run with
            other arguments left its journal.
        StorageError: the report cannot be written; said before the measurement where it can be known.
    """
    _check_numbers(max_clicks, stop_at, limit, workers)
    for target in (json_path, html_path):
        if target is not None:
            check_target(target)
    if html_path is not None:
        check_page()
    found, skipped = find_images(data, layout, split)
    records = sample_objects(found, limit, seed)
    stages: tuple[Stage, ...] = ("coarse", "refined") if stage == "both" else (stage,)
    layouts = tuple(dict.fromkeys(record.layout for record in records))
    protocol = Protocol(
        max_clicks, stages, first_prompt, stop_at, limit, seed, workers, rule, layouts, split, sam_masks
    )
    machine = describe_machine(predictor)
    digests = dict(weights or {})
    data_sha256 = data_digest(records)
    header = _header(model, digests, data.resolve().name, data_sha256, protocol, machine)
    target = next((path for path in (json_path, html_path) if path is not None and not is_device(path)), None)
    with nullcontext() if target is None else Journal(journal_path(target), header, restart=restart) as journal:
        jobs = [_Job(record, protocol, journal) for record in records]
        known = sum(job.count_known() for job in jobs)
        curves = _measure(predictor, jobs, workers, progress)
        report = Report(
            model=model,
            data=data.resolve().name,
            protocol=protocol,
            skipped=skipped,
            machine=machine,
            curves={one: tuple(curve for job in curves for curve in job[one]) for one in stages},
            weights=digests,
            data_sha256=data_sha256,
            measured_before=known,
        )
        if json_path is not None:
            write_json(report_to_dict(report), json_path)
        if html_path is not None:
            write_page(report, predictor, records, html_path)
        if journal is not None and not keep_journal:
            journal.remove()
    return report


def _header(
    model: str,
    weights: Mapping[str, str],
    data: str,
    data_sha256: str,
    protocol: Protocol,
    machine: Mapping[str, str | int],
) -> dict[str, Any]:
    """Everything that the masks, and so the numbers, depend on; times and the number of workers are not among it."""
    arguments = {name: value for name, value in asdict(protocol).items() if name != "workers"}
    software = {name: machine[name] for name in ("samref", "torch", "device", "dtype") if name in machine}
    return {
        "model": model,
        "weights": dict(weights),
        "data": data,
        "data_sha256": data_sha256,
        **arguments,
        **software,
    }


def _measure(
    predictor: EvaluatedPredictor, jobs: list[_Job], workers: int, progress: Progress | None
) -> list[dict[Stage, list[ClickCurve]]]:
    """Curves of every job, in the order of ``jobs``."""
    total = sum(len(job.keys) for job in jobs)
    done = sum(job.count_known() for job in jobs)
    if progress is not None:
        progress(done, total)
    with ThreadPoolExecutor(workers, thread_name_prefix="evaluate") as pool:
        futures: dict[Future[dict[Stage, list[ClickCurve]]], _Job] = {
            pool.submit(_measure_image, predictor, job): job for job in jobs
        }
        try:
            for future in as_completed(futures):
                future.result()
                job = futures[future]
                done += len(job.keys) - job.count_known()
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _measure_image(predictor: EvaluatedPredictor, job: _Job) -> dict[Stage, list[ClickCurve]]:
    """Curves of one image's objects; what the journal has is not measured again."""
    record, protocol = job.record, job.protocol
    curves = {stage: {key: job.known(stage, key) for key in job.keys} for stage in protocol.stages}
    if all(curve is not None for by_key in curves.values() for curve in by_key.values()):
        return _in_order(curves)
    image = record.read_image()
    objects = record.read_objects(image)
    embedding = predictor.embed(image)

    def label(target: ObjectMask, stage: Stage) -> ClickCurve:
        return click_curve(
            predictor,
            embedding,
            target,
            sample_id=record.sample_id(target.key),
            dataset=record.dataset,
            stage=stage,
            max_clicks=protocol.max_clicks,
            first=protocol.first_prompt,
            stop_at=protocol.stop_at,
            rule=protocol.rule,
        )

    for stage, by_key in curves.items():
        for target in objects:
            if by_key[target.key] is None:
                by_key[target.key] = curve = label(target, stage)
                if job.journal is not None:
                    job.journal.add(stage, curve)
    return _in_order(curves)


def _in_order(curves: Mapping[Stage, Mapping[str, ClickCurve | None]]) -> dict[Stage, list[ClickCurve]]:
    return {stage: [curve for curve in by_key.values() if curve is not None] for stage, by_key in curves.items()}


def _check_numbers(max_clicks: int, stop_at: float | None, limit: int | None, workers: int) -> None:
    if max_clicks < 1:
        raise DataError(f"The annotator needs at least one click, not {max_clicks}.")
    if stop_at is not None and not 0 < stop_at <= 1:
        raise DataError(f"An IoU to stop at lies between 0 and 1; {stop_at:g} does not.")
    if limit is not None and limit < 1:
        raise DataError(f"At least one object per data set must be measured, not {limit}.")
    if workers < 1:
        raise DataError(f"At least one worker is needed, not {workers}.")
