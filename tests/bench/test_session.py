"""What a person's session holds in memory, and whether object 200 is as quick as object 1."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import samref
from samref.core.images import decode_image
from samref.core.prompts import Box, Click
from samref.inference.engine import LocalEngine
from tests.unit.inference.desk import session_of, settled

Record = Callable[[str, float, str], None]

OBJECTS = 200
EDGE = 20
"""So many objects at either end are compared."""


def test_object_200_is_as_quick_as_object_1(examples_dir: Path, record: Record) -> None:
    predictor = samref.load_predictor("tiny")
    engine = LocalEngine(lambda _: predictor, "tiny")
    image = decode_image((examples_dir / "raccoon.jpg").read_bytes())
    session = session_of(engine, "tiny", image, [])
    settled(session)

    tracemalloc.start()
    seconds: list[float] = []
    for index in range(OBJECTS):
        middle = Click(350 + 15 * (index % 20), 150 + 15 * (index // 20))  # on the raccoon
        box = Box(middle.x - 100, middle.y - 100, middle.x + 100, middle.y + 100)
        started = time.perf_counter()
        session.do(session.prompt(box, middle))
        settled(session)
        seconds.append(time.perf_counter() - started)
        if index + 1 < OBJECTS:
            draft = session.view.draft.mask
            if draft is not None and draft.area:
                session.do(session.commit(class_id=1))
            else:
                session.do(session.clear())
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert len(session.view.annotations) > OBJECTS / 2, "the model finds next to nothing on the raccoon"
    first, last = statistics.median(seconds[:EDGE]), statistics.median(seconds[-EDGE:])
    record(f"prompt at object {OBJECTS} against object 1", last / first, "x")
    record(f"session with {OBJECTS} objects, without embedding", session.size_bytes / 1024, "KiB")
    record(f"Python memory of the same {OBJECTS} objects and their log", held / 1024, "KiB")
    record("embeddings of one image, shared by its sessions", engine.stats().embedding_bytes / 1024, "KiB")
    assert last < 1.5 * first
