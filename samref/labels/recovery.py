"""Looks for damage in a data folder, and saves what can be read of a damaged or lost database into a new one.

Logs are read one by one, entry by entry. The fold over a log is total, so the entries that are left still have a
meaning; what is missing is named. Images that no log names get a workspace of their own. The damaged database is kept.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.core.images import upright_size
from samref.errors import ImageError, LabelError, SamrefError, StorageError
from samref.labels.annotations import DIGEST, tidy_path
from samref.labels.backup import database_part, replace_database
from samref.labels.classes import MAX_CLASSES, PALETTE, LabelClass, class_named, default_classes
from samref.labels.events import ClassAdded, ClassEvent, Event, ImageOpened, replay, replay_classes
from samref.labels.folder import DATABASE_NAME, IMAGES_NAME, BlobFolder, FolderLock, database_in
from samref.labels.queries import (
    CLASS_LOG,
    MAX_EVENTS,
    ImageSummary,
    add_token,
    insert_image,
    insert_workspace,
    list_images,
    listed_annotations,
    note_change,
    read_events,
    save_log_length,
    save_served_s,
    save_state,
)
from samref.labels.serialization import event_from_json, event_to_json
from samref.labels.sqlite import SqliteDatabase, database_errors, faults_of_file, open_damaged, readable_rows
from samref.labels.store import ProjectStore
from samref.labels.tables import annotation_table, event_table, token_table, workspace_table

_SHOWN_NUMBERS = 10
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "workspace_id", "height", "width", "bytes", "events", "number", "revision"), int),
    **dict.fromkeys(("created_at", "used_at", "used_served_s", "at"), (int, float)),
    **dict.fromkeys(("digest", "file_name", "token_hash", "name", "value", "body"), str),
}


@dataclass(slots=True)
class Recovery:
    """What was saved: how many workspaces, with images, entries of logs and accepted objects.

    Attributes:
        workspaces: how many, without the one for adopted images.
        adopted: images that no log named.
        adopted_workspace: the number of their workspace; None where there were none.
        token: opens that workspace.
        aside: where the damaged database lies now; None where there was none.
        lost: a sentence for each thing that could not be read.
    """

    workspaces: int = 0
    images: int = 0
    events: int = 0
    annotations: int = 0
    adopted: int = 0
    adopted_workspace: int | None = None
    token: str | None = None
    aside: Path | None = None
    lost: list[str] = field(default_factory=list)


def recover(folder: Path) -> Recovery:
    """Make a new database of labels from what can be read of the one in a data folder, and from its images."""
    path = folder / DATABASE_NAME
    blobs = BlobFolder(folder / IMAGES_NAME, make=False)
    if not path.exists() and next(blobs.digests(), None) is None:
        raise StorageError(f"There is neither a {DATABASE_NAME} nor an image in {folder}. Name a data folder.")
    done = Recovery()
    with FolderLock(folder), database_part(folder) as part:
        damaged = _read_damaged(path, done.lost)
        with closing(SqliteDatabase(part)) as new, new.write() as connection:
            _Writer(connection, blobs, damaged, done).write_all()
        done.aside = replace_database(part, path)
    return done


# ---- reading


@dataclass(slots=True)
class _Log:
    """The readable entries of one log and the numbers of the others."""

    events: list[tuple[float, Event]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Damaged:
    """What could be read, by workspace and digest; of either schema."""

    lost: list[str]
    workspaces: dict[int, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[int, str], _Log] = field(default_factory=dict)
    served_s: float = 0.0


def _read_damaged(path: Path, lost: list[str]) -> _Damaged:
    damaged = _Damaged(lost)
    if not path.is_file() or path.stat().st_size == 0:
        damaged.lost.append(f"{path} is missing or empty: no label could be saved.")
        return damaged
    with open_damaged(path) as file:
        _read_tables(file, damaged)
    return damaged


def _read_tables(file: sqlite3.Connection, damaged: _Damaged) -> None:
    for row in _rows(file, damaged, "workspaces", "id"):
        number = int(row["id"])
        damaged.workspaces[number] = row
        if "token_hash" in row:  # version 1
            damaged.tokens[row["token_hash"]] = {"workspace_id": number, "created_at": row["created_at"]}
    if not any("token_hash" in row for row in damaged.workspaces.values()):
        for row in _rows(file, damaged, "tokens", "token_hash"):
            damaged.tokens[row["token_hash"]] = row
        for row in _rows(file, damaged, "meta", "name"):
            if row["name"] == "served_s":
                with suppress(ValueError):
                    damaged.served_s = float(row["value"])
    for row in _rows(file, damaged, "images", "id"):
        damaged.images[int(row["workspace_id"]), str(row["digest"])] = row
    keys = set(_event_keys(file, damaged))
    for key in sorted({*keys, *damaged.images, *((number, "") for number in damaged.workspaces)}):
        damaged.logs[key] = _read_log(file, key, _length(damaged, key))


def _rows(file: sqlite3.Connection, damaged: _Damaged, table: str, key: str) -> Iterator[dict[str, Any]]:
    """The usable rows of a table, each once."""
    seen = set()
    for row in readable_rows(file, f"SELECT * FROM {table}", [key]):  # noqa: S608 - our own names
        if isinstance(row, str):
            damaged.lost.append(f"The table {table!r} can be read in part only, or not at all ({row}).")
        elif _is_usable(row) and row[key] not in seen:
            seen.add(row[key])
            yield row


def _is_usable(row: dict[str, Any]) -> bool:
    """Whether the values of a row, which may come from a page of rubbish, are of the kinds they should be."""
    return all(isinstance(value, _KINDS[name]) for name, value in row.items() if name in _KINDS) and (
        "digest" not in row or DIGEST.fullmatch(row["digest"]) is not None
    )


def _event_keys(file: sqlite3.Connection, damaged: _Damaged) -> Iterator[tuple[int, str]]:
    keys = "SELECT workspace_id, digest FROM events GROUP BY workspace_id, digest"
    for row in readable_rows(file, keys, ["workspace_id", "digest"]):
        if isinstance(row, str):
            damaged.lost.append(f"The table 'events' can be read in part only, or not at all ({row}).")
        elif isinstance(row["workspace_id"], int) and (row["digest"] == "" or DIGEST.fullmatch(str(row["digest"]))):
            yield row["workspace_id"], row["digest"]


def _length(damaged: _Damaged, key: tuple[int, str]) -> int:
    """How long the log should be, as far as that is known."""
    row = damaged.images.get(key) if key[1] else damaged.workspaces.get(key[0])
    return int((row or {}).get("events") or 0)


def _read_log(file: sqlite3.Connection, key: tuple[int, str], length: int) -> _Log:
    log = _Log()
    found: dict[int, tuple[float, Event]] = {}
    numbers: set[int] = set()
    entries = "SELECT number, at, body FROM events WHERE workspace_id = ? AND digest = ?"
    for row in readable_rows(file, entries, ["number"], key):
        if isinstance(row, str) or not _is_usable(row) or not 0 < row["number"] <= MAX_EVENTS:
            continue
        number = row["number"]
        numbers.add(number)
        if number not in found and (event := _event(row["body"], key[1])) is not None:
            found[number] = (row["at"], event)
    log.events = [found[number] for number in sorted(found)]
    log.lost = set(range(1, max(numbers | {length}) + 1)) - found.keys()
    return log


def _event(body: str, digest: str) -> Event | None:
    try:
        event = event_from_json(body)
    except LabelError:
        return None
    if isinstance(event, ClassEvent) != (digest == ""):
        return None
    return None if isinstance(event, ImageOpened) and event.digest != digest else event


# ---- writing


@dataclass(slots=True)
class _Writer:
    """Puts what was read into a new database, in one transaction."""

    connection: sa.Connection
    blobs: BlobFolder
    damaged: _Damaged
    done: Recovery
    _held: set[str] = field(default_factory=set)

    def write_all(self) -> None:
        damaged = self.damaged
        save_served_s(self.connection, damaged.served_s)
        numbers = {*damaged.workspaces, *(number for number, _ in damaged.logs)}
        numbers |= {int(row["workspace_id"]) for row in damaged.tokens.values()}
        for number in sorted(numbers):
            self._write_workspace(number)
        self._adopt(digest for digest in sorted(self.blobs.digests()) if digest not in self._held)

    def _write_workspace(self, number: int) -> None:
        damaged, now = self.damaged, time.time()
        row = damaged.workspaces.get(number, {})
        known = {
            "id": number,
            "created_at": row.get("created_at", now),
            "used_at": row.get("used_at", now),
            "used_served_s": row.get("used_served_s", damaged.served_s),
            "is_demo": bool(row.get("is_demo", False)),
            "revision": int(row.get("revision", 0)) + 1,
            "events": 0,
        }
        self.connection.execute(workspace_table.insert(), known)
        tokens = [
            {"token_hash": token_hash, "workspace_id": number, "created_at": token.get("created_at", now)}
            for token_hash, token in damaged.tokens.items()
            if int(token["workspace_id"]) == number
        ]
        if tokens:
            self.connection.execute(token_table.insert(), tokens)
        else:
            damaged.lost.append(f"Workspace {number} has no key any more; `workspaces key {number}` makes one.")
        logs = [(digest, log) for (workspace, digest), log in damaged.logs.items() if workspace == number and digest]
        logs.sort(key=lambda item: damaged.images.get((number, item[0]), {}).get("id", 1 << 62))
        used: set[int] = set()
        for digest, log in logs:
            used |= self._write_image(number, digest, log)
        self._write_classes(number, damaged.logs.get((number, ""), _Log()), used)
        self.done.workspaces += 1

    def _write_image(self, number: int, digest: str, log: _Log) -> set[int]:
        """Write one image; the classes that it uses."""
        row = self.damaged.images.get((number, digest), {})
        events = list(log.events)
        opened = next((event for _, event in events if isinstance(event, ImageOpened)), None)
        name = tidy_path(str(row.get("file_name", opened.file_name if opened else _name_for(digest))))
        if not events or not isinstance(events[0][1], ImageOpened):
            size = ImageSize(opened.height, opened.width) if opened else self._size_of(digest, row)
            if size is None:
                self.damaged.lost.append(f"The log of {name!r} (workspace {number}) cannot be read.")
                return set()
            events.insert(0, (time.time(), ImageOpened(digest, name, size.height, size.width)))
        lost = log.lost - ({1} if len(events) > len(log.events) else set())
        if lost:
            self.damaged.lost.append(f"{_numbers(lost)} of the log of {name!r} (workspace {number}) cannot be read.")
        state = replay(event for _, event in events)
        assert state.size is not None
        size_bytes = self.blobs.size_bytes(digest)
        if size_bytes is None:
            self.damaged.lost.append(f"The file of {name!r} (workspace {number}, {digest}) is not there.")
        insert_image(self.connection, number, digest, name, state.size, size_bytes or int(row.get("bytes", 0)))
        self._write_events(number, digest, events)
        revision = int(self.damaged.workspaces.get(number, {}).get("revision", 0)) + 1
        save_state(self.connection, number, digest, state, revision)
        objects = [
            {"workspace_id": number, "digest": digest, "id": a.id, "class_id": a.class_id} for a in state.annotations
        ]
        if objects:
            self.connection.execute(annotation_table.insert(), objects)
        self._held.add(digest)
        self.done.images += 1
        self.done.annotations += len(objects)
        return {annotation.class_id for annotation in state.annotations}

    def _size_of(self, digest: str, row: dict[str, Any]) -> ImageSize | None:
        try:
            size = ImageSize(row["height"], row["width"]) if row else upright_size(self.blobs.read(digest))
            event_from_json(event_to_json(ImageOpened(digest, "any", size.height, size.width)))  # as it will be read
        except (SamrefError, ValueError):
            return None
        return size

    def _write_classes(self, number: int, log: _Log, used: Iterable[int]) -> None:
        events = list(log.events)
        if log.lost:
            self.damaged.lost.append(f"{_numbers(log.lost)} of the classes of workspace {number} cannot be read.")
        classes = replay_classes(event for _, event in events)
        wanted = {class_id for class_id in used if 1 <= class_id <= MAX_CLASSES}
        if not classes:
            wanted.add(default_classes()[0].id)
        missing = sorted(wanted - {c.id for c in classes})
        for class_id in missing:
            added = ClassAdded(_stand_in(class_id, classes))
            events.append((time.time(), added))
            classes = replay_classes([added], classes)
        self._write_events(number, "", events)

    def _write_events(self, number: int, digest: str, events: list[tuple[float, Event]]) -> None:
        log = {"workspace_id": number, "digest": digest}
        rows = [
            {**log, "number": index, "at": at, "body": event_to_json(event)}
            for index, (at, event) in enumerate(events, start=1)
        ]
        if rows:
            self.connection.execute(event_table.insert(), rows)
        save_log_length(self.connection, number, digest, len(rows))
        self.done.events += len(rows)

    def _adopt(self, digests: Iterable[str]) -> None:
        """Put images that nobody names into one new workspace."""
        workspace: int | None = None
        for digest in digests:
            try:
                data = self.blobs.read(digest)
                size = upright_size(data)
                opened = ImageOpened(digest, _name_for(digest), size.height, size.width)
                event_from_json(event_to_json(opened))  # as it will be read
            except (ImageError, LabelError, StorageError) as error:
                self.damaged.lost.append(f"The file {digest} stays where it is, but cannot be opened: {error}")
                continue
            if workspace is None:
                now = time.time()
                workspace = insert_workspace(self.connection, now, self.damaged.served_s, is_demo=False)
                self.done.adopted_workspace, self.done.token = workspace, add_token(self.connection, workspace, now)
                events: list[tuple[float, Event]] = [(now, ClassAdded(c)) for c in default_classes()]
                self._write_events(workspace, "", events)
                note_change(self.connection, workspace, now, self.damaged.served_s)
            insert_image(self.connection, workspace, digest, opened.file_name, size, len(data))
            self._write_events(workspace, digest, [(time.time(), opened)])
            self.done.adopted += 1


def _name_for(digest: str) -> str:
    return f"recovered-{digest[:12]}"


def _stand_in(class_id: int, classes: tuple[LabelClass, ...]) -> LabelClass:
    """A class for annotations whose own cannot be read."""
    if class_id == default_classes()[0].id and class_named(classes, default_classes()[0].name) is None:
        return default_classes()[0]
    name = f"class {class_id}"
    while class_named(classes, name) is not None:
        name += " again"
    return LabelClass(class_id, name, PALETTE[(class_id - 1) % len(PALETTE)])


def _numbers(lost: set[int]) -> str:
    """Such as "Entry 3" or "Entries 3, 5 and 12 more"."""
    numbers = sorted(lost)
    shown = ", ".join(str(number) for number in numbers[:_SHOWN_NUMBERS])
    more = f" and {len(numbers) - _SHOWN_NUMBERS} more" if len(numbers) > _SHOWN_NUMBERS else ""
    return f"{'Entry' if len(numbers) == 1 else 'Entries'} {shown}{more}"


# ---- looking for damage


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was looked at, and a sentence for each fault."""

    workspaces: int
    images: int  # different ones
    events: int  # in all logs that can be read
    strangers: int  # image files that no workspace names; no fault
    faults: tuple[str, ...]


