"""One small project that has everything: two images of one name, parts, a hole, an overlap, a hidden object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle
from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble
from samref.labels.annotations import Annotation, ImageRecord, Project
from samref.labels.classes import LabelClass
from samref.labels.store import ProjectStore
from tests.unit.labels import postgresql

CAT, DOG = "c" * 64, "d" * 64
NOTHING_SAID = Prompts()


def rectangle(size: ImageSize, x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask: Mask = np.zeros((size.height, size.width), dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def annotation(name: str, mask: Mask, class_id: int = 1, prompts: Prompts = NOTHING_SAID) -> Annotation:
    return Annotation(
        id=name,
        class_id=class_id,
        mask=Rle.from_mask(mask),
        prompts=prompts,
        model="tiny",
        score=0.875,
        created_at=datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
        author="Ada",
        seconds=4.5,
        clicks=len(prompts.items),
    )


def workspace_of(store: ProjectStore, token: str) -> int | None:
    """The number of the workspace that a token opens."""
    found = store.find_workspace(token)
    return None if found is None else found[0]


@pytest.fixture
def project() -> Project:
    size = ImageSize(12, 16)
    solid = rectangle(size, 2, 3, 9, 9)
    ring = rectangle(size, 4, 1, 14, 10) & ~rectangle(size, 6, 3, 10, 7)
    parts = rectangle(size, 0, 0, 3, 2) | rectangle(size, 3, 2, 5, 4) | rectangle(size, 12, 10, 16, 12)
    said = Prompts((Click(5, 5), Click(1, 1, positive=False), Box(2, 3, 9, 9)))
    outline = Polygon(((6, 3), (10, 3), (10, 7)), positive=False)
    drawn = Prompts((Scribble(((4, 1), (13, 1))), outline), Rle.from_mask(solid))
    objects = (annotation("solid", solid, 1, said), annotation("ring", ring, 2, drawn), annotation("parts", parts))
    cat = ImageRecord(CAT, "cat.jpg", size, objects)
    hidden = annotation("hidden", rectangle(ImageSize(5, 4), 1, 1, 3, 4), 2)
    dog = ImageRecord(DOG, "cat.jpg", ImageSize(5, 4), (replace(hidden, visible=False),))
    return Project((LabelClass(1, "object", "#e6194b"), LabelClass(2, "Größe", "#3cb44b")), (cat, dog))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Path]:
    with postgresql.server() as folder:
        yield folder


@pytest.fixture
def address(postgresql_server: Path) -> str:
    """Of an empty PostgreSQL database."""
    return postgresql.new_database(postgresql_server)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels" / "samref.sqlite"


@pytest.fixture
def file_store(path: Path) -> Iterator[ProjectStore]:
    """A store in a SQLite file."""
    store = ProjectStore(path)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Path | str:
    """Where a store can be: a file that is not there yet, or an empty database."""
    found: Path | str = request.getfixturevalue("path" if request.param == "sqlite" else "address")
    return found


@pytest.fixture
def store(place: Path | str, tmp_path: Path) -> Iterator[ProjectStore]:
    """A store in a SQLite file, and one in PostgreSQL."""
    store = ProjectStore(place, blobs=tmp_path / "labels" / "images")
    yield store
    store.close()


@pytest.fixture
def golden() -> Path:
    return Path(__file__).parent / "golden"
