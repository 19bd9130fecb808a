"""What was shipped comes home as it was, whatever happens to the place, to this machine and between servers."""

from __future__ import annotations

import gzip
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.errors import SettingsError, StorageError, UnwritableError
from samref.labels.annotations import Annotation, Project
from samref.labels.backup import replace_database
from samref.labels.events import Committed, Event, Prompted
from samref.labels.shipping import restoring, shipper
from samref.labels.shipping.depot import Depot, DepotError, NoTokenError
from samref.labels.shipping.restoring import Begun, Fetched, begin, fetch_home, holds_labels
from samref.labels.shipping.segments import SegmentError, Transaction, apply, pack, unpack
from samref.labels.shipping.shipper import Shipper
from samref.labels.sqlite import Change, SqliteDatabase
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of

SIZE = ImageSize(12, 16)
CLICK = Prompted(Click(1, 2), "tiny")


class Flaky(MemoryFileSystem):  # type: ignore[misc]
    """Objects in memory, at a place that a test can break.

    Each listing, write, read and removal is whole, as in a store of objects: the dictionary below is one of several
    threads, and not every fsspec copies it before it walks over it.
    """

    protocol: ClassVar[str] = "flaky"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    breaks: ClassVar[Callable[[str, str], None]] = lambda what, path: None
    turn: ClassVar[threading.RLock] = threading.RLock()
    """Held for what is done to the dictionary, not for ``breaks``, which may hang."""

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        type(self).breaks("before", path)
        with self.turn:
            super().pipe_file(path, value, **options)
        type(self).breaks("after", path)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        type(self).breaks("before", rpath)
        with self.turn:
            super().put_file(lpath, rpath, **options)
        type(self).breaks("after", rpath)

    def find(self, path: str, **options: Any) -> Any:
        type(self).breaks("before", path)
        with self.turn:
            return super().find(path, **options)

    def cat_file(self, path: str, **options: Any) -> Any:
        with self.turn:
            return super().cat_file(path, **options)

    def rm_file(self, path: str) -> None:
        with self.turn:
            super().rm_file(path)


fsspec.register_implementation("flaky", Flaky, clobber=True)


@contextmanager
def broken(breaks: Callable[[str, str], None]) -> Iterator[None]:
    """The place is broken meanwhile; ``breaks`` raises where it is."""
    Flaky.breaks = staticmethod(breaks)
    try:
        yield
    finally:
        Flaky.breaks = staticmethod(lambda what, path: None)


def refuse(what: str, path: str) -> None:
    raise PermissionError(f"403 for {path} with hf_secretsecret")


def refuse_afterwards(what: str, path: str) -> None:
    if what == "after":
        refuse(what, path)


class Sailor:
    """A server's labels and what ships them, whose steps a test takes one by one."""

    def __init__(self, folder: Path, address: str, **options: Any) -> None:
        self.folder, self.address = folder, address
        folder.mkdir(parents=True, exist_ok=True)
        self.begun: Begun = begin(folder, lambda: Depot(address, {}), patience_s=0)
        assert self.begun.depot is not None, self.begun.problem
        self.depot = self.begun.depot
        self.store = ProjectStore(folder / "samref.sqlite", **options)
        assert isinstance(self.store.database, SqliteDatabase)
        self.shipper = Shipper(
            self.begun,
            self.store.database,
            self.store.blobs,
            folder,
            ship_every_s=0.01,
            snapshot_every_s=3600,
            look_every_s=0,
        )

    @property
    def fetched(self) -> Fetched:
        assert self.begun.fetched is not None
        return self.begun.fetched

    def ship(self) -> None:
        self.shipper.ship()

    def snap(self) -> None:
        """Ship a snapshot."""
        self.shipper._snapshot_at = float("-inf")
        self.shipper._shipped_since_snapshot = True
        self.ship()

    def die(self) -> None:
        """Lose the machine: nothing more is shipped."""
        self.store.database.close()


