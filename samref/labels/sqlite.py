"""Labels in a SQLite file: opened so that what was committed survives a power cut, and its complaints in words.

On a disk that is full or may not be written to, the database is read all the same, from a copy elsewhere where SQLite
cannot read it in its place (it needs to make two small files beside it). Each write then tries to open it as usual.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from samref.errors import StorageError, UnwritableError
from samref.labels.database import BUSY, READ_ONLY, WAIT_FOR_LOCK_S, Database
from samref.labels.folder import FolderLock
from samref.labels.migrations import bring_up_to_date, is_up_to_date
from samref.labels.tables import SCHEMA_REVISION

BESIDE = ("-wal", "-shm", "-journal")
"""Ends of the names of the files that SQLite makes beside a database."""

RETRY_EVERY_S = 1.0

_COPIES = "samref-copy-"
"""How the names of temporary folders with a copy of a database begin."""

_LOG_HEAD_BYTES = 32  # "WAL File Format" in SQLite's documentation: a head of 32 bytes that begins with one of these
_LOG_BEGINNINGS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")

_CHECKPOINT = "PRAGMA busy_timeout = 1000; PRAGMA wal_checkpoint({})"

_log = logging.getLogger(__name__)


_READING = ("SELECT", "PRAGMA", "BEGIN")
"""How statements begin that change nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that changed something; ``values`` is one tuple, or with ``is_many`` a list of them."""

    sql: str
    values: Any
    is_many: bool
    rows: int  # that it changed


class Listener(Protocol):
    """Is told of what was written, in the order in which it was, before anybody hears that it was; must be quick."""

    def on_written(self, changes: Sequence[Change], is_upkeep: bool) -> None:
        """A transaction is on the disk, with these changes."""

    def on_unknown(self) -> None:
        """Something may have been written that is not told of."""


class SqliteDatabase(Database):
    """Transactions on one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        lock: FolderLock | None = None,
        check_new: Callable[[], None] = lambda: None,
        reads_only: bool = False,
    ) -> None:
        """Open the file, or make it with empty tables; under a ``lock`` it is checked for damage, too."""
        super().__init__()
        self._path = path
        self._lock = lock
        self._check_new = check_new
        self._retries = not reads_only
        self._turn = threading.Lock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._refusal: str | None = None
        self._refusal_for_good: str | None = None
        self._listener: Listener | None = None
        self._tried_at = time.monotonic()
        if reads_only:
            self._refusal = READ_ONLY
            self._engine = self._open_to_read()
            return
        try:
            self._engine = self._open_to_write()
        except UnwritableError as error:
            self._refusal = str(error)
            try:
                self._engine = self._open_to_read()
            except StorageError:
                self._release()
                raise error from None  # that there is nothing to read is no news about a new folder
        except BaseException:
            self._release()
            raise

    @property
    def is_read_only(self) -> bool:
        return (self._refusal or self._refusal_for_good) is not None

    @contextmanager
    def write(self, *, is_upkeep: bool = False) -> Iterator[sa.Connection]:
        deadline = time.monotonic() + WAIT_FOR_LOCK_S
        with self._counted(), self._turn_before(deadline), database_errors():
            engine = self._writable_engine()
            wait_s = max(0.0, deadline - time.monotonic())
            listener = self._listener
            changes: list[Change] = []
            options: dict[str, Any] = {} if listener is None else {"changes": changes}
            is_ending = False
            try:
                with engine.execution_options(writes=True, wait_s=wait_s, **options).begin() as connection:
                    yield connection
                    is_ending = True
            except BaseException:
                if is_ending and listener is not None:
                    listener.on_unknown()  # a commit that failed may be on the disk all the same
                raise
            if changes and listener is not None:
                listener.on_written(changes, is_upkeep)

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every transaction from now on."""
        with self._turn_before(time.monotonic() + WAIT_FOR_LOCK_S):
            self._listener = listener

    def refuse(self, sentence: str) -> None:
        """Refuse every change that begins from now on, with that sentence; waits for nobody."""
        self._refusal_for_good = sentence

    def errors(self) -> AbstractContextManager[None]:
        return database_errors()

    def bytes_in_use(self, connection: sa.Connection) -> int:
        pages, free, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the database, as far as nobody has to wait for it."""
        if self._refusal is None:
            with self._counted():
                self._run_script(_CHECKPOINT.format("PASSIVE"))

    def give_space_back(self) -> None:
        """Hand unused pages and the write-ahead log back to the file system."""
        with self._counted(), self._turn_before(time.monotonic() + WAIT_FOR_LOCK_S):
            # A script, since it is stepped to its end; execute() would take the first page only.
            self._run_script("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, target: Path, on_moment: Callable[[], None] = lambda: None) -> None:
        """Write the database as it is at this moment into a new file that needs no write-ahead log beside it.

        ``on_moment`` is called at that moment, while no thread of this program writes.
        """
        with self._counted(), database_errors():
            raw = self._engine.raw_connection()
            try:
                source = raw.driver_connection
                assert source is not None
                with self._turn_before(time.monotonic() + WAIT_FOR_LOCK_S):
                    source.execute("BEGIN")
                    source.execute("SELECT count(*) FROM sqlite_master").fetchall()  # from now on this is what it sees
                    on_moment()
                with closing(sqlite3.connect(target)) as copy:
                    source.backup(copy)
                    copy.execute("PRAGMA journal_mode = DELETE")
            finally:
                raw.close()

    # ---- inside

    @contextmanager
    def _turn_before(self, deadline: float) -> Iterator[None]:
        """The turn of one writer of this program; who waits for SQLite's lock holds it, so both have one deadline."""
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StorageError(BUSY)
        try:
            yield
        finally:
            self._turn.release()

    def _writable_engine(self) -> sa.Engine:
        if self._refusal_for_good is not None:
            raise UnwritableError(self._refusal_for_good)
        if self._refusal is None:
            return self._engine
        now = time.monotonic()
        if not self._retries or now - self._tried_at < RETRY_EVERY_S:
            raise UnwritableError(self._refusal)
        self._tried_at = now
        # Connections of one program share what they know of the write-ahead log, so those that could only read it go
        # first. One that is being read from now makes this try fail, and a later one will succeed.
        self._engine.dispose()
        try:
            engine = self._open_to_write()
        except UnwritableError as error:
            self._refusal = str(error)
            raise
        old, self._engine, self._refusal = self._engine, engine, None
        old.dispose()
        self._drop_copy()
        if self._listener is not None:
            self._listener.on_unknown()  # tables may have been brought up to date
        _log.warning("%s can be written to again.", self._path)
        return engine

    def _open_to_write(self) -> sa.Engine:
        if self._lock is not None:
            self._lock.acquire()
        # SQLite would make a missing file at once, and throw away a write-ahead log that it does not belong to.
        if not self._path.is_file() or self._path.stat().st_size == 0:
            self._check_new()
        _check_log(self._path)
        engine = _build_engine(self._path, foreign_keys=False)
        try:
            # BEGIN IMMEDIATE tells at once whether the file may be written to.
            with database_errors(), engine.execution_options(writes=True).begin() as connection:
                if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
                    self._check_new()
                if self._lock is not None:
                    _check_sound(connection)
                _bring_up_to_date(connection)
        finally:
            engine.dispose()
        return _build_engine(self._path)

    def _open_to_read(self) -> sa.Engine:
        engine = _build_engine(self._path, reads_only=True)
        try:
            with database_errors(), engine.begin() as connection:
                if is_up_to_date(connection, _version(connection)):
                    return engine
        except UnwritableError:
            pass
        except BaseException:
            engine.dispose()
            raise
        engine.dispose()
        return self._open_copy()

    def _open_copy(self) -> sa.Engine:
        self._copy, path = copy_elsewhere(self._path)
        engine = _build_engine(path, foreign_keys=False)
        try:
            with database_errors(), engine.execution_options(writes=True).begin() as connection:
                _bring_up_to_date(connection)
        finally:
            engine.dispose()
        return _build_engine(path, reads_only=True)

    def _run_script(self, script: str) -> None:
        with database_errors():
            raw = self._engine.raw_connection()
            try:
                raw.cursor().executescript(script)
            finally:
                raw.close()

    def _finish(self) -> None:
        """Put everything into the one file, and close it."""
        if self._refusal is None:
            try:
                self._run_script(_CHECKPOINT.format("TRUNCATE"))
            except StorageError as error:
                _log.warning("The write-ahead log stays beside the database: %s", error)
        self._engine.dispose()
        self._release()

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _release(self) -> None:
        self._drop_copy()
        if self._lock is not None:
            self._lock.release()


def _build_engine(path: Path, *, foreign_keys: bool = True, reads_only: bool = False) -> sa.Engine:
    """An engine whose transactions are SQLite's own: ``BEGIN IMMEDIATE`` for those with the option ``writes``.

    One that only reads opens no file that is not there. It could write all the same: whoever closes a database last
    tidies up beside it.
    """
    query = {"mode": "rw", "uri": "true"} if reads_only else {}
    name = path.absolute().as_uri() if reads_only else str(path)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=name, query=query), connect_args={"timeout": WAIT_FOR_LOCK_S}
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own idea of when a transaction begins gets in the way
        if reads_only:
            connection.execute("PRAGMA query_only = ON")
            return
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:  # later it would only be a write for nothing
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # WAL's default may lose the last commits in a power cut
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        wait_ms = round(options.get("wait_s", WAIT_FOR_LOCK_S) * 1000)
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")

    @sa.event.listens_for(engine, "after_cursor_execute")
    def _note(connection: sa.Connection, cursor: Any, sql: str, values: Any, _: Any, is_many: bool) -> None:
        changes: list[Change] | None = connection.get_execution_options().get("changes")
        if changes is not None and not sql.startswith(_READING):
            changes.append(Change(sql, values, is_many, cursor.rowcount))

    return engine


