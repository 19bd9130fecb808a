"""What answers the page: requests are checked, sessions driven, views streamed. Imports no Gradio.

Every request ends in one of three ways: views, one error that changed nothing, or a farewell (``bye``). A request that
was overtaken by a newer one of the same page load falls silent. See ``docs/protocol.md``.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from samref.caches import Cache, CacheFullError
from samref.core.hand import HandWork
from samref.core.images import DecodedImage, decode_image, decode_stored_image
from samref.core.masks import MaskWindow
from samref.core.prompts import MAX_POINTS, MAX_PROMPTS, Prompts, check_drawing_cost, check_prompts
from samref.errors import BusyError, ImageError, ModelError, SamrefError, UnknownModelError
from samref.inference.engine import Engine, StoredImage
from samref.inference.predictor import Prediction, check_prompt_kinds
from samref.inference.session import Events, Session, SessionView, Verb
from samref.labels.annotations import ImageRecord, Project, find_annotation
from samref.labels.events import (
    AnnotationsImported,
    BoxesProposed,
    Described,
    Event,
    ImageMarked,
    ImageRemoved,
    ImageRestored,
    ProposedBox,
)
from samref.labels.formats import import_labels
from samref.labels.formats.boxes import BoxImport, import_boxes
from samref.labels.formats.reading import LabelImport
from samref.labels.formats.source import Source
from samref.labels.queries import ImageSummary
from samref.labels.store import ProjectStore
from samref.web.bulk import BulkJobs, boxes_drawn, check_class, drawing_in, proposed
from samref.web.examples import Example, ShowcaseFiles
from samref.web.exports import ExportRequest, MadeExport, make_export, preview_export
from samref.web.image_folder import ImageFolder
from samref.web.protocol import (
    MASK_CHARACTERS,
    MAX_SEQUENCE,
    UNEXPECTED,
    AddClass,
    AddPrompts,
    AnyRequest,
    ChangeClass,
    Clear,
    Commit,
    Copy,
    Delete,
    DeleteAll,
    Describe,
    Edit,
    Hello,
    History,
    MarkImages,
    Merge,
    NextCandidate,
    Open,
    OpenExample,
    Order,
    Paint,
    Prefetch,
    PreviewTidy,
    ProposeBoxes,
    Reclass,
    Redo,
    RemoveClass,
    RemoveImages,
    ReplacePrompt,
    Request,
    Reshape,
    RestoreImages,
    SetVisible,
    Split,
    Subtract,
    SubtractFrom,
    SubtractOthers,
    Sync,
    Tidy,
    Travel,
    Undo,
    UnknownWorkspaceError,
    UseModel,
    VersionError,
    answer_text,
    history_to_wire,
    mask_to_wire,
    parse_basics,
    parse_prompts,
    parse_request,
    parse_stroke,
    tab_and_sequence,
    view_to_wire,
)

MAX_TABS = 10_000
MAX_REQUESTS = 256
"""Requests being worked on at the same time; more are asked to come again."""

MAX_OWN_REQUESTS = 32
"""The same for one workspace: a page has three at most, and people have tabs."""

SCRIPT_PATIENCE_S = 120.0
"""How long a script waits for a moment in which nobody clicks."""

_IMPORTING = ThreadPoolExecutor(1, thread_name_prefix="samref-import")
"""One import at a time on this server, and none in a thread that a click may need; others wait for their turn."""

_EXPORTING = ThreadPoolExecutor(2, thread_name_prefix="samref-export")
"""The same for exports, of which a large one takes half a gigabyte."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A line of the model picker."""

    name: str
    title: str
    ready: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server lets in and keeps in memory.

    Attributes:
        upload_bytes: largest file.
        pixels: largest image.
        sessions: images kept ready in memory.
        session_bytes: memory of those together, without embeddings.
        session_idle_s: one not touched for so long is dropped from memory; its log stays on disk.
    """

    upload_bytes: int
    pixels: int
    sessions: int = 64
    session_bytes: int = 2**31
    session_idle_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the page is told about the server; both are asked anew each time.

    Attributes:
        models: what the model picker shows (weights may be fetched meanwhile).
        keeping: how work is kept.
        version: of samref.
        folder: of images on this machine that may be opened.
        showcase: the finished result that the start page shows.
        api: whether scripts may ask for masks.
        lent: what a page needs to have a GPU prepare an image, by the image's digest and the model; None where it is
            prepared here.
        local: the model that the page may run itself, and where it says which files that takes; None for no such.
    """

    models: Callable[[], Sequence[ModelEntry]]
    keeping: Callable[[], Mapping[str, Any]]
    version: str
    folder: ImageFolder | None = None
    showcase: ShowcaseFiles | None = None
    api: bool = False
    lent: Callable[[str, str], Mapping[str, Any] | None] = lambda *_: None
    local: Mapping[str, str] | None = None


