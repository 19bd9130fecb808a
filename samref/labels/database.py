"""Transactions on the labels, and the server databases they may live in (PostgreSQL); files are in :mod:`sqlite`.

Everything outside this module, :mod:`samref.labels.sqlite` and the migrations is SQL that both understand.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa

from samref.errors import LabelError, SamrefError, StorageError, UnwritableError
from samref.labels.folder import FolderLock
from samref.labels.migrations import bring_up_to_date, is_up_to_date

WAIT_FOR_LOCK_S = 10.0
"""How long one transaction may wait for others, of this program and of other ones together."""

CLOSE_WAIT_S = 5.0

BUSY = "The database of labels is in use by another program. Try again in a moment."
READ_ONLY = "These labels were opened to be read only."

_WRITER_KEY = 7_361_001  # of the advisory lock that one transaction that writes holds; any number, always the same
_SERVER_KEY = 7_361_002  # of the one that a server holds while it runs


class Database(abc.ABC):
    """Transactions on the labels; any thread may ask for one. One transaction at a time writes.

    To open one is to make its tables or bring them up to date. It takes ``lock`` before it writes and holds it until
    :meth:`close`, asks ``check_new`` before it makes empty tables (raises where there should be labels), and with
    ``reads_only`` makes nothing and refuses to write.
    """

    _engine: sa.Engine

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._idle = threading.Condition()
        self._running = 0
        self._is_closed = False

    @property
    @abc.abstractmethod
    def is_read_only(self) -> bool:
        """Whether the last try to open it for writing was refused."""

    @abc.abstractmethod
    def write(self, *, is_upkeep: bool = False) -> AbstractContextManager[sa.Connection]:
        """The one transaction that writes: on the disk at the end, rolled back on any exception.

        ``is_upkeep`` says that nobody's work is in it, so that no copy elsewhere has to be made for its sake.

        Raises:
            UnwritableError: the disk is full or may not be written to.
            StorageError: others held the database for ten seconds.
        """

    @abc.abstractmethod
    def errors(self) -> AbstractContextManager[None]:
        """Turn what the database says about disk and damage into a :class:`StorageError`; a bug passes."""

    @abc.abstractmethod
    def bytes_in_use(self, connection: sa.Connection) -> int:
        """Bytes of the database that hold something."""

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one moment of the database and does not wait for writers."""
        with self._counted(), self.errors(), self._engine.begin() as connection:
            yield connection

    @abc.abstractmethod
    def checkpoint(self) -> None:
        """Tidy up after many small transactions, as far as nobody has to wait for it."""

    @abc.abstractmethod
    def give_space_back(self) -> None:
        """Hand space that is not used any more back to the file system."""

    def close(self) -> None:
        """Let running transactions end, and close; closing twice does nothing."""
        with self._idle:
            if self._is_closed:
                return
            self._is_closed = True
            self._idle.wait_for(lambda: self._running == 0, timeout=CLOSE_WAIT_S)
        self._finish()

    def forget_connections(self) -> None:
        """In a process that was forked off: leave the connections to the one that opened them, without a word to it."""
        self._engine.dispose(close=False)

    @abc.abstractmethod
    def _finish(self) -> None:
        """Close everything; nothing runs any more."""

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._idle:
            if self._is_closed:
                raise StorageError("The labels are closed already: the server is stopping. Start it again to go on.")
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()


class ServerDatabase(Database):
    """Transactions on a PostgreSQL database.

    As in a SQLite file, one transaction at a time writes: each takes the same advisory lock first. A server holds
    another one while it runs, because it keeps open images in memory: two servers on one database are refused.
    """

    def __init__(
        self,
        url: str,
        *,
        lock: FolderLock | None = None,
        check_new: Callable[[], None] = lambda: None,
        reads_only: bool = False,
    ) -> None:
        """Connect to ``postgresql+psycopg://user@host/name``; ``lock`` is that of the folder of images."""
        super().__init__()
        self._reads_only = reads_only
        self._lock = lock
        self._held: sa.Connection | None = None
        try:
            made = sa.make_url(url)
            if made.get_backend_name() != "postgresql":
                raise StorageError(f"Labels can be kept in SQLite or PostgreSQL, not in {made.get_backend_name()}.")
            timeout = {"options": f"-c lock_timeout={round(WAIT_FOR_LOCK_S * 1000)}"}
            self._engine = sa.create_engine(made, pool_pre_ping=True, connect_args=timeout)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise StorageError(f"The address of the database of labels cannot be used: {error}") from error
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            if not reads_only:
                self._take_locks()
            self._prepare(check_new)
        except BaseException:
            self._finish()
            raise

    @property
    def is_read_only(self) -> bool:
        return self._reads_only

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._counted(), self.errors(), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, is_upkeep: bool = False) -> Iterator[sa.Connection]:  # noqa: ARG002 - nothing listens
        if self._reads_only:
            raise UnwritableError(READ_ONLY)
        with self._counted(), self.errors(), self._engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_KEY)))
            yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            sentence = _in_words(error)
            if sentence is None:
                raise
            raise sentence from error

    def bytes_in_use(self, connection: sa.Connection) -> int:
        return int(connection.execute(sa.select(sa.func.pg_database_size(sa.func.current_database()))).scalar_one())

    def checkpoint(self) -> None:
        """Nothing: PostgreSQL tidies up by itself."""

    def give_space_back(self) -> None:
        """Nothing: PostgreSQL keeps it for what comes next."""

    def _take_locks(self) -> None:
        if self._lock is None:
            return
        self._lock.acquire()
        with self.errors():
            self._held = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not self._held.execute(sa.select(sa.func.pg_try_advisory_lock(_SERVER_KEY))).scalar_one():
                raise StorageError("The database of labels is in use by another samref. Stop that one first.")

    def _prepare(self, check_new: Callable[[], None]) -> None:
        with self.read() as connection:
            if is_up_to_date(connection):
                return
        if self._reads_only:
            raise StorageError("The database of labels holds no labels of this samref yet. Start its server once.")
        with self.write() as connection:
            if not sa.inspect(connection).get_table_names():
                check_new()
            bring_up_to_date(connection)

    def _finish(self) -> None:
        if self._held is not None:
            self._held.close()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()


def _in_words(error: sa.exc.DBAPIError) -> SamrefError | None:
    """A sentence for the SQLSTATE of an error; None where it is a bug."""
    if isinstance(error, sa.exc.DataError):
        return LabelError("A name holds a character that cannot be kept. Leave it out and try again.")
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state == "55P03":  # lock_not_available
        return StorageError(BUSY)
    if state.startswith("53"):  # insufficient resources: a full disk, too many connections
        return UnwritableError(
            "The database of labels has no room or too many connections, so nothing was saved just now. Try again in "
            "a moment; what was saved before is untouched."
        )
    if state == "25006":  # read_only_sql_transaction
        return UnwritableError("The database of labels may not be written to. Change the rights of its user.")
    if state in ("42P01", "42703", "42501"):  # undefined_table, undefined_column, insufficient_privilege
        return StorageError("The database of labels is damaged, or this program may not read it. Restore a backup.")
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or error.connection_invalidated:
        return StorageError("The database of labels cannot be reached just now. Try again in a moment.")
    return None
