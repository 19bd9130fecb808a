"""What shipping costs who works: the write behind a click with it and without it, turn about."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.labels.events import Prompted
from samref.labels.shipping.depot import Depot
from samref.labels.shipping.restoring import begin
from samref.labels.shipping.shipper import Shipper
from samref.labels.sqlite import SqliteDatabase
from samref.labels.store import ProjectStore

Record = Callable[[str, float, str], None]

CLICKS = 300
ROUND = 50
"""Clicks of each in turn, so that both meet the same machine."""

PAUSE_S = 0.005
PACKED = 200


@contextmanager
def _shipping(folder: Path, address: str) -> Iterator[tuple[ProjectStore, Shipper]]:
    """A store that ships far more often than it would, so that every click meets it."""
    folder.mkdir()
    begun = begin(folder, lambda: Depot(address, {}))
    store = ProjectStore(folder / "samref.sqlite")
    assert isinstance(store.database, SqliteDatabase)
    shipper = Shipper(begun, store.database, store.blobs, folder, ship_every_s=0.1, snapshot_every_s=2.0)
    shipper.start()
    yield store, shipper
    shipper.close()
    store.close()


def _click(store: ProjectStore, workspace: int, digest: str, number: int) -> float:
    began = time.perf_counter()
    store.append(workspace, digest, Prompted(Click(number % 16, 3), "tiny"))
    return time.perf_counter() - began


def test_shipping_does_not_slow_the_write_behind_a_click(tmp_path: Path, record: Record) -> None:
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with _shipping(tmp_path / "with", "memory://bench") as (shipped, shipper):
        stores = {"with": shipped, "without": ProjectStore(tmp_path / "without" / "samref.sqlite")}
        made = {name: store.create_workspace().id for name, store in stores.items()}
        size = ImageSize(12, 16)
        digests = {name: store.add_image(made[name], b"a photo", "a.jpg", size) for name, store in stores.items()}
        for begin_at in range(0, CLICKS, ROUND):
            for name, store in stores.items():
                for number in range(begin_at, begin_at + ROUND):
                    seconds[name].append(_click(store, made[name], digests[name], number))
                    time.sleep(PAUSE_S)
        stores["without"].close()
        log = shipper._depot.log()
        assert len(log.segments) > 3, "it did not ship meanwhile"
        began = time.perf_counter()
        for _ in range(PACKED):
            shipper.saved()
        record("how far work is saved, asked", (time.perf_counter() - began) / PACKED * 1e6, "us")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    late = {name: sorted(values)[int(0.95 * CLICKS)] for name, values in seconds.items()}
    record("the write behind a click, p50", middle["without"] * 1000, "ms")
    record("the same while labels are shipped ten times a second", middle["with"] * 1000, "ms")
    record("p95 with shipping against without", late["with"] / late["without"], "x")
    record("p50 with shipping against without", middle["with"] / middle["without"], "x")
    assert middle["with"] < 1.3 * middle["without"] + 0.0005