def dump(folder: Path) -> list[str]:
    """Everything in the database of a folder, row by row."""
    with closing(sqlite3.connect(folder / "samref.sqlite")) as connection:
        return list(connection.iterdump())


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").glob("??/*")}


@pytest.fixture(params=["file", "flaky"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/depot" if request.param == "file" else f"flaky://{uuid4().hex}"


@pytest.fixture
def at_flaky() -> str:
    return f"flaky://{uuid4().hex}"


def work(store: ProjectStore, project: Project) -> int:
    """A workspace with a photo, a class, an annotation and an unfinished object."""
    made = store.create_workspace()
    digest = store.add_image(made.id, b"a photo %d" % made.id, "cat.jpg", SIZE)
    store.add_class(made.id, "cat")
    store.append(made.id, digest, CLICK, Committed(project.images[0].annotations[0]), CLICK)
    return made.id


# ---- home again


def test_what_was_shipped_comes_home_byte_for_byte(tmp_path: Path, address: str, project: Project) -> None:
    first = Sailor(tmp_path / "a", address)
    made = first.store.create_workspace()
    first.ship()  # a snapshot
    for _ in range(3):
        work(first.store, project)
        first.store.keep_house()
        first.ship()  # a segment each
    before, photos = dump(first.folder), images(first.folder)
    first.die()
    second = Sailor(tmp_path / "b", address)
    assert dump(second.folder) == before
    assert images(second.folder) == photos
    assert len(photos) == 3
    assert (second.fetched.workspaces, second.fetched.images, second.fetched.faults) == (4, 3, [])
    assert workspace_of(second.store, made.token) == made.id
    assert second.begun.generation is not None
    assert first.begun.generation is not None
    assert second.begun.generation > first.begun.generation
    work(second.store, project)
    second.ship()
    again = dump(second.folder)
    second.die()
    assert dump(Sailor(tmp_path / "c", address).folder) == again


def test_what_was_not_shipped_is_not_called_saved(tmp_path: Path, address: str, project: Project) -> None:
    sailor = Sailor(tmp_path / "a", address)
    sailor.ship()
    assert not sailor.shipper.saved().is_behind
    before = time.time()
    work(sailor.store, project)
    during = sailor.shipper.saved()
    assert during.is_behind
    assert during.up_to is not None
    assert during.up_to >= before
    time.sleep(0.01)
    assert sailor.shipper.saved() == during, "it stands still until it is shipped"
    sailor.ship()
    after = sailor.shipper.saved()
    assert not after.is_behind
    assert after.up_to is not None
    assert after.up_to > during.up_to


def test_a_server_that_ends_in_order_ships_everything(tmp_path: Path, address: str, project: Project) -> None:
    sailor = Sailor(tmp_path / "a", address)
    sailor.shipper.start()
    made = work(sailor.store, project)
    found = sailor.store.add_key(made)
    sailor.store.find_workspace(found)
    sailor.store.keep_house()
    assert sailor.shipper.close()
    before = dump(sailor.folder)
    sailor.die()
    assert dump(Sailor(tmp_path / "b", address).folder) == before


def test_looks_alone_ship_nothing_until_there_is_work(tmp_path: Path, at_flaky: str) -> None:
    sailor = Sailor(tmp_path / "a", at_flaky)
    made = sailor.store.create_workspace()
    sailor.ship()
    count = len(sailor.depot.log().segments)
    sailor.store.find_workspace(made.token)
    sailor.store.keep_house()
    sailor.ship()
    assert len(sailor.depot.log().segments) == count
    assert not sailor.shipper.saved().is_behind


def test_an_expired_demo_takes_its_images_away_from_there_too(tmp_path: Path, at_flaky: str, project: Project) -> None:
    passed = [0.0]
    sailor = Sailor(tmp_path / "a", at_flaky, demo_days=1, monotonic=lambda: passed[0])
    work(sailor.store, project)
    sailor.ship()
    assert len(sailor.depot.blobs()) == 1
    passed[0] += 2 * 86400
    sailor.store.keep_house()
    for _ in range(3):
        kept = work(sailor.store, project)
        sailor.snap()
    assert kept == 4
    assert len(sailor.depot.blobs()) == 3
    sailor.die()
    assert Sailor(tmp_path / "b", at_flaky).fetched.faults == []


WORK = ("workspace", "image", "same_image", "click", "commit", "new_class", "key")
OTHER = ("house", "refused", "ship", "ship", "snap", "lose_track", "fail", "late", "restart")


class Voyage:
    """Steps of work and of shipping in any order, and what should be found at home after each."""

    def __init__(self, place: Path, annotation: Annotation) -> None:
        self.place, self.home, self.annotation = place, f"flaky://{uuid4().hex}", annotation
        self.runs = self.photos = 0
        self.is_behind = False
        self.sailor = Sailor(place / "0", self.home)
        self.sailor.ship()
        self.expected = dump(self.sailor.folder)

    def step(self, name: str) -> None:
        if name in WORK and name != "workspace" and not self.sailor.store.workspaces():
            name = "workspace"
        getattr(self, name)()
        self.is_behind |= name in WORK

    @property
    def last(self) -> int:
        """The last workspace."""
        return self.sailor.store.workspaces()[-1].id

    def workspace(self) -> None:
        self.sailor.store.create_workspace()

    def image(self) -> None:
        self.photos += 1
        self.same_image()

    def same_image(self) -> None:
        self.sailor.store.add_image(self.last, b"photo %d" % self.photos, "a.jpg", SIZE)

    def _append(self, event: Event) -> None:
        digest = self.sailor.store.add_image(self.last, b"own", "b.jpg", SIZE)
        self.sailor.store.append(self.last, digest, event)

    def click(self) -> None:
        self._append(CLICK)

    def commit(self) -> None:
        self._append(Committed(replace(self.annotation, id=uuid4().hex)))

    def new_class(self) -> None:
        self.sailor.store.add_class(self.last, f"class {uuid4().hex[:6]}")

    def key(self) -> None:
        self.sailor.store.add_key(self.last)

    def house(self) -> None:
        self.sailor.store.keep_house()

    def refused(self) -> None:
        def change_and_fail() -> None:
            with self.sailor.store.database.write() as connection:
                connection.exec_driver_sql("UPDATE workspaces SET revision = 99")
                raise StorageError("changed its mind")

        with pytest.raises(StorageError, match="mind"):
            change_and_fail()

    def ship(self) -> None:
        self.sailor.ship()
        if self.is_behind:
            self._arrived()

    def snap(self) -> None:
        self.sailor.snap()
        self._arrived()

    def lose_track(self) -> None:
        self.sailor.shipper.on_unknown()
        self.sailor.ship()
        self._arrived()

    def fail(self) -> None:
        if self.is_behind:
            with broken(refuse), pytest.raises(DepotError):
                self.sailor.ship()

    def late(self) -> None:
        """It arrives, but nobody here hears of it; then more is done."""
        if self.is_behind:
            with broken(refuse_afterwards), pytest.raises(DepotError):
                self.sailor.ship()
        self.key() if self.sailor.store.workspaces() else self.workspace()
        self.sailor.ship()
        self._arrived()

    def _arrived(self) -> None:
        self.expected, self.is_behind = dump(self.sailor.folder), False

    def restart(self) -> None:
        self.sailor.die()
        self.runs += 1
        self.sailor = Sailor(self.place / str(self.runs), self.home)
        assert dump(self.sailor.folder) == self.expected
        assert self.sailor.fetched.faults == []
        self.is_behind = False
        self.sailor.ship()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(WORK) | st.sampled_from(OTHER), min_size=1, max_size=25))
def test_any_interleaving_of_work_and_shipping_comes_home_as_it_was_shipped(
    tmp_path: Path, project: Project, steps: list[str]
) -> None:
    voyage = Voyage(tmp_path / uuid4().hex, project.images[0].annotations[0])
    for step in [*steps, "restart"]:
        voyage.step(step)
    voyage.sailor.die()


# ---- a place that fails


def test_work_goes_on_while_the_place_fails_and_all_is_shipped_afterwards(
    tmp_path: Path, at_flaky: str, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    sailor = Sailor(tmp_path / "a", at_flaky)
    sailor.shipper._longest_pause_s = 0.05
    sailor.shipper.start()
    _wait_until(lambda: len(sailor.depot.log().snapshots) == 1)
    with broken(refuse):
        made = work(sailor.store, project)
        _wait_until(lambda: sailor.shipper.saved().problem is not None)
        said = sailor.shipper.saved()
        assert said.is_behind
        assert "tried again" in str(said.problem)
        for _ in range(20):
            sailor.store.add_key(made)
        assert sailor.shipper.saved().up_to == said.up_to
    _wait_until(lambda: not sailor.shipper.saved().is_behind)
    assert sailor.shipper.saved().problem is None
    assert caplog.text.count("Labels are not shipped") == 1, "said once, not at each try"
    assert "secretsecret" not in caplog.text
    assert sailor.shipper.close()
    before = dump(sailor.folder)
    sailor.die()
    assert dump(Sailor(tmp_path / "b", at_flaky).folder) == before


def test_nobody_waits_for_a_place_that_hangs(tmp_path: Path, at_flaky: str, project: Project) -> None:
    sailor = Sailor(tmp_path / "a", at_flaky)
    go_on = threading.Event()
    sailor.shipper.start()
    _wait_until(lambda: len(sailor.depot.log().snapshots) == 1)

    def hang(what: str, path: str) -> None:
        if "log/" in path:
            go_on.wait(20)

    with broken(hang):
        made = work(sailor.store, project)
        time.sleep(0.1)  # it hangs now
        began = time.monotonic()
        for _ in range(50):
            sailor.store.add_key(made)
        assert time.monotonic() - began < 5
        assert sailor.shipper.saved().is_behind
        assert not sailor.shipper.close(patience_s=0.2), "nor does the end"
        go_on.set()
        assert sailor.shipper._thread is not None
        sailor.shipper._thread.join(10)


def test_memory_is_bounded_while_the_place_fails(
    tmp_path: Path, at_flaky: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "MOST_PENDING_BYTES", 20_000)
    sailor = Sailor(tmp_path / "a", at_flaky)
    made = work(sailor.store, project)
    sailor.ship()
    with broken(refuse):
        for number in range(100):
            sailor.store.add_class(made, f"class {number}")
            assert sailor.shipper._pending_bytes <= 20_000
        with pytest.raises(DepotError):
            sailor.ship()
    sailor.ship()
    assert len(sailor.depot.log().snapshots) == 2, "a snapshot instead of what it could not hold"
    before = dump(sailor.folder)
    sailor.die()
    assert dump(Sailor(tmp_path / "b", at_flaky).folder) == before


def test_without_a_token_the_server_runs_and_says_so(tmp_path: Path) -> None:
    begun = begin(tmp_path, lambda: Depot("hf://buckets/somebody/labels", {}))
    assert begun.depot is None
    assert "HF_TOKEN is not set" in str(begun.problem)
    assert "does not survive" in str(begun.problem)
    with pytest.raises(NoTokenError):
        Depot("hf://datasets/somebody/labels", {"HF_TOKEN": ""})


@pytest.mark.parametrize("address", ["labels", "nowhere://labels", "/tmp/labels"])
def test_an_address_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="ship"):
        Depot(address, {})


def test_a_secret_in_an_address_or_an_error_is_not_repeated() -> None:
    depot = Depot("flaky://me:password@host/labels", {"HF_TOKEN": "hf_abc"})
    assert "password" not in depot.shown
    assert depot._tidy(OSError("no hf_abc at ftp://a:b@c")) == "no … at ftp://c."


def test_a_start_with_nothing_and_without_the_place_ships_nothing(
    tmp_path: Path, at_flaky: str, project: Project
) -> None:
    first = Sailor(tmp_path / "a", at_flaky)
    work(first.store, project)
    first.ship()
    before = dump(first.folder)
    first.die()
    (tmp_path / "b").mkdir()
    with broken(refuse):
        begun = begin(tmp_path / "b", lambda: Depot(at_flaky, {}), patience_s=0)
    assert begun.depot is None
    assert "does not survive the loss" in str(begun.problem)
    assert dump(Sailor(tmp_path / "c", at_flaky).folder) == before, "an empty start has not taken its place"


def test_a_start_with_labels_and_without_the_place_ships_later(tmp_path: Path, at_flaky: str, project: Project) -> None:
    first = Sailor(tmp_path / "a", at_flaky)
    work(first.store, project)
    first.ship()
    first.die()
    with broken(refuse):
        again = Sailor(tmp_path / "a", at_flaky)
        assert again.begun.generation is None
        assert again.shipper.saved().up_to is None
        work(again.store, project)
        with pytest.raises(DepotError):
            again.ship()
    again.ship()
    assert not again.shipper.saved().is_behind
    before = dump(again.folder)
    again.die()
    assert dump(Sailor(tmp_path / "b", at_flaky).folder) == before


# ---- damage


def _sailed(tmp_path: Path, project: Project) -> tuple[Path, list[list[str]]]:
    """A place with a snapshot and three segments, and the database after each of the four."""
    sailor = Sailor(tmp_path / "a", f"file://{tmp_path}/depot")
    dumps = []
    for _ in range(4):
        work(sailor.store, project)
        sailor.ship()
        dumps.append(dump(sailor.folder))
    sailor.die()
    return tmp_path / "depot", dumps


@pytest.mark.parametrize("how", ["cut", "changed", "missing"])
def test_a_damaged_segment_is_named_and_all_before_it_is_there(tmp_path: Path, project: Project, how: str) -> None:
    depot, dumps = _sailed(tmp_path, project)
    segments = sorted(depot.glob("log/*/*.segment"))
    assert len(segments) == 3
    _damage(segments[1], how)
    sailor = Sailor(tmp_path / "b", f"file://{depot}")
    assert dump(sailor.folder) == dumps[1]
    said = " ".join(sailor.fetched.faults)
    assert "1 segment" in said
    assert "is not here" in said
    assert "damaged" in said
    assert sailor.shipper.saved().is_partial
    assert sailor.shipper.saved().fetched_at == sailor.fetched.at
    first_of_all = sorted(path.name for path in depot.glob("log/*/*") if "00000001-" in str(path))
    for _ in range(4):
        work(sailor.store, project)
        sailor.snap()
    kept = sorted(path.name for path in depot.glob("log/*/*") if "00000001-" in str(path))
    assert kept == first_of_all, "what may still be saved by hand is not cleared away"


