"""The machine is lost with its disk while two people work: what the page called saved comes back on another one."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.attack.acts import Labeller
from tests.attack.client import Person, RefusedError, taken
from tests.attack.figures import Figures
from tests.attack.model import Act, World, after
from tests.attack.server import AttackedServer
from tests.attack.size import seeded, sized

LOSSES = sized(3, 40)
LOSSES_PER_PLACE = 10
TAKEOVERS = sized(1, 8)
PEOPLE = 2
LONGEST_WORK_S = 4.0
SHIPPING = {"SAMREF_SELF_TEST": "0", "SAMREF_SHIP_EVERY_S": "0.4", "SAMREF_SNAPSHOT_EVERY_S": "2.5"}


class TakenOverError(Exception):
    """The server refuses, since another one has taken over."""


@dataclass
class Rememberer(Labeller):
    """A labeller who remembers the workspace after each act, and when the server said that the act was done."""

    past: list[tuple[float | None, World]] = field(default_factory=list)
    acknowledged_at: float | None = None

    def __post_init__(self) -> None:
        self.past = [(time.time(), self.world)]

    def __setattr__(self, name: str, value: object) -> None:
        if name == "is_acknowledged":
            if not value:
                self.acknowledged_at = None
            elif not self.is_acknowledged:
                self.acknowledged_at = time.time()
        super().__setattr__(name, value)

    def do(self, act: Act) -> None:
        super().do(act)
        self.past.append((self.acknowledged_at, self.world))

    def _perform(self, act: Act, expected: World) -> None:
        try:
            super()._perform(act, expected)
        except RefusedError as refused:
            if "Another server has taken over" in str(refused):
                raise TakenOverError from refused
            raise

    def begin_with(self, world: World) -> None:
        """Go on from what came back."""
        self.pending, self.world = None, world
        self.past = [(time.time(), world)]

    def candidates(self) -> list[tuple[float | None, World]]:
        """What may have come back, newest first; with the moment from which on it is the least that may."""
        found = [*self.past]
        if self.pending is not None and self.pending.verb not in ("export", "look"):
            found.append((self.acknowledged_at, after(self.world, self.pending)))
        return found[::-1]


class _Work(threading.Thread):
    """A person at work until the server is gone, or refuses because another one has taken over."""

    def __init__(self, labeller: Rememberer) -> None:
        super().__init__(daemon=True)
        self.labeller = labeller
        self.is_ended = threading.Event()
        self.is_refused = False
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_ended.is_set():
                self.labeller.act()
        except httpx.TransportError:
            pass  # the loss
        except TakenOverError:
            self.is_refused = True
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            self.failure = failure


class _Watch(threading.Thread):
    """Somebody who looks at the page all the time: the last moment up to which it called work saved."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.person = Person(url, token)
        self.up_to: float = 0.0
        self.is_taken_over = threading.Event()
        self.went_back: list[tuple[float, float]] = []

    def run(self) -> None:
        with suppress(httpx.TransportError), self.person.http:
            while True:
                response = self.person.http.get("samref/saved", headers=self.person.headers)
                said = taken(response)["saved"]
                if said["up_to"] is not None:
                    if said["up_to"] < self.up_to:
                        self.went_back.append((self.up_to, said["up_to"]))
                    self.up_to = said["up_to"]
                if said["is_taken_over"]:
                    self.is_taken_over.set()
                time.sleep(0.02)


@contextmanager
def _at_work(labellers: list[Rememberer], url: str, *, are_refused: bool = False) -> Iterator[_Watch]:
    """They work meanwhile; at the end the server must be gone, or ``are_refused`` and have refused them all."""
    token = labellers[0].person.token
    assert token is not None
    watch = _Watch(url, token)
    workers = [_Work(labeller) for labeller in labellers]
    for thread in (watch, *workers):
        thread.start()
    yield watch
    for worker in workers:
        worker.is_ended.set()
        worker.join(timeout=60)
        assert not worker.is_alive(), "a request did not end with the server"
        if worker.failure is not None:
            raise worker.failure
        assert worker.is_refused == are_refused, "a server that was driven out took work"
    watch.join(timeout=60)
    assert watch.went_back == [], "a moment that was called saved was taken back"


