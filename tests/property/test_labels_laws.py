"""Laws of labels: logs, formats and stores, over projects that nobody would think of."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from samref.core.geometry import ImageSize
from samref.core.hand import HOWS, HandWork
from samref.core.masks import Mask, Rle
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import ImportFormatError, LabelError, StorageError
from samref.files import write_atomically
from samref.labels.annotations import Annotation, ImageRecord, Project
from samref.labels.classes import LabelClass
from samref.labels.events import (
    AnnotationsImported,
    AnnotationsReplaced,
    BoxesDropped,
    BoxesProposed,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Cleared,
    Committed,
    Deleted,
    Described,
    EditStarted,
    Event,
    HandPainted,
    ImageOpened,
    ImageState,
    MaskChosen,
    MaskGiven,
    ModelChanged,
    Prompted,
    PromptReplaced,
    ProposedBox,
    Reclassed,
    Redone,
    Reordered,
    Travelled,
    Undone,
    VisibilityChanged,
    apply,
    fold,
    replay,
    replay_classes,
)
from samref.labels.formats import export_bundle
from samref.labels.formats.coco import export_coco, import_coco, write_coco
from samref.labels.formats.png import export_index_mask, instance_value, legend
from samref.labels.serialization import event_from_json, event_to_json
from samref.labels.store import ProjectStore

sizes = st.builds(ImageSize, st.integers(1, 9), st.integers(1, 9))
names = st.sampled_from(["cat", "Größe", "a.b", "=1+1", "犬", "<b>", "../x"])
ids = st.sampled_from(["a", "b", "c", "d"])
numbers = st.floats(0, 1e6, allow_nan=False)


def masks(size: ImageSize) -> st.SearchStrategy[Mask]:
    """Any mask; one bit of a whole number for each pixel, which hypothesis draws much faster than an array."""

    def unpack(bits: int) -> Mask:
        octets = np.frombuffer(bits.to_bytes(-(-size.pixels // 8), "little"), dtype=np.uint8)
        mask: Mask = np.unpackbits(octets, count=size.pixels).astype(np.bool_).reshape(size.height, size.width)
        return mask

    return st.integers(0, (1 << 8 * -(-size.pixels // 8)) - 1).map(unpack)


@st.composite
def prompts(draw: st.DrawFn, size: ImageSize) -> Prompt:
    x = st.floats(0, size.width, exclude_max=True)
    y = st.floats(0, size.height, exclude_max=True)
    pixel, signed = st.tuples(x, y), st.booleans()
    kind = draw(st.sampled_from(["click", "scribble", "box", "polygon"]))
    if kind == "click":
        return Click(*draw(pixel), draw(signed))
    if kind == "scribble":
        width = draw(st.floats(0.5, max(size.height, size.width)))
        return Scribble(tuple(draw(st.lists(pixel, min_size=1, max_size=4))), draw(signed), width)
    if kind == "box":
        return Box(0.0, 0.0, float(size.width), float(size.height))
    corners = ((0.0, 0.0), (float(size.width), 0.0), (float(size.width), float(size.height)), (0.0, float(size.height)))
    return Polygon(corners, draw(signed))


def rles(size: ImageSize) -> st.SearchStrategy[Rle | None]:
    return st.none() | masks(size).map(Rle.from_mask)


attributes = st.dictionaries(st.sampled_from(["side", "ripe"]), names, max_size=2).map(lambda d: tuple(d.items()))


@st.composite
def objects(draw: st.DrawFn, size: ImageSize, empty: bool = True) -> Annotation:
    mask = draw(masks(size))
    if not empty and not mask.any():
        mask = ~mask
    rough = draw(st.none() | masks(size).map(Rle.from_mask))
    said = Prompts(tuple(draw(st.lists(prompts(size), max_size=2))), rough)
    return Annotation(
        id=draw(ids),
        class_id=draw(st.integers(1, 3)),
        mask=Rle.from_mask(mask),
        prompts=said,
        model=draw(names),
        score=draw(st.floats(-1, 2)),
        created_at=draw(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1))),  # noqa: DTZ001
        author=draw(names),
        seconds=draw(numbers),
        clicks=draw(st.integers(0, 1000)),
        visible=draw(st.booleans()),
        by_hand=draw(st.none() | st.builds(HandWork, rles(size), rles(size))),
        note=draw(names),
        attributes=draw(attributes),
        locked=draw(st.booleans()),
    )


@st.composite
def projects(draw: st.DrawFn, empty: bool = True) -> Project:
    classes = tuple(LabelClass(n, draw(names) + str(n), f"#{draw(st.integers(0, 0xFFFFFF)):06x}") for n in (1, 2, 3))
    images = []
    for place in range(draw(st.integers(0, 2))):
        size = draw(sizes)
        found = draw(st.lists(objects(size, empty), max_size=3, unique_by=lambda a: a.id))
        images.append(ImageRecord(f"{place:064x}", draw(names), size, tuple(found)))
    return Project(classes, tuple(images))


def classes() -> st.SearchStrategy[LabelClass]:
    return st.builds(LabelClass, st.integers(1, 5), names, st.sampled_from(["#000000", "#aabbcc"]))


proposed = st.builds(ProposedBox, ids, st.integers(1, 3), st.just(Box(1, 0, 4, 5)))


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event, of images of 6 x 5 pixels."""
    size = ImageSize(5, 6)
    kinds: list[st.SearchStrategy[Event]] = [
        st.just(ImageOpened("f" * 64, "f.jpg", 5, 6)),
        st.builds(Prompted, prompts(size), names, st.none() | st.integers(0, 9)),
        masks(size).map(Rle.from_mask).map(MaskGiven),
        st.sampled_from([Undone(), Redone(), Cleared()]),
        objects(size).map(Committed),
        ids.map(EditStarted),
        ids.map(Deleted),
        st.builds(VisibilityChanged, ids, st.booleans()),
        st.builds(Reclassed, ids, st.integers(1, 3)),
        names.map(ModelChanged),
        st.lists(objects(size), max_size=2).map(tuple).map(AnnotationsImported),
        st.builds(HandPainted, rles(size), rles(size), st.sampled_from(HOWS)),
        st.builds(MaskChosen, masks(size).map(Rle.from_mask), st.floats(0, 1), names),
        st.builds(PromptReplaced, st.integers(0, 4), st.none() | prompts(size)),
        st.integers(-3, 3).map(Travelled),
        st.builds(
            Described,
            st.lists(ids, max_size=3).map(tuple),
            st.none() | st.integers(1, 3),
            st.none() | st.booleans(),
            st.none() | st.booleans(),
            st.none() | names,
            st.none() | attributes,
        ),
        st.builds(
            AnnotationsReplaced,
            names,
            st.lists(ids, max_size=3).map(tuple),
            st.lists(objects(size), max_size=2).map(tuple),
        ),
        st.builds(Reordered, ids, st.integers(0, 4)),
        st.lists(proposed, max_size=3).map(tuple).map(BoxesProposed),
        st.lists(ids, max_size=3).map(tuple).map(BoxesDropped),
        classes().map(ClassAdded),
        classes().map(ClassChanged),
        st.integers(1, 5).map(ClassRemoved),
    ]
    return draw(st.one_of(kinds))


