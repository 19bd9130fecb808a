"""The recordings of published code: small ones in the repository, all of them in the folder SAMREF_PARITY."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

FIXTURES = Path(__file__).with_name("fixtures")

Arrays = dict[str, NDArray[Any]]


def files(pattern: str) -> list[Path]:
    """The recordings of that form; one in SAMREF_PARITY comes before its smaller copy in the repository."""
    found = {path.name: path for path in FIXTURES.glob(pattern)}
    if large := os.environ.get("SAMREF_PARITY"):
        found.update({path.name: path for path in Path(large).glob(pattern)})
    return [found[name] for name in sorted(found)]


def require(name: str) -> Path:
    """One recording; the test is skipped where there is none."""
    found = files(name)
    if not found:
        pytest.skip(f"no recording {name} (SAMREF_PARITY names the folder that holds all of them)")
    return found[0]


def load(path: Path) -> Arrays:
    """The arrays of a recording by name."""
    with np.load(path) as file:
        return dict(file)


def cases(pattern: str, *marks: pytest.MarkDecorator) -> list[Any]:
    """The names of the recordings of that form as parameters, or one that says there are none."""
    skip = pytest.mark.skip(f"no recording {pattern}.npz (SAMREF_PARITY names the folder that holds all of them)")
    found: list[Any] = [pytest.param(path.stem, marks=marks) for path in files(f"{pattern}.npz")]
    return found or [pytest.param(pattern, marks=skip)]


def strided(x: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Every n-th element along each axis, n such that the shape becomes that of ``like``."""
    steps = [slice(None, None, -(-own // wanted)) for own, wanted in zip(x.shape, like.shape, strict=True)]
    taken: NDArray[Any] = x[tuple(steps)]
    return taken