def inspect(folder: Path) -> Inspection:
    """Look at a data folder, while a server may be working on it; nothing is changed."""
    faults: list[str] = []
    digests: dict[str, str] = {}
    events = 0
    with closing(ProjectStore(database_in(folder), reads_only=True)) as store:
        found = store.workspaces()
        with store.database.read() as connection:  # one transaction: one moment
            faults.extend(faults_of_file(connection))
            for workspace in found:
                classes: set[int] | None = None
                try:
                    with database_errors():
                        log = read_events(connection, workspace.id, CLASS_LOG)
                    events += len(log)
                    classes = {label_class.id for label_class in replay_classes(log)}
                except StorageError as error:
                    faults.append(str(error))
                try:
                    with database_errors():
                        images = list_images(connection, workspace.id, with_removed=True)
                except StorageError as error:
                    faults.append(f"The list of images of workspace {workspace.id}: {error}")
                    continue
                for image in images:
                    count, found_faults = _faults_of_log(connection, workspace.id, image, classes)
                    events += count
                    faults.extend(found_faults)
                    digests[image.digest] = f"{image.file_name!r}, workspace {workspace.id}"
        faults.extend(_faults_of_images(store.blobs, digests))
        strangers = sum(1 for digest in store.blobs.digests() if digest not in digests)
    return Inspection(len(found), len(digests), events, strangers, tuple(faults))


