"""A demo with many visitors: what the server saves when pages make the coarse masks, and who waits how long.

``SAMREF_BENCH_VISITORS`` (30), ``SAMREF_BENCH_EVERY`` (3 seconds between clicks) and ``SAMREF_BENCH_SECONDS`` (60)
choose the load; ``SAMREF_PRECISION`` ("auto") the server's arithmetic.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.attack.server import AttackedServer
from tests.bench.people import Person, label_together

Record = Callable[[str, float, str], None]

VISITORS = int(os.environ.get("SAMREF_BENCH_VISITORS", "30"))
EVERY_S = float(os.environ.get("SAMREF_BENCH_EVERY", "3"))
SECONDS = float(os.environ.get("SAMREF_BENCH_SECONDS", "60"))

STARVED = 3.0
"""Nobody's median wait may be so many times everybody's."""


@pytest.mark.timeout(900 + 4 * SECONDS)
def test_pages_that_make_coarse_masks_themselves_take_work_off_the_server(
    tmp_path: Path, examples_dir: Path, record: Record
) -> None:
    used = {mine: _visit(tmp_path / str(mine), examples_dir, record, coarse_mine=mine) for mine in (False, True)}
    record("server's processor time a click, saved by the pages", 100 * (1 - used[True] / used[False]), "%")
    assert used[True] < used[False]


def _visit(folder: Path, examples_dir: Path, record: Record, *, coarse_mine: bool) -> float:
    """The server's processor seconds a click while everybody clicks; the waits are recorded."""
    folder.mkdir()
    server = AttackedServer(folder, SAMREF_PRECISION=os.environ.get("SAMREF_PRECISION", "auto"))
    server.start()
    used: list[float] = []

    def note_used() -> None:
        times = server.process.cpu_times()
        used.append(times.user + times.system)

    try:
        with server.without_bugs():
            examples = sorted(path.name for path in examples_dir.glob("*.jpg"))
            together = label_together(
                server.url, examples, VISITORS, SECONDS, note_used, every_s=EVERY_S, coarse_mine=coarse_mine
            )
            everyone = asyncio.run(together)
            note_used()
    finally:
        server.stop()

    assert [refusal for person in everyone for refusal in person.tab.refusals] == []
    clicks = [click for person in everyone for click in person.clicks]
    refined = [click.refined_s for click in clicks if click.refined_s is not None]
    who = f"{VISITORS} visitors, {'pages make' if coarse_mine else 'server makes'} coarse masks"
    for name, share in (("p50", 50), ("p95", 95), ("max", 100)):
        record(f"{who}: click to refined, {name}", 1000 * float(np.percentile(refined, share)), "ms")
    record(f"{who}: clicks", len(clicks), "")
    record(f"{who}: overtaken before refined", 100 * (1 - len(refined) / len(clicks)), "%")
    seconds = (used[1] - used[0]) / len(clicks)
    record(f"{who}: server's processor time a click", 1000 * seconds, "ms")
    medians = [_median_wait(person) for person in everyone]
    overall = statistics.median(refined)
    record(f"{who}: slowest visitor's median against everybody's", max(medians) / overall, "x")
    assert all(any(click.refined_s is not None for click in person.clicks) for person in everyone), "somebody starved"
    assert max(medians) <= STARVED * overall
    return seconds


def _median_wait(person: Person) -> float:
    return statistics.median(click.refined_s for click in person.clicks if click.refined_s is not None)