logs = st.lists(events(), max_size=8)


# ---- logs


@given(events())
def test_an_event_survives_being_written_as_json(event: Event) -> None:
    assert event_from_json(event_to_json(event)) == event


@given(logs, st.integers(0, 8))
def test_a_log_can_be_replayed_in_two_parts(log: list[Event], cut: int) -> None:
    assert fold(log[cut:], fold(log[:cut])) == fold(log)
    assert replay_classes(log[cut:], replay_classes(log[:cut])) == replay_classes(log)


@given(logs, st.data())
def test_undo_takes_a_prompt_back_and_redo_brings_it_again(log: list[Event], data: st.DataObject) -> None:
    before = fold(log)
    prompted = apply(before, Prompted(data.draw(prompts(ImageSize(5, 6))), "tiny"))
    undone = apply(prompted, Undone())
    assert undone.state.draft.prompts == before.state.draft.prompts
    assert apply(undone, Redone()).state == prompted.state


@given(logs, st.lists(events(), max_size=5))
def test_going_back_through_the_history_undoes_everything_and_going_forward_does_it_again(
    log: list[Event], more: list[Event]
) -> None:
    before = fold(log)
    after = fold([event for event in more if not isinstance(event, ImageOpened | Travelled)], before)
    steps = after.at - before.at
    back = apply(after, Travelled(-steps))
    assert back.state == before.state
    assert apply(back, Travelled(steps)) == after
    assert fold([Travelled(-1)] * steps, after).state == before.state


