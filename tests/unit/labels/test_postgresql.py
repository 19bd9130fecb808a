"""What is different where labels are kept in PostgreSQL; what is the same is in the tests of the store."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.errors import StorageError
from samref.labels import database
from samref.labels.annotations import Project
from samref.labels.events import Committed, Prompted
from samref.labels.folder import FolderLock
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of
from tests.unit.labels.test_keeping import Clocks

SIZE = ImageSize(12, 16)
CLICK = Prompted(Click(1, 2), "tiny")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "data" / "images"


def change(address: str, statement: str) -> None:
    """Change the database behind the store's back."""
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_two_programs_write_to_one_database_in_turn(address: str, images: Path) -> None:
    one, other = ProjectStore(address, blobs=images), ProjectStore(address, blobs=images)
    made = one.create_workspace()
    digest = other.add_image(made.id, b"photo", "cat.jpg", SIZE)
    assert one.append(made.id, digest, CLICK).events == 2
    assert other.append(made.id, digest, CLICK).events == 3
    assert one.image_bytes(made.id, digest) == b"photo"
    one.close()
    other.close()


def test_a_second_server_is_refused_even_with_a_folder_of_its_own(address: str, tmp_path: Path) -> None:
    def server(name: str) -> ProjectStore:
        return ProjectStore(address, blobs=tmp_path / name / "images", lock=FolderLock(tmp_path / name))

    first = server("one")
    with pytest.raises(StorageError, match="in use by another samref"):
        server("two")
    first.close()
    server("two").close()


def test_a_writer_that_waits_too_long_gives_up_and_nothing_was_changed(
    address: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT_FOR_LOCK_S", 0.3)
    store, other = ProjectStore(address, blobs=images), ProjectStore(address, blobs=images)
    made = store.create_workspace().id
    with other.database.write(), pytest.raises(StorageError, match="in use by another program"):
        store.add_class(made, "cat")
    assert [label_class.name for label_class in store.classes(made)] == ["object"]
    store.add_class(made, "cat")
    store.close()
    other.close()


def test_a_reader_makes_nothing_and_changes_nothing(address: str, images: Path) -> None:
    with pytest.raises(StorageError, match="holds no labels of this samref yet"):
        ProjectStore(address, blobs=images, reads_only=True)
    assert not images.exists()
    ProjectStore(address, blobs=images).close()
    reader = ProjectStore(address, blobs=images, reads_only=True)
    assert reader.workspaces() == ()
    assert reader.describe().is_read_only
    with pytest.raises(StorageError, match="to be read only"):
        reader.create_workspace()
    reader.close()


def test_what_a_demo_leaves_behind_expires_with_its_images(address: str, images: Path, project: Project) -> None:
    clocks = Clocks()
    store = ProjectStore(address, blobs=images, demo_days=1, clock=clocks.wall, monotonic=clocks.monotonic)
    gone, used = store.create_workspace(), store.create_workspace()
    old = store.add_image(gone.id, b"old", "old.jpg", SIZE)
    new = store.add_image(used.id, b"new", "new.jpg", SIZE)
    store.append(gone.id, old, Committed(project.images[0].annotations[0]))
    clocks.pass_days(0.8)
    store.append(used.id, new, CLICK)
    clocks.pass_days(0.8)
    store.keep_house()
    assert [workspace.id for workspace in store.workspaces()] == [used.id]
    assert workspace_of(store, gone.token) is None
    assert {file.name for file in images.glob("??/*")} == {new}
    assert store.create_workspace().id > used.id, "the number of a removed workspace is not given again"
    store.close()


def test_workspaces_in_which_nothing_was_done_are_bounded(address: str, images: Path) -> None:
    clocks = Clocks()
    store = ProjectStore(address, blobs=images, max_untouched=3, clock=clocks.wall, monotonic=clocks.monotonic)
    with_image = store.create_workspace()
    store.add_image(with_image.id, b"photo", "cat.jpg", SIZE)
    for _ in range(8):
        clocks.passed_s += 1
        store.create_workspace()
    assert len(store.workspaces()) == 1 + 3
    assert workspace_of(store, with_image.token) == with_image.id
    store.close()


def test_an_empty_database_beside_images_is_a_loss(address: str, images: Path) -> None:
    store = ProjectStore(address, blobs=images)
    store.add_image(store.create_workspace().id, b"photo", "cat.jpg", SIZE)
    store.close()
    change(address, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with pytest.raises(StorageError, match="holds no workspace, but an image is in"):
        ProjectStore(address, blobs=images)


def test_a_missing_table_and_a_newer_samref_are_sentences(address: str, images: Path) -> None:
    ProjectStore(address, blobs=images).close()
    change(address, "DROP TABLE annotations")
    with pytest.raises(StorageError, match="its table 'annotations' is missing"):
        ProjectStore(address, blobs=images)
    change(address, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="newer samref"):
        ProjectStore(address, blobs=images)


def test_a_connection_that_was_cut_is_made_anew(address: str, images: Path) -> None:
    store = ProjectStore(address, blobs=images)
    made = store.create_workspace()
    url = sa.make_url(address)
    with psycopg.connect(host=str(url.query["host"]), user=url.username, dbname="postgres", autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [url.database])
        assert workspace_of(store, made.token) == made.id, "a connection that was cut is made anew"
    store.close()
    with pytest.raises(StorageError, match="cannot be reached just now"):
        ProjectStore(f"{address}/nowhere", blobs=images)


@pytest.mark.parametrize(
    ("place", "message"),
    [("mysql://host/name", "SQLite or PostgreSQL, not in mysql"), ("not an address", "cannot be used")],
)
def test_an_address_that_cannot_be_used_is_a_sentence(images: Path, place: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        ProjectStore(place, blobs=images)


def test_a_database_without_a_folder_for_images_is_refused() -> None:
    with pytest.raises(StorageError, match="need a folder for their images"):
        ProjectStore("postgresql+psycopg://user@host/name")
