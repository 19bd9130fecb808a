"""Runs models for many sessions: one thread a device, one *stage* (embedding, coarse mask, refined mask) at a time.

Which stage is next on a device:

1. coarse masks, so that everybody sees something at once, whoever else waits for a better one;
2. refined masks that somebody waits for to accept them;
3. other refined masks, of whoever has gone without one for longest: under load each person gets some in time, where
   first come, first served would give everybody theirs just after their next click;
4. embeddings, but one goes ahead after every few stages of the kinds above, so that nobody waits for ever;
5. embeddings that nobody has asked for yet;
6. what is done in bulk, and only after a pause in which nobody asked for anything, since a stage that runs cannot be
   stopped: the next click would have to wait for it.

A session asks one question at a time, so none can hold up the others.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from samref.caches import Cache
from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.errors import ImageError, SessionError, SupersededError
from samref.inference.predictor import Embedding, Prediction, Predictor
from samref.models.interface import DecoderState, ModelSpec

T = TypeVar("T")

EMBEDDING_BYTES = 512 * 2**20
"""Some forty images of the embedded model (5 to 14 MB each, most of it the pixels the local refiner crops)."""

OTHER_MODELS = 1
"""Beside the default; a ViT-H takes 2.5 GB."""

STAGES_PER_EMBEDDING = 4
"""Stages of answers that may overtake a waiting embedding: some 0.3 s on two CPU cores."""

MAX_OWNERS = 1_000
"""Sessions whose last refined mask is remembered."""

MAX_PAUSE_S = 5.0
"""A person's longest pause before a device goes on with what is done in bulk; people at work click more often."""

PAUSE_PER_STAGE = 10.0
"""That pause is this many times as long as a stage in bulk takes: few clicks meet one, however fast the device."""

FORGETTING = 0.98
"""What is left, with each stage, of how long an earlier one took: a slow embedding counts for some fifty masks."""

BRING_S = 8.0
"""An embedding that a page can have made elsewhere is waited for so long; then nobody seems to ask for it."""

BRINGING_S = 100.0
"""The same once somebody has begun with it: Hugging Face's queue for a GPU gives up after 60 s."""

_SHUTTING_DOWN = "The server is shutting down. Your work is saved; reload the page in a moment."


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image by its digest, and how to get its pixels where they are needed."""

    digest: str
    load: Callable[[], DecodedImage]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine is at: stages that wait or run, and the embeddings it holds."""

    waiting: int
    embeddings: int
    embedding_bytes: int


class Engine(Protocol):
    """What sessions ask of whatever runs the models. All but :meth:`spec` belongs to one event loop.

    ``owner`` names who asks: :meth:`cancel` takes back what that owner still waits for.
    """

    def spec(self, model: str) -> ModelSpec:
        """What a model is and takes; it can be used when this returns.

        Raises:
            ModelError: there is no such model, or its weights cannot be used.
        """
        ...

    def is_embedded(self, image: StoredImage, model: str) -> bool:
        """Whether prompts on that image can be answered without embedding it first."""
        ...

    async def embed(self, image: StoredImage, model: str, *, owner: str, wanted: bool = True) -> float:
        """Make the embedding ready; seconds of the model, 0 where it was.

        Args:
            image: to embed.
            model: that will answer.
            owner: who asks.
            wanted: False for one that nobody has asked for yet.
        """
        ...

    def segment(
        self,
        image: StoredImage,
        model: str,
        prompts: Prompts,
        state: DecoderState | None,
        *,
        owner: str,
        corrected: Rle | None = None,
        final_only: bool = False,
        in_bulk: bool = False,
    ) -> AsyncGenerator[Prediction, None]:
        """The answers to one object's prompts, coarse first; see :meth:`samref.inference.predictor.Predictor.predict`.

        ``final_only``: whoever asks has a coarse mask already; all stages are one, in the rank of refined masks.
        ``in_bulk`` is for what no person waits for.

        Raises:
            SupersededError: :meth:`cancel` took it back.
        """
        ...

    def cancel(self, owner: str) -> None:
        """Take back what an owner waits for; a stage that runs already is finished and answered."""
        ...

    def hurry(self, owner: str) -> None:
        """Have a refined mask that an owner waits for go before those of others."""
        ...

    def stats(self) -> EngineStats:
        """What it is at."""
        ...

    def close(self) -> None:
        """Take no more questions and give up those that wait."""
        ...


