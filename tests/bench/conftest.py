"""Benches print what they measured and assert only ratios within one run: seconds belong to the machine.

`make bench` lets them use every core; tests run on one (tests/conftest.py).
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Record = Callable[[str, float, str], None]


def machine() -> str:
    """This machine in words."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


@pytest.fixture(scope="session")
def results() -> Iterator[dict[str, tuple[float, str]]]:
    """Everything measured in this run; printed at the end, and written to $SAMREF_BENCH_JSON where that is set."""
    measured: dict[str, tuple[float, str]] = {}
    yield measured
    target = os.environ.get("SAMREF_BENCH_JSON")
    if target and measured:
        values = {name: {"value": value, "unit": unit} for name, (value, unit) in measured.items()}
        Path(target).write_text(json.dumps({"machine": machine(), "measured": values}, indent=2) + "\n")


@pytest.fixture
def record(results: dict[str, tuple[float, str]], capsys: pytest.CaptureFixture[str]) -> Record:
    """Print one measured value and keep it."""

    def keep(name: str, value: float, unit: str) -> None:
        if not results:
            with capsys.disabled():
                print(f"\n{machine()}")
        results[name] = (value, unit)
        with capsys.disabled():
            print(f"  {name:<52} {value:10.3g} {unit}")

    return keep
