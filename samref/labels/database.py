"""SQLite opened so that what was committed survives a power cut, and its complaints in a person's words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from samref.errors import StorageError
from samref.labels.tables import metadata

__all__ = ["Database", "bytes_in_use"]

SCHEMA_VERSION = 1
WAIT_FOR_LOCK_S = 10


class Database:
    """Transactions on one SQLite file; any thread may ask for one."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it with empty tables.

        Raises:
            StorageError: it cannot be opened or made, or was written by a newer samref.
        """
        self._engine = _open_engine(path)
        self._write_lock = threading.Lock()
        with self.write() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise StorageError("The database of labels was written by a newer samref. Start that version instead.")
            if version == 0:
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one moment of the database and does not wait for writers."""
        with _database_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """The one transaction that writes: on the disk at the end, rolled back on any exception."""
        engine = self._engine.execution_options(writes=True)
        with self._write_lock, _database_errors(), engine.begin() as connection:
            yield connection

    def give_space_back(self) -> None:
        """Hand unused pages and the write-ahead log back to the file system."""
        with self._write_lock, _database_errors():
            raw = self._engine.raw_connection()
            try:
                # A script, since it is stepped to its end; execute() would take the first page only.
                raw.cursor().executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()


def _open_engine(path: Path) -> sa.Engine:
    """An engine whose transactions are SQLite's own: ``BEGIN IMMEDIATE`` for those with the option ``writes``."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": WAIT_FOR_LOCK_S})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own idea of when a transaction begins gets in the way
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only heeded while the file is empty
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # WAL's default may lose the last commits in a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def bytes_in_use(connection: sa.Connection) -> int:
    """Bytes of the database that hold something."""
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk is full, so nothing was saved just now. Free some space and try again; "
    "what was saved before is untouched.",
    sqlite3.SQLITE_IOERR: "The disk could not be read or written, so nothing was saved just now. Look whether it is "
    "full or failing; what was saved before is untouched.",
    sqlite3.SQLITE_READONLY: "The database of labels may not be written to. Change the permissions of its folder.",
    sqlite3.SQLITE_CANTOPEN: "The database of labels cannot be opened. Look whether its folder is there and may be "
    "written to.",
    sqlite3.SQLITE_BUSY: "The database of labels is in use by another program. Try again in a moment.",
    sqlite3.SQLITE_CORRUPT: "The database of labels is damaged. Restore it from a copy.",
    sqlite3.SQLITE_NOTADB: "The file for the labels is no database. Name another one, or move it away.",
}


@contextmanager
def _database_errors() -> Iterator[None]:
    """Turn what SQLite says about the disk into a :class:`StorageError`; anything else is a bug and passes."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the low byte; the rest says more exactly why
        if code not in _SENTENCES:
            raise
        raise StorageError(_SENTENCES[code]) from error
    except sqlite3.Error as error:  # from the lines above that speak to the driver itself
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in _SENTENCES:
            raise
        raise StorageError(_SENTENCES[code]) from error
