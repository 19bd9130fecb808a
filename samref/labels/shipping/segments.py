"""Segments: the transactions of a database as text, and as changes of another one that began equal.

A transaction is the statements that changed something, with their values and with how many rows each changed. One at a
time writes, so they have one order; the statements are SQL with values and ask neither clock nor chance, so the same
statements on the same database give the same rows (docs/adr/0021-state-on-a-space.md).
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from samref.errors import StorageError
from samref.labels.sqlite import UNWRITABLE, Change, database_errors

FORMAT = 1

_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of a generation, the first of which is number 1."""

    number: int
    changes: Sequence[Change]


class SegmentError(StorageError):
    """A segment cannot be read, or does not fit what came before it."""


def pack(transactions: Iterable[Transaction]) -> bytes:
    """A segment: packed JSON lines, a head and one line for each transaction.

    Raises:
        TypeError: a value is of a kind that JSON has not.
    """
    packer = zlib.compressobj(_LEVEL, wbits=31)  # gzip's form
    parts = [packer.compress(_line({"samref": "segment", "format": FORMAT}))]
    for transaction in transactions:
        changes = [[change.sql, change.values, change.is_many, change.rows] for change in transaction.changes]
        parts.append(packer.compress(_line([transaction.number, changes])))
    return b"".join([*parts, packer.flush()])


def unpack(data: bytes) -> Iterator[Transaction]:
    """The transactions of a segment.

    Raises:
        SegmentError: it is of a newer version, or damaged.
    """
    try:
        head, *lines = gzip.decompress(data).splitlines()
        if json.loads(head) != {"samref": "segment", "format": FORMAT}:
            raise SegmentError("A segment was written by a newer samref. Start that version instead.")
        for line in lines:
            number, changes = json.loads(line)
            yield Transaction(number, [Change(*change) for change in changes])
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise SegmentError(f"A segment cannot be read ({error}).") from error


def apply(path: Path, transactions: Iterable[Transaction], after: int) -> int:
    """Make the changes of those transactions that come after number ``after``; gives the number of the last one.

    Raises:
        SegmentError: they do not follow on it, or do not fit the database, or cannot be read; nothing was changed.
    """
    with database_errors(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")  # as where they were made: rows go with what they belong to
        connection.execute("PRAGMA synchronous = OFF")  # a copy that is being made; it is put in place when whole
        connection.execute("BEGIN")
        try:
            for transaction in transactions:
                if transaction.number <= after:
                    continue
                if transaction.number != after + 1:
                    raise SegmentError(f"Transaction {after + 1} is missing.")
                for change in transaction.changes:
                    _make(connection, change, transaction.number)
                after = transaction.number
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in UNWRITABLE:
                raise  # the disk, not the segment
            connection.execute("ROLLBACK")
            raise SegmentError(f"Transaction {after + 1} does not fit ({error}).") from error
        except SegmentError:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    return after


def _make(connection: sqlite3.Connection, change: Change, number: int) -> None:
    if change.is_many:
        made = connection.executemany(change.sql, change.values)
    else:
        made = connection.execute(change.sql, change.values)
        made.fetchall()
    if made.rowcount != change.rows:
        raise SegmentError(f"Transaction {number} changed {made.rowcount} rows instead of {change.rows}.")


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
