"""The server starts on a machine that has other things to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.attack.client import Person
from tests.attack.figures import Figures
from tests.attack.server import AttackedServer
from tests.attack.size import sized

STARTS = sized(1, 20)
BURNERS_PER_CORE = sized(2, 4)


@contextmanager
def _busy_machine() -> Iterator[None]:
    """Processes that only count, several on each core."""
    count = BURNERS_PER_CORE * (os.cpu_count() or 1)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
        for burner in burners:
            burner.wait()


def test_the_server_starts_on_a_busy_machine(tmp_path_factory: pytest.TempPathFactory, figures: Figures) -> None:
    seconds = []
    for _ in range(STARTS):
        server = AttackedServer(tmp_path_factory.mktemp("busy"))
        try:
            with _busy_machine():
                began = time.perf_counter()
                server.start()
                seconds.append(time.perf_counter() - began)
                person = Person(server.url)
                person.hello()
                person.close()
            assert "Traceback" not in server.said, server.said
            assert server.is_running
        finally:
            server.stop()
    figures.note("busy start", starts=STARTS, failed=0, burning_processes=BURNERS_PER_CORE * (os.cpu_count() or 1))
    figures.times("busy start", "start", seconds)
