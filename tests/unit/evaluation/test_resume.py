from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samref.core.prompts import Prompts
from samref.errors import DataError, ModelError, StorageError
from samref.evaluation import run
from samref.evaluation.grabcut import GrabCutPredictor
from samref.evaluation.noc import ClickCurve, ClickProtocol
from samref.evaluation.report import Report, report_to_dict
from samref.evaluation.run import CurveJournal, evaluate, journal_path, read_header
from samref.inference.predictor import Predictor
from samref.models.registry import build_model
from tests.unit.evaluation.painter import Canvas, Painter, Painting, write_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_zoo(folder, ("air", "zoo"))
    return folder


class Tired(Painter):
    """Fails at its n-th click, as a killed process does."""

    def __init__(self, clicks: int) -> None:
        super().__init__()
        self.left = clicks

    def predict(self, embedding: Canvas, prompts: Prompts, state: Any) -> Iterator[Painting]:
        self.left -= 1
        if self.left < 0:
            raise ModelError("The model's answer is not a number.")
        return super().predict(embedding, prompts, state)


def numbers(report: Report | dict[str, Any]) -> Any:
    """A report's numbers without its times."""
    plain = report if isinstance(report, dict) else report_to_dict(report)
    timed = ("encode_s", "click_s", "click_s_mean", "click_s_p95", "amortised_s", "machine", "workers")

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(one) for key, one in value.items() if key not in timed and key != "measured_before"}
        return [strip(one) for one in value] if isinstance(value, list) else value

    return strip(json.loads(json.dumps(plain)))


@pytest.mark.parametrize("clicks", [0, 1, 7, 14, 30])
def test_an_interrupted_run_goes_on_to_the_same_numbers(zoo: Path, tmp_path: Path, clicks: int) -> None:
    target = tmp_path / "numbers.json"
    whole = evaluate(zoo, Painter(), ClickProtocol(max_clicks=3, stages=("coarse", "refined")))
    with pytest.raises(ModelError):
        evaluate(zoo, Tired(clicks), ClickProtocol(max_clicks=3, stages=("coarse", "refined")), json_path=target)
    assert journal_path(target).exists()
    assert not target.exists()
    painter = Painter()
    resumed = evaluate(zoo, painter, ClickProtocol(max_clicks=3, stages=("coarse", "refined")), json_path=target)
    assert numbers(resumed) == numbers(whole) == numbers(json.loads(target.read_text("utf-8")))
    assert len(painter.states) == 8 * 2 * 3 - clicks // 3 * 3
    assert not journal_path(target).exists()


def test_objects_measured_before_are_counted_and_nothing_is_embedded_for_them(zoo: Path, tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    first = Painter()
    evaluate(zoo, first, ClickProtocol(max_clicks=2), json_path=target, keep_journal=True)
    second = Painter()
    report = evaluate(zoo, second, ClickProtocol(max_clicks=2), json_path=target)
    assert second.embedded == 0
    assert report.measured_before == 8


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"max_clicks": 3}, "max_clicks"),
        ({"stages": ("coarse",)}, "stages"),
        ({"first_prompt": "box"}, "first_prompt"),
        ({"seed": 1, "limit_per_dataset": 1}, "seed"),
        ({"weights": {"a": "1"}}, "weights"),
        ({"model": "other"}, "model"),
    ],
)
def test_other_arguments_do_not_go_on_with_it(zoo: Path, tmp_path: Path, changed: dict[str, Any], word: str) -> None:
    target = tmp_path / "numbers.json"
    evaluate(zoo, Painter(), ClickProtocol(max_clicks=2), json_path=target, keep_journal=True)
    painter = Painter()
    named = {name: changed[name] for name in ("weights", "model") if name in changed}
    protocol = replace(ClickProtocol(max_clicks=2), **{name: one for name, one in changed.items() if name not in named})
    with pytest.raises(DataError, match=f"{word} was.*--restart"):
        evaluate(zoo, painter, protocol, json_path=target, **named)
    assert painter.embedded == 0
    evaluate(zoo, painter, protocol, json_path=target, restart=True, **named)
    assert painter.embedded > 0