def _check_sound(connection: sa.Connection) -> None:
    """Refuse a damaged database before writing to it makes things worse (0.1 s for 100 MB, 1.2 s from a cold disk)."""
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
        raise StorageError(_SENTENCES[sqlite3.SQLITE_CORRUPT])


def _check_log(path: Path) -> None:
    """Refuse a write-ahead log that SQLite would throw away without a word because its beginning is damaged."""
    log = Path(f"{path}-wal")
    try:
        with log.open("rb") as file:
            head = file.read(_LOG_HEAD_BYTES)
    except OSError:
        return
    if len(head) == _LOG_HEAD_BYTES and head[:4] not in _LOG_BEGINNINGS:
        raise StorageError(
            f"The write-ahead log {log} is damaged, and with it what was saved last. Put both files back from a copy, "
            "or restore a backup with `python -m samref workspaces restore BACKUP`, or go on without that log with "
            "`python -m samref workspaces recover`; both keep it."
        )


def copy_elsewhere(path: Path) -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A copy of a database and its write-ahead log in a temporary folder."""
    sources = [path, Path(f"{path}-wal")]
    needed = sum(source.stat().st_size for source in sources if source.is_file())
    for parent in _temporary_folders():
        _remove_left_behind(parent)
        prefix = f"{_COPIES}{os.getpid()}-"
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
        try:
            _copy_unchanged(sources, Path(folder.name))
        except OSError as error:
            folder.cleanup()
            _log.info("No copy of %s in %s: %s", path, parent, error)
            continue
        return folder, Path(folder.name) / path.name
    raise StorageError(
        f"{path} cannot be read where it is, and there is no room for a copy ({needed / 1e6:.0f} MB). Free some space, "
        "or name a folder with room in the variable TMPDIR."
    )


def _temporary_folders() -> Iterator[Path]:
    with suppress(FileNotFoundError):  # Python's way to say that no disk it tried has room
        yield Path(tempfile.gettempdir())
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it is private
    if memory.is_dir():
        yield memory


def _remove_left_behind(parent: Path) -> None:
    """Remove copies of programs that were killed; the number of the program that made it is in the name of each."""
    if os.name == "nt":  # where asking for a program by its number can end it
        return
    for folder in parent.glob(f"{_COPIES}*-*"):
        number = folder.name.removeprefix(_COPIES).partition("-")[0]
        if not number.isdigit():
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, OverflowError):  # it runs, and is somebody else's
            continue


def _copy_unchanged(sources: list[Path], folder: Path) -> None:
    """Copy files that do not change meanwhile; where they do, copy them again."""
    for _ in range(5):
        before = [_fingerprint(source) for source in sources]
        for source in sources:
            if source.is_file():
                shutil.copyfile(source, folder / source.name)
        if before == [_fingerprint(source) for source in sources]:
            return
    raise OSError("another program is writing there")


def _fingerprint(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _version(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _bring_up_to_date(connection: sa.Connection) -> None:
    version = _version(connection)
    bring_up_to_date(connection, version)
    if version != int(SCHEMA_REVISION):  # kept besides Alembic's table, for older versions to see that they are older
        connection.exec_driver_sql(f"PRAGMA user_version = {int(SCHEMA_REVISION)}")


# ---- for the tools that look after files


def faults_of_file(connection: sa.Connection) -> Iterator[str]:
    """A sentence for each fault that SQLite itself finds on the pages of a file."""
    try:
        with database_errors():
            said = [str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars()]
            strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    except StorageError as error:
        yield str(error)
        return
    yield from (f"Database: {line}" for line in said if line != "ok")
    if strays:
        yield f"Database: {len(strays)} rows belong to no workspace."


def what_is_damaged(path: Path) -> str | None:
    """What SQLite says is wrong with a file; None where it is sound."""
    with database_errors(), closing(sqlite3.connect(path)) as connection:
        said = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if said == "ok" else said


def empty_log(path: Path) -> None:
    """Move what is in the write-ahead log of a file into it, if that can be done."""
    if path.is_file() and path.stat().st_size > 0:
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1.0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def open_damaged(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of a database that may be damaged: to open the file itself would be to write to it."""
    folder, copy = copy_elsewhere(path)
    try:
        with closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            yield connection
    finally:
        folder.cleanup()


