"""The composition root of the labelling page: settings, model, scheduler, stores, page, launch."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from starlette.middleware import Middleware

from samref import __version__
from samref.core.images import decode_image
from samref.core.prompts import Click, Prompts
from samref.errors import ModelError, SamrefError
from samref.inference.device import load_predictor
from samref.inference.predictor import Predictor
from samref.inference.scheduler import Scheduler
from samref.inference.stores import EmbeddingStore, SessionStore
from samref.labels.store import ProjectStore
from samref.models.checkpoints import how_to_get, place_of
from samref.models.interface import ModelSpec
from samref.models.zoo import get_spec, list_models
from samref.settings import Settings
from samref.web.examples import Examples
from samref.web.guard import Guard, known_hosts
from samref.web.handlers import Handlers
from samref.web.open_image import OpenImage, OpenImages
from samref.web.routes import build_routes
from samref.web.workspace import ModelEntry, Workspaces

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["App", "Predictors", "build", "serve"]

EXAMPLES_FOLDER = Path(__file__).parent.parent / "assets" / "examples"

MODELS_IN_MEMORY = 2
"""The default and one more; a ViT-H takes 2.5 GB."""

NO_API_PAGES = {"docs_url": None, "redoc_url": None, "openapi_url": None}
"""Pages that FastAPI makes of its routes; they would describe Gradio's, which are closed."""

PRUNE_EVERY_S = 6 * 3600.0

_log = logging.getLogger(__name__)


