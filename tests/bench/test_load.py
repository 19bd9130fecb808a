"""How long people wait for their masks when many click at the same time, and what a click costs the server.

``SAMREF_BENCH_PEOPLE`` ("10,30"), ``SAMREF_BENCH_SECONDS`` (60) and ``SAMREF_PRECISION`` ("auto") choose the load;
``SAMREF_BENCH_CHECKOUT`` names another checkout whose ``app.py`` is measured with the same clicks.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.attack.server import AttackedServer
from tests.bench.people import Person, label_together

Record = Callable[[str, float, str], None]

PEOPLE = [int(count) for count in os.environ.get("SAMREF_BENCH_PEOPLE", "10,30").split(",")]
SECONDS = float(os.environ.get("SAMREF_BENCH_SECONDS", "60"))

STARVED = 3.0
"""Nobody's median wait may be so many times everybody's."""


@pytest.mark.timeout(900 + 2 * SECONDS)
@pytest.mark.parametrize("people", PEOPLE)
def test_many_people_click_and_nobody_is_starved(
    people: int, tmp_path: Path, root: Path, examples_dir: Path, record: Record
) -> None:
    checkout = Path(os.environ.get("SAMREF_BENCH_CHECKOUT", root)).resolve()
    precision = os.environ.get("SAMREF_PRECISION", "auto")
    server = AttackedServer(tmp_path, SAMREF_PRECISION=precision, PYTHONPATH=str(checkout))
    server.checkout = checkout
    server.start()
    used: list[tuple[float, float]] = []  # processor seconds of the server and of these people

    def note_used() -> None:
        times = server.process.cpu_times()
        used.append((times.user + times.system, time.process_time()))

    try:
        with server.without_bugs():
            examples = sorted(path.name for path in examples_dir.glob("*.jpg"))
            everyone = asyncio.run(label_together(server.url, examples, people, SECONDS, note_used))
            note_used()
    finally:
        server.stop()

    assert [refusal for person in everyone for refusal in person.tab.refusals] == []
    (server_before, people_before), (server_after, people_after) = used
    clicks = [click for person in everyone for click in person.clicks]
    coarse = [click.coarse_s for click in clicks if click.coarse_s is not None]
    refined = [click.refined_s for click in clicks if click.refined_s is not None]
    who = f"{people} people"
    for stage, waits in (("coarse", coarse), ("refined", refined)):
        for name, share in (("p50", 50), ("p95", 95), ("max", 100)):
            if waits:
                record(f"{who}, click to {stage}, {name}", 1000 * float(np.percentile(waits, share)), "ms")
    record(f"{who}, clicks", len(clicks), "")
    record(f"{who}, clicks with a mask", 100 * len(coarse) / len(clicks), "%")
    record(f"{who}, clicks overtaken before their refined mask", 100 * (1 - len(refined) / len(clicks)), "%")
    record(f"{who}, objects accepted", sum(person.accepted for person in everyone), "")
    record(f"{who}, objects given up for want of a mask", sum(person.given_up for person in everyone), "")
    record(f"{who}, server's processor time a click", 1000 * (server_after - server_before) / len(clicks), "ms")
    record(f"{who}, these people's processor time a click", 1000 * (people_after - people_before) / len(clicks), "ms")

    assert len(coarse) == len(clicks), "some clicks never got a mask"
    slowest, overall = max(map(_median_wait, everyone)), statistics.median(coarse)
    record(f"{who}, slowest person's median against everybody's", slowest / overall, "x")
    assert slowest <= STARVED * overall


def _median_wait(person: Person) -> float:
    return statistics.median(click.coarse_s for click in person.clicks if click.coarse_s is not None)
