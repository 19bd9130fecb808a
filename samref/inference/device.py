"""Where a model runs and in which precision, and the one call that makes a ready predictor."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from samref.errors import ModelError
from samref.inference.predictor import Predictor
from samref.settings import is_zero_gpu

if TYPE_CHECKING:
    from samref.models.sam.model import MultimaskMode

__all__ = ["PRECISION_VARIABLE", "Precision", "choose_device", "choose_precision", "load_predictor"]

Precision: TypeAlias = Literal["auto", "fp32", "bf16"]

PRECISION_VARIABLE = "SAMREF_PRECISION"
"""Environment variable that decides where the caller says ``auto``."""

_WORTH_IT = 0.9
"""bf16 must need at most this share of fp32's time; for less it is not worth its rounding."""

_REPEATS = 5
_PROBE_BUDGET_S = 0.3
"""On a machine that is busy with other things fewer repeats must do: the start of the app waits for them."""


def load_predictor(
    name: str = "tiny",
    *,
    device: str = "auto",
    precision: str = "auto",
    checkpoint: str | Path | None = None,
    multimask: MultimaskMode | None = None,
) -> Predictor:
    """A model, ready to be asked.

    Args:
        name: as ``python -m samref models`` lists them.
        device: ``auto`` (a GPU when there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        precision: ``fp32``, ``bf16``, or ``auto``: what the environment variable SAMREF_PRECISION says, else bf16 on
            a CPU that has it and on which a short measurement shows it to be faster, else fp32.
        checkpoint: take the weights from this file.
        multimask: for Segment Anything, when it computes three masks and takes the best; None: at a lone first click.

    Raises:
        ModelError: no such model, device or precision; weights missing or damaged.
    """
    from samref.models.registry import build_model
    from samref.models.sam.model import with_multimask

    chosen = choose_device(device)
    dtype = choose_precision(precision, chosen)
    path = None if checkpoint is None else Path(checkpoint)
    model = build_model(name, device=chosen, dtype=dtype, checkpoint=path)
    if multimask is not None:
        model = with_multimask(model, multimask)
    return Predictor(model, chosen, dtype)


def choose_device(device: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is the GPU when there is one.

    Where a GPU is only lent for seconds (ZeroGPU), torch says that there is one, but a thread that touches it dies: it
    is the CPU there (docs/adr/0019-zero-gpu.md).

    Raises:
        ModelError: there is no such device on this machine.
    """
    if is_zero_gpu(os.environ):
        if device not in ("auto", "cpu"):
            raise ModelError(f"This Space is lent a GPU for seconds only, so {device!r} cannot be used. Use cpu.")
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ModelError(f"There is no device {device!r} on this machine. Use auto, cpu or cuda.") from error
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The number format for a device; see :func:`load_predictor` for what ``auto`` means.

    Raises:
        ModelError: no such precision, here or in the environment.
    """
    wanted = precision
    if wanted == "auto":
        wanted = os.environ.get(PRECISION_VARIABLE, "").strip() or "auto"
    if wanted not in get_args(Precision):
        where = "" if precision != "auto" else f" (from the environment variable {PRECISION_VARIABLE})"
        raise ModelError(f"There is no precision {wanted!r}{where}. Use auto, fp32 or bf16.")
    if wanted == "auto":
        wanted = "bf16" if device.type == "cpu" and _bf16_pays_on_cpu() else "fp32"
    return torch.bfloat16 if wanted == "bf16" else torch.float32


@functools.cache
def _bf16_pays_on_cpu() -> bool:
    """Whether this CPU computes faster in bf16; measured once per process, in a tenth of a second."""
    if not _cpu_has_bf16():
        return False
    single, half = _probe(torch.float32), _probe(torch.bfloat16)
    times: list[tuple[float, float]] = []
    with torch.inference_mode():
        _warm_up(single, half)
        started = time.perf_counter()
        # In turns, and the best of each: another program on the machine must not decide.
        while not times or (len(times) < _REPEATS and time.perf_counter() - started < _PROBE_BUDGET_S):
            times.append((_seconds(single), _seconds(half)))
    return min(half_s for _, half_s in times) <= _WORTH_IT * min(single_s for single_s, _ in times)


def _warm_up(*probes: Callable[[], None]) -> None:
    """The first run chooses kernels; it is not measured."""
    for probe in probes:
        probe()


def _cpu_has_bf16() -> bool:
    """Whether there are instructions for it; without them bf16 is emulated, slower, and never worth a try."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public question for this
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _probe(dtype: torch.dtype) -> Callable[[], None]:
    """A few layers in the proportions of the embedded model: 1x1, depthwise and 3x3 convolution, norm, linear."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).mul_(0.05).to(dtype)

    image, deep, tokens = random(1, 24, 96, 96), random(1, 64, 32, 32), random(1, 1024, 128)
    fine, widen, depthwise = random(24, 24, 3, 3), random(384, 64, 1, 1), random(384, 1, 3, 3)
    narrow, weight = random(64, 384, 1, 1), random(256, 128)

    def run() -> None:
        x = F.conv2d(image, fine, padding=1)
        F.conv2d(F.gelu(F.group_norm(x, 1)), fine, padding=1)
        y = F.relu6(F.conv2d(F.relu6(F.conv2d(deep, widen)), depthwise, padding=2, dilation=2, groups=384))
        F.conv2d(y, narrow)
        F.gelu(F.linear(tokens, weight))

    return run
