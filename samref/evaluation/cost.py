"""What a model costs: parameters, seconds and memory, measured in a process of its own.

A process of its own, because the most memory a process ever held cannot be taken back, and because a model must not
profit from what ran before it.

Source: papers.md 2.4 (SAT latency) and 4.2 (SPC).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from samref.core.images import DecodedImage, decode_image
from samref.core.masks import Mask, Rle
from samref.core.oracle import Annotator
from samref.core.prompts import Prompts
from samref.errors import CheckpointMissingError, SamrefError
from samref.evaluation.grabcut import GrabCutPredictor
from samref.evaluation.latency import GRID_SIDE, sat_latency
from samref.evaluation.noc import AMORTISED_CLICKS, Stage
from samref.inference.predictor import Predictor
from samref.models.interface import InteractiveModel
from samref.models.registry import build_model, build_untrained

__all__ = ["Cost", "CostJob", "Device", "PrecisionName", "Sample", "build_predictor", "measure_cost"]

PROCESS_STATUS = Path("/proc/self/status")

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
PrecisionName: TypeAlias = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and one object in it, as (height, width, COCO counts)."""

    image: str
    gt: tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class CostJob:
    """What to measure.

    Attributes:
        model: name in the zoo, or "grabcut"; empty: only ``untrained`` can be built.
        untrained: name for :func:`samref.models.registry.build_untrained`, taken where the weights are missing.
        stage: up to which stage a click is answered.
        refines: whether the model counts as loaded only with its refiner's weights.
        samples: images with objects to click on.
        clicks: per object.
        sat_grid: clicks along each side of the first image for the SAT latency; 0 leaves it out.
        device: where to run.
        precision: of the model's heavy part.
    """

    model: str
    untrained: str
    stage: Stage
    refines: bool
    samples: tuple[Sample, ...]
    clicks: int = AMORTISED_CLICKS
    sat_grid: int = GRID_SIDE
    device: Device = "auto"
    precision: PrecisionName = "fp32"


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured, in seconds and bytes.

    Attributes:
        loaded: whether the weights are the model's own; False: random ones of the same sizes.
        parameters: numbers in the model; 0 where it has none.
        encode_s: mean over the images.
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


def measure_cost(job: CostJob) -> Cost:
    """Measure in a fresh process.

    Raises:
        SamrefError: the process failed; the message is its own, or says that it was killed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "samref.evaluation.cost"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode < 0:
        raise SamrefError("It was killed while it was measured; most likely there is not enough memory for it.")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SamrefError(lines[-1])
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def build_predictor(job: CostJob) -> tuple[Any, int, bool]:
    """The predictor, its number of parameters, and whether its weights are its own.

    Raises:
        CheckpointMissingError: no weights, and it cannot be built without.
        CheckpointInvalidError: the weights are there but damaged.
    """
    if job.model == "grabcut":
        return GrabCutPredictor(), 0, True
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if job.device == "auto" else job.device
    device = torch.device(wanted)
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    model, loaded = _build(job)
    return Predictor(model, device, dtype), count_parameters(model), loaded


def count_parameters(model: object) -> int:
    """Numbers in all networks that a model holds, those of its base included, each counted once."""
    return sum({id(one): one.numel() for module in _networks(model, set()) for one in module.parameters()}.values())


def _build(job: CostJob) -> tuple[InteractiveModel, bool]:
    if job.model:
        try:
            model = build_model(job.model)
        except CheckpointMissingError:
            if not job.untrained:
                raise
        else:
            if "refined" in model.spec.stages or not job.refines:
                return model, True
    return build_untrained(job.untrained), False


def _networks(value: object, seen: set[int]) -> Iterator[nn.Module]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
    elif type(value).__module__.startswith("samref.models") and hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _networks(part, seen)


def _measure(job: CostJob) -> Cost:
    predictor, parameters, loaded = build_predictor(job)
    records = [(decode_image(Path(one.image).read_bytes()), Rle(*one.gt).to_mask()) for one in job.samples]
    _click_through(predictor, *records[0], job.stage, min(3, job.clicks))  # the first run chooses kernels
    runs = [_click_through(predictor, image, gt, job.stage, job.clicks) for image, gt in records]
    encode_s = statistics.fmean(run.encode_s for run in runs)
    click_s = statistics.fmean(second for run in runs for second in run.last_s)
    return Cost(
        loaded=loaded,
        parameters=parameters,
        encode_s=encode_s,
        coarse_s=statistics.fmean(second for run in runs for second in run.coarse_s),
        click_s=click_s,
        amortised_s=encode_s / AMORTISED_CLICKS + click_s,
        sat_s=_sat(predictor, records[0][0], job),
        memory_bytes=_peak_memory_bytes(),
        gpu_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        device=str(getattr(predictor, "device", "cpu")),
    )


def _sat(predictor: Any, image: DecodedImage, job: CostJob) -> float | None:
    if not job.sat_grid:
        return None
    return sat_latency(predictor, image, stage=job.stage, side=job.sat_grid).total_s


@dataclass(frozen=True, slots=True)
class _Run:
    encode_s: float
    coarse_s: Sequence[float]
    last_s: Sequence[float]


def _click_through(predictor: Any, image: DecodedImage, gt: Mask, stage: Stage, clicks: int) -> _Run:
    """Label one object as the simulated annotator does, and time every stage of every click."""
    embedding = predictor.embed(image)
    annotator = Annotator(gt)
    prompts, state = Prompts(), None
    pred: Mask = np.zeros_like(gt)
    coarse_s: list[float] = []
    last_s: list[float] = []
    for _ in range(clicks):
        prompts = prompts.add(annotator.click(pred))
        seconds: list[float] = []
        for prediction in predictor.predict(embedding, prompts, state):
            seconds.append(float(prediction.seconds))
            last = prediction
            if stage == "coarse":
                break
        coarse_s.append(seconds[0])
        last_s.append(seconds[-1])
        state, pred = last.state, np.ascontiguousarray(last.mask.to_mask())
    return _Run(float(embedding.encode_s), coarse_s, last_s)


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


def _main() -> None:
    given = json.loads(sys.stdin.read())
    samples = tuple(Sample(one["image"], tuple(one["gt"])) for one in given.pop("samples"))
    try:
        cost = _measure(CostJob(samples=samples, **given))
    except SamrefError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(asdict(cost)) + "\n")


if __name__ == "__main__":
    _main()