@pytest.mark.parametrize("how", ["cut", "changed", "missing"])
def test_a_damaged_snapshot_gives_way_to_the_one_before(tmp_path: Path, project: Project, how: str) -> None:
    sailor = Sailor(tmp_path / "a", f"file://{tmp_path}/depot")
    for number in range(5):
        work(sailor.store, project)
        (sailor.snap if number in (0, 2, 3) else sailor.ship)()
    before = dump(sailor.folder)
    sailor.die()
    snapshots = sorted((tmp_path / "depot").glob("log/*/*.snapshot"))
    assert len(snapshots) == 2, "older ones are cleared away"
    _damage(snapshots[1], how)
    again = Sailor(tmp_path / "b", f"file://{tmp_path}/depot")
    assert dump(again.folder) == before, "with the segments that were shipped all the same"
    assert len(again.fetched.faults) == (how != "missing")


def test_a_missing_image_is_named_and_the_others_are_there(tmp_path: Path, project: Project) -> None:
    depot, dumps = _sailed(tmp_path, project)
    files = sorted(depot.glob("blobs/??/*"))
    files[0].unlink()
    files[1].write_bytes(b"half")
    sailor = Sailor(tmp_path / "b", f"file://{depot}")
    assert dump(sailor.folder) == dumps[3]
    assert len(sailor.fetched.faults) == 2
    assert len(images(sailor.folder)) == 2


