"""SAM-REF's ablations of use: one model with its own weights, asked in several ways.

What needs no other training is measured: the local refiner, the dynamic selector and its direction, and which mask the
base gets back. Source: papers.md 1.1 for the rows of the paper's tables.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from samref.errors import DataError, ModelError
from samref.evaluation.noc import ClickProtocol
from samref.evaluation.report import markdown_table, score_cells, weights_digests
from samref.evaluation.run import evaluate
from samref.inference.device import choose_device, choose_precision
from samref.inference.predictor import Predictor
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import Selector

TARGETS = (0.85, 0.90)
BASE = "base alone"
USES: Mapping[str, Mapping[str, Any]] = {
    BASE: {},
    "as shipped": {},
    "without LFR": {"use_local": False},
    **{f"DS {selector}": {"selector": selector} for selector in get_args(Selector)},
    "final mask given back": {"feedback": "final"},
}
"""What of :class:`samref.models.sam_ref.network.SamRefConfig` each row changes."""


def ablate(
    data: Path,
    model: str,
    protocol: ClickProtocol,
    out: Path,
    uses: Sequence[str] = (),
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    told: Callable[[str], None] = lambda _: None,
) -> str:
    """A Markdown table with a row for each way of use (all unless told); reports and journals lie in ``out``.

    Called again in the same words, it measures nothing twice.
    """
    unknown = [name for name in uses if name not in USES]
    if unknown:
        raise DataError(f"There is no row {unknown[0][:60]!r}. There are: {'; '.join(USES)}.")
    chosen = choose_device(device)
    dtype = choose_precision(precision, chosen)
    shipped = build_model(model, device=chosen, dtype=dtype, checkpoint=checkpoint)
    if not isinstance(shipped, SamRefModel):
        raise ModelError(f"{model} has no SAM-REF refiner to use in another way. Choose tiny or a sam-ref-* model.")
    rows: list[list[str]] = []
    for name, changes in USES.items():
        if uses and name not in uses:
            continue
        told(name)
        refiner = copy.copy(shipped.refiner)
        refiner.config = replace(refiner.config, **changes)
        used = SamRefModel(shipped.base, refiner, shipped.spec)
        report = evaluate(
            data,
            Predictor(used, chosen, dtype),
            replace(protocol, stages=("coarse" if name == BASE else "refined",)),
            model=f"{model}, {name}",
            weights=weights_digests(model, checkpoint),
            json_path=out / f"{name.replace(' ', '-')}.json",
            keep_journal=True,
            progress=True,
        )
        (scores,) = report.macro.values()
        clicks = min(scores.miou), max(scores.miou)
        good = score_cells(scores, TARGETS, (), clicks, clicks)
        cells = {"use": name, "objects": str(scores.objects), **good, "ms / click": f"{1000 * scores.click_s:.0f}"}
        rows = rows or [list(cells)]
        rows.append(list(cells.values()))
    return markdown_table(rows) + "\n"
