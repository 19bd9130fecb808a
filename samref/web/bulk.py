"""Boxes of a whole workspace become masks while people go on working: one job a workspace, image by image.

Which boxes are still to do stands in the logs of their images (``BoxesProposed``), so that nothing of a job is lost
with the server: what is in memory here is only where it stands. An image's annotations are recorded together, as one
event that can be undone; with it they are no longer to do.

The model's work goes through the engine at its lowest rank. An image in which somebody is drawing an object waits until
that is accepted or given up: what is undone next should be what the person did last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from samref.core.prompts import Box, Prompts, check_prompts
from samref.errors import BusyError, ImageError, LabelError, PromptError, SamrefError, SessionError, StorageError
from samref.files import counted
from samref.inference.boxes import annotation_from, check_takes_boxes, prompts_of
from samref.inference.engine import Engine, StoredImage
from samref.inference.predictor import Prediction
from samref.inference.session import SessionView
from samref.labels.annotations import Annotation
from samref.labels.classes import find_class
from samref.labels.events import AnnotationsImported, BoxesDropped, BoxesProposed, Event, ProposedBox
from samref.labels.formats.boxes import LEAST_SIDE, propose
from samref.labels.formats.reading import FoundBox
from samref.labels.store import ProjectStore

MAX_RUNNING = 64
"""Jobs at work at the same time on this server; they take turns at the model."""

MAX_JOBS = 1_000
"""Jobs remembered, those that are at rest included."""

MAX_FAULTS = 100
"""Sentences about single images that a job keeps."""

MAX_REVIEWED = 2_000
"""Objects told at once to somebody who reviews; the others follow when these are done."""

OCCUPIED_S = 2.0
"""After so long a job looks again whether the images that people draw in are free."""

Phase: TypeAlias = Literal["none", "running", "waiting", "paused", "done"]
"""Where a job stands:

- ``none``: there is no box to do.
- ``running``: the model is at it, whenever nobody else needs it.
- ``waiting``: only images are left in which an object is being drawn.
- ``paused``: by a person, by a failure (see ``note``), or because the server was started anew.
- ``done``: every box that could be done is a mask.
"""

_log = logging.getLogger(__name__)


class _OfOneImage(Exception):  # noqa: N818 - not an error of the job
    """Why one image cannot be done; the others may."""


class Recorder(Protocol):
    """Records events about an image as the tab ``tab`` would, in its open session too."""

    def __call__(self, workspace_id: int, digest: str, events: Sequence[Event], tab: str) -> Awaitable[None]: ...


@dataclass(slots=True)
class _Job:
    """Where the work on one workspace stands."""

    model: str
    tab: str = ""
    todo: deque[str] = field(default_factory=deque)
    boxes: dict[str, int] = field(default_factory=dict)  # how many each image had at the start
    done: dict[str, int] = field(default_factory=dict)  # how many of them are dealt with
    ready: dict[str, tuple[Event, ...]] = field(default_factory=dict)  # waits until nobody draws in that image
    made: int = 0
    faults: list[str] = field(default_factory=list)
    faults_left_out: int = 0
    note: str = ""
    is_stopping: bool = False
    is_waiting: bool = False
    task: asyncio.Task[None] | None = None
    running_s: float = 0.0
    started_at: float = 0.0

    @property
    def phase(self) -> Phase:
        if self.task is not None:
            return "waiting" if self.is_waiting else "running"
        if self.todo:
            return "paused"
        return "done" if self.boxes else "none"

    def add_fault(self, sentence: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(sentence)
        else:
            self.faults_left_out += 1

    def to_wire(self) -> dict[str, Any]:
        """As the page is told."""
        seconds = self.running_s + (time.monotonic() - self.started_at if self.task is not None else 0.0)
        done, total = sum(self.done.values()), sum(self.boxes.values())
        return {
            "phase": self.phase,
            "boxes": total,
            "boxes_done": done,
            "masks": self.made,
            "images": len(self.boxes),
            "images_done": len(self.boxes) - len(self.todo),
            "seconds": round(seconds, 1),
            "seconds_left": round(seconds * (total - done) / done, 1) if done and self.task is not None else None,
            "note": self.note,
            "faults": [*self.faults, *([f"and {self.faults_left_out} more"] if self.faults_left_out else [])],
        }


def drawing_in(view: SessionView) -> bool:
    """Whether somebody has begun an object in that image."""
    draft = view.draft
    return draft.mask is not None or not draft.prompts.is_empty() or draft.editing is not None


class BulkJobs:
    """The jobs of all workspaces. Its coroutines belong to one event loop."""

    def __init__(
        self,
        store: ProjectStore,
        engine: Engine,
        image: Callable[[int, str], StoredImage],
        record: Recorder,
        is_occupied: Callable[[int, str], bool],
        *,
        model: str,
    ) -> None:
        """Begin with none.

        Args:
            store: has the boxes.
            engine: runs the model.
            image: gives an image of a workspace.
            record: records what became of an image's boxes.
            is_occupied: whether somebody is drawing an object in an image.
            model: answers.
        """
        self._store = store
        self._engine = engine
        self._image = image
        self._record = record
        self._is_occupied = is_occupied
        self._model = model
        self._jobs: dict[int, _Job] = {}

    # ---- what a person can do

    async def look(self, workspace_id: int, tab: str) -> dict[str, Any]:
        """Where the job of a workspace stands."""
        job = await self._job(workspace_id)
        job.tab = tab or job.tab
        return job.to_wire()

    async def start(self, workspace_id: int, tab: str) -> dict[str, Any]:
        """Begin with all boxes that are to do, or go on with them.

        Raises:
            SessionError: that is going on already, or there is no box.
            BusyError: too many jobs are at work on this server.
        """
        job = self._jobs.get(workspace_id)
        if job is not None and job.task is not None:
            raise SessionError(
                "The boxes of this workspace are being made into masks already. Wait for that, pause it or cancel it."
            )
        if sum(each.task is not None for each in self._jobs.values()) >= MAX_RUNNING:
            raise BusyError("Too many workspaces have boxes made into masks right now. Try again in a few minutes.")
        await asyncio.to_thread(lambda: check_takes_boxes(self._engine.spec(self._model)))
        job = await self._read(workspace_id)
        if not job.todo:
            raise SessionError("There are no boxes to make masks of. Import some, or draw them with Collect boxes.")
        if job.task is not None:  # another request was quicker
            return job.to_wire()
        job.tab, job.is_stopping = tab, False
        job.task = asyncio.create_task(self._run(workspace_id, job))
        job.started_at = time.monotonic()
        return job.to_wire()

    async def pause(self, workspace_id: int) -> dict[str, Any]:
        """Stop after the box under way; what is done is recorded first."""
        job = await self._job(workspace_id)
        await self._stop(workspace_id, job)
        return job.to_wire()

    async def cancel(self, workspace_id: int) -> dict[str, Any]:
        """Stop and drop the boxes that are not done; the masks that were made stay."""
        job = await self._job(workspace_id)
        await self._stop(workspace_id, job)
        for digest, boxes in (await asyncio.to_thread(self._store.proposed_boxes, workspace_id)).items():
            await self._record(workspace_id, digest, (BoxesDropped(tuple(each.id for each in boxes)),), job.tab)
        del self._jobs[workspace_id]
        return (await self._job(workspace_id)).to_wire()

    def to_review(self, workspace_id: int) -> dict[str, Any]:
        """The objects that nobody has looked at yet, the lowest score first; may block."""
        found = self._store.not_reviewed(workspace_id)
        objects = [{"image": digest, "id": each.id, "score": round(each.score, 3)} for digest, each in found]
        return {"count": len(objects), "objects": objects[:MAX_REVIEWED]}

    async def came(self, workspace_id: int) -> None:
        """Take note that boxes were added."""
        job = self._jobs.get(workspace_id)
        if job is not None and job.task is None:
            await self._read(workspace_id)
        elif job is not None:
            self._take_in(job, await asyncio.to_thread(self._store.proposed_boxes, workspace_id))

    # ---- inside

    async def _job(self, workspace_id: int) -> _Job:
        job = self._jobs.get(workspace_id)
        return await self._read(workspace_id) if job is None else job

    async def _read(self, workspace_id: int) -> _Job:
        """The job as the logs have it; what an earlier one found out is forgotten when it begins anew."""
        boxes = await asyncio.to_thread(self._store.proposed_boxes, workspace_id)
        job = self._jobs.get(workspace_id)
        if job is not None and job.task is not None:
            return job
        if job is None or not job.todo:
            job = _Job(self._model)
        self._jobs.pop(workspace_id, None)
        self._jobs[workspace_id] = job
        job.todo = deque(digest for digest in job.todo if digest in boxes)
        job.boxes = {digest: done for digest, done in job.done.items() if done}  # others were dropped
        self._take_in(job, boxes)
        job.note, job.faults, job.faults_left_out = "", [], 0
        for resting in [key for key, each in self._jobs.items() if each.task is None][: len(self._jobs) - MAX_JOBS]:
            if resting != workspace_id:
                del self._jobs[resting]
        return job

    def _take_in(self, job: _Job, boxes: Mapping[str, Sequence[ProposedBox]]) -> None:
        waiting = set(job.todo)
        for digest, proposed in boxes.items():
            if digest not in waiting:
                job.todo.append(digest)
            job.boxes[digest] = job.done.get(digest, 0) + len(proposed)

    async def _stop(self, workspace_id: int, job: _Job) -> None:
        job.is_stopping = True
        if job.task is not None:
            self._engine.cancel(_owner(workspace_id))
            await asyncio.wait([job.task])

    async def _run(self, workspace_id: int, job: _Job) -> None:
        try:
            await self._work(workspace_id, job)
        except SamrefError as error:
            job.note = f"{error} Go on when that is mended; what was done so far is kept."
        except Exception:  # noqa: BLE001 - the last line of defence: logged with its traceback, never swallowed
            _log.exception("A job in bulk failed")
            job.note = "Something went wrong on the server and was logged there. What was done so far is kept."
        finally:
            job.task, job.is_waiting = None, False
            job.running_s += time.monotonic() - job.started_at

    async def _work(self, workspace_id: int, job: _Job) -> None:
        occupied = skipped = 0
        while job.todo and not job.is_stopping:
            digest = job.todo[0]
            if self._is_occupied(workspace_id, digest):
                job.todo.rotate(-1)
                occupied += 1
                if occupied >= len(job.todo):
                    job.is_waiting, occupied = True, 0
                    await asyncio.sleep(OCCUPIED_S)
                continue
            occupied, job.is_waiting = 0, False
            try:
                is_done = await self._segment(workspace_id, digest, job)
            except _OfOneImage as fault:
                await self._add_fault(workspace_id, digest, job, str(fault))
                is_done, skipped = True, skipped + 1
            if is_done and job.todo[0] == digest:
                job.todo.popleft()
        if skipped:  # their boxes are still in the logs
            job.note = f"{counted(skipped, 'image')} could not be done. Start again to try once more."

    async def _segment(self, workspace_id: int, digest: str, job: _Job) -> bool:
        """Make masks of the boxes of one image; False where some are still to do.

        Raises:
            _OfOneImage: this image cannot be done, others may.
            SamrefError: nothing can be recorded, or the model does not work.
        """
        before = job.done.get(digest, 0)
        try:
            events = job.ready.pop(digest, None) or await self._answered(workspace_id, digest, job)
            job.done[digest] = before  # counts from now on once it is recorded
            if events and self._is_occupied(workspace_id, digest):
                job.ready[digest] = events
                return False
            if events:
                await self._record(workspace_id, digest, events, job.tab)
        except (LabelError, ImageError, PromptError) as error:
            job.done[digest] = before
            raise _OfOneImage(str(error)) from error
        except BaseException:
            job.done[digest] = before
            raise
        for event in events:
            match event:
                case AnnotationsImported(annotations):
                    job.made += len(annotations)
                    job.done[digest] += len(annotations)
                case BoxesDropped(ids):
                    job.done[digest] += len(ids)
                    sentence = f"The model found nothing in {counted(len(ids), 'box')}."
                    await self._add_fault(workspace_id, digest, job, sentence)
        return not await self._proposed(workspace_id, digest)

    async def _answered(self, workspace_id: int, digest: str, job: _Job) -> tuple[Event, ...]:
        """What is to be recorded for an image; without its last boxes where the job is stopped meanwhile."""
        image = self._image(workspace_id, digest)
        found: list[Annotation] = []
        empty: list[str] = []
        for proposed in await self._proposed(workspace_id, digest):
            try:
                final = None if job.is_stopping else await self._answer(image, proposed, workspace_id, job)
            except StorageError as error:  # its file is gone, or not what it was
                raise _OfOneImage(str(error)) from error
            except SessionError:
                if not job.is_stopping:
                    raise
                final = None
            if final is None:
                break
            annotation = annotation_from(proposed, final, job.model)
            if annotation is None:
                empty.append(proposed.id)
            else:
                found.append(annotation)
            job.done[digest] = job.done.get(digest, 0) + 1
        imported: tuple[Event, ...] = (AnnotationsImported(tuple(found)),) if found else ()
        return (*imported, BoxesDropped(tuple(empty))) if empty else imported

    async def _answer(self, image: StoredImage, proposed: ProposedBox, workspace_id: int, job: _Job) -> Prediction:
        answers = self._engine.segment(
            image, job.model, prompts_of(proposed), None, owner=_owner(workspace_id), in_bulk=True
        )
        async with aclosing(answers) as predictions:
            *_, final = [prediction async for prediction in predictions]
        return final

    async def _proposed(self, workspace_id: int, digest: str) -> tuple[ProposedBox, ...]:
        found = await asyncio.to_thread(self._store.proposed_boxes, workspace_id, digest)
        return found.get(digest, ())

    async def _add_fault(self, workspace_id: int, digest: str, job: _Job, sentence: str) -> None:
        image = await asyncio.to_thread(self._store.image, workspace_id, digest)
        job.add_fault(f"{digest if image is None else image.file_name}: {sentence}")


def _owner(workspace_id: int) -> str:
    return f"bulk:{workspace_id}"


def boxes_drawn(view: SessionView, corners: Sequence[tuple[float, float, float, float]], class_id: int) -> Event:
    """The event of boxes that a person drew for later.

    Raises:
        PromptError: one does not fit the image.
    """
    boxes = tuple(Box(*each) for each in corners)
    for box in boxes:
        check_prompts(Prompts((box,)), view.size)
    return BoxesProposed(tuple(propose(view.digest, class_id, box) for box in boxes))


def proposed(found: Sequence[FoundBox]) -> dict[str, tuple[ProposedBox, ...]]:
    """The boxes that an import found, by digest of their image; those less than a pixel wide or high are left out."""
    boxes: dict[str, dict[str, ProposedBox]] = {}
    for each in found:
        box = each.box
        if min(box.x1 - box.x0, box.y1 - box.y0) >= LEAST_SIDE:
            one = propose(each.digest, each.class_id, box)
            boxes.setdefault(each.digest, {})[one.id] = one
    return {digest: tuple(items.values()) for digest, items in boxes.items()}


def check_class(store: ProjectStore, workspace_id: int, class_id: int) -> None:
    """Refuse a class that the workspace does not have."""
    find_class(store.classes(workspace_id), class_id)