def test_where_nothing_can_be_read_nothing_new_takes_its_place(tmp_path: Path, project: Project) -> None:
    depot, dumps = _sailed(tmp_path, project)
    (snapshot,) = depot.glob("log/*/*.snapshot")
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-9])
    (tmp_path / "b").mkdir()
    begun = begin(tmp_path / "b", lambda: Depot(f"file://{depot}", {}), patience_s=0)
    assert begun.depot is None
    assert "None of the snapshots" in str(begun.problem)
    snapshot.write_bytes(whole)
    assert dump(Sailor(tmp_path / "c", f"file://{depot}").folder) == dumps[3]


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "changed":
            path.write_bytes(data)
        case "missing":
            path.unlink()


def test_a_segment_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a UNIQUE)")
    insert = Change("INSERT INTO t VALUES (?)", (1,), False, 1)
    fits = Transaction(1, [insert])
    for wrong in (
        [fits, Transaction(3, [insert])],
        [fits, Transaction(2, [insert])],
        [fits, Transaction(2, [Change("UPDATE t SET a = 5", (), False, 7)])],
        [fits, Transaction(2, [Change("no SQL", (), False, 1)])],
    ):
        with pytest.raises(SegmentError):
            apply(path, unpack(pack(wrong)), 0)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert apply(path, unpack(pack([fits])), 0) == 1
    assert apply(path, unpack(pack([fits])), 1) == 1, "what came twice is made once"
    for data in (b"", b"rubbish", gzip.compress(b"{}\n"), gzip.compress(b'{"samref":"segment","format":2}\n')):
        with pytest.raises(SegmentError):
            list(unpack(data))


