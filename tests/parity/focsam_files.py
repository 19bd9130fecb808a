"""The reference fixtures of FocSAM, by the form of their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from tests.parity.weights import PARITY

__all__ = ["LIMIT", "Arrays", "array", "cases", "load"]

LIMIT = 1e-3
"""Of the refiner in its real size and of the whole flow."""

Arrays = dict[str, NDArray[Any]]


def cases(pattern: str, *marks: pytest.MarkDecorator) -> list[Any]:
    """The fixtures of that form, or one that says it was skipped."""
    found: list[Any] = [pytest.param(path.stem, marks=marks) for path in sorted(PARITY.glob(f"{pattern}.npz"))]
    return found or [pytest.param(pattern, marks=pytest.mark.skip(f"no {pattern}.npz in {PARITY} (set SAMREF_PARITY)"))]


def load(name: str) -> Arrays:
    return dict(np.load(PARITY / f"{name}.npz"))


def array(x: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = x.detach().numpy()
    return values
