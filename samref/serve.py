"""Puts the server behind the page together: settings, model, scheduler, stores, routes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.middleware import Middleware
from starlette.routing import Mount

from samref import __version__
from samref.core.images import decode_image, hold_large_blocks_apart
from samref.core.prompts import Click, Prompts
from samref.errors import ModelError, SettingsError, StorageError
from samref.files import assets_folder, disk_errors
from samref.inference.device import load_predictor
from samref.inference.engine import LocalEngine
from samref.labels.folder import DATABASE_NAME, IMAGES_NAME, FolderLock
from samref.labels.shipping.depot import Depot
from samref.labels.shipping.restoring import Begun, begin
from samref.labels.shipping.shipper import Saved, Shipper
from samref.labels.sqlite import SqliteDatabase
from samref.labels.store import ProjectStore
from samref.models.checkpoints import how_to_get, place_of
from samref.models.interface import ModelSpec
from samref.models.registry import get_spec, list_models
from samref.settings import Settings, is_space, is_zero_gpu
from samref.web.examples import find_showcase, list_examples
from samref.web.first_load import NEVER_CHANGES, FirstLoad, PackedFiles, pack_ahead
from samref.web.guard import Guard, is_loopback, known_hosts
from samref.web.http import build_routes
from samref.web.image_folder import ImageFolder, offered_folder
from samref.web.lending import Lending, LentGpu
from samref.web.local import LocalModel
from samref.web.page import FRONTEND_FOLDER, SHEET, STATIC_FOLDER, files_of_first_view, files_to_pack
from samref.web.scripting import Scripting
from samref.web.server import Limits, ModelEntry, Server, Surroundings

NO_API_PAGES = {"docs_url": None, "redoc_url": None, "openapi_url": None}
"""Pages that FastAPI makes of its routes; they would describe Gradio's, which are closed."""

LOCAL_MODEL = "tiny"
"""The model whose first stage a page can run itself."""

KEEP_HOUSE_EVERY_S = 60.0

