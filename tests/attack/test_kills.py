"""The server is killed again and again while two people work: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.attack.acts import Labeller, total
from tests.attack.figures import Figures
from tests.attack.model import Act
from tests.attack.server import AttackedServer
from tests.attack.size import seeded, sized

KILLS = sized(4, 200)
KILLS_PER_FOLDER = 20
PEOPLE = 2
LONGEST_WORK_S = 2.5
ACT_S = (0.03, 0.12)
"""How long after an act was sent it is killed at most: quick ones last a few milliseconds, files longer."""

AIMS = (
    "prompt",
    None,
    "paint",
    "import",
    "merge",
    "commit",
    "upload",
    "delete",
    None,
    "reclass",
    "set_visible",
    "import_again",
    None,
    "add_class",
    "change_class",
    "remove_class",
    "undo",
    None,
    "redo",
    "clear",
    "edit",
    "export",
)
"""What a kill aims at: a moment soon after such an act was sent; None for any moment."""


class _Worker(threading.Thread):
    """One labeller at work until the server is gone."""

    def __init__(self, labeller: Labeller) -> None:
        super().__init__(daemon=True)
        self.labeller = labeller
        self.acts = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                self.labeller.act()
                self.acts += 1
        except httpx.TransportError:
            pass  # the kill
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            self.failure = failure


def _work_until_killed(server: AttackedServer, labellers: list[Labeller], rng: random.Random, aim: str | None) -> None:
    begun = threading.Event()

    def watch(act: Act) -> None:
        if act.verb == aim:
            begun.set()

    workers = [_Worker(labeller) for labeller in labellers]
    for worker in workers:
        worker.labeller.wanted, worker.labeller.on_begin = None, watch
        worker.start()
    time.sleep(rng.uniform(0.02, LONGEST_WORK_S))
    if aim is not None:
        begun.clear()
        for worker in workers:
            worker.labeller.wanted = aim
        begun.wait(timeout=2 * LONGEST_WORK_S)  # not everything is possible at all times
        time.sleep(rng.uniform(0, rng.choice(ACT_S)))
    server.kill()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive(), "a request did not end with the server"
        if worker.failure is not None:
            raise worker.failure


def _moment(labeller: Labeller) -> str:
    if labeller.pending is None:
        return "between two"
    if labeller.is_streaming:
        return "while masks streamed"
    return f"in {labeller.pending.verb}"


def test_nothing_acknowledged_is_lost_and_nothing_is_half_done_when_the_server_is_killed(
    tmp_path: Path, figures: Figures
) -> None:
    rng = seeded("kills")
    outcomes: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    starts: list[float] = []
    everybody: list[Labeller] = []
    unfinished = kills = 0
    while kills < KILLS:
        server = AttackedServer(tmp_path / f"folder{kills}", SAMREF_SELF_TEST="0")
        server.start()
        try:
            labellers = [Labeller.new(server.url, random.Random(rng.random())) for _ in range(PEOPLE)]
            everybody += labellers
            for number in range(min(KILLS_PER_FOLDER, KILLS - kills)):
                _work_until_killed(server, labellers, rng, AIMS[kills % len(AIMS)])
                kills += 1
                moments.update(_moment(labeller) for labeller in labellers)
                server.check_database(tmp_path / "copy")
                left = len(server.unfinished)
                assert left <= PEOPLE * (number + 1), f"{left} unfinished files after {number + 1} kills"
                unfinished = max(unfinished, left)
                began = time.perf_counter()
                server.start()
                starts.append(time.perf_counter() - began)
                with server.without_bugs():
                    outcomes.update(labeller.recover() for labeller in labellers)
                wrong = [line for labeller in labellers for line in labeller.wrong]
                assert wrong == [], f"after {kills} kills: {wrong}"
        finally:
            for labeller in everybody:
                labeller.person.close()
            server.stop()
    done = total(everybody)
    figures.note("kills", kills=kills, people=PEOPLE, acknowledged_acts=sum(done.values()), lost_or_half_done=0)
    figures.note("kills", **{f"acts_{kind}": number for kind, number in done.items()})
    figures.note("kills", **{f"kill_{moment.replace(' ', '_')}": n for moment, n in sorted(moments.items())})
    figures.note("kills", **{f"pending_{name.replace(' ', '_')}": n for name, n in sorted(outcomes.items())})
    for what in ("images", "annotations", "masks"):
        figures.note("kills", **{f"{what}_compared": sum(labeller.compared[what] for labeller in everybody)})
    figures.note("kills", most_unfinished_files=unfinished)
    figures.times("kills", "start again", starts)
    assert sum(done.values()) >= 2 * KILLS, "the people hardly got to work"
