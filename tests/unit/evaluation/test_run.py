from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from samref.errors import DataError
from samref.evaluation import run
from samref.evaluation.grabcut import GrabCutPredictor
from samref.evaluation.noc import ClickProtocol
from samref.evaluation.report import report_to_dict, report_to_table
from samref.evaluation.run import evaluate
from tests.unit.evaluation.painter import Painter, write_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_zoo(folder, ("air", "zoo"))
    return folder


def test_every_object_of_every_data_set_is_measured_once(zoo: Path) -> None:
    report = evaluate(zoo, Painter(), ClickProtocol(max_clicks=4))
    assert [curve.sample_id for curve in report.curves["refined"]] == [
        "air/0#1", "air/0#2", "air/1#1", "air/1#2", "zoo/0#1", "zoo/0#2", "zoo/1#1", "zoo/1#2",
    ]  # fmt: skip
    assert report.macro["refined"].objects == 8
    assert report.datasets["refined"]["air"].objects == 4


def test_one_encode_per_image_serves_all_its_objects_and_both_stages(zoo: Path) -> None:
    painter = Painter()
    report = evaluate(zoo, painter, ClickProtocol(max_clicks=3, stages=("coarse", "refined")))
    assert painter.embedded == 4
    assert set(report.curves) == {"coarse", "refined"}
    assert report.macro["refined"].miou[3] > report.macro["coarse"].miou[3]


def test_a_bar_goes_from_nothing_to_all_objects(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, int]] = []

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "disable": options["disable"] is not None})
            shown.append((self.n, self.total))

        def update(self, n: float | None = 1) -> bool | None:
            super().update(n)
            shown.append((self.n, self.total))
            return None

    monkeypatch.setattr(run, "tqdm", Bar)
    evaluate(zoo, Painter(), ClickProtocol(max_clicks=1, limit_per_dataset=3), progress=True)
    assert shown[0] == (0, 6)
    assert shown[-1] == (6, 6)
    assert shown == sorted(shown)


def test_the_json_file_holds_the_numbers_and_every_curve(zoo: Path, tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    report = evaluate(
        zoo, Painter(), ClickProtocol(max_clicks=5, limit_per_dataset=2, seed=3), model="painter", json_path=target
    )
    written = json.loads(target.read_text("utf-8"))
    assert written == json.loads(json.dumps(report_to_dict(report)))
    assert written["model"] == "painter"
    assert written["protocol"]["limit_per_dataset"] == 2
    stage = written["stages"]["refined"]
    assert set(stage["datasets"]) == {"air", "zoo"}
    assert set(stage["macro"]["noc"]) == {"80", "85", "90", "95"}
    assert set(stage["macro"]["miou"]) == {"1", "3", "5"}
    assert [len(curve["ious"]) for curve in stage["objects"]] == [5] * 4
    assert list(tmp_path.glob(".numbers*")) == []


def test_the_table_has_a_line_per_data_set_and_the_mean(zoo: Path) -> None:
    table = report_to_table(
        evaluate(
            zoo,
            Painter(),
            ClickProtocol(max_clicks=10, stages=("coarse", "refined"), limit_per_dataset=2),
            model="painter",
        )
    )
    lines = table.splitlines()
    assert sum(line.startswith("air ") for line in lines) == 2
    assert sum(line.startswith("mean of data sets ") for line in lines) == 2
    assert "NoC@85" in table
    assert "BIoU@5" in table
    assert "At most 2 objects per data set" in table
    assert max(map(len, lines)) < 180


@pytest.mark.parametrize(
    "options", [{"max_clicks": 0}, {"limit_per_dataset": 0}, {"workers": 0}, {"stop_at": 0.0}, {"stop_at": 1.5}]
)
def test_numbers_out_of_range_are_refused_with_a_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"\.$"):
        ClickProtocol(**options)


def test_a_bad_mask_stops_the_measurement_and_names_the_file(zoo: Path) -> None:
    (zoo / "zoo" / "images" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate(zoo, Painter(), ClickProtocol(max_clicks=1, workers=2))


def test_grabcut_is_measured_like_a_model(zoo: Path) -> None:
    report = evaluate(zoo, GrabCutPredictor(), ClickProtocol(max_clicks=3, limit_per_dataset=1), model="grabcut")
    assert all(0 < curve.ious[-1] <= 1 for curve in report.curves["refined"])
    assert report.macro["refined"].noc[0.80] < 3
