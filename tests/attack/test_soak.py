"""Several people at work without a pause: memory, threads and files stay as they were after the warm-up."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter

import numpy as np
import pytest

from tests.attack import images
from tests.attack.client import Person
from tests.attack.figures import Figures
from tests.attack.server import MIB, AttackedServer, Sample, Watch
from tests.attack.size import seeded, sized

SECONDS = sized(10, 600)
PEOPLE = 4
IMAGES = 6
WARM_UP_S = sized(5, 120)
"""Time after which everything that is kept should have been filled; it comes before the seconds above."""

GROWTH_MIB = sized(90, 80)
"""Memory that may be gained from then to the end, by a straight line through all samples."""

GROWTH_FILES = 4
GROWTH_THREADS = 4
"""Files and threads that may be gained between the first and the last quarter, in the median."""


class _Worker(threading.Thread):
    """Opens and closes images, clicks, accepts, uploads and exports until it is told to end."""

    def __init__(self, url: str, rng: random.Random, photos: list[bytes], until: float) -> None:
        super().__init__(daemon=True)
        self.clicks: list[float] = []
        self.done: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._url = url
        self._rng = rng
        self._photos = photos
        self._until = until

    def run(self) -> None:
        try:
            while time.monotonic() < self._until:
                person = Person(self._url)
                person.hello()
                for data in self._rng.sample(self._photos, 3):
                    if time.monotonic() < self._until:
                        self._label(person, data)
                for kind in ("zip", "coco-polygon"):
                    assert person.export(kind).status_code == 200
                    self.done["exports"] += 1
                person.close()
                self.done["workspaces"] += 1
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            self.failure = failure

    def _label(self, person: Person, data: bytes) -> None:
        for _ in range(5):
            digest = person.add(data, "photo.png")
            assert person.image(digest, thumbnail=True).status_code == 200
            for _ in range(4):
                person.send("sync").accepted()
        self.done["uploads"] += 5
        person.open(digest)
        self.done["images"] += 1
        for _ in range(self._rng.randint(3, 8)):
            x, y = self._rng.randrange(160), self._rng.randrange(120)
            reply = person.click(digest, x, y, positive=self._rng.random() < 0.7)
            reply.accepted()
            self.clicks.append(reply.seconds[-1])
        person.send("undo", digest).accepted()
        person.send("clear", digest).accepted()
        area = person.click(digest, 80, 60).accepted()["view"]["draft"]["mask"]["box"][2]
        if area:
            person.send("commit", digest, class_id=1).accepted()


def _slope(samples: list[Sample]) -> float:
    """MiB gained over the time of the samples, by least squares."""
    at = np.array([sample.at for sample in samples])
    rss = np.array([sample.rss for sample in samples]) / MIB
    slope = float(np.polyfit(at - at[0], rss, 1)[0])
    return slope * float(at[-1] - at[0])


def test_memory_threads_and_files_stay_flat_under_constant_work(
    tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> None:
    rng = seeded("soak")
    # Small stores, so that they are full soon and things leave them all the time.
    bounds = {"SAMREF_SESSIONS": "6", "SAMREF_EMBEDDING_BYTES": str(48 * MIB), "SAMREF_SESSION_BYTES": str(64 * MIB)}
    server = AttackedServer(tmp_path_factory.mktemp("soak"), **bounds)
    server.start()
    try:
        photos = [images.photo(rng) for _ in range(IMAGES)]
        until = time.monotonic() + WARM_UP_S + SECONDS
        workers = [_Worker(server.url, random.Random(rng.random()), photos, until) for _ in range(PEOPLE)]
        with server.without_bugs():
            for worker in workers:
                worker.start()
            time.sleep(WARM_UP_S)
            with Watch(server, every_s=0.2) as watch:
                time.sleep(SECONDS)
            for worker in workers:
                worker.join(timeout=120)
        failures = [repr(worker.failure) for worker in workers if worker.failure is not None]
        leftovers = server.leftovers
    finally:
        server.stop()
    assert failures == []
    samples = watch.samples
    quarter = len(samples) // 4
    grown = _slope(samples)
    done = sum((worker.done for worker in workers), Counter[str]())
    clicks = [seconds for worker in workers for seconds in worker.clicks]
    figures.note("soak", seconds=SECONDS, people=PEOPLE, clicks=len(clicks), errors=0, **done)
    figures.note(
        "soak", rss_after_warm_up_mib=round(samples[0].rss / MIB), rss_at_the_end_mib=round(samples[-1].rss / MIB)
    )
    figures.note("soak", gained_after_warm_up_mib=round(grown, 1), peak_mib=round(watch.peak_mib))
    for name, of in (("threads", lambda s: s.threads), ("files", lambda s: s.files)):
        figures.note("soak", **{name: f"{min(map(of, samples))} to {max(map(of, samples))}"})
    figures.times("soak", "click", clicks)
    assert grown < GROWTH_MIB
    for name, of, bound in (
        ("threads", lambda s: s.threads, GROWTH_THREADS),
        ("files", lambda s: s.files, GROWTH_FILES),
    ):
        gained = statistics.median(map(of, samples[-quarter:])) - statistics.median(map(of, samples[:quarter]))
        assert gained <= bound, f"{gained:.0f} {name} gained: {[of(s) for s in samples]}"
    assert leftovers == []
    assert len(clicks) > SECONDS // 2