SWITCH_S = 0.0005
"""Python lets a thread compute for 5 ms before another one may go on, so that beside many requests the device's thread
waited again and again between two calls of torch. Measured with tests/bench/test_load.py."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


def model_entries(default: str) -> Sequence[ModelEntry]:
    """The lines of the model picker, the default first; random weights only when they were asked for by name."""
    specs = [spec for spec in list_models() if spec.purpose == "use"]
    return [_entry(get_spec(default)), *(_entry(spec) for spec in specs if spec.name != default)]


def _entry(spec: ModelSpec) -> ModelEntry:
    missing = [checkpoint for checkpoint in spec.checkpoints if not place_of(checkpoint).is_file()]
    if any(checkpoint.comes_with_samref for checkpoint in missing):
        return ModelEntry(spec.name, spec.title, ready=False, note="Its weights do not come with this copy of samref.")
    by_hand = next((checkpoint for checkpoint in missing if checkpoint.url is None), None)
    if by_hand is not None:
        note = f"Not on this machine. {how_to_get(by_hand, spec.name)}"
        return ModelEntry(spec.name, spec.title, ready=False, note=note)
    if missing:
        megabytes = sum(checkpoint.size_bytes or 0 for checkpoint in missing) / 1e6
        note = f"Not on this machine. Fetch it with: python -m samref models fetch {spec.name} ({megabytes:,.0f} MB)"
        return ModelEntry(spec.name, spec.title, ready=False, note=note)
    return ModelEntry(spec.name, spec.title, ready=True, note=spec.note)


@dataclass(frozen=True, slots=True)
class App:
    """Everything that runs, put together."""

    settings: Settings
    store: ProjectStore
    engine: LocalEngine
    server: Server
    scripting: Scripting | None = None
    lending: Lending | None = None
    shipment: Shipment | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def application(self) -> dict[str, Any]:
        """Arguments of Gradio's web application: our routes, the guard before everything, what runs beside it."""
        settings = self.settings
        routes = build_routes(self.server, STATIC_FOLDER, version=__version__, local=local_model())
        frontend = Mount("/assets", app=PackedFiles(FRONTEND_FOLDER / "assets", caching=NEVER_CHANGES))
        guard = Middleware(
            Guard,
            hosts=known_hosts(settings.host, settings.hosts),
            frame_ancestors=settings.frame_ancestors,
            opened=[opening for part in self._parts for opening in part.openings],
            is_probed=is_space(os.environ),
        )
        first_load = Middleware(FirstLoad, files=files_of_first_view(), sheet=SHEET)
        return {
            "routes": [*routes, frontend],
            "middleware": [guard, first_load],
            "lifespan": self._life,
            **NO_API_PAGES,
        }

    @property
    def uploads(self) -> Path | None:
        """Folder for what scripts upload; None where they may not."""
        return None if self.scripting is None else self.scripting.folder

    def add_endpoints(self, page: Any) -> None:
        """Add what Gradio's queue shall run, in the page's open context."""
        for part in self._parts:
            part.add_to(page)

    @property
    def _parts(self) -> Iterator[Scripting | Lending]:
        """What needs Gradio's queue."""
        yield from (part for part in (self.scripting, self.lending) if part is not None)

    @asynccontextmanager
    async def _life(self, _: Any) -> AsyncIterator[None]:
        """Housekeeping, and threads for coroutines that wait for disk or decoder (asyncio has six on two cores)."""
        waiting = ThreadPoolExecutor(self.settings.max_threads, thread_name_prefix="samref-wait")
        asyncio.get_running_loop().set_default_executor(waiting)
        threading.Thread(target=self.keep_house, name="samref-house", daemon=True).start()
        threading.Thread(target=pack_ahead, args=[files_to_pack()], name="samref-pack", daemon=True).start()
        yield
        waiting.shutdown(wait=False, cancel_futures=True)

    def report(self) -> Iterator[str]:
        """What whoever started the server should hear: how long a click takes, and whether labels cannot be saved."""
        if self.settings.self_test:
            yield f"Self-test: {_away_from_imitation(self.self_test)}"
        if self.store.describe().is_read_only:
            yield f"{READ_ONLY} No restart is needed then."
        if self.shipment is not None:
            yield from self.shipment.report()

    def self_test(self) -> str:
        """Click a bundled image and say in one line how long it took.

        Raises:
            SamrefError: the model does not work on this machine.
        """
        example = next(iter(self.server.examples.values()), None)
        predictor = self.engine.predictor(self.settings.model)
        where = f"{self.settings.model} on {predictor.device}, {str(predictor.dtype).removeprefix('torch.')}"
        if example is None:
            return f"{where}: no bundled image to try it on"
        image = decode_image(example.path.read_bytes())
        embedding = predictor.embed(image)
        click = Prompts((Click(image.size.width // 2, image.size.height // 2),))
        stages = [(prediction.stage, prediction.seconds) for prediction in predictor.predict(embedding, click)]
        if not stages:
            raise ModelError("The self-test got no mask from the model.")
        times = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in stages)
        return f"{where}: encode {embedding.encode_s * 1000:.0f} ms, {times} ({example.name})"

    def keep_house(self) -> None:
        """Look after the store about once a minute, until :meth:`close`; for a thread of its own."""
        said = ""
        while not self._stopping.wait(KEEP_HOUSE_EVERY_S):
            if self.scripting is not None:
                self.scripting.sweep()
            try:
                self.store.keep_house()
                said = ""
            except StorageError as error:
                if str(error) != said:  # once, not every minute
                    said = str(error)
                    _log.warning("The housekeeping of the labels has to wait: %s", error)

    def close(self) -> None:
        """Stop in order, when no more requests come: let the worker end, and close the database."""
        self._stopping.set()
        self.engine.close()
        if self.shipment is not None:
            self.shipment.close()
        self.store.close()
        if self.scripting is not None:
            self.scripting.close()


NOT_COPIED = (
    "What is done here is not copied to any other place, so it does not survive a restart of the server. Export what "
    "you want to keep; whoever runs the server finds the reason in its log."
)


@dataclass(frozen=True, slots=True)
class Shipment:
    """The labels' way to a place that outlives this machine; no ``shipper`` where nothing can be shipped."""

    address: str
    begun: Begun
    shipper: Shipper | None

    def saved(self) -> Saved:
        """How far labels are safe from the loss of this machine."""
        return Saved(None, True, NOT_COPIED) if self.shipper is None else self.shipper.saved()

    def report(self) -> Iterator[str]:
        """What whoever started the server should hear."""
        fetched = self.begun.fetched
        if self.begun.problem is not None:
            yield self.begun.problem
        if fetched is not None:
            yield f"Fetched from {self.address}: {fetched}."
            yield from (f"Not fetched: {fault}" for fault in fetched.faults)
            if fetched.aside is not None:
                yield f"The database that was in the data folder is kept as {fetched.aside}."

    def close(self) -> None:
        """Ship the rest."""
        if self.shipper is not None:
            self.shipper.close()


def build(settings: Settings) -> App:
    """Put everything together; nothing listens yet.

    Raises:
        SamrefError: the model cannot be loaded, or the data folder cannot be used.
    """
    hold_large_blocks_apart()
    sys.setswitchinterval(SWITCH_S)
    get_spec(settings.model)
    offered = offered_folder(settings)
    folder = settings.data_folder
    lock = FolderLock(folder)
    begun = _begin_shipping(settings, lock) if settings.ship_to else None
    store = ProjectStore(  # before the model: that the folder is in use should be said at once
        settings.database or folder / DATABASE_NAME,
        blobs=folder / IMAGES_NAME,
        max_bytes=settings.store_bytes,
        demo_days=settings.demo_days,
        lock=lock,
    )
    shipment = None
    try:
        shipment = None if begun is None else _ship(begun, store, settings)
        return _away_from_imitation(partial(_build_around, store, settings, offered, shipment))
    except BaseException:
        if shipment is not None:
            shipment.close()
        store.close()
        raise


def _begin_shipping(settings: Settings, lock: FolderLock) -> Begun:
    """Fetch the labels where that is needed; under the lock, or a server that runs there would be driven out."""
    if settings.database:
        raise SettingsError(
            "SAMREF_SHIP_TO copies labels in SQLite, and SAMREF_DATABASE names another database, which has backups of "
            "its own. Unset one of them."
        )
    folder = settings.data_folder
    with disk_errors(f"The data folder {folder} could not be made"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock.acquire()
    try:
        return begin(folder, lambda: Depot(settings.ship_to, os.environ))
    except BaseException:
        lock.release()
        raise


def _ship(begun: Begun, store: ProjectStore, settings: Settings) -> Shipment:
    shipper = None
    if begun.depot is not None:
        assert isinstance(store.database, SqliteDatabase)
        shipper = Shipper(
            begun,
            store.database,
            store.blobs,
            settings.data_folder,
            ship_every_s=settings.ship_every_s,
            snapshot_every_s=settings.snapshot_every_s,
        )
        shipper.start()
    return Shipment(settings.ship_to if begun.depot is None else begun.depot.shown, begun, shipper)


def _build_around(
    store: ProjectStore, settings: Settings, offered: ImageFolder | None, shipment: Shipment | None
) -> App:
    load = partial(load_predictor, device=settings.device, precision=settings.precision)
    gpu = _lent_gpu(store)
    engine = LocalEngine(
        load,
        settings.model,
        embedding_bytes=settings.embedding_bytes,
        made_elsewhere=(lambda _: False) if gpu is None else gpu.is_for,
    )
    lending = None if gpu is None else Lending(engine, gpu)
    surroundings = Surroundings(
        models=lambda: model_entries(settings.model),
        keeping=lambda: _keeping(store, settings, shipment),
        version=__version__,
        folder=offered,
        showcase=find_showcase(assets_folder() / "showcase"),
        api=settings.api,
        lent=(lambda *_: None) if lending is None else lending.to_wire,
        local=local_model().to_wire() if settings.model == LOCAL_MODEL else None,
    )
    limits = Limits(
        upload_bytes=settings.upload_bytes,
        pixels=settings.pixels,
        sessions=settings.sessions,
        session_bytes=settings.session_bytes,
        session_idle_s=settings.session_idle_s,
    )
    examples = list_examples(assets_folder() / "examples")
    server = Server(store, engine, examples, surroundings, limits, model=settings.model)
    if lending is not None:
        lending.server = server
    return App(settings, store, engine, server, Scripting(server) if settings.api else None, lending, shipment)


def _away_from_imitation(work: Callable[[], T]) -> T:
    """What ``work`` gives; on ZeroGPU done in another thread, as ``spaces`` has the main one imitate a GPU."""
    if not is_zero_gpu(os.environ):
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="samref-build") as thread:
        return thread.submit(work).result()


def _lent_gpu(store: ProjectStore) -> LentGpu | None:
    """The GPU that a Space is lent for seconds; its module can only be imported there."""
    if not is_zero_gpu(os.environ):
        return None
    from samref.inference.zero_gpu import ZeroGpu

    os.register_at_fork(after_in_child=store.database.forget_connections)
    return ZeroGpu()


def local_model() -> LocalModel:
    """The embedded model for pages that run it themselves."""
    base, _refiner = get_spec(LOCAL_MODEL).checkpoints
    return LocalModel(assets_folder() / "browser", place_of(base))


READ_ONLY = (
    "The disk with the labels is full or may not be written to: they can be looked at and exported, and changes are "
    "refused until that is mended."
)


def _keeping(store: ProjectStore, settings: Settings, shipment: Shipment | None) -> Mapping[str, Any]:
    """What the page says about how work is kept; where, only on the machine itself."""
    kept = store.describe()
    saved = None if shipment is None else shipment.saved()
    read_only = READ_ONLY if kept.is_read_only else None
    if saved is not None and saved.is_taken_over:
        read_only = saved.problem
    return {
        "folder": str(kept.folder) if is_loopback(settings.host) else None,
        "demo_days": kept.demo_days or 0,
        "read_only": read_only,
        "saved": None if saved is None else asdict(saved),
        "forgets": shipment is None and is_space(os.environ),
    }
