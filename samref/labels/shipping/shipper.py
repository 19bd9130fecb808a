"""Ships what is done, from a thread of its own: nobody who works waits for it, whatever the place does.

The database tells of each transaction when it is on the disk (:class:`~samref.labels.sqlite.Listener`). Every few
seconds those that nobody has elsewhere yet go as one segment, after the image files that they speak of. A snapshot goes
at the start, every few minutes in which something was done, and whenever the shipper has lost track.

*Saved up to* a moment means: a server that begins with nothing, now or later, has all that was done before that moment.
So the moment moves on only after the objects were written and no later generation was claimed by then: whoever claims
one lists the objects afterwards, and finds them.
"""

from __future__ import annotations

import gzip
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from samref.errors import SamrefError, StorageError
from samref.files import disk_errors, part_name
from samref.labels.folder import BlobFolder
from samref.labels.queries import image_bytes
from samref.labels.shipping.depot import Depot, Segment, Snapshot
from samref.labels.shipping.restoring import Begun, may_go_on, moment_in_words, write_note
from samref.labels.shipping.segments import Transaction, pack
from samref.labels.sqlite import BESIDE, Change, SqliteDatabase

MOST_PENDING_BYTES = 32 * 1024 * 1024
"""Of transactions in memory; with more a snapshot is shipped instead."""

MOST_PENDING = 2_000
"""Transactions after which nobody waits for the clock."""

LOOK_EVERY_S = 15.0
"""How often a server with nothing to ship looks whether another one has taken over."""

LONGEST_PAUSE_S = 60.0
"""Between two tries of a place that fails."""

VERSIONED_EVERY_S = 60.0
"""A place that keeps every object as a commit for ever is not given one more often."""

CLOSE_S = 20.0
"""The most that the end of a server waits for the last objects."""

SNAPSHOTS_KEPT = 2

LATE_S = 30.0
"""After so long with something that is not shipped the page says that it takes long."""

TAKEN_OVER = (
    "Another server has taken over these labels, so nothing can be changed here any more. Reload the page; what was "
    "done here in the last moments may have to be done again."
)

_CHANGE_BYTES = 200  # of a statement besides its values, roughly

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """How far labels are safe from the loss of this machine.

    Attributes:
        up_to: all that was done before this moment can be fetched again, in seconds since 1970; None: nothing can.
        is_behind: whether something was done after it.
        problem: why that stays so, in a sentence for the page; None where all is well.
        fetched_at: the labels were fetched at the start, as they were at this moment.
        is_partial: whether something could not be fetched then.
    """

    up_to: float | None
    is_behind: bool
    problem: str | None
    fetched_at: float | None = None
    is_partial: bool = False
    is_taken_over: bool = False  # by another server: nothing can be changed here any more


