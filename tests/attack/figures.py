"""Figures that a measure found, for the table at the end and for a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.attack.size import FULL

__all__ = ["Figures", "quantile"]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Figures:
    """What was measured, by measure; written to $SAMREF_ATTACK_REPORT after each one."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, Any]] = {}

    def note(self, measure: str, **values: Any) -> None:
        """Add figures to a measure."""
        self.measures.setdefault(measure, {}).update(values)
        self._write()

    def times(self, measure: str, what: str, seconds: Sequence[float]) -> None:
        """Add median, 95th percentile and longest of some times."""
        if seconds:
            name = what.replace(" ", "_")
            spread = (statistics.median(seconds), quantile(seconds, 0.95), max(seconds))
            kinds = ("p50", "p95", "max")
            self.note(measure, **{f"{name}_{kind}_s": round(v, 3) for kind, v in zip(kinds, spread, strict=True)})

    def table(self) -> list[str]:
        """Lines to print."""
        return [
            f"{measure:14} {name.replace('_', ' '):46} {value}"
            for measure, values in self.measures.items()
            for name, value in values.items()
        ]

    def _write(self) -> None:
        path = os.environ.get("SAMREF_ATTACK_REPORT")
        if path:
            about = {
                "size": "full" if FULL else "default",
                "seed": os.environ.get("SAMREF_ATTACK_SEED", "1"),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            }
            Path(path).write_text(json.dumps({**about, "measures": self.measures}, indent=1) + "\n", "utf-8")
