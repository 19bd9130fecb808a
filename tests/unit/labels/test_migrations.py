"""Databases of older versions open, with everything that was in them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.errors import StorageError
from samref.labels import migrations
from samref.labels.classes import LabelClass, default_classes
from samref.labels.events import ImageMarked, ImageOpened, Prompted, Redone, Undone
from samref.labels.store import ProjectStore
from samref.labels.tables import SCHEMA_REVISION, metadata
from tests.unit.labels.conftest import workspace_of

VERSION_1 = """
CREATE TABLE workspaces (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, token_hash VARCHAR(64) NOT NULL, created_at FLOAT NOT NULL,
    used_at FLOAT NOT NULL, revision INTEGER NOT NULL, UNIQUE (token_hash)
);
CREATE INDEX ix_workspaces_used_at ON workspaces (used_at);
CREATE TABLE images (
    id INTEGER NOT NULL, workspace_id INTEGER NOT NULL, digest VARCHAR(64) NOT NULL, file_name VARCHAR NOT NULL,
    height INTEGER NOT NULL, width INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (id),
    UNIQUE (workspace_id, digest), FOREIGN KEY(workspace_id) REFERENCES workspaces (id) ON DELETE CASCADE
);
CREATE INDEX ix_images_digest ON images (digest);
CREATE TABLE events (
    workspace_id INTEGER NOT NULL, digest VARCHAR(64) NOT NULL, number INTEGER NOT NULL, at FLOAT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (workspace_id, digest, number),
    FOREIGN KEY(workspace_id) REFERENCES workspaces (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE annotations (
    workspace_id INTEGER NOT NULL, digest VARCHAR(64) NOT NULL, id VARCHAR NOT NULL, class_id INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, digest, id), FOREIGN KEY(workspace_id) REFERENCES workspaces (id) ON DELETE CASCADE
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
PHOTO = b"the bytes of a photo"
DIGEST = hashlib.sha256(PHOTO).hexdigest()
TOKEN = "the token of the browser"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder as version 1 left it: two workspaces, a third one removed, one image."""
    place = tmp_path / "data"
    (place / "images" / DIGEST[:2]).mkdir(parents=True)
    (place / "images" / DIGEST[:2] / DIGEST).write_bytes(PHOTO)
    connection = sqlite3.connect(place / "samref.sqlite")
    connection.executescript("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;" + VERSION_1)
    cat = {"type": "class_added", "class": {"id": 1, "name": "cat", "colour": "#e6194b"}}
    added = {"type": "class_added", "class": {"id": 1, "name": "object", "colour": "#e6194b"}}
    opened = {"type": "image_opened", "digest": DIGEST, "file_name": "cat.jpg", "height": 12, "width": 16}
    with connection:
        for number, token, event in ((1, TOKEN, cat), (2, "another", added), (3, "gone", added)):
            token_hash = hashlib.sha256(token.encode()).hexdigest()
            connection.execute("INSERT INTO workspaces VALUES (?, ?, 1000.5, 2000.5, 4)", (number, token_hash))
            connection.execute("INSERT INTO events VALUES (?, '', 1, 1000.5, ?)", (number, json.dumps(event)))
        connection.execute("DELETE FROM workspaces WHERE id = 3")
        connection.execute("DELETE FROM events WHERE workspace_id = 3")
        connection.execute("INSERT INTO images VALUES (7, 1, ?, 'cat.jpg', 12, 16, ?)", (DIGEST, len(PHOTO)))
        for number, body in enumerate((opened, {"type": "undone"}, {"type": "redone"}), start=1):
            row = (DIGEST, number, json.dumps(body))
            connection.execute("INSERT INTO events VALUES (1, ?, ?, 1000.5, ?)", row)
        connection.execute("INSERT INTO annotations VALUES (1, ?, 'a', 1)", (DIGEST,))
    connection.close()
    return place


def test_a_database_of_version_1_opens_with_everything_in_it(folder: Path) -> None:
    for _ in range(2):  # the second time it is of version 2 already
        store = ProjectStore(folder / "samref.sqlite")
        assert workspace_of(store, TOKEN) == 1
        assert workspace_of(store, "another") == 2
        assert workspace_of(store, "gone") is None
        assert store.classes(1) == (LabelClass(1, "cat", "#e6194b"),)
        assert store.classes(2) == default_classes()
        assert store.events(1, DIGEST)[0] == ImageOpened(DIGEST, "cat.jpg", 12, 16)
        assert store.revision(1, DIGEST) == len(store.events(1, DIGEST)) == 3
        assert [(i.digest, i.size, i.annotations) for i in store.images(1)] == [(DIGEST, ImageSize(12, 16), 1)]
        assert store.image_bytes(1, DIGEST) == PHOTO
        assert [(w.id, w.created_at, w.is_demo) for w in store.workspaces()] == [(1, 1000.5, False), (2, 1000.5, False)]
        store.close()
    store = ProjectStore(folder / "samref.sqlite")
    assert store.create_workspace().id == 4, "the number of the removed workspace is not given again"
    with store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA user_version").scalar() == int(SCHEMA_REVISION)
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_a_migrated_database_still_removes_a_workspace_with_all_it_holds(folder: Path) -> None:
    store = ProjectStore(folder / "samref.sqlite")
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM workspaces WHERE id = 1")
    assert workspace_of(store, TOKEN) is None
    assert store.images(1) == ()
    assert store.events(1, DIGEST) == ()


def test_a_missing_entry_of_version_1_is_noticed_after_the_migration(folder: Path) -> None:
    with sqlite3.connect(folder / "samref.sqlite") as connection:
        connection.execute("DELETE FROM events WHERE number = 2 AND digest <> ''")
    connection.close()
    store = ProjectStore(folder / "samref.sqlite")
    with pytest.raises(StorageError, match=r"Entry 2 of the log of the image 'cat.jpg'"):
        store.events(1, DIGEST)


def test_a_migration_that_breaks_off_leaves_version_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("samref.labels.migrations.note_identity", stop)
        with pytest.raises(KeyboardInterrupt):
            ProjectStore(folder / "samref.sqlite")
    with sqlite3.connect(folder / "samref.sqlite") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(token_hash) FROM workspaces").fetchone() == (2,)
    connection.close()
    assert workspace_of(ProjectStore(folder / "samref.sqlite"), TOKEN) == 1


def test_a_reader_of_an_older_database_changes_nothing(folder: Path) -> None:
    before = (folder / "samref.sqlite").read_bytes()
    store = ProjectStore(folder / "samref.sqlite", reads_only=True)
    assert [workspace.id for workspace in store.workspaces()] == [1, 2]
    assert store.image_bytes(1, DIGEST) == PHOTO
    with pytest.raises(StorageError, match="to be read only"):
        store.create_workspace()
    store.close()
    assert (folder / "samref.sqlite").read_bytes() == before


def test_a_missing_table_of_version_1_is_a_sentence(folder: Path) -> None:
    with sqlite3.connect(folder / "samref.sqlite") as connection:
        connection.execute("DROP TABLE images")
    connection.close()
    with pytest.raises(StorageError, match="table 'images' is missing"):
        ProjectStore(folder / "samref.sqlite")


def test_a_migrated_file_has_the_tables_of_a_new_one(folder: Path, path: Path) -> None:
    for place in (folder / "samref.sqlite", path):
        ProjectStore(place).close()
    made = [_shape(folder / "samref.sqlite"), _shape(path)]
    assert made[0] == made[1]
    assert made[1]["alembic_version"][1] == [(SCHEMA_REVISION,)]


def _shape(path: Path) -> dict[str, tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    """The columns of each table and its indices, and the row of Alembic's."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: (
                sorted(row[1:] for row in connection.execute(f"PRAGMA table_info({table})")),
                connection.execute(f"SELECT * FROM {table}").fetchall()
                if table == "alembic_version"
                else sorted(row[2:] for row in connection.execute(f"PRAGMA index_list({table})")),
            )
            for table in tables
        }