def readable_rows(
    connection: sqlite3.Connection, select: str, order: Sequence[str], values: Sequence[Any] = ()
) -> Iterator[dict[str, Any] | str]:
    """The rows from the first on and, where that breaks off, what SQLite says and the rows from the last on.

    Some then come twice. ``select`` has no order; ``order`` names the columns to order by.
    """
    for direction in ("ASC", "DESC"):
        columns = ", ".join(f"{column} {direction}" for column in order)
        try:
            for row in connection.execute(f"{select} ORDER BY {columns}", values):
                yield dict(row)
        except sqlite3.Error as error:
            if direction == "ASC":
                yield str(error)
            continue
        return


_DAMAGED = (
    "The database of labels is damaged. Restore a backup with `python -m samref workspaces restore BACKUP`, or save "
    "what can be read with `python -m samref workspaces recover`; both keep the damaged file."
)

_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk is full, so nothing was saved just now. Free some space and try again; "
    "what was saved before is untouched.",
    sqlite3.SQLITE_IOERR: "The disk could not be read or written, so nothing was saved just now. Look whether it is "
    "full or failing; what was saved before is untouched.",
    sqlite3.SQLITE_READONLY: "The database of labels may not be written to. Change the permissions of its folder.",
    sqlite3.SQLITE_CANTOPEN: "The database of labels cannot be opened. Look whether its folder is there and may be "
    "written to.",
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: "The file for the labels is no database. Restore a backup with `python -m samref workspaces "
    "restore BACKUP`, or begin anew with the images that are there with `python -m samref workspaces recover`.",
}

UNWRITABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says of a disk that cannot be written to."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what SQLite says about the disk into a :class:`StorageError`; anything else is a bug and passes."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:  # the latter from lines that speak to the driver itself
        sentence = _in_words(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        if sentence is None:
            raise
        raise sentence from error


def _in_words(said: BaseException | None) -> StorageError | None:
    code = getattr(said, "sqlite_errorcode", 0) & 0xFF  # the low byte; the rest says more exactly why
    if code in UNWRITABLE:
        return UnwritableError(_SENTENCES[code])
    if code in _SENTENCES:
        return StorageError(_SENTENCES[code])
    if code == sqlite3.SQLITE_ERROR and str(said).startswith(("no such table", "no such column")):
        return StorageError(_DAMAGED)
    return None
