"""Makes annotations of boxes: for the images of a folder, each encoded once, and what a server's job shares with it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Box, Prompts
from samref.errors import ImageError, LabelError, PromptError, StorageError
from samref.files import Journal, disk_errors
from samref.inference.image_source import image_from
from samref.inference.predictor import Prediction, Predictor, check_prompt_kinds
from samref.labels.annotations import NOT_REVIEWED, Annotation
from samref.labels.events import ProposedBox
from samref.labels.formats.boxes import ImageBoxes, propose
from samref.labels.serialization import annotation_from_plain, to_plain
from samref.models.interface import ModelSpec

JOURNAL_VERSION = 1

_FAULTS = (ImageError, LabelError, PromptError, StorageError)
"""What makes one image fail and lets the others go on."""


def prompts_of(proposed: ProposedBox) -> Prompts:
    """What a person would have said: this box."""
    return Prompts((proposed.box,))


def check_takes_boxes(spec: ModelSpec) -> None:
    """Refuse a model that does not take boxes.

    Raises:
        PromptError: with what it does take.
    """
    check_prompt_kinds(Prompts((Box(0, 0, 1, 1),)), spec)


def annotation_from(proposed: ProposedBox, prediction: Prediction, model: str) -> Annotation | None:
    """The annotation that takes a box's place, as if a person had drawn the box; None where the mask is empty."""
    if prediction.mask.area == 0:
        return None
    return Annotation(
        id=proposed.id,
        class_id=proposed.class_id,
        mask=prediction.mask,
        prompts=prompts_of(proposed),
        model=model,
        score=prediction.score,
        created_at=datetime.now(UTC),
        author="",
        seconds=0.0,
        clicks=1,
        attributes=NOT_REVIEWED,
    )


# ---- the images of a folder


@dataclass(frozen=True, slots=True)
class BoxTask:
    """An image file and its boxes; ``name`` is what the results call it."""

    name: str
    path: Path
    boxes: ImageBoxes

    @property
    def key(self) -> str:
        """Changes whenever the file or its boxes do.

        Raises:
            StorageError: the file is not there.
        """
        with disk_errors(f"{self.name} cannot be read"):
            about = self.path.stat()
        words = f"{about.st_size} {about.st_mtime_ns} {self.boxes!r}"
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Segmented:
    """What became of one image.

    Attributes:
        name: of the image.
        digest, size: of the image.
        annotations: those with a mask.
        faults: a sentence for each box without one.
    """

    name: str
    digest: str
    size: ImageSize
    annotations: tuple[Annotation, ...]
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What became of a folder: ``images`` in the order of the tasks, ``faults`` by the name of the image."""

    images: list[Segmented] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)

    def add_fault(self, name: str, sentence: str) -> None:
        """Note what could not be done."""
        self.faults.setdefault(name, []).append(sentence)


def segment_boxes(
    predictor: Predictor,
    tasks: Sequence[BoxTask],
    class_ids: Mapping[str, int],
    journal: BoxJournal,
    *,
    workers: int = 2,
    progress: bool = False,
) -> Outcome:
    """The annotations of all boxes; each image is in the journal before the next is begun, and none is done twice.

    Args:
        predictor: of a model that takes boxes.
        tasks: the images.
        class_ids: the number of each class name.
        journal: of this run and those before it.
        workers: threads that read and decode images ahead of the model.
        progress: show a bar where somebody looks.

    Raises:
        ModelError: the model does not work.
        StorageError: the journal cannot be written.
    """
    done: dict[str, Segmented] = {}
    outcome, todo = Outcome(), []
    for task in tasks:
        try:
            known = journal.known.get(task.key)
        except StorageError as error:
            outcome.add_fault(task.name, str(error))
            continue
        if known is not None:
            done[task.name] = known
        else:
            todo.append(task)
    bar = tqdm(
        total=len(tasks),
        initial=len(tasks) - len(todo),
        unit="image",
        dynamic_ncols=True,
        disable=None if progress else True,  # None: shown where standard error is a terminal
    )
    with bar, ThreadPoolExecutor(workers, thread_name_prefix="samref-read") as pool:
        for task, decoding in _ahead(pool, todo, workers + 1):
            try:
                key = task.key  # before it is read: a file that changes meanwhile is done again next time
                found = _segment_image(predictor, task, decoding.result(), class_ids)
            except _FAULTS as error:
                outcome.add_fault(task.name, str(error))
            else:
                journal.keep(key, found)
                done[task.name] = found
            bar.update()
    for task in tasks:
        if task.name in done:
            outcome.images.append(done[task.name])
            for sentence in done[task.name].faults:
                outcome.add_fault(task.name, sentence)
    return outcome


def _ahead(
    pool: ThreadPoolExecutor, tasks: Sequence[BoxTask], count: int
) -> Iterator[tuple[BoxTask, Future[DecodedImage]]]:
    """Each task with its image, of which ``count`` are read ahead; more would fill the memory."""
    waiting: deque[tuple[BoxTask, Future[DecodedImage]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(image_from, task.path)))
            if len(waiting) >= count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, decoding in waiting:
            decoding.cancel()


def _segment_image(predictor: Predictor, task: BoxTask, image: DecodedImage, class_ids: Mapping[str, int]) -> Segmented:
    placed = task.boxes.placed(image.size)
    embedding = predictor.embed(image)
    annotations: dict[str, Annotation] = {}
    faults = []
    for each, (class_name, box) in zip(task.boxes.boxes, placed, strict=True):
        proposed = propose(image.digest, class_ids[class_name], box)
        *_, final = predictor.predict(embedding, prompts_of(proposed))
        annotation = annotation_from(proposed, final, predictor.spec.name)
        if annotation is None:
            faults.append(f"The model found nothing in the box of {each.label}.")
        else:
            annotations[annotation.id] = annotation
    return Segmented(task.name, image.digest, image.size, tuple(annotations.values()), tuple(faults))


class BoxJournal(Journal):
    """What a run has done so far; :attr:`known` is what earlier runs left, by :attr:`BoxTask.key`."""

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        """Open it, or begin it where there is none; ``header`` is what the masks depend on, as JSON values."""
        self.known: dict[str, Segmented] = {}
        super().__init__(path, {"version": JOURNAL_VERSION, **header}, self._read, restart=restart)

    def keep(self, key: str, found: Segmented) -> None:
        """Keep what became of an image."""
        size = [found.size.height, found.size.width]
        about = {"key": key, "name": found.name, "digest": found.digest, "size": size, "faults": list(found.faults)}
        self.add(about | {"annotations": [to_plain(annotation) for annotation in found.annotations]})

    def _read(self, values: dict[str, Any]) -> None:
        self.known[values["key"]] = _segmented(values)


def _segmented(values: Mapping[str, Any]) -> Segmented:
    height, width = values["size"]
    annotations = tuple(annotation_from_plain(plain) for plain in values["annotations"])
    return Segmented(
        str(values["name"]), str(values["digest"]), ImageSize(height, width), annotations, tuple(values["faults"])
    )