class Shipper:
    """Ships the labels of one database and its images; a :class:`~samref.labels.sqlite.Listener`."""

    def __init__(
        self,
        begun: Begun,
        database: SqliteDatabase,
        blobs: BlobFolder,
        folder: Path,
        *,
        ship_every_s: float,
        snapshot_every_s: float,
        clock: Callable[[], float] = time.time,
        look_every_s: float = LOOK_EVERY_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Listen from now on; nothing is shipped before :meth:`start`.

        Args:
            begun: how the server began with the place; it has a depot.
            database: of the labels.
            blobs: their image files.
            folder: the data folder, for files of the moment and its note.
            ship_every_s: seconds between segments while something is done.
            snapshot_every_s: seconds between snapshots while something is done.
            clock: tells the time.
            look_every_s: how often it looks for other servers when nothing is done.
            longest_pause_s: between two tries of a place that fails.
        """
        assert begun.depot is not None
        self._depot: Depot = begun.depot
        self._begun = begun
        self._generation = begun.generation
        self._database, self._blobs, self._folder = database, blobs, folder
        self._ship_every_s = max(ship_every_s, VERSIONED_EVERY_S if self._depot.is_versioned else 0.0)
        self._snapshot_every_s = snapshot_every_s
        self._clock, self._look_every_s, self._longest_pause_s = clock, look_every_s, longest_pause_s

        self._changed = threading.Condition()
        # guarded by it:
        self._number = 0  # of the last transaction
        self._pending: list[Transaction] | None = None  # those not shipped; None: lost track, a snapshot is needed
        self._pending_bytes = 0
        self._new_blobs: set[str] = set()
        self._gone_blobs: dict[str, int] = {}  # removed here: after this transaction no row names them
        self._is_behind = not begun.is_level  # whether somebody's work is not shipped
        self._behind_since: float | None = None
        self._up_to: float | None = clock() if begun.is_level else None
        self._problem: str | None = None
        self._is_over = False  # another generation was claimed
        self._is_closing = False

        self._known_blobs: set[str] | None = None  # at the depot; None: not asked yet
        self._shipped_since_snapshot = False
        self._snapshot_at = float("-inf")
        self._looked_at = float("-inf")
        self._keeps_all = begun.fetched is not None and bool(begun.fetched.faults)
        self._thread: threading.Thread | None = None
        database.listen(self)
        blobs.on_published, blobs.on_removed = self._on_blob, self._on_blob_removed

    # ---- told by the database, in the thread of whoever wrote

    def on_written(self, changes: Sequence[Change], is_upkeep: bool) -> None:
        size = sum(_size(change) for change in changes)
        with self._changed:
            self._number += 1
            if not is_upkeep:
                self._note_work()
            if self._pending is None:
                return
            self._pending.append(Transaction(self._number, changes))
            self._pending_bytes += size
            if self._pending_bytes > MOST_PENDING_BYTES:
                self._lose_track()

    def on_unknown(self) -> None:
        with self._changed:
            self._number += 1
            self._note_work()
            self._lose_track()

    def _on_blob(self, digest: str) -> None:
        with self._changed:
            self._new_blobs.add(digest)
            self._gone_blobs.pop(digest, None)

    def _on_blob_removed(self, digest: str) -> None:
        with self._changed:
            self._new_blobs.discard(digest)
            self._gone_blobs[digest] = self._number + 1

    def _note_work(self) -> None:
        if not self._is_behind:
            self._up_to = self._clock()
            self._is_behind = True
        if self._behind_since is None:
            self._behind_since = time.monotonic()
            self._changed.notify_all()

    def _lose_track(self) -> None:
        self._pending, self._pending_bytes = None, 0

    # ---- asked by the server

    def saved(self) -> Saved:
        """How far labels are safe, as it is now."""
        fetched = self._begun.fetched
        at, is_partial = (None, False) if fetched is None else (fetched.at, bool(fetched.faults))
        with self._changed:
            if self._is_over:
                return Saved(self._up_to, self._is_behind, TAKEN_OVER, at, is_partial, is_taken_over=True)
            up_to = self._up_to if self._is_behind else self._clock()
            problem = self._problem
            if problem is None and self._behind_since is not None:
                is_late = time.monotonic() - self._behind_since > self._ship_every_s + LATE_S
                problem = "The copy elsewhere takes long just now." if is_late else None
            return Saved(up_to, self._is_behind, problem, at, is_partial)

    def start(self) -> None:
        """Begin to ship."""
        self._thread = threading.Thread(target=self._run, name="samref-ship", daemon=True)
        self._thread.start()

    def close(self, patience_s: float = CLOSE_S) -> bool:
        """Ship the rest and end; whether all is shipped. To be called when nothing is written any more."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(patience_s)
        said = self.saved()
        if said.is_behind:
            since = "nothing" if said.up_to is None else f"nothing after {moment_in_words(said.up_to)}"
            _log.warning("The server ends, and %s is at %s.", since, self._depot.shown)
        return not said.is_behind

    # ---- the thread

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            is_last = self._wait(pause_s)
            try:
                self.ship()
                pause_s = 0.0
            except SamrefError as error:
                pause_s = min(self._longest_pause_s, 2 * pause_s or 1.0)
                self._say(error)
            except Exception:  # noqa: BLE001 - logged; a bug must not end what keeps people's work
                _log.exception("Shipping failed")
                with self._changed:
                    self._lose_track()
                    self._problem = "Something went wrong while the labels were copied; it is tried again."
                pause_s = self._longest_pause_s
            if is_last or self._is_over:
                return

    def _wait(self, pause_s: float) -> bool:
        """Wait until there is something to do; whether it is for the last time."""
        with self._changed:
            if pause_s:
                self._changed.wait_for(lambda: self._is_closing, timeout=pause_s)
                return self._is_closing
            self._changed.wait_for(self._is_due, timeout=self._until_look())
            while not self._is_closing and self._behind_since is not None and self._pending is not None:
                left = self._behind_since + self._ship_every_s - time.monotonic()
                if left <= 0 or len(self._pending) >= MOST_PENDING:
                    break
                self._changed.wait(left)
            return self._is_closing

    def _is_due(self) -> bool:
        return self._is_closing or self._behind_since is not None or self._pending is None

    def _until_look(self) -> float:
        return max(0.0, self._looked_at + self._look_every_s - time.monotonic())

    def _say(self, error: SamrefError) -> None:
        with self._changed:
            is_news = self._problem is None
            self._problem = "The copy elsewhere cannot be written just now; it is tried again and again."
        if is_news:
            _log.warning("Labels are not shipped: %s Work goes on, and shipping is tried again.", error)

    def ship(self) -> None:
        """Ship all that was done until now, or see that there is nothing.

        Raises:
            StorageError: it could not be shipped; all is as before.
        """
        self._settle()
        if self._is_over:
            return
        with self._changed:
            needs_snapshot = self._pending is None
            has_work = self._is_behind
            is_rest = self._is_closing and bool(self._pending)
        is_due = time.monotonic() - self._snapshot_at >= self._snapshot_every_s
        if needs_snapshot:
            self._ship_snapshot()
        elif has_work or is_rest or (is_due and self._shipped_since_snapshot):
            self._ship_segment()  # before a snapshot, too: were that one damaged, all is in the one before and these
            if is_due and not self._is_closing:
                self._ship_snapshot()
        elif time.monotonic() - self._looked_at >= self._look_every_s:
            self._look()
        with self._changed:
            if not self._is_over:
                if self._problem is not None:
                    _log.warning("Labels are shipped to %s again.", self._depot.shown)
                self._problem = None

    def _settle(self) -> None:
        """Have a generation, and know the image files that are there."""
        if self._generation is None:
            if not may_go_on(self._folder, self._depot):
                return self._give_way()
            generation = self._depot.claim()
            if not may_go_on(self._folder, self._depot):
                return self._give_way()
            write_note(self._folder, self._depot, generation)
            self._generation = generation
        if self._known_blobs is None:
            sizes = self._depot.blobs()
            self._known_blobs = {each for each, size in sizes.items() if self._blobs.size_bytes(each) in (size, None)}
        return None

    def _ship_segment(self) -> None:
        with self._changed:
            assert self._pending is not None
            batch, at, blobs, number = list(self._pending), self._clock(), set(self._new_blobs), self._number
        assert self._generation is not None
        self._ship_blobs(blobs)
        if batch:
            try:
                data = pack(batch)
            except TypeError:  # a value that JSON has not; a snapshot has it
                with self._changed:
                    self._lose_track()
                return self._ship_snapshot()
            self._depot.put_segment(self._generation, batch[0].number, batch[-1].number, at, data)
            self._shipped_since_snapshot = True
        self._call_saved(at, number, blobs)
        return None

    def _ship_snapshot(self) -> None:
        if self._is_over:
            return
        copy, packed = part_name(self._folder), part_name(self._folder)
        number, at, was_lost, blobs = 0, 0.0, False, set[str]()

        def on_moment() -> None:
            nonlocal number, at, was_lost, blobs
            with self._changed:
                number, at, blobs = self._number, self._clock(), set(self._new_blobs)
                was_lost = self._pending is None
                if self._pending is None:
                    self._pending = []  # what comes from now on follows on the snapshot

        try:
            with disk_errors("A copy of the labels could not be made"):
                self._database.copy_to(copy, on_moment)
                self._ship_blobs({*blobs, *_images_of(copy)})
                with copy.open("rb") as source, gzip.GzipFile(packed, "wb", compresslevel=3, mtime=0) as target:
                    while part := source.read(1 << 20):
                        target.write(part)
            assert self._generation is not None
            self._depot.put_snapshot(self._generation, number, at, packed)
        except BaseException:
            if was_lost:
                with self._changed:
                    self._lose_track()
            raise
        finally:
            for suffix in ("", *BESIDE):
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
            packed.unlink(missing_ok=True)
        self._snapshot_at, self._shipped_since_snapshot = time.monotonic(), False
        self._call_saved(at, number, blobs)
        if not self._is_over:
            self._clear_away()

    def _ship_blobs(self, digests: set[str]) -> None:
        """Ship image files that are not there yet; one that this machine has lost cannot be shipped, and is named."""
        assert self._known_blobs is not None
        for digest in sorted(digests - self._known_blobs):
            try:
                data = self._blobs.read(digest)
            except StorageError as error:
                _log.warning("Image %s is not shipped: %s", digest, error)
                continue
            self._depot.put_blob(digest, data)
            self._known_blobs.add(digest)

    def _call_saved(self, at: float, number: int, blobs: set[str]) -> None:
        """Move the moment on, where no other server has begun meanwhile."""
        self._look()
        if self._is_over:
            return
        with self._changed:
            self._new_blobs -= blobs
            # What came while a snapshot was under way may already be known to be the first that is not saved. A moment
            # of the future is from before the clock was set back.
            is_later = self._up_to is not None and at < self._up_to <= self._clock()
            self._up_to = self._up_to if is_later else at
            if self._pending is None:
                return
            self._pending = [each for each in self._pending if each.number > number]
            self._pending_bytes = sum(_size(change) for each in self._pending for change in each.changes)
            self._is_behind = self._number > number
            self._behind_since = time.monotonic() if self._is_behind else None

    # ---- other servers

    def _look(self) -> None:
        """See whether another server has claimed a later generation; then this one gives way."""
        highest = self._depot.highest_claim()
        self._looked_at = time.monotonic()
        assert self._generation is not None
        if highest is not None and highest > self._generation:
            self._give_way()

    def _give_way(self) -> None:
        with self._changed:
            self._is_over = True
            self._lose_track()
        self._database.refuse(TAKEN_OVER)
        _log.warning("Another server ships to %s now: this one stops, and refuses changes.", self._depot.shown)

    # ---- clearing away

    def _clear_away(self) -> None:
        """Remove what two later snapshots make needless; not where somebody may want to save more of it."""
        if self._depot.is_versioned or self._keeps_all:
            return
        log, kept = self._depot.log(), self._depot.kept()
        if len(log.snapshots) < SNAPSHOTS_KEPT:
            return
        oldest = log.snapshots[-SNAPSHOTS_KEPT]
        assert self._generation is not None
        needless: list[Segment | Snapshot] = [each for each in log.snapshots if each < oldest]
        needless += [e for e in log.segments if (e.generation, e.last) <= (oldest.generation, oldest.number)]
        claims = [each for each in self._depot.claims() if each < self._generation]
        with self._changed:
            gone = [
                e
                for e, number in self._gone_blobs.items()
                if (self._generation, number) <= (oldest.generation, oldest.number)
            ]
            for each in gone:
                del self._gone_blobs[each]
        assert self._known_blobs is not None
        gone = [each for each in gone if each in self._known_blobs]
        self._look()
        if not self._is_over:
            self._known_blobs -= {*gone}
            self._depot.remove([each for each in needless if each.generation not in kept], claims, gone)


def _images_of(path: Path) -> set[str]:
    with closing(SqliteDatabase(path, reads_only=True)) as database, database.read() as connection:
        return set(image_bytes(connection))


def _size(change: Change) -> int:
    """Bytes that a change takes in memory, roughly."""
    rows = change.values if change.is_many else (change.values,)
    return sum(_CHANGE_BYTES + sum(len(value) for value in row if isinstance(value, str)) for row in rows)
