"""What a model costs: parameters, seconds and memory, measured in a process of its own; and SAT latency.

A process of its own, because the most memory a process ever held cannot be taken back, and because a model must not
profit from what ran before it.

SAT latency is how long a model takes for a whole image: the image is encoded once; then a grid of 16 x 16 single
positive clicks is answered, each as a new object and one at a time, with its final mask at the image's own size.

Source: papers.md 2.4 (SegNext, "segment anything task") and 4.2 (SPC). Deviation: SAM's figures for SAT there come from
its mask generator, which also filters masks; nothing is filtered here, for any model.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import nn

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.datasets import ImageRecord, ObjectMask
from samref.errors import CheckpointMissingError, SamrefError
from samref.evaluation.grabcut import GRABCUT, GrabCutPredictor
from samref.evaluation.noc import (
    AMORTISED_CLICKS,
    ClickProtocol,
    EvaluatedPredictor,
    Recorder,
    Stage,
    click_curve,
    last_answer,
)
from samref.inference.predictor import Predictor
from samref.models.registry import build_model, build_untrained

PROCESS_STATUS = Path("/proc/self/status")

GRID_SIDE = 16
"""Clicks per row and per column of the SAT grid."""

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
PrecisionName: TypeAlias = Literal["fp32", "bf16"]


# ---- SAT latency


def grid_clicks(size: ImageSize, side: int = GRID_SIDE) -> list[Click]:
    """Positive clicks in the middles of ``side`` x ``side`` equal tiles of an image, row by row."""
    xs = [int((2 * column + 1) * size.width / (2 * side)) for column in range(side)]
    ys = [int((2 * row + 1) * size.height / (2 * side)) for row in range(side)]
    return [Click(x, y, True) for y in ys for x in xs]


def sat_latency(
    predictor: EvaluatedPredictor, image: DecodedImage, *, stage: Stage = "refined", side: int = GRID_SIDE
) -> tuple[float, float]:
    """Seconds to encode an image once, and to answer a grid of single clicks one by one until the mask of ``stage``.

    Their sum is the SAT latency.
    """
    start = time.perf_counter()
    embedding = predictor.embed(image)
    encoded = time.perf_counter()
    for click in grid_clicks(image.size, side):
        last_answer(predictor.predict(embedding, Prompts((click,)), None), stage)
    return encoded - start, time.perf_counter() - encoded


def mean_latency(predictor: EvaluatedPredictor, images: Sequence[DecodedImage], stage: Stage) -> tuple[float, float]:
    """As :func:`sat_latency`, the means over images."""
    timings = [sat_latency(predictor, image, stage=stage) for image in images]
    return statistics.fmean(encode_s for encode_s, _ in timings), statistics.fmean(clicks_s for _, clicks_s in timings)


def spread(records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    """``count`` of them at equal distances, the first one among them; all where there are no more."""
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]


# ---- cost of a model


@dataclass(frozen=True, slots=True)
class Contender:
    """A model to compare, one line of the table.

    Attributes:
        name: what ``--models`` calls it.
        title: what the table calls it.
        model: name in the zoo, or "grabcut".
        stage: whose masks count.
        refines: whether it counts as loaded only with its refiner's weights.
    """

    name: str
    title: str
    model: str
    stage: Stage = "refined"
    refines: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How models are compared; ``sat_grid`` is clicks along each side of an image, 0 leaves SAT latency out."""

    max_clicks: int = AMORTISED_CLICKS
    limit_per_dataset: int | None = 5
    seed: int = 0
    sat_grid: int = GRID_SIDE
    device: Device = "auto"
    precision: PrecisionName = "fp32"


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured, in seconds and bytes.

    Attributes:
        loaded: whether the weights are the model's own; False: random ones of the same sizes.
        parameters: numbers in the model; 0 where it has none.
        coarse_s: mean per click until the first stage's mask.
        click_s: mean per click until the last stage's mask (SPC, decode only).
        amortised_s: the same with a twentieth of the encoder.
        sat_s: encoder and one lone click on each point of the grid, one after the other; None: not measured.
        memory_bytes: most memory the whole process held.
        gpu_bytes: most memory of tensors on the GPU; 0 without one.
        device: where it ran.
    """

    loaded: bool
    parameters: int
    encode_s: float
    coarse_s: float
    click_s: float
    amortised_s: float
    sat_s: float | None
    memory_bytes: int
    gpu_bytes: int
    device: str

    @property
    def refiner_ratio(self) -> float:
        """Time of the stages behind the first one over the time of the first."""
        return (self.click_s - self.coarse_s) / self.coarse_s


def measure_cost(contender: Contender, record: ImageRecord, settings: Settings) -> Cost:
    """Measure, in a fresh process, on the largest object of an image.

    Raises:
        SamrefError: it failed; the message is its own, or says that the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, contender, record, settings).result()
        except BrokenProcessPool as error:
            raise SamrefError(
                "It was killed while it was measured; most likely there is not enough memory for it."
            ) from error
        except SamrefError:
            raise
        except Exception as error:  # whatever one model runs into, the others are still measured
            raise SamrefError(f"{type(error).__name__}: {error}") from error


