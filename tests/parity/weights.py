"""The weights that the recordings were computed with, and their measure of error."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def official_value(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of the entry that the whole official model calls ``name``."""
    z: NDArray[np.float32] = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    w: NDArray[np.float32] = z * np.float32(0.05)
    last = name.rpartition(".")[2]
    if last == "positional_encoding_gaussian_matrix":
        return z
    if last == "running_var":
        return np.float32(1) + np.abs(w)
    if (last == "weight" and len(shape) == 1) or last in ("gamma1", "gamma2") or name.endswith("cls_scale_proj.weight"):
        return 1 + w
    if name.endswith("dcn_offset.weight"):
        return w * np.float32(0.1)
    return w


def official_weights(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values for a whole state dict with official names; integer entries stay as they are."""
    return {
        name: torch.from_numpy(official_value(name, tuple(value.shape))) if value.is_floating_point() else value
        for name, value in shapes.items()
    }


def assert_close(
    actual: NDArray[np.floating], expected: NDArray[np.floating], limit: float, what: str, absolute: float = 1e-6
) -> None:
    """The fixtures' measure: the error is at most ``limit`` of the reference's spread, or ``absolute``."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, reference {expected.shape}"
    difference = float(np.abs(actual - expected).max())
    scale = float(expected.std() if expected.size > 1 else np.abs(expected).max())
    assert difference <= limit * scale + absolute, f"{what}: e = {difference / scale:.2e}, limit {limit:.0e}"


def array(x: Tensor) -> NDArray[np.float32]:
    """The values of ``x``."""
    values: NDArray[np.float32] = x.detach().numpy()
    return values