@dataclass(slots=True)
class _Tab:
    """What is remembered of one page load."""

    seq: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class _Workspace:
    """One workspace in the hands of whoever has its token, as it was when the request came."""

    id: int
    token: str
    revision: int


_Answers: TypeAlias = AsyncIterator[tuple[SessionView | None, bool, dict[str, Any]]]
"""What is answered to a request, before it becomes JSON: a view if there is one, whether it is the last, and more."""

_LIST_KEEPING = (
    AddPrompts,
    Paint,
    Tidy,
    PreviewTidy,
    Subtract,
    NextCandidate,
    ReplacePrompt,
    Clear,
    Edit,
    History,
    Prefetch,
)
"""Requests that change no list of the workspace."""

_ON_MASK = (Commit, Tidy, Subtract, Merge, Split, SubtractFrom, SubtractOthers)
"""Requests that work on masks: on the refined one where it is under way, and on a thread."""


class Server:
    """The verbs of the protocol over a store and an engine. Its coroutines belong to one event loop."""

    def __init__(
        self,
        store: ProjectStore,
        engine: Engine,
        examples: Mapping[str, Example],
        surroundings: Surroundings,
        limits: Limits,
        *,
        model: str,
    ) -> None:
        """Bring the parts together.

        Args:
            store: everything lasting.
            engine: runs the models.
            examples: the bundled images.
            surroundings: what the page is told about the server.
            limits: what is let in and kept.
            model: answers on a new image.
        """
        self.store = store
        self.examples = examples
        self.limits = limits
        self._engine = engine
        self._surroundings = surroundings
        self._model = model
        self._sessions: Cache[tuple[int, str], Session] = Cache(
            max_count=limits.sessions,
            max_bytes=limits.session_bytes,
            max_idle_s=limits.session_idle_s,
            size_of=lambda session: session.size_bytes,
            may_evict=lambda session: session.is_idle,
            keeps_oversize=True,
        )
        self._opening: dict[tuple[int, str], asyncio.Task[Session]] = {}
        self._prefetching: set[asyncio.Task[float]] = set()
        self._tabs: OrderedDict[str, _Tab] = OrderedDict()
        self._running: Counter[str | None] = Counter()
        self._scripts = itertools.count(1)
        self.bulk = BulkJobs(store, engine, self._stored_image, self._record_aside, self._is_drawn_in, model=model)

    # ---- requests of pages

    async def send(self, payload: Any) -> AsyncGenerator[str, None]:
        """Answer one request with JSON texts, the last one final.

        Args:
            payload: the request as it came; nothing in it is trusted.

        Raises:
            RequestError: it does not even say which page load it comes from.
        """
        tab_id, seq = tab_and_sequence(payload)
        tab = self._tab(tab_id)
        if seq is not None:
            if seq <= tab.seq:
                return
            tab.seq = seq
        request: AnyRequest | None = None
        try:
            request = parse_request(payload)
            self._check_load(request.token)
            self._count(request.token, +1)
            try:
                async for text in self._answers(request, tab):
                    if tab.seq != request.seq:
                        return
                    self._count(request.token, -1)  # who reads slowly keeps nobody from working
                    try:
                        yield text
                    finally:
                        self._count(request.token, +1)
            finally:
                self._count(request.token, -1)
        except VersionError as error:
            yield answer_text(seq or 0, "bye", final=True, bye={"reason": "version", "message": str(error)})
        except UnknownWorkspaceError as error:
            yield answer_text(seq or 0, "bye", final=True, bye={"reason": "token", "message": str(error)})
        except SamrefError as error:
            yield await self._error(request or parse_basics(payload), seq or 0, error.code, str(error))
        except Exception:  # noqa: BLE001 - the last line of defence: logged with its traceback, never swallowed
            _log.exception("The request %r failed", request.verb if request else "(unreadable)")
            yield await self._error(request, seq or 0, "internal", UNEXPECTED)

    async def _answers(self, request: AnyRequest, tab: _Tab) -> AsyncIterator[str]:
        async with tab.turn:  # what one page asks is done in its order, however threads are scheduled
            workspace, answers = await self._do(request)
        known_annotations = request.known.annotations
        is_first = True
        async for view, is_last, sections in answers:
            if view is not None:
                known = known_annotations if view.digest == request.image else 0
                with_prompts = not isinstance(request, AddPrompts)  # the page has them
                sections["view"] = view_to_wire(view, known, with_prompts=with_prompts)
                sections["gpu"] = self._surroundings.lent(view.digest, view.model)
            if is_first:  # later stages of an answer change no list
                sections["workspace"] = await self._workspace_section(request, workspace)
            is_first = False
            yield answer_text(request.seq, "view", final=is_last, **sections)

    async def _do(self, request: AnyRequest) -> tuple[_Workspace, _Answers]:
        """Do what is asked; the answers returned only watch."""
        if isinstance(request, Hello):
            return await asyncio.to_thread(self._find_or_create, request.token), _once(None)
        workspace = await asyncio.to_thread(self._find, request.token)
        match request:
            case Sync(image=None):
                return workspace, _once(None)
            case Open() | Sync():
                return workspace, _watched((await self._session(workspace.id, request.image)).watch())
            case OpenExample(name=name):
                digest = await asyncio.to_thread(self._add_example, workspace.id, name)
                return workspace, _watched((await self._session(workspace.id, digest)).watch())
            case AddClass() | ChangeClass() | RemoveClass():
                await asyncio.to_thread(self._change_classes, workspace.id, request)
                return workspace, await self._present(workspace, request)
            case MarkImages() | RemoveImages() | RestoreImages():
                await self._note_on_images(workspace.id, request.digests, _image_event(request))
                return workspace, await self._present(workspace, request)
            case PreviewTidy() | History() | Copy() | NextCandidate():
                return workspace, await self._aside(workspace, request)
            case Prefetch(digest=digest):
                await asyncio.to_thread(self._held, workspace.id, digest)
                self._prefetch(self._stored_image(workspace.id, digest))
                return workspace, _once(None)
            case ProposeBoxes(boxes=boxes, class_id=class_id):
                await asyncio.to_thread(check_class, self.store, workspace.id, class_id)
                session = await self._session(workspace.id, request.image)
                await session.perform(lambda s: (boxes_drawn(s.view, boxes, class_id),), request.tab, request.revision)
                await self.bulk.came(workspace.id)
                return workspace, _watched(session.watch())
            case AddPrompts(coarse=coarse):
                session = await self._session(workspace.id, request.image)
                seen = coarse == "mine"
                verb: Verb = partial(_decide, request=request)
                view = await session.perform(verb, request.tab, request.revision, seen_coarse=seen)
                # The page painted its own prompt: it need not hear of the state without an answer. It must where the
                # next answer is the refined one, since its next request waits for a first answer to this.
                return workspace, _watched(session.watch(after=None if seen else view))
            case _:
                if isinstance(request, UseModel):
                    self._check_model(request.name)
                    await asyncio.to_thread(self._engine.spec, request.name)  # loads it, which is slow
                session = await self._session(workspace.id, request.image)
                verb = partial(_decide, request=request)
                on_mask = isinstance(request, _ON_MASK)
                await session.perform(verb, request.tab, request.revision, on_mask=on_mask)
                return workspace, _watched(session.watch())

    async def _present(self, workspace: _Workspace, request: Request) -> _Answers:
        """The open image as it is, if there is one."""
        if request.image is None:
            return _once(None)
        return _once((await self._session(workspace.id, request.image)).view)

    async def _aside(self, workspace: _Workspace, request: PreviewTidy | History | Copy | NextCandidate) -> _Answers:
        """Do what is more, or less, than a verb of the session of the image that is open."""
        session = await self._session(workspace.id, request.image)
        match request:
            case PreviewTidy(how=how, amount=amount):
                tidied = await session.look(lambda s: s.tidied(how, amount))
                return _once(session.view, preview=mask_to_wire(MaskWindow.from_rle(tidied), MASK_CHARACTERS))
            case NextCandidate():
                candidates = await session.candidates()
                await session.perform(lambda s: s.choose(candidates), request.tab, request.revision)
                return _watched(session.watch())
            case History():
                return _once(session.view, history=history_to_wire(*session.history))
            case Copy(ids=ids, digest=digest):
                copied = [find_annotation(session.view.annotations, one) for one in ids]
                await asyncio.to_thread(self._held, workspace.id, digest)
                other = await self._session(workspace.id, digest)
                await other.perform(lambda s: s.paste(copied), request.tab, other.view.revision)
                return _once(session.view)

    async def _error(self, request: Request | None, seq: int, code: str, message: str) -> str:
        view = None
        if request is not None and request.image is not None:
            view = await self._view_after_error(request)
        return answer_text(seq, "error", final=True, error={"code": code, "message": message}, view=view)

    async def _view_after_error(self, request: Request) -> dict[str, Any] | None:
        """The truth about the image, if it can be had; an error must not lead to another one."""
        try:
            workspace = await asyncio.to_thread(self._find, request.token)
            session = await self._session(workspace.id, request.image)
            return view_to_wire(session.view, request.known.annotations, with_prompts=True)
        except SamrefError:
            return None

    async def _workspace_section(self, request: AnyRequest, workspace: _Workspace) -> dict[str, Any] | None:
        """The workspace as the page is told; None where it knows it already."""
        known = 0 if isinstance(request, Hello) else request.known.workspace
        if isinstance(request, _LIST_KEEPING) and workspace.revision <= known:
            return None  # these change no list
        known_images = 0 if isinstance(request, Hello) else min(known, request.known.images)
        return await asyncio.to_thread(self._workspace_to_wire, workspace, known, known_images)

    def _workspace_to_wire(self, workspace: _Workspace, known: int, known_images: int) -> dict[str, Any] | None:
        revision = self.store.workspace_revision(workspace.id)
        if revision <= known:
            return None
        images = self.store.images(workspace.id, with_removed=True, changed_after=known_images or None)
        changing = {
            "token": workspace.token,
            "revision": revision,
            "since": known_images,
            "classes": [{"id": c.id, "name": c.name, "colour": c.colour} for c in self.store.classes(workspace.id)],
            "images": [image_to_wire(image) for image in images],
        }
        if known_images:
            return changing
        entries = self._surroundings.models()
        return {
            **changing,
            "examples": [example.to_wire() for example in self.examples.values()],
            "models": [{"name": e.name, "title": e.title, "ready": e.ready, "note": e.note} for e in entries],
            "limits": {
                "upload_bytes": self.limits.upload_bytes,
                "pixels": self.limits.pixels,
                "prompts": MAX_PROMPTS,
                "points": MAX_POINTS,
            },
            "keeping": dict(self._surroundings.keeping()),
            "version": self._surroundings.version,
            "api": self._surroundings.api,
            "folder": None if self._surroundings.folder is None else self._surroundings.folder.name,
            "local": self._surroundings.local,
            "showcase": None if self._surroundings.showcase is None else self._surroundings.showcase.to_wire(),
        }

    def saved(self) -> Any:
        """How far labels are safe from the loss of this machine; None where they are kept on it only."""
        return self._surroundings.keeping().get("saved")

    def _tab(self, tab_id: str) -> _Tab:
        tab = self._tabs.setdefault(tab_id, _Tab())
        self._tabs.move_to_end(tab_id)
        while len(self._tabs) > MAX_TABS:
            self._tabs.popitem(last=False)
        return tab

    def _check_load(self, token: str | None) -> None:
        if self._running.total() >= MAX_REQUESTS:
            raise BusyError("The server has too many requests at once; try again in a moment.")
        if token is not None and self._running[token] >= MAX_OWN_REQUESTS:
            raise BusyError(f"This workspace has {MAX_OWN_REQUESTS} requests under way; wait for one of them.")

    def _count(self, token: str | None, change: int) -> None:
        self._running[token] += change
        if not self._running[token]:
            del self._running[token]

    # ---- scripts, which have no workspace

    @property
    def model(self) -> str:
        """Name of the model that new images are opened with."""
        return self._model

    @property
    def models(self) -> Sequence[ModelEntry]:
        """The models that can be chosen, and what is to be done for those that cannot; the default first."""
        return self._surroundings.models()

    async def segment(self, image: DecodedImage, model: str, prompts: Prompts) -> Prediction:
        """The mask of one object in an image that nothing is kept of; made when nobody clicks.

        Raises:
            PromptError: the prompts do not fit the image or the model.
            ModelError: the model cannot be used on this machine.
            BusyError: people clicked all the time.
        """
        chosen = model or self._model
        self._check_model(chosen)
        check_prompts(prompts, image.size)
        check_drawing_cost(prompts.items, image.size)
        check_prompt_kinds(prompts, await asyncio.to_thread(self._engine.spec, chosen))
        stored = StoredImage(image.digest, lambda: image)
        owner = f"script:{next(self._scripts)}"
        try:
            async with asyncio.timeout(SCRIPT_PATIENCE_S):
                answers = self._engine.segment(stored, chosen, prompts, None, owner=owner, in_bulk=True)
                async with aclosing(answers) as predictions:
                    *_, final = [prediction async for prediction in predictions]
        except TimeoutError as error:
            raise BusyError(
                "People are at work on this server, and their clicks go first. Try again in some minutes, or run "
                "samref on your own machine."
            ) from error
        return final

    # ---- workspaces and their images; these may block

    def _find_or_create(self, token: str | None) -> _Workspace:
        if token is not None:
            return self._find(token)
        made = self.store.create_workspace()
        return _Workspace(made.id, made.token, 0)

    def _find(self, token: str | None) -> _Workspace:
        found = None if token is None else self.store.find_workspace(token)
        if token is None or found is None:
            raise UnknownWorkspaceError(
                "This server does not know your workspace: it was a demo's and has expired, nothing was ever done in "
                "it, or the server keeps its data elsewhere now. Start anew to go on; the key stays under 'Your work'."
            )
        workspace_id, revision = found
        return _Workspace(workspace_id, token, revision)

    def find(self, token: str | None) -> int:
        """The workspace that ``token`` opens.

        Raises:
            UnknownWorkspaceError: none has that token.
        """
        return self._find(token).id

    def find_with_revision(self, token: str | None) -> tuple[int, int]:
        """The workspace that ``token`` opens and its revision; otherwise as :meth:`find`."""
        found = self._find(token)
        return found.id, found.revision

    def add_image(self, workspace_id: int, data: bytes, file_name: str) -> ImageSummary:
        """Put an image into a workspace; see :meth:`put_image`."""
        return self.put_image(workspace_id, data, file_name)[0]

    def put_image(self, workspace_id: int, data: bytes, file_name: str) -> tuple[ImageSummary, str]:
        """Put an image into a workspace; it is checked and decoded first. Says whether it is "new", "known" or so.

        Raises:
            ImageError: it cannot be used.
            StorageError: there is no room for it.
        """
        digest = hashlib.sha256(data).hexdigest()
        held = self.store.image(workspace_id, digest)
        size = decode_image(data, max_pixels=self.limits.pixels).size if held is None else held.size
        put = self.store.put_image(workspace_id, data, file_name, size, digest)
        return self._held(workspace_id, digest), put.outcome

    @property
    def folder(self) -> ImageFolder:
        """The folder of images that may be opened.

        Raises:
            ImageError: this server offers none.
        """
        if self._surroundings.folder is None:
            raise ImageError("This server offers no folder. Start it with --images FOLDER to open one.")
        return self._surroundings.folder

    def decode(self, workspace_id: int, digest: str) -> DecodedImage:
        """The pixels of an image of a workspace.

        Raises:
            ImageError: the workspace does not hold it.
        """
        return decode_stored_image(self.store.image_bytes(workspace_id, digest))

    def image(self, token: str | None, digest: str) -> tuple[int, ImageSummary]:
        """The workspace that ``token`` opens and an image that it holds.

        Raises:
            UnknownWorkspaceError: no workspace has that token.
            ImageError: the workspace does not hold it.
        """
        workspace_id = self.find(token)
        return workspace_id, self._held(workspace_id, digest)

    def example(self, name: str) -> Example:
        """The bundled image of that name.

        Raises:
            ImageError: there is none.
        """
        if name not in self.examples:
            raise ImageError("There is no example image of that name.")
        return self.examples[name]

    def showcase_file(self, name: str) -> Path:
        """A file of the finished result that the start page shows.

        Raises:
            ImageError: there is none of that name.
        """
        if self._surroundings.showcase is None:
            raise ImageError("This server shows no finished result.")
        return self._surroundings.showcase.path(name)

    def _held(self, workspace_id: int, digest: str) -> ImageSummary:
        image = self.store.image(workspace_id, digest)
        if image is None:
            raise ImageError("This workspace does not hold that image. Open it again from its file.")
        return image

    def _add_example(self, workspace_id: int, name: str) -> str:
        example = self.example(name)
        return self.add_image(workspace_id, example.path.read_bytes(), example.name).digest

    def _change_classes(self, workspace_id: int, request: AddClass | ChangeClass | RemoveClass) -> None:
        match request:
            case AddClass(name=name, colour=colour):
                self.store.add_class(workspace_id, name, colour or None)
            case ChangeClass(class_id=class_id, name=new_name, colour=colour):
                self.store.change_class(workspace_id, class_id, name=new_name or None, colour=colour or None)
            case RemoveClass(class_id=class_id):
                self.store.remove_class(workspace_id, class_id)

    def _check_model(self, name: str) -> None:
        entry = next((entry for entry in self._surroundings.models() if entry.name == name), None)
        if entry is None:
            raise UnknownModelError(f"There is no model {name[:80]!r}. Choose one of the list.")
        if not entry.ready:
            raise ModelError(entry.note or f"The model {name} cannot be used on this machine yet.")

    async def _note_on_images(self, workspace_id: int, digests: Sequence[str], event: Event) -> None:
        """Add an event that touches neither drafts nor annotations to several logs, and tell their sessions."""
        asked = dict.fromkeys(digests)
        await asyncio.to_thread(self.store.append_to_all, workspace_id, asked, event)
        for digest in asked:
            key = (workspace_id, digest)
            if (opening := self._opening.get(key)) is not None:
                await asyncio.wait([opening])
            if (session := self._sessions.get(key)) is not None:
                await session.take_note(event, partial(self.store.revision, workspace_id, digest))

    # ---- sessions

    async def _session(self, workspace_id: int, digest: str | None) -> Session:
        """The session of an image, from memory or rebuilt from its log; what it lacks is being computed."""
        assert digest is not None, "checked when the request was parsed"
        key = (workspace_id, digest)
        session = self._sessions.get(key)
        if session is None:
            opening = self._opening.get(key)
            if opening is None:
                opening = asyncio.create_task(asyncio.to_thread(self._rebuilt, workspace_id, digest))
                self._opening[key] = opening
                opening.add_done_callback(lambda _: self._opening.pop(key, None))
            session = await asyncio.shield(opening)
            # From here to the verb nothing waits, so that a session is never dropped between the two.
            held = self._sessions.get(key)
            if held is None:
                try:
                    self._sessions.put(key, session)
                except CacheFullError as error:
                    raise BusyError("Too many people are at work here right now. Try again in a moment.") from error
            else:
                session = held
        session.catch_up()
        return session

    def _rebuilt(self, workspace_id: int, digest: str) -> Session:
        events = self.store.events(workspace_id, digest)
        if not events:
            raise ImageError("This workspace does not hold that image. Open it again from its file.")
        image = self._stored_image(workspace_id, digest)

        def record(*new: Event) -> None:
            self.store.append(workspace_id, digest, *new, after=session.after(new))

        session: Session = Session(
            f"{workspace_id}:{digest}",
            self._engine,
            image,
            events,
            record,
            model=self._model,
        )
        return session

    def _stored_image(self, workspace_id: int, digest: str) -> StoredImage:
        return StoredImage(digest, lambda: self.decode(workspace_id, digest))

    def _prefetch(self, image: StoredImage) -> None:
        work = self._engine.embed(image, self._model, owner=f"prefetch:{image.digest}", wanted=False)
        task = asyncio.create_task(work)
        self._prefetching.add(task)
        task.add_done_callback(self._prefetched)

    def _prefetched(self, task: asyncio.Task[float]) -> None:
        self._prefetching.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("An image could not be prepared ahead: %s", error)

    # ---- labels in and out

    async def export(self, token: str | None, request: ExportRequest) -> MadeExport:
        """The labels of images of a workspace as a file.

        Raises:
            UnknownWorkspaceError: no workspace has that token.
            LabelError: there is no such format, or it cannot say these labels.
            ImageError: the workspace does not hold one of the images.
        """
        return await self._exported(token, request, partial(make_export, request=request))

    async def preview_export(self, token: str | None, request: ExportRequest) -> dict[str, Any]:
        """What an export would hold and lose, as the page is told."""
        return await self._exported(token, request, partial(preview_export, request=request))

    async def _exported(self, token: str | None, request: ExportRequest, make: Callable[[Source], T]) -> T:
        def made() -> T:
            workspace_id = self.find(token)
            with self.store.reading(workspace_id, request.images) as source:
                if request.images is not None and len(source.images) < len(set(request.images)):
                    raise ImageError("This workspace does not hold that image. Open it again from its file.")
                return make(source)

        return await asyncio.get_running_loop().run_in_executor(_EXPORTING, made)

    async def import_labels(self, token: str | None, data: bytes, file_name: str) -> LabelImport:
        """Add the annotations of a file of any format to the images it names; all of them or none.

        Raises:
            UnknownWorkspaceError: no workspace has that token.
            ImportFormatError: the file does not say what it should.
            StorageError: the disk is full or cannot be written.
        """
        loop = asyncio.get_running_loop()
        workspace_id, found = await loop.run_in_executor(_IMPORTING, self._import, token, data, file_name)
        await self._absorb(workspace_id, {k: AnnotationsImported(items) for k, items in found.annotations.items()})
        if found.boxes:
            await self._boxes_came(workspace_id, proposed(found.boxes))
        return found

    async def _absorb(self, workspace_id: int, added: Mapping[str, Event]) -> None:
        """Tell the open sessions of an event that is in the logs of their images already."""
        for digest, event in added.items():
            key = (workspace_id, digest)
            if (opening := self._opening.get(key)) is not None:
                await asyncio.wait([opening])
            session = self._sessions.get(key)
            if session is None:
                continue  # it will be read from the log
            length = await asyncio.to_thread(self.store.revision, workspace_id, digest)
            if session.view.revision < length:  # otherwise it was read from the log just now
                await session.absorb(event)

    def _import(self, token: str | None, data: bytes, file_name: str) -> tuple[int, LabelImport]:
        workspace_id = self.find(token)
        found = import_labels(data, file_name, self.store.project(workspace_id))
        self.store.import_annotations(workspace_id, found.new_classes, found.annotations, proposed(found.boxes))
        return workspace_id, found

    # ---- boxes that become masks in bulk

    async def import_boxes(self, token: str | None, data: bytes) -> BoxImport:
        """Keep the boxes of a file, to be made into masks by the workspace's job; all of them or none.

        Raises:
            UnknownWorkspaceError: no workspace has that token.
            ImportFormatError: the file does not say what it should.
            StorageError: the disk is full or cannot be written.
        """
        loop = asyncio.get_running_loop()
        workspace_id, found = await loop.run_in_executor(_IMPORTING, self._import_boxes, token, data)
        await self._boxes_came(workspace_id, found.boxes)
        return found

    async def _boxes_came(self, workspace_id: int, boxes: Mapping[str, Sequence[ProposedBox]]) -> None:
        await self._absorb(workspace_id, {digest: BoxesProposed(tuple(items)) for digest, items in boxes.items()})
        await self.bulk.came(workspace_id)

    def _import_boxes(self, token: str | None, data: bytes) -> tuple[int, BoxImport]:
        workspace_id = self.find(token)
        images = tuple(ImageRecord(i.digest, i.file_name, i.size) for i in self.store.images(workspace_id))
        found = import_boxes(data, Project(self.store.classes(workspace_id), images))
        self.store.import_annotations(workspace_id, found.new_classes, {}, found.boxes)
        return workspace_id, found

    def _is_drawn_in(self, workspace_id: int, digest: str) -> bool:
        session = self._sessions.get((workspace_id, digest))
        return session is not None and drawing_in(session.view)

    async def _record_aside(self, workspace_id: int, digest: str, events: Sequence[Event], tab: str) -> None:
        """Record what no request asked for: through the image's session where there is one, so that views stay right.

        It is done in the name of ``tab``, whose next request is then not refused as overtaken.
        """
        key, new = (workspace_id, digest), tuple(events)
        session = self._sessions.get(key)
        if session is None and (opening := self._opening.get(key)) is not None:
            session = await asyncio.shield(opening)
        if session is not None:
            await session.perform(lambda _: new, tab, MAX_SEQUENCE)
            return
        # Whoever opens the image meanwhile waits for this, so that nothing is folded that is not yet in the log.
        opening = asyncio.create_task(asyncio.to_thread(self._recorded, workspace_id, digest, new))
        self._opening[key] = opening
        opening.add_done_callback(lambda _: self._opening.pop(key, None))
        await asyncio.shield(opening)

    def _recorded(self, workspace_id: int, digest: str, events: tuple[Event, ...]) -> Session:
        self.store.append(workspace_id, digest, *events)
        return self._rebuilt(workspace_id, digest)


