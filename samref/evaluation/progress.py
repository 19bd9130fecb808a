"""How far a measurement is, for a person who looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

import typer

__all__ = ["Progress", "show_progress"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the objects done and the objects in all, from one thread at a time; first before anything is measured."""


def show_progress() -> Progress | None:
    """A bar on stderr, for one measurement; None where nobody looks and it would fill a log."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:  # it comes with other packages, and a plain line does as well
        return _line()
    bar: tqdm[None] | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, initial=done, unit="object", dynamic_ncols=True, leave=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def _line() -> Progress:
    """The same in words."""
    start = time.monotonic()
    first: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal first
        first = done if first is None else first
        fresh = done - first
        rest = "" if fresh == 0 else f", about {(time.monotonic() - start) / fresh * (total - done):.0f} s to go"
        typer.echo(f"\r{done} of {total} objects{rest}\x1b[K", nl=False, err=True)
        if done == total:
            typer.echo("\r\x1b[K", nl=False, err=True)

    return show