# ---- two servers


def test_a_later_server_drives_out_the_earlier_one(tmp_path: Path, address: str, project: Project) -> None:
    first = Sailor(tmp_path / "a", address)
    made = work(first.store, project)
    first.ship()
    second = Sailor(tmp_path / "b", address)
    work(first.store, project)  # in vain: the later one has begun
    saved = first.shipper.saved()
    first.ship()
    after = first.shipper.saved()
    assert after.is_taken_over
    assert after.up_to == saved.up_to, "what the later one does not have is not called saved"
    assert after.is_behind
    with pytest.raises(UnwritableError, match="Another server has taken over"):
        first.store.add_class(made, "dog")
    assert first.store.images(made), "it can be looked at"
    work(second.store, project)
    second.ship()
    assert not second.shipper.saved().is_taken_over
    before = dump(second.folder)
    second.die()
    first.die()
    assert dump(Sailor(tmp_path / "c", address).folder) == before


def test_an_earlier_server_with_nothing_to_ship_hears_of_it_too(tmp_path: Path, at_flaky: str) -> None:
    first = Sailor(tmp_path / "a", at_flaky)
    first.ship()
    Sailor(tmp_path / "b", at_flaky)
    first.ship()
    assert first.shipper.saved().is_taken_over


def test_two_that_claim_at_once_get_two_generations(at_flaky: str) -> None:
    claimed: list[str] = []

    def claim() -> None:
        claimed.extend(Depot(at_flaky, {}).claim() for _ in range(10))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*claimed}) == 40
    assert Depot(at_flaky, {}).highest_claim() == max(claimed)