def image_to_wire(image: ImageSummary) -> dict[str, Any]:
    """A line of the list of images, as the page is told; what most images are not is left out."""
    wire: dict[str, Any] = {
        "digest": image.digest,
        "file_name": image.file_name,
        "width": image.size.width,
        "height": image.size.height,
        "annotations": image.annotations,
    }
    if image.mark:
        wire["mark"] = image.mark
    if image.has_draft:
        wire["draft"] = True
    if image.removed:
        wire["removed"] = True
    return wire


def _image_event(request: MarkImages | RemoveImages | RestoreImages) -> Event:
    match request:
        case MarkImages(mark=mark):
            return ImageMarked(mark)
        case RemoveImages():
            return ImageRemoved()
        case RestoreImages():
            return ImageRestored()


def _hand_work(session: Session, request: Paint | Reshape) -> HandWork:
    return parse_stroke(request.added, request.removed, session.view.size)


def _decide(session: Session, request: Request) -> Events:
    """The events of a request that changes its image."""
    return _VERBS[type(request)](session, request)


_VERBS: Mapping[type[Request], Callable[[Session, Any], Events]] = {
    AddPrompts: lambda session, request: session.prompt(*parse_prompts(request.prompts)),
    Paint: lambda session, request: session.paint(_hand_work(session, request), request.how),
    Tidy: lambda session, request: session.tidy(request.how, request.amount),
    Subtract: lambda session, _: session.subtract(),
    ReplacePrompt: lambda session, request: session.replace_prompt(
        request.index, None if request.prompt is None else parse_prompts([request.prompt])[0]
    ),
    Undo: lambda session, _: session.undo(),
    Redo: lambda session, _: session.redo(),
    Travel: lambda session, request: session.travel(request.to),
    Clear: lambda session, _: session.clear(),
    Commit: lambda session, request: session.commit(request.class_id, request.author or "", request.overlap),
    Edit: lambda session, request: session.edit(request.id),
    Delete: lambda session, request: session.delete(request.id),
    DeleteAll: lambda session, request: session.delete_all(request.ids),
    SetVisible: lambda session, request: session.set_visible(request.id, request.visible),
    Reclass: lambda session, request: session.reclass(request.id, request.class_id),
    Describe: lambda session, request: session.describe(
        Described(request.ids, request.class_id, request.visible, request.locked, request.note, request.attributes)
    ),
    Reshape: lambda session, request: session.reshape(request.id, _hand_work(session, request)),
    Merge: lambda session, request: session.merge(request.ids),
    Split: lambda session, request: session.split(request.id),
    SubtractFrom: lambda session, request: session.subtract_from(request.id, request.others),
    SubtractOthers: lambda session, request: session.subtract_others(request.id, request.others),
    Order: lambda session, request: session.order(request.id, request.to),
    UseModel: lambda session, request: session.use_model(request.name),
}


async def _once(view: SessionView | None, **more: Any) -> _Answers:
    yield view, True, more


async def _watched(views: AsyncIterator[tuple[SessionView, bool]]) -> _Answers:
    async for view, is_last in views:
        yield view, is_last, {}
