"""Our annotator against the published click simulators, on recorded cases (no recording, no test)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samref.core.masks import mask_iou
from samref.core.oracle import Annotator, next_click

PARITY = Path(os.environ.get("SAMREF_PARITY", Path(__file__).parents[2].parent / "shared" / "parity"))

pytestmark = pytest.mark.skipif(
    not (PARITY / "clicks_next.npz").is_file(),
    reason=f"no recorded clicks in {PARITY}; set SAMREF_PARITY to the folder that holds clicks_next.npz",
)


def recording(name: str) -> dict[str, Any]:
    path = PARITY / f"{name}.npz"
    if not path.is_file():
        return {}
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


NEXT = recording("clicks_next")
SEQUENCES = recording("clicks_sequences")


def numbers(arrays: dict[str, Any], prefix: str) -> list[int]:
    return sorted(int(key.removeprefix(prefix)) for key in arrays if key.startswith(prefix))


@pytest.mark.parametrize("case", numbers(NEXT, "gt_"))
def test_the_next_click_is_the_published_one(case: int) -> None:
    gt = NEXT[f"gt_{case}"]
    click = next_click(NEXT[f"pred_{case}"] > 0, gt == 1, gt == -1, NEXT[f"seen_{case}"] > 0)
    assert [click.y, click.x, int(click.positive)] == NEXT["row_col_positive"][case].tolist()


def replay(case: int, stop_at: float) -> tuple[list[list[int]], list[float]]:
    """Click on the recorded toy predictors: clicks (row, col, positive) and the IoU after each."""
    gt = SEQUENCES[f"gt_{case}"]
    rows, columns = np.indices(gt.shape)
    painter = case < 4
    pred = np.zeros(gt.shape, dtype=np.bool_)
    annotator = Annotator(gt == 1, gt == -1)
    clicks: list[list[int]] = []
    ious: list[float] = []
    for radius in SEQUENCES[f"radii_{case}"]:
        click = annotator.click(pred)
        clicks.append([int(click.y), int(click.x), int(click.positive)])
        disk = (rows - click.y) ** 2 + (columns - click.x) ** 2 <= int(radius) ** 2
        pred = np.where(disk, click.positive if painter else gt == 1, pred)
        ious.append(mask_iou(pred, gt == 1, gt == -1))
        if ious[-1] >= stop_at:
            break
    return clicks, ious


@pytest.mark.parametrize(("recorded", "stop_at"), [("stop95", 0.95), ("all20", float("inf"))])
@pytest.mark.parametrize("case", numbers(SEQUENCES, "gt_"))
def test_a_whole_sequence_of_clicks_is_the_published_one(case: int, recorded: str, stop_at: float) -> None:
    clicks, ious = replay(case, stop_at)
    assert clicks == SEQUENCES[f"{recorded}_clicks_{case}"].tolist()
    assert np.array_equal(np.array(ious, dtype=np.float32), SEQUENCES[f"{recorded}_ious_{case}"])


def test_the_recorded_metrics_are_there_for_the_sequences() -> None:
    metrics = json.loads((PARITY / "clicks_sequences_metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"stop95", "all20"}
