"""Measure a predictor on folders of pictures with known objects."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from samref.errors import DataError
from samref.evaluation.datasets import Picture, find_pictures, load_objects, read_image, sample_objects
from samref.evaluation.first_prompts import FirstPrompt
from samref.evaluation.noc import ClickCurve, EvaluatedPredictor, Stage, click_curve
from samref.evaluation.report import Protocol, Report, check_target, write_json

__all__ = ["Progress", "StageChoice", "evaluate"]

StageChoice: TypeAlias = Literal["coarse", "refined", "both"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the objects done and the objects in all, from one thread at a time."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One picture: its objects share the embedding, so they are measured together."""

    picture: Picture
    protocol: Protocol


def evaluate(
    data: Path,
    predictor: EvaluatedPredictor,
    *,
    model: str = "",
    max_clicks: int = 20,
    stage: StageChoice = "refined",
    first_prompt: FirstPrompt = "click",
    stop_at: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 1,
    json_path: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Let a simulated annotator label every object under ``data`` and say how many clicks it took.

    Each picture is encoded once, for all its objects and both stages. The result depends on ``workers`` in its
    times only: with more than one they are those of a busy machine.

    Args:
        data: a data set folder or a folder of those, see :mod:`samref.evaluation.datasets`.
        predictor: the model or baseline.
        model: its name, for the report.
        max_clicks: interactions per object.
        stage: which mask the annotator looks at; "both" measures the two apart.
        first_prompt: kind of the first prompt; all others are clicks.
        stop_at: stop an object at this IoU. None clicks on to the end, which IoU after k clicks needs.
        limit: objects per data set, drawn at random but always alike.
        seed: of that draw.
        workers: pictures measured at the same time, in threads.
        json_path: where to write the report as well.
        progress: told how far it is.

    Raises:
        DataError: the folder does not hold what was expected, or a number is out of range.
        StorageError: the report cannot be written; said before the measurement where it can be known.
    """
    _check_numbers(max_clicks, stop_at, limit, workers)
    if json_path is not None:
        check_target(json_path)
    found, skipped = find_pictures(data)
    pictures = sample_objects(found, limit, seed)
    stages: tuple[Stage, ...] = ("coarse", "refined") if stage == "both" else (stage,)
    protocol = Protocol(max_clicks, stages, first_prompt, stop_at, limit, seed, workers)
    curves = _measure(predictor, [_Job(picture, protocol) for picture in pictures], workers, progress)
    report = Report(
        model=model,
        data=data.resolve().name,
        protocol=protocol,
        skipped=skipped,
        machine=_machine(predictor),
        curves={one: tuple(curve for job in curves for curve in job[one]) for one in stages},
    )
    if json_path is not None:
        write_json(report, json_path)
    return report


def _measure(
    predictor: EvaluatedPredictor, jobs: list[_Job], workers: int, progress: Progress | None
) -> list[dict[Stage, list[ClickCurve]]]:
    """Curves of every job, in the order of ``jobs``."""
    total = sum(len(job.picture.keys) for job in jobs)
    done = 0
    if progress is not None:
        progress(0, total)
    with ThreadPoolExecutor(workers, thread_name_prefix="evaluate") as pool:
        futures: dict[Future[dict[Stage, list[ClickCurve]]], _Job] = {
            pool.submit(_measure_picture, predictor, job): job for job in jobs
        }
        try:
            for future in as_completed(futures):
                future.result()
                done += len(futures[future].picture.keys)
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _measure_picture(predictor: EvaluatedPredictor, job: _Job) -> dict[Stage, list[ClickCurve]]:
    picture, protocol = job.picture, job.protocol
    image = read_image(picture)
    objects = load_objects(picture, image)
    embedding = predictor.embed(image)
    return {
        stage: [
            click_curve(
                predictor,
                embedding,
                target,
                sample_id=picture.sample_id(target.key),
                dataset=picture.dataset,
                stage=stage,
                max_clicks=protocol.max_clicks,
                first=protocol.first_prompt,
                stop_at=protocol.stop_at,
            )
            for target in objects
        ]
        for stage in protocol.stages
    }


def _check_numbers(max_clicks: int, stop_at: float | None, limit: int | None, workers: int) -> None:
    if max_clicks < 1:
        raise DataError(f"The annotator needs at least one click, not {max_clicks}.")
    if stop_at is not None and not 0 < stop_at <= 1:
        raise DataError(f"An IoU to stop at lies between 0 and 1; {stop_at:g} does not.")
    if limit is not None and limit < 1:
        raise DataError(f"At least one object per data set must be measured, not {limit}.")
    if workers < 1:
        raise DataError(f"At least one worker is needed, not {workers}.")


def _machine(predictor: EvaluatedPredictor) -> dict[str, str | int]:
    """What the times depend on; the predictor's own device and precision where it has them."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }
    for name in ("device", "dtype"):
        value = getattr(predictor, name, None)
        if value is not None:
            facts[name] = str(value)
    return facts