@given(logs)
def test_the_cursor_stays_within_the_draft_and_ids_stay_unique(log: list[Event]) -> None:
    state = replay(log)
    assert 0 <= state.draft.cursor <= len(state.draft.steps)
    assert len({a.id for a in state.annotations}) == len(state.annotations)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(events(), st.data())
def test_a_tampered_event_is_read_or_refused_but_never_breaks(event: Event, data: st.DataObject) -> None:
    tampered = json.loads(event_to_json(event))
    holder: Any = tampered
    while True:  # walk down to some value and put another one there
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))))
        if not (isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans())):
            break
        holder = holder[key]
    holder[key] = data.draw(json_values)
    with suppress(LabelError):
        event_from_json(json.dumps(tampered))


# ---- run lengths


@given(sizes.flatmap(masks))
def test_run_lengths_of_pycocotools_are_read_as_they_are(mask: Mask) -> None:
    rle = Rle.from_mask(mask)
    assert Rle.from_counts(rle.height, rle.width, rle.counts) == rle
    crop, left, top = rle.to_crop()
    padded = np.zeros_like(mask)
    padded[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert np.array_equal(padded, mask)


@given(sizes.flatmap(masks), st.data())
def test_run_lengths_split_by_empty_runs_mean_the_same_mask(mask: Mask, data: st.DataObject) -> None:
    flat = mask.ravel(order="F")
    runs: list[int] = []
    colour = False
    start = 0
    for place in range(flat.size + 1):
        if place == flat.size or bool(flat[place]) != colour:
            runs.append(place - start)
            start, colour = place, not colour
    cut = data.draw(st.integers(0, len(runs) - 1))
    part = data.draw(st.integers(0, runs[cut]))
    split = [*runs[:cut], part, 0, runs[cut] - part, *runs[cut + 1 :]]
    assert Rle.from_runs(mask.shape[0], mask.shape[1], split) == Rle.from_mask(mask)


@given(sizes, st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_text_is_a_mask_of_the_right_size_or_refused(size: ImageSize, counts: str) -> None:
    try:
        rle = Rle.from_counts(size.height, size.width, counts)
    except LabelError:
        return
    mask = rle.to_mask()
    assert mask.shape == (size.height, size.width)
    assert Rle.from_mask(mask) == rle


# ---- COCO


@given(projects(), st.booleans())
def test_pycocotools_reads_exactly_the_pixels_that_were_exported(project: Project, polygons: bool) -> None:
    reader = COCO()
    reader.dataset = json.loads(write_coco(project, polygons=polygons))
    reader.createIndex()
    written = [a for image in project.images for a in image.annotations]
    entries = reader.loadAnns(reader.getAnnIds(iscrowd=False))
    assert len(entries) == len(written)
    for entry, annotation in zip(entries, written, strict=True):
        assert np.array_equal(reader.annToMask(entry), annotation.mask.to_mask())
        assert entry["area"] == coco_mask.area(reader.annToRLE(entry))
        assert entry["bbox"] == coco_mask.toBbox(reader.annToRLE(entry)).tolist()


@given(projects(empty=False), st.booleans())
def test_an_export_is_imported_as_the_same_project(project: Project, polygons: bool) -> None:
    bare = Project((), tuple(replace(image, annotations=()) for image in project.images))
    found = import_coco(write_coco(project, polygons=polygons), bare)
    assert found.new_classes == tuple(replace(c, id=n) for n, c in enumerate(project.classes, start=1))
    assert found.annotations == {image.digest: image.annotations for image in project.images if image.annotations}


@given(projects(), st.data())
def test_a_tampered_file_is_read_or_refused_but_never_breaks(project: Project, data: st.DataObject) -> None:
    file = export_coco(project, polygons=data.draw(st.booleans()))
    section = data.draw(st.sampled_from([key for key in ("images", "categories", "annotations") if file[key]]))
    entry = data.draw(st.sampled_from(file[section]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(json_values)
    with suppress(ImportFormatError):
        import_coco(json.dumps(file).encode(), project)


# ---- PNG


@given(projects())
def test_an_index_mask_shows_the_topmost_object_of_every_pixel(project: Project) -> None:
    for image in project.images:
        values, kinds = (
            np.asarray(Image.open(io.BytesIO(export_index_mask(image, project, kind))))
            for kind in ("instance", "class")
        )
        layers = [annotation.mask.to_mask() for annotation in image.annotations]
        for row in range(image.size.height):
            for column in range(image.size.width):
                on_top = max((place for place, layer in enumerate(layers) if layer[row, column]), default=None)
                assert values[row, column] == (0 if on_top is None else instance_value(on_top))
                assert kinds[row, column] == (0 if on_top is None else image.annotations[on_top].class_id)


@given(projects())
def test_the_legend_counts_every_pixel_once(project: Project) -> None:
    for image in project.images:
        covered = np.zeros((image.size.height, image.size.width), dtype=np.bool_)
        for annotation in image.annotations:
            covered |= annotation.mask.to_mask()
        assert sum(item["pixels"] for item in legend(image, project, "instance")["values"]) == covered.sum()


# ---- values are values


CHANGES: list[Callable[[Project], Any]] = [
    lambda p: export_coco(p, polygons=True),
    lambda p: import_coco(write_coco(p, polygons=False), p),
    export_bundle,
]


@pytest.mark.parametrize("change", CHANGES)
@given(projects())
@settings(max_examples=10)
def test_an_export_leaves_the_project_unchanged(change: Callable[[Project], Any], project: Project) -> None:
    before = deepcopy(project)
    change(project)
    assert project == before


# ---- store


def _belongs(event: Event, before: ImageState, classes: int) -> bool:
    """Whether the store takes this event for an image of a workspace with that many classes."""
    match event:
        case ImageOpened() | ClassAdded() | ClassChanged() | ClassRemoved():
            return False
        case Committed(annotation):
            return annotation.class_id <= classes
        case AnnotationsImported(imported):
            return all(a.class_id <= classes for a in imported)
        case Reclassed(_, class_id):
            return class_id <= classes
        case Described(described, class_id):
            return class_id is None or class_id <= classes or not any(a.id in described for a in before.annotations)
        case AnnotationsReplaced(_, _, put):
            return all(annotation.class_id <= classes for annotation in put)
        case _:
            return True


@given(logs)
@settings(max_examples=10)
def test_a_log_read_from_the_disk_gives_the_state_it_had_in_memory(log: list[Event]) -> None:
    with TemporaryDirectory() as folder:
        store = ProjectStore(Path(folder) / "samref.db")
        workspace = store.create_workspace()
        store.add_class(workspace.id, "cat")
        digest = store.add_image(workspace.id, b"photo", "f.jpg", ImageSize(5, 6))
        history = fold([ImageOpened(digest, "f.jpg", 5, 6)])
        for event in log:
            try:
                store.append(workspace.id, digest, event)
            except LabelError:
                assert not _belongs(event, history.state, classes=2)
                continue
            assert _belongs(event, history.state, classes=2)
            history = apply(history, event)
        state = history.state
        store.close()
        store = ProjectStore(Path(folder) / "samref.db")
        assert store.state(workspace.id, digest) == state
        assert store.project(workspace.id).images[0].annotations == state.annotations
        assert store.images(workspace.id)[0].annotations == len(state.annotations)
        store.close()


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(["os.fsync", "pathlib.Path.replace"]))
def test_a_failed_save_leaves_the_old_file(old: bytes, new: bytes, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "labels.zip"
        write_atomically(path, old)
        patch.setattr(call, fail)
        with pytest.raises(StorageError):
            write_atomically(path, new)
        assert path.read_bytes() == old
        assert list(Path(folder).iterdir()) == [path]
