"""Our annotator against the published click simulators: every recording of clicks in the folder, by its own contents.

``clicks_next*.npz`` holds single clicks, ``clicks_sequences*.npz`` with ``..._metrics.json`` whole labellings. How many
cases a file has, how many clicks and which thresholds is read from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from samref.core.masks import Mask, mask_iou
from samref.core.oracle import Annotator, next_click
from samref.evaluation.noc import ClickCurve, score_curves
from tests.parity.recordings import Arrays, files, load


def numbers(arrays: Arrays, prefix: str) -> list[int]:
    return sorted(int(key.removeprefix(prefix)) for key in arrays if key.startswith(prefix))


def named(found: Sequence[Any], pattern: str) -> list[Any]:
    """The parameters, or one that says why there are none."""
    reason = f"no recording {pattern} (set SAMREF_PARITY)"
    nothing = pytest.param(*[None] * 3, marks=pytest.mark.skip(reason=reason))
    return [pytest.param(*one, id="-".join(map(str, (one[0].stem, *one[1:])))) for one in found] or [nothing]


NEXT = {path: load(path) for path in files("clicks_next*.npz")}
SEQUENCES = {path: load(path) for path in files("clicks_sequences*.npz")}


def endings(arrays: Arrays) -> dict[str, float]:
    """The ways in which a file's labellings end: at an IoU, or never."""
    ways = sorted({key.partition("_clicks_")[0] for key in arrays if "_clicks_" in key})
    return {way: int(way.removeprefix("stop")) / 100 if way.startswith("stop") else float("inf") for way in ways}


RECORDED = [(path, way, stop_at) for path, arrays in SEQUENCES.items() for way, stop_at in endings(arrays).items()]


@pytest.mark.parametrize(
    ("path", "case", "_"),
    named([(path, case, 0) for path, arrays in NEXT.items() for case in numbers(arrays, "gt_")], "clicks_next*"),
)
def test_the_next_click_is_the_published_one(path: Path, case: int, _: int) -> None:
    arrays = NEXT[path]
    gt = arrays[f"gt_{case}"]
    click = next_click(arrays[f"pred_{case}"] > 0, gt == 1, gt == -1, arrays[f"seen_{case}"] > 0)
    assert [click.y, click.x, int(click.positive)] == arrays["row_col_positive"][case].tolist()


def painted(pred: Mask, gt: NDArray[Any], row: int, column: int, positive: bool, radius: int, paints: bool) -> Mask:
    """A toy predictor: a disk of the click's sign, or a disk in which all becomes right."""
    rows, columns = np.indices(gt.shape)
    disk = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    answer: Mask = np.where(disk, positive if paints else gt == 1, pred)
    return answer


def is_painter(arrays: Arrays, case: int, way: str) -> bool:
    """Which toy predictor a case was recorded with: the one whose IoUs under the *recorded* clicks are the recorded."""
    gt, wanted = arrays[f"gt_{case}"], arrays[f"{way}_ious_{case}"]
    fits = []
    for paints in (True, False):
        pred: Mask = np.zeros(gt.shape, dtype=np.bool_)
        ious = []
        for click, radius in zip(arrays[f"{way}_clicks_{case}"].tolist(), arrays[f"radii_{case}"], strict=False):
            pred = painted(pred, gt, click[0], click[1], bool(click[2]), int(radius), paints)
            ious.append(mask_iou(pred, gt == 1, gt == -1))
        if np.array_equal(np.array(ious, dtype=np.float32), wanted):
            fits.append(paints)
    assert fits, f"case {case} was recorded with neither of the two toy predictors"
    return fits[0]


def replay(arrays: Arrays, case: int, way: str, stop_at: float) -> tuple[list[list[int]], list[float]]:
    """Our own clicks (row, column, positive) on the toy predictor, and the IoU after each."""
    gt, paints = arrays[f"gt_{case}"], is_painter(arrays, case, way)
    pred: Mask = np.zeros(gt.shape, dtype=np.bool_)
    annotator = Annotator(gt == 1, gt == -1)
    clicks: list[list[int]] = []
    ious: list[float] = []
    for radius in arrays[f"radii_{case}"]:
        click = annotator.click(pred)
        clicks.append([int(click.y), int(click.x), int(click.positive)])
        pred = painted(pred, gt, int(click.y), int(click.x), click.positive, int(radius), paints)
        ious.append(mask_iou(pred, gt == 1, gt == -1))
        if ious[-1] >= stop_at:
            break
    return clicks, ious


@pytest.mark.parametrize(("path", "way", "stop_at"), named(RECORDED, "clicks_sequences*"))
def test_whole_sequences_of_clicks_are_the_published_ones(path: Path, way: str, stop_at: float) -> None:
    arrays = SEQUENCES[path]
    for case in numbers(arrays, "gt_"):
        clicks, ious = replay(arrays, case, way, stop_at)
        assert clicks == arrays[f"{way}_clicks_{case}"].tolist(), case
        assert np.array_equal(np.array(ious, dtype=np.float32), arrays[f"{way}_ious_{case}"]), case


@pytest.mark.parametrize(("path", "way", "stop_at"), named(RECORDED, "clicks_sequences*"))
def test_the_metrics_of_the_sequences_are_the_published_ones(path: Path, way: str, stop_at: float) -> None:
    metrics = path.with_name(f"{path.stem}_metrics.json")
    expected = json.loads(metrics.read_text(encoding="utf-8"))[way]
    arrays = SEQUENCES[path]
    curves = []
    for case in numbers(arrays, "gt_"):
        ious = tuple(replay(arrays, case, way, stop_at)[1])
        curves.append(ClickCurve(str(case), "recorded", ious, ious, 0.0, (0.0,) * len(ious)))
    most = max(len(arrays[f"radii_{case}"]) for case in numbers(arrays, "gt_"))
    scores = score_curves(curves, most, tuple(expected["thresholds"]))
    assert list(scores.noc.values()) == pytest.approx(expected["noc"], abs=1e-12)
    assert list(scores.at_max.values()) == expected["at_max"]
    assert list(scores.never.values()) == expected["never"]
    for clicks, iou in expected.get("miou_after_click", {}).items():
        mean = sum(curve.iou_after(int(clicks)) for curve in curves) / len(curves)
        assert mean == pytest.approx(iou, abs=1e-6)