def test_the_folder_of_a_server_that_was_driven_out_is_fetched_anew(
    tmp_path: Path, address: str, project: Project
) -> None:
    first = Sailor(tmp_path / "a", address)
    work(first.store, project)
    first.ship()
    second = Sailor(tmp_path / "b", address)
    work(second.store, project)
    second.ship()
    newest = dump(second.folder)
    work(first.store, project)
    lost = dump(first.folder)
    first.die()
    again = Sailor(tmp_path / "a", address)
    assert dump(again.folder) == newest
    assert again.fetched.aside is not None
    with closing(sqlite3.connect(again.fetched.aside)) as connection:
        assert list(connection.iterdump()) == lost, "what was done there meanwhile is kept"


def test_a_restart_on_the_same_folder_goes_on_with_what_was_not_shipped(
    tmp_path: Path, address: str, project: Project
) -> None:
    first = Sailor(tmp_path / "a", address)
    first.ship()
    work(first.store, project)
    before = dump(first.folder)
    first.die()
    again = Sailor(tmp_path / "a", address)
    assert again.begun.fetched is None
    assert dump(again.folder) == before
    assert again.shipper.saved().up_to is None
    again.ship()
    again.die()
    assert dump(Sailor(tmp_path / "b", address).folder) == before


def test_labels_that_were_never_shipped_there_are_not_mixed_with_others(
    tmp_path: Path, address: str, project: Project
) -> None:
    first = Sailor(tmp_path / "a", address)
    work(first.store, project)
    first.ship()
    stranger = ProjectStore(tmp_path / "b" / "samref.sqlite")
    work(stranger, project)
    stranger.close()
    with pytest.raises(StorageError, match="Ship to an empty address"):
        Sailor(tmp_path / "b", address)
    first.ship()
    assert not first.shipper.saved().is_taken_over, "the refused one has claimed nothing"


