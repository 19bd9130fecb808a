"""What a running measurement has found out so far, on disk, so that a killed run goes on where it stopped.

A journal is a file of JSON lines: a header that says what is measured, then one line per object and stage, each on the
disk before the next object is begun. A run that is started again with the same arguments reads it and measures the
rest only. NaN is written as ``NaN``, which Python's JSON reader takes back and strict ones do not.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import fields
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from samref.errors import DataError, StorageError
from samref.evaluation.noc import ClickCurve, Stage
from samref.files import disk_errors

__all__ = ["JOURNAL_SUFFIX", "Journal", "journal_path", "read_header"]

JOURNAL_SUFFIX = ".partial.jsonl"

_VALUE_SHOWN = 40
"""Longest value of an argument that is quoted when two runs differ in it."""


def journal_path(target: Path) -> Path:
    """Where the journal of a report lies: beside it."""
    return target.with_name(target.name + JOURNAL_SUFFIX)


def read_header(path: Path) -> dict[str, Any]:
    """What an interrupted run was told; empty where there was none or its header cannot be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


class Journal:
    """An open journal. Any number of threads may add to it.

    Attributes:
        path: the file.
        curves: what earlier runs left, by stage and object.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        """Open it, or begin it where there is none.

        Args:
            path: the file.
            header: everything the numbers depend on, as JSON values.
            restart: throw away what is there.

        Raises:
            DataError: the file belongs to a measurement with other arguments, or is not a journal.
            StorageError: it cannot be read or written, or another process is writing it.
        """
        self.path = path
        self.curves: dict[tuple[Stage, str], ClickCurve] = {}
        self._lock = threading.Lock()
        with disk_errors(f"{path} cannot be written"):
            self._file: FileIO = path.open("a+b", buffering=0)
        try:
            _claim(self._file, path)
            self._begin(json.loads(json.dumps(header)), restart)
        except BaseException:
            self._file.close()
            raise

    def add(self, stage: Stage, curve: ClickCurve) -> None:
        """Keep one object's curve; it is on the disk when this returns.

        Raises:
            StorageError: no space left. What was kept before stays, and the run can go on from there later.
        """
        with self._lock:
            self._append({"stage": stage, **_to_json(curve)})

    def remove(self) -> None:
        """Delete the file: the report holds everything now."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _begin(self, header: Mapping[str, Any], restart: bool) -> None:
        with disk_errors(f"{self.path} cannot be read"):
            self._file.seek(0)
            lines = self._file.read().split(b"\n")
        whole = [] if restart else lines[:-1]  # behind the last line break is what a killed run had not finished
        if whole:
            _compare_headers(self.path, _parse(self.path, 1, whole[0]), header)
            for number, line in enumerate(whole[1:], 2):
                stage, curve = _curve_from(self.path, number, _parse(self.path, number, line))
                self.curves[stage, curve.sample_id] = curve
        with disk_errors(f"{self.path} cannot be written"):
            self._file.truncate(sum(len(line) + 1 for line in whole))
        if not whole:
            self._append(header)

    def _append(self, value: Mapping[str, Any]) -> None:
        """A line, whole or not at all."""
        line = memoryview(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n")
        with disk_errors(f"{self.path} could not be continued"):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise


def _claim(file: FileIO, path: Path) -> None:
    """One process at a time, where the system can tell."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(
            f"Another evaluation is writing {path} right now. Wait for it, or name another file."
        ) from error


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise _damaged(path, number) from error
    if not isinstance(value, dict):
        raise _damaged(path, number)
    return value


def _compare_headers(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    differing = [
        f"{key} was {_shown(old.get(key))} and is {_shown(new.get(key))}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise DataError(
            f"{path} was left by another measurement: {'; '.join(differing)}. "
            "Give the same arguments to go on with it, or --restart to throw it away."
        )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN else f"{text[: _VALUE_SHOWN - 3]}..."


def _to_json(curve: ClickCurve) -> dict[str, Any]:
    return {field.name: getattr(curve, field.name) for field in fields(curve)}


def _curve_from(path: Path, number: int, line: dict[str, Any]) -> tuple[Stage, ClickCurve]:
    try:
        stage: Stage = line.pop("stage")
        return stage, ClickCurve(**{name: _frozen(value) for name, value in line.items()})
    except (KeyError, TypeError) as error:
        raise _damaged(path, number) from error


def _frozen(value: Any) -> Any:
    """JSON has lists only; a curve is made of tuples."""
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def _damaged(path: Path, number: int) -> DataError:
    return DataError(f"{path} is damaged in line {number}. Start with --restart to throw it away and measure anew.")
