from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from samref.errors import DataError, StorageError
from samref.evaluation.noc import ClickCurve
from samref.evaluation.run import Journal, journal_path, read_header

HEADER: dict[str, Any] = {"model": "painter", "max_clicks": 3, "weights": {"a": "0" * 64}}


def curve(key: str, *ious: float) -> ClickCurve:
    return ClickCurve(f"zoo/a#{key}", "zoo", ious, tuple(iou / 3 for iou in ious), 0.25, (0.1,) * len(ious))


def test_what_was_kept_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = journal_path(tmp_path / "numbers.json")
    kept = curve("1", 1 / 3, 0.1 + 0.2), curve("2", math.nan, 1.0)
    with closing(Journal(path, HEADER)) as journal:
        journal.add("coarse", kept[0])
        journal.add("refined", kept[1])
    with closing(Journal(path, HEADER)) as journal:
        assert list(journal.curves) == [("coarse", "zoo/a#1"), ("refined", "zoo/a#2")]
        assert journal.curves["coarse", "zoo/a#1"] == kept[0]
        again = journal.curves["refined", "zoo/a#2"]
    assert math.isnan(again.ious[0])
    assert again.ious[1] == 1.0


@pytest.mark.parametrize("torn", [b'{"stage": "coarse", "sample_', b"\x00\x00", b""])
def test_a_line_that_a_killed_run_had_not_finished_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(Journal(path, HEADER)) as journal:
        journal.add("refined", curve("1", 0.5))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with closing(Journal(path, HEADER)) as journal:
        assert list(journal.curves) == [("refined", "zoo/a#1")]
        journal.add("refined", curve("2", 0.6))
    with closing(Journal(path, HEADER)) as journal:
        assert [key for _, key in journal.curves] == ["zoo/a#1", "zoo/a#2"]


def test_a_run_killed_within_the_header_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    path.write_bytes(b'{"model": "pain')
    with closing(Journal(path, HEADER)) as journal:
        assert journal.curves == {}
    assert read_header(path) == HEADER


def test_a_journal_of_other_arguments_is_refused_with_what_differs_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(Journal(path, HEADER)) as journal:
        journal.add("refined", curve("1", 0.5))
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"max_clicks was 3 and is 9.*--restart") as caught:
        Journal(path, {**HEADER, "max_clicks": 9})
    assert "model" not in str(caught.value).partition("measurement:")[2]
    assert path.read_bytes() == before
    with closing(Journal(path, {**HEADER, "max_clicks": 9}, restart=True)) as journal:
        assert journal.curves == {}


@pytest.mark.parametrize("line", [b"rubbish", b"[1]", b'{"stage": "refined"}', b'{"sample_id": "a"}'])
def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(Journal(path, HEADER)) as journal:
        journal.add("refined", curve("1", 0.5))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=r"damaged in line 3.*--restart"):
        Journal(path, HEADER)


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(Journal(path, HEADER)), pytest.raises(StorageError, match="Another evaluation"):
        Journal(path, HEADER)


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.partial.jsonl"
    with closing(Journal(path, HEADER)) as journal:
        journal.add("refined", curve("1", 0.5))
        monkeypatch.setattr(journal, "_file", _FullAfter(journal._file, 7))
        with pytest.raises(StorageError, match="disk is full"):
            journal.add("refined", curve("2", 0.5))
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
