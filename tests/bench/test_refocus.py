"""What FocSAM's refiner costs for objects of different sizes; its own size, random weights (times need no others)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.models.focsam.network import FocusRefiner, PixelUpdate, active_cells, expanded_boxes

Record = Callable[[str, float, str], None]

FRAME = ImageSize(1024, 1024)
GRID = ImageSize(64, 64)
SIDES = (48, 256, 512, 1024)
"""Of square objects in the middle of the first quarter of the frame, in model pixels."""
ROUNDS = 2


@pytest.fixture(scope="module")
def refiner() -> FocusRefiner:
    return FocusRefiner().eval().requires_grad_(False)


def cells_of(side: int) -> Tensor:
    """Where the refiner looks for an object of that side, its box grown as in evaluation."""
    low = max(0, 256 - side // 2)
    box = torch.tensor([[low, low, min(1024, low + side), min(1024, low + side)]])
    return active_cells(expanded_boxes(box, 1.4, 1.4, FRAME), FRAME, GRID)


def measured(refiner: FocusRefiner, cells: Tensor) -> tuple[float, float]:
    """Seconds, and the share of windows that were computed."""
    embedding, token = torch.randn(1, 256, 64, 64), torch.randn(1, 1, 256)
    windows: list[int] = []
    blocks = [block for block in refiner.modules() if isinstance(block, PixelUpdate)]
    handles = [block.register_forward_hook(lambda *call: windows.append(len(call[2]))) for block in blocks]
    seconds = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            started = time.perf_counter()
            refiner(embedding, token, cells)
            seconds.append(time.perf_counter() - started)
    for handle in handles:
        handle.remove()
    return min(seconds), statistics.fmean(windows) / 16


def test_the_refiner_costs_what_the_objects_window_costs(refiner: FocusRefiner, record: Record) -> None:
    measured(refiner, cells_of(48))  # the first one chooses kernels
    seconds: dict[int, float] = {}
    shares: dict[int, float] = {}
    for side in SIDES:
        seconds[side], shares[side] = measured(refiner, cells_of(side))
        record(f"FocSAM's refiner, object of {side} pixels ({shares[side]:.0%} of windows)", 1000 * seconds[side], "ms")
    record("whole frame against the smallest object", seconds[1024] / seconds[48], "x")
    assert shares[48] < 0.2
    assert shares[1024] == 1
    assert seconds[48] < 0.5 * seconds[1024]
    assert seconds[256] < seconds[1024]
