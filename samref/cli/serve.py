"""``samref serve``: the labelling page on this machine, and ``demo``, the same page as Gradio's tools look for it."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape

from samref.settings import Settings, flag_of
from samref.web.page import Behind, Page


def _build(settings: Settings) -> Behind:
    from samref.serve import build  # torch and the models: needed when the page is launched, not when it is imported

    return build(settings)


demo = Page(_build)
"""The one page of this process. Importing it loads no model; ``demo.launch()`` does."""

METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER"}


def serve(**flags: str | bool | None) -> None:
    """Open the labelling page on this machine.

    Each option can be set as an environment variable, too: SAMREF_PORT for --port, SAMREF_DATA_FOLDER for --data.
    """
    started = time.perf_counter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with an image is told to who brought it
    warnings.filterwarnings("ignore", module=r"PIL\.")
    settings = Settings.from_environment(os.environ, **flags)
    with _ended_by_signals():
        try:
            demo.launch(settings=settings, prevent_thread_lock=True)
            for line in demo.report():
                typer.echo(line)
            typer.echo(
                f"Ready after {time.perf_counter() - started:.1f} s: {demo.local_url}  (data in {settings.data_folder})"
            )
            while True:
                time.sleep(3600)
        finally:
            demo.close(verbose=False)


def _options() -> Iterator[inspect.Parameter]:
    """One option for each setting; read as text, because the settings say best what is wrong with a value."""
    for name, field in Settings.model_fields.items():
        kind: Any = bool if field.annotation is bool else str
        flags = {flag_of(name): None, f"--{name.replace('_', '-')}": None}
        if kind is bool:
            flags = {f"{flag}/--no-{flag.removeprefix('--')}": None for flag in flags}
        default = escape(f"[{field.get_default(call_default_factory=True)}]")  # which rich would take for a style
        option = typer.Option(
            *flags,
            help=f"{field.description} {default}".removesuffix(" []"),
            show_default=False,
            metavar=None if kind is bool else METAVARS.get(field.annotation, "TEXT"),
        )
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
        )


serve.__signature__ = inspect.Signature(list(_options()))  # type: ignore[attr-defined]


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is inside in order, a second one ends the program at once."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, lambda number, _: os._exit(128 + number))
        raise _StopError(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    except _StopError:
        pass
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _StopError(BaseException):
    """A signal asks the server to stop. No ``Exception``, so that nothing takes it for a failure and goes on."""