class Predictors:
    """Predictors by name, loaded when they are first asked for; the default always stays."""

    def __init__(self, settings: Settings) -> None:
        """Load the default model at once, so that what is wrong with it is known at the start."""
        self._settings = settings
        self._lock = threading.Lock()
        self._default = self._load(settings.model)
        self._others: OrderedDict[str, Predictor] = OrderedDict()

    def __call__(self, name: str) -> Predictor:
        """The predictor of that model.

        Raises:
            ModelError: there is none, or its weights are missing.
        """
        if name == self._settings.model:
            return self._default
        with self._lock:
            predictor = self._others.get(name)
            if predictor is None:
                predictor = self._others[name] = self._load(name)
            self._others.move_to_end(name)
            while len(self._others) > MODELS_IN_MEMORY - 1:
                self._others.popitem(last=False)
            return predictor

    def entries(self) -> Sequence[ModelEntry]:
        """The lines of the model picker, the default first; random weights only when they were asked for by name."""
        specs = [spec for spec in list_models() if not spec.name.endswith("random")]
        default = get_spec(self._settings.model)
        return [_entry(default), *(_entry(spec) for spec in specs if spec.name != default.name)]

    def _load(self, name: str) -> Predictor:
        return load_predictor(name, device=self._settings.device, precision=self._settings.precision)


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
    predictors: Predictors
    store: ProjectStore
    scheduler: Scheduler
    embeddings: EmbeddingStore
    sessions: SessionStore[OpenImage]
    workspaces: Workspaces
    examples: Examples
    handlers: Handlers

    def launch(self, *, block: bool) -> gr.Blocks:
        """Start the web server; returns at once unless ``block``.

        Raises:
            SamrefError: the port is taken.
        """
        from samref.web.ui import STATIC_FOLDER, build_page, launch_options

        settings = self.settings
        check_port_is_free(settings.host, settings.port)
        routes = build_routes(
            self.handlers,
            self.workspaces,
            self.examples,
            STATIC_FOLDER,
            version=__version__,
            upload_bytes=settings.upload_bytes,
            pixels=settings.pixels,
        )
        guard = Middleware(
            Guard, hosts=known_hosts(settings.host, settings.hosts), frame_ancestors=settings.frame_ancestors
        )
        application = {"routes": routes, "middleware": [guard], "lifespan": self._life, **NO_API_PAGES}
        page = build_page(__version__)
        try:
            page.launch(
                server_name=settings.host,
                server_port=settings.port or None,
                max_threads=settings.max_threads,
                app_kwargs=application,
                prevent_thread_lock=not block,
                **launch_options(__version__),
            )
        except OSError as error:  # what Gradio makes of a server that took more than five seconds to start
            raise SamrefError(
                f"The web server did not start on {settings.host}:{settings.port} ({error}). If this machine is very "
                "busy, try again; else choose another port with --port."
            ) from error
        return page

    @asynccontextmanager
    async def _life(self, _: Any) -> AsyncIterator[None]:
        """The threads on which coroutines wait for disk and decoder; asyncio's own are six on two cores."""
        waiting = ThreadPoolExecutor(self.settings.max_threads, thread_name_prefix="samref-wait")
        asyncio.get_running_loop().set_default_executor(waiting)
        yield
        waiting.shutdown(wait=False, cancel_futures=True)

    def self_test(self) -> str:
        """Click a bundled picture and say in one line how long it took.

        Raises:
            SamrefError: the model does not work on this machine.
        """
        example = next(iter(self.examples), None)
        predictor = self.predictors(self.settings.model)
        where = f"{self.settings.model} on {predictor.device}, {str(predictor.dtype).removeprefix('torch.')}"
        if example is None:
            return f"{where}: no bundled picture to try it on"
        image = decode_image(example.path.read_bytes())
        embedding = predictor.embed(image)
        click = Prompts((Click(image.size.width // 2, image.size.height // 2),))
        stages = [(prediction.stage, prediction.seconds) for prediction in predictor.predict(embedding, click)]
        if not stages:
            raise ModelError("The self-test got no mask from the model.")
        times = ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in stages)
        return f"{where}: encode {embedding.encode_s * 1000:.0f} ms, {times} ({example.name})"

    def prune_forever(self) -> None:
        """Keep the store within its bounds, from a thread of its own."""
        settings = self.settings
        while True:
            try:
                self.store.prune(timedelta(days=settings.workspace_days), settings.store_bytes)
            except SamrefError as error:
                _log.warning("Old workspaces could not be removed: %s", error)
            time.sleep(PRUNE_EVERY_S)

    def close(self) -> None:
        """Let the worker end and close the database."""
        self.scheduler.shutdown(timeout=5.0)
        self.store.close()


def check_port_is_free(host: str, port: int) -> None:
    """Refuse a port that another program has, before anything waits for it; port 0 is always free.

    Raises:
        SamrefError: it is taken, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SamrefError(
                f"The address {host}:{port} cannot be used ({error.strerror or error}). Choose another with --port."
            ) from error


def build(settings: Settings) -> App:
    """Put everything together; nothing listens yet.

    Raises:
        SamrefError: the model cannot be loaded, or the data folder cannot be used.
    """
    get_spec(settings.model)
    predictors = Predictors(settings)
    store = ProjectStore(settings.data_folder / "samref.sqlite", max_bytes=settings.store_bytes)
    scheduler = Scheduler()
    embeddings = EmbeddingStore(settings.embedding_bytes)
    sessions: SessionStore[OpenImage] = SessionStore(settings.sessions, settings.session_bytes, settings.session_idle_s)
    examples = Examples(EXAMPLES_FOLDER)
    workspaces = Workspaces(
        store,
        OpenImages(store, sessions, embeddings, scheduler, predictors, settings.model),
        examples,
        models=predictors.entries,
        keeping=lambda: {"folder": str(settings.data_folder), "demo_days": 0, "read_only": None},
        version=__version__,
        upload_bytes=settings.upload_bytes,
        pixels=settings.pixels,
    )
    handlers = Handlers(workspaces, examples)
    return App(settings, predictors, store, scheduler, embeddings, sessions, workspaces, examples, handlers)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 lets others in.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    model: Annotated[str | None, typer.Option(help="Model for new pictures.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for pictures and labels.")] = None,
    self_test: Annotated[bool | None, typer.Option(help="Click a bundled picture at start.")] = None,
) -> None:
    """Open the labelling page on this machine.

    Every option, and more (limits of uploads, memory and disk), can be set as an environment variable SAMREF_...;
    see samref/settings.py.
    """
    started = time.perf_counter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings.from_environment(
        os.environ,
        host=host,
        port=port,
        model=model,
        device=device,
        precision=precision,
        data_folder=data,
        self_test=self_test,
    )
    app = build(settings)
    try:
        page = app.launch(block=False)
        if settings.self_test:
            typer.echo(f"Self-test: {app.self_test()}")
        threading.Thread(target=app.prune_forever, name="samref-prune", daemon=True).start()
        typer.echo(
            f"Ready after {time.perf_counter() - started:.1f} s: {page.local_url}  (data in {settings.data_folder})"
        )
        page.block_thread()
    finally:
        app.close()
