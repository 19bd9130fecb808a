"""The real server as what is attacked: what it says, what it holds in memory, what it leaves on the disk."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from tests.browser.server import Server

__all__ = ["AttackedServer", "Sample", "Watch"]

MIB = 2**20
_BUG = re.compile(r"Traceback \(most recent call last\)|^.*\b(?:ERROR|CRITICAL)\b.*$", re.MULTILINE)


class AttackedServer(Server):
    """``app.py`` with temporary files in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        names = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "GRADIO_TEMP_DIR"), str(self.temporary))
        super().__init__(folder, settings={**names, **settings})

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    @property
    def said(self) -> str:
        """All it has said so far."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""

    @contextmanager
    def without_bugs(self) -> Iterator[None]:
        """Fail when the server ends meanwhile, or logs a traceback or an error."""
        before = len(self.said)
        yield
        said = self.said[before:]
        found = _BUG.search(said)
        assert found is None, f"the server logged a bug:\n{said[max(0, found.start() - 500) : found.start() + 4000]}"
        assert self.is_running, f"the server ended:\n{said[-4000:]}"

    # ---- what lies on the disk

    @property
    def unfinished(self) -> list[Path]:
        """Files that somebody began to write and did not finish."""
        return sorted(self.data.rglob("*.part"))

    @property
    def leftovers(self) -> list[Path]:
        """Temporary files, unfinished ones included."""
        return [path for path in sorted(self.temporary.rglob("*")) if path.is_file()] + self.unfinished

    def check_database(self, scratch: Path) -> None:
        """Fail when the database is damaged. A copy is looked at: the server shall meet it as the kill left it."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for path in self.data.glob("samref.sqlite*"):
            if path.is_file():
                shutil.copy2(path, scratch / path.name)
        connection = sqlite3.connect(scratch / "samref.sqlite")
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            gaps = connection.execute(
                "SELECT workspace_id, digest, COUNT(*), MIN(number), MAX(number) FROM events "
                "GROUP BY workspace_id, digest HAVING MAX(number) - MIN(number) + 1 != COUNT(*)"
            ).fetchall()
            assert gaps == [], f"events are missing in the middle of a log: {gaps}"
        finally:
            connection.close()


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    at: float
    rss: int
    threads: int
    files: int


class Watch:
    """Looks at the server's memory, threads and open files until it is left."""

    def __init__(self, server: AttackedServer, every_s: float = 0.05) -> None:
        self.samples: list[Sample] = []
        self._process = server.process
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    @property
    def peak_mib(self) -> float:
        return max(sample.rss for sample in self.samples) / MIB

    @property
    def grown_mib(self) -> float:
        """Memory at the end beyond that of the beginning."""
        return (self.samples[-1].rss - self.samples[0].rss) / MIB

    def since(self, share: float) -> list[Sample]:
        """The samples after ``share`` of the time."""
        first, last = self.samples[0].at, self.samples[-1].at
        return [sample for sample in self.samples if sample.at >= first + share * (last - first)]

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        try:
            with self._process.oneshot():
                rss, threads = self._process.memory_info().rss, self._process.num_threads()
            self.samples.append(Sample(time.monotonic(), rss, threads, self._process.num_fds()))
        except psutil.NoSuchProcess:
            self._ended.set()