def _faults_of_log(
    connection: sa.Connection, workspace_id: int, image: ImageSummary, classes: set[int] | None
) -> tuple[int, list[str]]:
    """How many entries the log of an image has, and its faults; ``classes`` is None where they cannot be read."""
    where = f"{image.file_name!r} (workspace {workspace_id}, {image.digest})"
    try:
        with database_errors():
            events = read_events(connection, workspace_id, image.digest)
            listed = listed_annotations(connection, workspace_id, image.digest)
    except StorageError as error:
        return 0, [f"{where}: {error}"]
    state = replay(events)
    logged = {annotation.id: annotation.class_id for annotation in state.annotations}
    faults = []
    if state.digest != image.digest:
        faults.append(f"{where}: its log does not begin with the image's own digest.")
    elif state.size != image.size:
        faults.append(f"{where}: the list of images and the log name different sizes.")
    if logged != listed:
        faults.append(f"{where}: the log holds {len(logged)} objects, the list {len(listed)}, or their classes differ.")
    if (state.mark, state.draft.is_open, state.removed) != (image.mark, image.has_draft, image.removed):
        faults.append(f"{where}: the list of images and the log differ in its mark, its draft or its removal.")
    unknown = set() if classes is None else {*logged.values()} - classes
    faults.extend(f"{where}: an object has class {class_id}, which there is not." for class_id in sorted(unknown))
    return len(events), faults


def _faults_of_images(blobs: BlobFolder, digests: dict[str, str]) -> Iterator[str]:
    for digest, where in digests.items():
        try:
            blobs.read(digest)
        except StorageError as error:
            yield f"Image {digest} ({where}): {error}"