def _come_back(labeller: Rememberer, url: str, up_to: float) -> int:
    """Find the workspace again as it was after some act, not before ``up_to``; how many later acts are lost."""
    person = Person(url, labeller.person.token)
    labeller.person.close()
    labeller.person = person
    hello = person.hello()
    views = {image["digest"]: person.open(image["digest"])["view"] for image in hello["workspace"]["images"]}
    found = labeller.candidates()
    wrong = []
    for later, (_, world) in enumerate(found):
        differences = labeller._all_differences(world, hello, views)
        if not differences:
            acknowledged = [at for at, _ in found[:later] if at is not None]
            assert all(at >= up_to for at in acknowledged), (
                f"{len(acknowledged)} acts are gone, and up to {up_to} all was called saved: {acknowledged}"
            )
            labeller.begin_with(world)
            labeller._take_over(views)
            return len(acknowledged)
        wrong.append(differences[:2])
    raise AssertionError(f"what came back was never there: {wrong[:4]}")


def _newcomers(url: str, rng: random.Random) -> list[Rememberer]:
    return [Rememberer.new(url, random.Random(rng.random())) for _ in range(PEOPLE)]  # type: ignore[misc]


def _wait_until_saved(labellers: list[Rememberer]) -> None:
    """Until the two have a workspace that survives; a loss before that leaves them nothing to compare."""
    person, began = labellers[0].person, time.time()
    while True:
        said = taken(person.http.get("samref/saved", headers=person.headers))["saved"]
        if said["up_to"] is not None and said["up_to"] > began:
            return
        assert time.time() < began + 30, said
        time.sleep(0.05)


def test_what_was_called_saved_survives_the_loss_of_the_machine(tmp_path: Path, figures: Figures) -> None:
    rng = seeded("losses")
    gaps: list[float] = []
    starts: list[float] = []
    counts: Counter[str] = Counter()
    while counts["losses"] < LOSSES:
        folder = tmp_path / f"place{counts['losses']}"
        server = AttackedServer(folder, SAMREF_SHIP_TO=f"file://{folder}/depot", **SHIPPING)
        labellers: list[Rememberer] = []
        server.start()
        try:
            labellers = _newcomers(server.url, rng)
            _wait_until_saved(labellers)
            for _ in range(min(LOSSES_PER_PLACE, LOSSES - counts["losses"])):
                with _at_work(labellers, server.url) as watch:
                    time.sleep(rng.uniform(0.02, LONGEST_WORK_S))
                    server.kill()
                    killed_at = time.time()
                if watch.up_to:  # else it was lost before anybody was told anything
                    gaps.append(killed_at - watch.up_to)
                counts["acts"] += sum(len(labeller.past) for labeller in labellers)
                shutil.rmtree(server.data)
                began = time.perf_counter()
                server.start()
                starts.append(time.perf_counter() - began)
                with server.without_bugs():
                    counts["after the moment"] += sum(
                        _come_back(labeller, server.url, watch.up_to) for labeller in labellers
                    )
                counts["losses"] += 1
                assert [line for labeller in labellers for line in labeller.wrong] == []
                figures.note("lost machine", losses=counts["losses"], acts=counts["acts"], called_saved_and_lost=0)
                figures.note("lost machine", acts_after_the_shown_moment_lost=counts["after the moment"])
                figures.times("lost machine", "between the shown moment and the loss", gaps)
                figures.times("lost machine", "start with an empty disk", starts)
        finally:
            for labeller in labellers:
                labeller.person.close()
            server.stop()
    assert counts["acts"] >= 2 * LOSSES, "the people hardly got to work"


def test_the_moment_holds_when_a_new_server_starts_beside_the_old_one(tmp_path: Path, figures: Figures) -> None:
    rng = seeded("takeovers")
    lost = 0
    for number in range(TAKEOVERS):
        folder = tmp_path / f"place{number}"
        old = AttackedServer(folder / "old", SAMREF_SHIP_TO=f"file://{folder}/depot", **SHIPPING)
        new = AttackedServer(folder / "new", SAMREF_SHIP_TO=f"file://{folder}/depot", **SHIPPING)
        old.start()
        labellers: list[Rememberer] = []
        try:
            labellers = _newcomers(old.url, rng)
            _wait_until_saved(labellers)
            with _at_work(labellers, old.url, are_refused=True) as watch:
                new.start()
                assert watch.is_taken_over.wait(30), "the old server does not give way"
                time.sleep(5.0)  # each of them has tried to do something by then
                old.kill()
            with new.without_bugs():
                lost += sum(_come_back(labeller, new.url, watch.up_to) for labeller in labellers)
        finally:
            for labeller in labellers:
                labeller.person.close()
            old.stop()
            new.stop()
    figures.note("lost machine", takeovers=TAKEOVERS, acts_refused_or_after_the_moment=lost)