def test_the_last_revision_is_the_schema_of_this_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_alembic_finds_nothing_to_change_in_new_tables(address: str, tmp_path: Path) -> None:
    ProjectStore(address, blobs=tmp_path / "images").close()
    engine = sa.create_engine(address)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_file_of_this_version_that_lost_alembic_s_table_is_stamped(path: Path) -> None:
    store = ProjectStore(path)
    made = store.create_workspace()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE alembic_version")
    again = ProjectStore(path)
    assert workspace_of(again, made.token) == made.id
    with again.database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(SCHEMA_REVISION,)]
    again.close()


NEW_IN_3 = ("mark", "has_draft", "removed", "changed_at")


@pytest.mark.parametrize("kind", ["sqlite", "sqlite before Alembic", "postgresql"])
def test_version_2_learns_from_the_logs_which_images_have_a_draft(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_file = kind.startswith("sqlite")
    place = tmp_path / "samref.sqlite" if is_file else request.getfixturevalue("address")

    def opened() -> ProjectStore:
        return ProjectStore(place, blobs=tmp_path / "images")

    store = opened()
    made = store.create_workspace()
    begun, plain, damaged = (
        store.add_image(made.id, photo, f"{photo.decode()}.jpg", ImageSize(12, 16))
        for photo in (b"begun", b"plain", b"damaged")
    )
    click = Prompted(Click(1, 2), "tiny")
    store.append(made.id, begun, click, Undone(), Redone())
    store.append(made.id, plain, click, Undone())
    store.append(made.id, damaged, click)
    logs = {digest: store.events(made.id, digest) for digest in (begun, plain)}
    with store.database.write() as connection:
        for column in NEW_IN_3:
            connection.exec_driver_sql(f"ALTER TABLE images DROP COLUMN {column}")
        if kind == "sqlite before Alembic":
            connection.exec_driver_sql("DROP TABLE alembic_version")
        else:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
        if is_file:
            connection.exec_driver_sql("PRAGMA user_version = 2")
        rubbish = sa.text("UPDATE events SET body = 'rubbish' WHERE digest = :digest AND number = 2")
        connection.execute(rubbish, {"digest": damaged})
    store.close()
    store = opened()
    assert workspace_of(store, made.token) == made.id
    assert [(i.file_name, i.has_draft, i.mark, i.removed) for i in store.images(made.id)] == [
        ("begun.jpg", True, "", False),
        ("plain.jpg", False, "", False),
        ("damaged.jpg", False, "", False),
    ]
    assert {digest: store.events(made.id, digest) for digest in (begun, plain)} == logs
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(SCHEMA_REVISION,)]
    store.append_to_all(made.id, [begun], ImageMarked("done"))
    assert store.images(made.id)[0].mark == "done"
    store.close()