def test_other_images_or_masks_do_not_go_on_with_it(zoo: Path, tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    evaluate(zoo, Painter(), ClickProtocol(max_clicks=2), json_path=target, keep_journal=True)
    other = zoo / "air" / "images" / "0.png"
    other.write_bytes((zoo / "air" / "images" / "1.png").read_bytes())
    with pytest.raises(DataError, match="data_sha256 was"):
        evaluate(zoo, Painter(), ClickProtocol(max_clicks=2), json_path=target)


def test_a_report_that_cannot_be_written_costs_no_measurement(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("The disk is full.")

    target = tmp_path / "numbers.json"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_json", full)
        with pytest.raises(StorageError):
            evaluate(zoo, Painter(), ClickProtocol(max_clicks=2), json_path=target)
    painter = Painter()
    evaluate(zoo, painter, ClickProtocol(max_clicks=2), json_path=target)
    assert painter.embedded == 0
    assert target.exists()


def test_workers_may_differ_between_the_two_halves_and_change_no_number(zoo: Path, tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    with pytest.raises(ModelError):
        evaluate(zoo, Tired(7), ClickProtocol(max_clicks=3, workers=3), json_path=target)
    resumed = evaluate(zoo, Painter(), ClickProtocol(max_clicks=3, workers=2), json_path=target)
    assert numbers(resumed) == numbers(evaluate(zoo, Painter(), ClickProtocol(max_clicks=3)))


def test_grabcut_gives_the_same_numbers_with_several_workers(zoo: Path) -> None:
    one = evaluate(zoo, GrabCutPredictor(), ClickProtocol(max_clicks=3))
    three = evaluate(zoo, GrabCutPredictor(), ClickProtocol(max_clicks=3, workers=3))
    assert numbers(one) == numbers(three)


def test_a_network_gives_the_same_numbers_with_several_workers_and_after_an_interruption(
    zoo: Path, tmp_path: Path
) -> None:
    predictor = Predictor(build_model("tiny-random"))
    target = tmp_path / "numbers.json"
    one = evaluate(
        zoo, predictor, ClickProtocol(max_clicks=3, stages=("coarse", "refined")), json_path=target, keep_journal=True
    )
    journal = journal_path(target)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:6])[:-3])
    three = evaluate(
        zoo, predictor, ClickProtocol(max_clicks=3, stages=("coarse", "refined"), workers=3), json_path=target
    )
    assert numbers(one) == numbers(three)
    assert 0 < three.measured_before < 8


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not there")
def test_a_run_killed_with_signal_nine_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    write_zoo(tmp_path / "data", ("air", "zoo"), records=4)
    target = tmp_path / "numbers.json"
    command = [sys.executable, "-m", "samref", "evaluate", "--data", str(tmp_path / "data"), "--model", "grabcut"]
    command += ["--max-clicks", "6", "--json", str(target)]
    journal = journal_path(target)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not target.exists()
    kept = journal.read_bytes().count(b"\n") - 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    written = json.loads(target.read_text("utf-8"))
    assert 3 <= kept <= written["measured_before"] + 1
    whole = evaluate(tmp_path / "data", GrabCutPredictor(), ClickProtocol(max_clicks=6), model="grabcut")
    assert numbers(written) == numbers(whole)


# ---- the journal

HEADER: dict[str, Any] = {"model": "painter", "max_clicks": 3, "weights": {"a": "0" * 64}}


def curve(key: str, *ious: float) -> ClickCurve:
    return ClickCurve(f"zoo/a#{key}", "zoo", ious, tuple(iou / 3 for iou in ious), 0.25, (0.1,) * len(ious))


def test_what_was_kept_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "numbers.json")
    kept = curve("1", 1 / 3, 0.1 + 0.2), curve("2", math.nan, 1.0)
    with closing(CurveJournal(path, HEADER)) as journal:
        journal.keep("coarse", kept[0])
        journal.keep("refined", kept[1])
    with closing(CurveJournal(path, HEADER)) as journal:
        assert list(journal.curves) == [("coarse", "zoo/a#1"), ("refined", "zoo/a#2")]
        assert journal.curves["coarse", "zoo/a#1"] == kept[0]
        again = journal.curves["refined", "zoo/a#2"]
    assert math.isnan(again.ious[0])
    assert again.ious[1] == 1.0


@pytest.mark.parametrize("torn", [b'{"stage": "coarse", "sample_', b"\x00\x00", b""])
def test_a_line_that_a_killed_run_had_not_finished_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(CurveJournal(path, HEADER)) as journal:
        journal.keep("refined", curve("1", 0.5))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with closing(CurveJournal(path, HEADER)) as journal:
        assert list(journal.curves) == [("refined", "zoo/a#1")]
        journal.keep("refined", curve("2", 0.6))
    with closing(CurveJournal(path, HEADER)) as journal:
        assert [key for _, key in journal.curves] == ["zoo/a#1", "zoo/a#2"]


def test_a_run_killed_within_the_header_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    path.write_bytes(b'{"model": "pain')
    with closing(CurveJournal(path, HEADER)) as journal:
        assert journal.curves == {}
    assert read_header(path) == HEADER


def test_a_journal_of_other_arguments_is_refused_with_what_differs_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(CurveJournal(path, HEADER)) as journal:
        journal.keep("refined", curve("1", 0.5))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"max_clicks was 3 and is 9.*--restart") as caught:
        CurveJournal(path, {**HEADER, "max_clicks": 9})
    assert "model" not in str(caught.value).partition("measurement:")[2]
    assert path.read_bytes() == before
    with closing(CurveJournal(path, {**HEADER, "max_clicks": 9}, restart=True)) as journal:
        assert journal.curves == {}


@pytest.mark.parametrize("line", [b"rubbish", b"[1]", b'{"stage": "refined"}', b'{"sample_id": "a"}'])
def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(CurveJournal(path, HEADER)) as journal:
        journal.keep("refined", curve("1", 0.5))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=r"damaged in line 3.*--restart"):
        CurveJournal(path, HEADER)


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(CurveJournal(path, HEADER)), pytest.raises(StorageError, match="Another run"):
        CurveJournal(path, HEADER)


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(CurveJournal(path, HEADER)) as journal:
        journal.keep("refined", curve("1", 0.5))
        monkeypatch.setattr(journal, "_file", _FullAfter(journal._file, 7))
        with pytest.raises(StorageError, match="disk is full"):
            journal.keep("refined", curve("2", 0.5))
        monkeypatch.undo()
    assert [json.loads(line).get("sample_id") for line in path.read_bytes().splitlines()] == [None, "zoo/a#1"]


class _FullAfter:
    """A file on a disk with room for a few bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: memoryview) -> int:
        if self._room == 0:
            raise OSError(28, "No space left on device")
        written: int = self._file.write(data[: self._room])
        self._room -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_header_that_is_not_there_or_no_object_is_empty(tmp_path: Path) -> None:
    assert read_header(tmp_path / "nowhere") == {}
    (tmp_path / "list").write_text("[1]\n")
    assert read_header(tmp_path / "list") == {}