def build_predictor(contender: Contender, settings: Settings) -> tuple[EvaluatedPredictor, int, bool]:
    """The predictor, its number of parameters, and whether its weights are its own or random ones."""
    if contender.model == GRABCUT:
        return GrabCutPredictor(), 0, True
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if settings.device == "auto" else settings.device
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    loaded = True
    try:
        model = build_model(contender.model)
        loaded = not contender.refines or "refined" in model.spec.stages
    except CheckpointMissingError:
        loaded = False
    if not loaded:
        model = build_untrained(contender.model)
    return Predictor(model, torch.device(wanted), dtype), count_parameters(model), loaded


def count_parameters(model: object) -> int:
    """Numbers in all networks that a model holds, those of its base included, each counted once."""
    return sum({id(one): one.numel() for module in _networks(model, set()) for one in module.parameters()}.values())


def _networks(value: object, seen: set[int]) -> Iterator[nn.Module]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
    elif type(value).__module__.startswith("samref.models") and hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _networks(part, seen)


def _measure(contender: Contender, record: ImageRecord, settings: Settings) -> Cost:
    predictor, parameters, loaded = build_predictor(contender, settings)
    image = record.read_image()
    target = max(record.read_objects(image), key=lambda one: int(one.gt.sum()))
    # the first run chooses kernels
    _click_through(predictor, image, target, contender.stage, min(3, settings.max_clicks))
    encode_s, seconds = _click_through(predictor, image, target, contender.stage, settings.max_clicks)
    click_s = statistics.fmean(stages[-1] for stages in seconds)
    sat_s = None
    if settings.sat_grid:
        sat_s = sum(sat_latency(predictor, image, stage=contender.stage, side=settings.sat_grid))
    return Cost(
        loaded=loaded,
        parameters=parameters,
        encode_s=encode_s,
        coarse_s=statistics.fmean(stages[0] for stages in seconds),
        click_s=click_s,
        amortised_s=encode_s / AMORTISED_CLICKS + click_s,
        sat_s=sat_s,
        memory_bytes=_peak_memory_bytes(),
        gpu_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        device=str(getattr(predictor, "device", "cpu")),
    )


def _click_through(
    predictor: EvaluatedPredictor, image: DecodedImage, target: ObjectMask, stage: Stage, clicks: int
) -> tuple[float, list[list[float]]]:
    """Label one object as the simulated annotator does: seconds of the encoder and of every stage of every click."""
    recorder = Recorder(predictor)
    embedding = recorder.embed(image)
    click_curve(recorder, embedding, ObjectMask(target.key, target.gt, None), ClickProtocol(clicks), stage)
    return float(embedding.encode_s), [[float(one.seconds) for one in stages] for stages in recorder.answers]


def _peak_memory_bytes() -> int:
    """Most memory this process held since its program started.

    ``getrusage`` alone would not do on Linux: its figure survives ``exec`` and so may be that of the parent.
    """
    try:
        lines = PROCESS_STATUS.read_text("ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
