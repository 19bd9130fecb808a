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
from samref.evaluation.noc import IOU_TARGETS, ClickCurve, score_curves

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


@pytest.mark.parametrize(("recorded", "stop_at"), [("stop95", 0.95), ("all20", float("inf"))])
def test_the_metrics_of_the_sequences_are_the_published_ones(recorded: str, stop_at: float) -> None:
    expected = json.loads((PARITY / "clicks_sequences_metrics.json").read_text(encoding="utf-8"))[recorded]
    assert tuple(expected["thresholds"]) == IOU_TARGETS
    curves = []
    for case in numbers(SEQUENCES, "gt_"):
        ious = tuple(replay(case, stop_at)[1])
        curves.append(ClickCurve(str(case), "recorded", ious, ious, 0.0, (0.0,) * len(ious)))
    scores = score_curves(curves, 20)
    assert list(scores.noc.values()) == pytest.approx(expected["noc"], abs=1e-12)
    assert list(scores.at_max.values()) == expected["at_max"]
    assert list(scores.never.values()) == expected["never"]
    for clicks, iou in expected.get("miou_after_click", {}).items():
        if int(clicks) in scores.miou:
            assert scores.miou[int(clicks)] == pytest.approx(iou, abs=1e-6)