def test_a_fetch_that_broke_off_is_begun_anew(
    tmp_path: Path, address: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Sailor(tmp_path / "a", address)
    work(first.store, project)
    first.ship()
    before = dump(first.folder)
    first.die()

    def replace_and_die(part: Path, path: Path) -> Path | None:
        replace_database(part, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "replace_database", replace_and_die)
    with pytest.raises(KeyboardInterrupt):
        Sailor(tmp_path / "b", address)
    monkeypatch.undo()
    assert dump(Sailor(tmp_path / "b", address).folder) == before


def test_older_copies_are_cleared_away(tmp_path: Path, address: str, project: Project) -> None:
    sailor = Sailor(tmp_path / "a", address)
    for number in range(12):
        work(sailor.store, project)
        (sailor.snap if number % 3 == 0 else sailor.ship)()
    log = sailor.depot.log()
    assert len(log.snapshots) == 2
    assert len(log.segments) == 5
    before = dump(sailor.folder)
    sailor.die()
    again = Sailor(tmp_path / "b", address)
    assert dump(again.folder) == before
    again.ship()
    assert again.depot.claims() == [again.begun.generation]


# ---- the way home by hand


def test_labels_can_be_fetched_while_a_server_ships(tmp_path: Path, address: str, project: Project) -> None:
    sailor = Sailor(tmp_path / "a", address)
    work(sailor.store, project)
    sailor.ship()
    fetched = fetch_home(Depot(address, {}), tmp_path / "home")
    assert (fetched.workspaces, fetched.images) == (1, 1)
    assert dump(tmp_path / "home") == dump(sailor.folder)
    assert holds_labels(tmp_path / "home")
    sailor.ship()
    assert not sailor.shipper.saved().is_taken_over
    with pytest.raises(StorageError, match="is not empty"):
        fetch_home(Depot(address, {}), tmp_path / "home")
    with pytest.raises(StorageError, match="No labels were shipped"):
        fetch_home(Depot("flaky://empty", {}), tmp_path / "other")


def _wait_until(is_so: Callable[[], bool], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
