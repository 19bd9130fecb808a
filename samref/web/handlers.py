"""What answers the page: requests are checked, sessions driven, views streamed. Imports no Gradio.

Every request ends in one of three ways: views, one error that changed nothing, or a farewell (``bye``). A request that
was overtaken by a newer one of the same page load falls silent. See ``docs/protocol.md``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from samref.errors import SamrefError
from samref.web.actions import action_of
from samref.web.answers import UNEXPECTED, BusyError, error_code
from samref.web.examples import Examples
from samref.web.open_image import OpenImage
from samref.web.wire import (
    Request,
    RequestError,
    VersionError,
    answer_text,
    parse_request,
    prompts_from_wire,
    sequence_number,
)
from samref.web.workspace import UnknownWorkspaceError, Workspace, Workspaces

__all__ = ["Handlers"]

MAX_TABS = 10_000
MAX_REQUESTS = 256
"""Requests being worked on at the same time; more are asked to come again."""

MAX_OWN_REQUESTS = 32
"""The same for one workspace: a page has three at most, and people have tabs."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tab:
    """What is remembered of one page load."""

    seq: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer before it becomes JSON."""

    image: OpenImage | None = None
    final: bool = True
    with_prompts: bool = True


@dataclass(frozen=True, slots=True)
class _Call:
    """One request together with who makes it."""

    request: Request
    workspace: Workspace
    tab_id: str

    async def opened(self) -> OpenImage:
        """The image the request is about."""
        if self.request.image is None:
            raise RequestError(f"The request {self.request.verb!r} needs an open image.")
        return await self.workspace.open(self.request.image)


Verb: TypeAlias = Callable[[_Call], Awaitable[AsyncIterator[_Answer]]]
"""Does what is asked; what it returns only watches."""


class Handlers:
    """The verbs of the protocol over workspaces and sessions."""

    def __init__(self, workspaces: Workspaces, examples: Examples) -> None:
        """Build the handlers; all state lives in ``workspaces``, but for the sequence numbers of the tabs."""
        self._workspaces = workspaces
        self._examples = examples
        self._tabs: OrderedDict[str, _Tab] = OrderedDict()
        self._running: Counter[str | None] = Counter()
        self._verbs: Mapping[str, Verb] = {
            "open": self._open,
            "open_example": self._open_example,
            "sync": self._sync,
            "prompt": self._prompt,
            "undo": self._act,
            "redo": self._act,
            "clear": self._act,
            "commit": self._act,
            "edit": self._act,
            "delete": self._act,
            "set_visible": self._act,
            "reclass": self._act,
            "use_model": self._act,
            "add_class": self._classes,
            "change_class": self._classes,
            "remove_class": self._classes,
            "prefetch": self._prefetch,
        }

    # ---- what the page calls

    async def send(self, payload: Any, tab_id: str) -> AsyncGenerator[str, None]:
        """Answer one request with JSON texts, the last one final.

        Args:
            payload: the request as it came; nothing in it is trusted.
            tab_id: the page load that makes it, the same for all its requests.
        """
        tab = self._tab(tab_id)
        seq = sequence_number(payload)
        if seq is not None:
            if seq <= tab.seq:
                return
            tab.seq = seq
        request: Request | None = None
        try:
            request = parse_request(payload)
            self._check_load(request.token)
            self._count(request.token, +1)
            try:
                async for text in self._answers(request, tab_id, tab):
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
            yield await self._error(request, seq or 0, error_code(error), str(error))
        except Exception:  # noqa: BLE001 - the last line of defence: logged with its traceback, never swallowed
            _log.exception("The request %r failed", request.verb if request else "(unreadable)")
            yield await self._error(request, seq or 0, "internal", UNEXPECTED)

    def _check_load(self, token: str | None) -> None:
        if self._running.total() >= MAX_REQUESTS:
            raise BusyError("The server has too many requests at once; try again in a moment.")
        if token is not None and self._running[token] >= MAX_OWN_REQUESTS:
            raise BusyError(f"This workspace has {MAX_OWN_REQUESTS} requests under way; wait for one of them.")

    def _count(self, token: str | None, change: int) -> None:
        self._running[token] += change
        if not self._running[token]:
            del self._running[token]

    # ---- one request

    async def _answers(self, request: Request, tab_id: str, tab: _Tab) -> AsyncIterator[str]:
        async with tab.turn:  # what one page asks is done in its order, however threads are scheduled
            workspace, answers = await self._done(request, tab_id)
        async for answer in answers:
            yield await self._text(request, workspace, answer)

    async def _done(self, request: Request, tab_id: str) -> tuple[Workspace, AsyncIterator[_Answer]]:
        if request.verb == "hello":
            return await asyncio.to_thread(self._workspaces.find_or_create, request.token), _once(_Answer())
        workspace = await asyncio.to_thread(self._workspaces.find, request.token)
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise RequestError(f"The server knows no verb {request.verb!r}. Reload the page.")
        return workspace, await verb(_Call(request, workspace, tab_id))

    async def _text(self, request: Request, workspace: Workspace, answer: _Answer) -> str:
        def build() -> str:
            view = None
            if answer.image is not None:
                known = request.known_annotations if answer.image.digest == request.image else 0
                view = answer.image.to_wire(known, with_prompts=answer.with_prompts)
            known_workspace = 0 if request.verb == "hello" else request.known_workspace
            sections = {"view": view, "workspace": workspace.to_wire(known_workspace)}
            return answer_text(request.seq, "view", final=answer.final, **sections)

        return await asyncio.to_thread(build)

    async def _error(self, request: Request | None, seq: int, code: str, message: str) -> str:
        view = None
        if request is not None and request.image is not None:
            view = await self._view_after_error(request)
        return answer_text(seq, "error", final=True, error={"code": code, "message": message}, view=view)

    async def _view_after_error(self, request: Request) -> dict[str, Any] | None:
        """The truth about the image, if it can be had; an error must not lead to another one."""
        assert request.image is not None
        try:
            workspace = await asyncio.to_thread(self._workspaces.find, request.token)
            image = await workspace.open(request.image)
            return await asyncio.to_thread(image.to_wire, request.known_annotations, with_prompts=True)
        except SamrefError:
            return None

    # ---- verbs

    async def _open(self, call: _Call) -> AsyncIterator[_Answer]:
        return _watched(await call.opened())

    async def _open_example(self, call: _Call) -> AsyncIterator[_Answer]:
        example = self._examples.get(call.request.text("name"))
        data = await asyncio.to_thread(example.path.read_bytes)
        entry = await asyncio.to_thread(call.workspace.add_image, data, example.name)
        return _watched(await call.workspace.open(entry.digest))

    async def _sync(self, call: _Call) -> AsyncIterator[_Answer]:
        return _once(_Answer()) if call.request.image is None else _watched(await call.opened())

    async def _prompt(self, call: _Call) -> AsyncIterator[_Answer]:
        prompts = prompts_from_wire(call.request.arguments.get("prompts"))
        image = await call.opened()
        await image.prompt(prompts, call.tab_id, call.request.revision)
        return _watched(image, first=False, with_prompts=False)

    async def _act(self, call: _Call) -> AsyncIterator[_Answer]:
        action = action_of(call.request, self._workspaces.usable_model)
        image = await call.opened()
        is_commit = call.request.verb == "commit"  # the mask that is accepted is the refined one
        await image.act(action, call.tab_id, call.request.revision, when_settled=is_commit)
        return _watched(image)

    async def _classes(self, call: _Call) -> AsyncIterator[_Answer]:
        request, workspace = call.request, call.workspace
        name, colour = request.optional_text("name"), request.optional_text("colour")
        if request.verb == "add_class":
            await asyncio.to_thread(workspace.add_class, request.text("name"), colour)
        elif request.verb == "change_class":
            await asyncio.to_thread(workspace.change_class, request.integer("class_id"), name, colour)
        else:
            await asyncio.to_thread(workspace.remove_class, request.integer("class_id"))
        return _once(_Answer(None if request.image is None else await call.opened()))

    async def _prefetch(self, call: _Call) -> AsyncIterator[_Answer]:
        await asyncio.to_thread(call.workspace.prefetch, call.request.digest("digest"))
        return _once(_Answer())

    # ---- tabs

    def _tab(self, tab_id: str) -> _Tab:
        tab = self._tabs.setdefault(tab_id, _Tab())
        self._tabs.move_to_end(tab_id)
        while len(self._tabs) > MAX_TABS:
            self._tabs.popitem(last=False)
        return tab


async def _once(answer: _Answer) -> AsyncIterator[_Answer]:
    yield answer


async def _watched(image: OpenImage, *, first: bool = True, with_prompts: bool = True) -> AsyncIterator[_Answer]:
    """The image as it is, and again each time its mask gets better, until nothing more is under way."""
    async for is_settled in image.watch(first=first):
        yield _Answer(image, final=is_settled, with_prompts=with_prompts)