class Rank(IntEnum):
    """What a device does first."""

    COARSE = 0
    HURRIED = 1
    REFINED = 2
    EMBED = 3
    AHEAD = 4
    BULK = 5


@dataclass(slots=True)
class _Turn:
    """A stage that waits for its device."""

    owner: str
    work: Callable[[], Any]
    done: asyncio.Future[Any]


@dataclass(slots=True)
class _Device:
    """A device's thread, and who waits for it."""

    executor: ThreadPoolExecutor
    waiting: tuple[list[_Turn], ...] = field(default_factory=lambda: tuple([] for _ in Rank))
    is_running: bool = False
    since_embedding: int = 0
    asked_at: float = -math.inf
    bulk_s: float = math.inf  # of the longest of the last stages in bulk; not known yet
    is_pausing: bool = False
    refined: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Who was given a refined mask, the longest ago first."""

    def pause_s(self, now: float) -> float:
        """How long it must be left to people before it goes on with what is done in bulk."""
        return self.asked_at + min(MAX_PAUSE_S, PAUSE_PER_STAGE * self.bulk_s) - now

    def next_turn(self, *, with_bulk: bool) -> _Turn | None:
        """Take out the stage whose turn it is."""
        order = [rank for rank in Rank if with_bulk or rank != Rank.BULK]
        if self.since_embedding >= STAGES_PER_EMBEDDING:
            order.sort(key=lambda rank: rank != Rank.EMBED)
        for rank in order:
            queue = self.waiting[rank]
            queue[:] = [turn for turn in queue if not turn.done.done()]  # whoever asked may have gone
            if queue:
                is_answer = rank <= Rank.REFINED
                self.since_embedding = self.since_embedding + 1 if is_answer and self.waiting[Rank.EMBED] else 0
                turn = queue.pop(self._longest_without(queue) if rank == Rank.REFINED else 0)
                if rank in (Rank.HURRIED, Rank.REFINED):
                    self._note_refined(turn.owner)
                return turn
        return None

    def _longest_without(self, queue: list[_Turn]) -> int:
        places = {owner: place for place, owner in enumerate(self.refined)}
        return min(range(len(queue)), key=lambda index: places.get(queue[index].owner, -1))

    def _note_refined(self, owner: str) -> None:
        self.refined[owner] = None
        self.refined.move_to_end(owner)
        while len(self.refined) > MAX_OWNERS:
            self.refined.popitem(last=False)


@dataclass(slots=True)
class _Coming:
    """An embedding that somebody makes elsewhere, and who waits for it."""

    waiting: list[_Turn] = field(default_factory=list)
    is_begun: bool = False
    is_over: bool = False


class LocalEngine:
    """The engine of this process.

    Args:
        load: gives the predictor of a model by name; raises ``ModelError`` where there is none. Slow.
        model: loaded at once, so that what is wrong with it is known at the start, and kept for good.
        other_models: further models kept in memory.
        embedding_bytes: what all embeddings together may take.
        made_elsewhere: whether embeddings of a model may come through :meth:`put_embedding`; those are waited for a
            while, and not made ahead.
    """

    def __init__(
        self,
        load: Callable[[str], Predictor],
        model: str,
        *,
        other_models: int = OTHER_MODELS,
        embedding_bytes: int = EMBEDDING_BYTES,
        made_elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._load = load
        self._made_elsewhere = made_elsewhere
        self._coming: dict[tuple[str, str], _Coming] = {}
        self._default = (model, load(model))
        self._others: Cache[str, Predictor] = Cache(max_count=other_models)
        self._embeddings: Cache[tuple[str, str], Embedding] = Cache(
            max_bytes=embedding_bytes, size_of=lambda embedding: embedding.size_bytes
        )
        self._devices: dict[str, _Device] = {}
        self._is_closed = False

    def predictor(self, model: str) -> Predictor:
        """The predictor of a model, loaded on this thread where it is not in memory."""
        name, default = self._default
        return default if model == name else self._others.get_or_create(model, lambda: self._load(model))

    def spec(self, model: str) -> ModelSpec:
        return self.predictor(model).spec

    def is_embedded(self, image: StoredImage, model: str) -> bool:
        return (image.digest, model) in self._embeddings

    async def embed(self, image: StoredImage, model: str, *, owner: str, wanted: bool = True) -> float:
        if self.is_embedded(image, model) or (not wanted and self._made_elsewhere(model)):
            return 0.0
        rank = Rank.EMBED if wanted else Rank.AHEAD
        return (await self._embedding(image, await self._loaded(model), rank, owner)).encode_s

    async def segment(
        self,
        image: StoredImage,
        model: str,
        prompts: Prompts,
        state: DecoderState | None,
        *,
        owner: str,
        corrected: Rle | None = None,
        final_only: bool = False,
        in_bulk: bool = False,
    ) -> AsyncGenerator[Prediction, None]:
        predictor = await self._loaded(model)
        embedding = await self._embedding(image, predictor, Rank.BULK if in_bulk else Rank.EMBED, owner)
        stages = predictor.predict(embedding, prompts, state, corrected=corrected, final_only=final_only)
        for number in range(len(predictor.spec.stages)):
            rank = Rank.BULK if in_bulk else Rank.COARSE if number == 0 and not final_only else Rank.REFINED
            prediction = await self._run(predictor, rank, owner, functools.partial(next, stages, None))
            if prediction is None:
                return
            yield prediction

    def is_wanted_from_elsewhere(self, digest: str, model: str) -> bool:
        """Whether that embedding is to be made elsewhere: it is missing, and nobody makes it here."""
        key = (digest, model)
        if key in self._embeddings or not self._made_elsewhere(model):
            return False
        return key not in self._coming or not self._coming[key].is_over

    def begin_elsewhere(self, digest: str, model: str) -> bool:
        """Say that the embedding is being made elsewhere; False where that is not wanted, or somebody said so."""
        if not self.is_wanted_from_elsewhere(digest, model):
            return False
        key = (digest, model)
        coming = self._coming.setdefault(key, _Coming())
        if coming.is_begun:
            return False
        coming.is_begun = True
        asyncio.get_running_loop().call_later(BRINGING_S, self._end_coming, key, coming)
        return True

    def put_embedding(self, embedding: Embedding) -> None:
        """Take in an embedding that was made elsewhere; whoever waited for it goes on."""
        key = (embedding.image_digest, embedding.model_name)
        self._embeddings.put(key, embedding)
        self.end_elsewhere(*key)

    def end_elsewhere(self, digest: str, model: str) -> None:
        """Say that nobody makes the embedding elsewhere any more: where it is missing, it is made here."""
        key = (digest, model)
        if (coming := self._coming.get(key)) is not None:
            self._end_coming(key, coming)

    def _end_coming(self, key: tuple[str, str], coming: _Coming) -> None:
        coming.is_over = True
        for turn in coming.waiting:
            if not turn.done.done():
                turn.done.set_result(None)
        if not coming.waiting and self._coming.get(key) is coming:
            del self._coming[key]

    def _end_unless_begun(self, key: tuple[str, str], coming: _Coming) -> None:
        if not coming.is_begun:
            self._end_coming(key, coming)

    async def _await_elsewhere(self, key: tuple[str, str], owner: str) -> None:
        """Wait until an embedding is here, or has to be made here."""
        coming = self._coming.setdefault(key, _Coming())
        if coming.is_over:
            return
        loop = asyncio.get_running_loop()
        turn = _Turn(owner, lambda: None, loop.create_future())
        coming.waiting.append(turn)
        nobody_asks = loop.call_later(BRING_S, self._end_unless_begun, key, coming)
        try:
            await turn.done
        finally:
            nobody_asks.cancel()
            coming.waiting.remove(turn)
            if not coming.waiting and not coming.is_begun and self._coming.get(key) is coming:
                del self._coming[key]

    def cancel(self, owner: str) -> None:
        for coming in self._coming.values():
            for turn in [turn for turn in coming.waiting if turn.owner == owner]:
                _refuse(turn, SupersededError("A newer prompt took this one's place."))
        for device in self._devices.values():
            for queue in device.waiting:
                for turn in [turn for turn in queue if turn.owner == owner]:
                    queue.remove(turn)
                    _refuse(turn, SupersededError("A newer prompt took this one's place."))

    def hurry(self, owner: str) -> None:
        for device in self._devices.values():
            refined = device.waiting[Rank.REFINED]
            for turn in [turn for turn in refined if turn.owner == owner]:
                refined.remove(turn)
                device.waiting[Rank.HURRIED].append(turn)

    def stats(self) -> EngineStats:
        busy = sum(device.is_running + sum(map(len, device.waiting)) for device in self._devices.values())
        held = self._embeddings.stats()
        return EngineStats(busy, held.count, held.size_bytes)

    def close(self) -> None:
        self._is_closed = True
        for coming in self._coming.values():
            for turn in coming.waiting:
                _refuse(turn, SessionError(_SHUTTING_DOWN))
        for device in self._devices.values():
            for queue in device.waiting:
                while queue:
                    _refuse(queue.pop(), SessionError(_SHUTTING_DOWN))
            device.executor.shutdown(wait=False, cancel_futures=True)

    async def _loaded(self, model: str) -> Predictor:
        if model == self._default[0] or model in self._others:
            return self.predictor(model)
        return await asyncio.to_thread(self.predictor, model)

    async def _embedding(self, image: StoredImage, predictor: Predictor, rank: Rank, owner: str) -> Embedding:
        key = (image.digest, predictor.spec.name)

        def make() -> Embedding:
            held = self._embeddings.get(key)  # somebody else's turn may have made it meanwhile
            if held is None:
                loaded = image.load()
                if loaded.digest != image.digest:
                    raise ImageError("The stored image is not the one these labels were made on. Upload it again.")
                held = predictor.embed(loaded)
                self._embeddings.put(key, held)
            return held

        held = self._embeddings.get(key)
        if held is not None:
            return held
        if rank != Rank.EMBED or not self._made_elsewhere(predictor.spec.name):
            return await self._run(predictor, rank, owner, make)
        await self._await_elsewhere(key, owner)
        try:
            held = self._embeddings.get(key)
            return held if held is not None else await self._run(predictor, rank, owner, make)
        finally:
            if key in self._coming and self._coming[key].is_over:
                del self._coming[key]

    async def _run(self, predictor: Predictor, rank: Rank, owner: str, work: Callable[[], T]) -> T:
        """What ``work`` gives, done on the predictor's device when its turn comes."""
        if self._is_closed:
            raise SessionError(_SHUTTING_DOWN)
        name = str(predictor.device)
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = _Device(ThreadPoolExecutor(1, thread_name_prefix=f"samref-{name}"))
        loop = asyncio.get_running_loop()
        turn = _Turn(owner, work, loop.create_future())
        if rank != Rank.BULK:
            device.asked_at = loop.time()
        else:
            turn.work = functools.partial(_timed, device, work)
        device.waiting[rank].append(turn)
        self._start_next(device)
        result: T = await turn.done
        return result

    def _start_next(self, device: _Device) -> None:
        loop = asyncio.get_running_loop()
        pause_s = device.pause_s(loop.time())
        turn = None if device.is_running else device.next_turn(with_bulk=pause_s <= 0)
        if turn is None:
            if device.waiting[Rank.BULK] and not device.is_running and not device.is_pausing:
                device.is_pausing = True
                loop.call_later(pause_s, self._end_pause, device)
            return
        device.is_running = True
        running = asyncio.get_running_loop().run_in_executor(device.executor, turn.work)
        running.add_done_callback(functools.partial(self._finished, device, turn))

    def _end_pause(self, device: _Device) -> None:
        device.is_pausing = False
        if not self._is_closed:
            self._start_next(device)

    def _finished(self, device: _Device, turn: _Turn, running: asyncio.Future[Any]) -> None:
        device.is_running = False
        if not turn.done.done():
            if running.cancelled():
                turn.done.set_exception(SessionError(_SHUTTING_DOWN))
            elif (error := running.exception()) is not None:
                turn.done.set_exception(error)
            else:
                turn.done.set_result(running.result())
        # Whoever got this answer asks for its next stage first: a refined mask goes before an embedding that waits.
        asyncio.get_running_loop().call_soon(self._start_next, device)


def _timed(device: _Device, work: Callable[[], T]) -> T:
    """What ``work`` gives; the device learns how long the longest of the last stages in bulk took."""
    started = time.perf_counter()
    try:
        return work()
    finally:
        before = 0.0 if math.isinf(device.bulk_s) else FORGETTING * device.bulk_s
        device.bulk_s = max(time.perf_counter() - started, before)


def _refuse(turn: _Turn, error: SessionError) -> None:
    if not turn.done.done():
        turn.done.set_exception(error)
