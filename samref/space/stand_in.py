"""Stands in for the package ``spaces``, which every Gradio Space of Hugging Face has; copied beside a program as that.

It refuses what the real one refuses when a Space starts: to be imported after CUDA's users on ZeroGPU, a coroutine as
GPU function, and a launch on ZeroGPU without any GPU function. It never runs one.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

STANDS_FOR = "0.51.3"
"""Version of the real package whose behaviour this is; Gradio asks for it."""

NOTES_VARIABLE = "SPACE_CHECK_NOTES"
"""A file that is to hold the names of all GPU functions there are at a launch on ZeroGPU."""

T = TypeVar("T", bound=Callable[..., Any])

is_zero_gpu = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
functions: list[Callable[..., Any]] = []


def GPU(task: T | None = None, *, duration: Any = None, size: str | None = None) -> Any:  # noqa: N802 - its name
    """The decorator: notes the function and gives it back."""
    if task is None:
        return lambda found: GPU(found, duration=duration, size=size)
    if inspect.iscoroutinefunction(task) or inspect.isasyncgenfunction(task):
        raise NotImplementedError(f"{task.__name__} is a coroutine, which cannot run on ZeroGPU")
    if duration is None:
        raise ValueError(f"{task.__name__} asks for no duration: 60 seconds would be charged before it runs")
    functions.append(task)
    return task


def gradio_auto_wrap(task: T) -> T:
    """Gradio hands every function of an event to it; only a setting of the Space has the real one wrap it."""
    return task


def get_zero_gpu_quota() -> None:
    """Nobody is known here."""


def start_reload_server(**_: Any) -> None:
    """Gradio starts it beside each server on a Space."""


def _refuse_launch_without_function() -> None:
    import gradio

    launch = gradio.Blocks.launch

    def launch_with_function(self: Any, *arguments: Any, **named: Any) -> Any:
        if not functions:
            raise RuntimeError("No @spaces.GPU function detected during startup")
        Path(os.environ[NOTES_VARIABLE]).write_text("\n".join(each.__qualname__ for each in functions), "utf-8")
        return launch(self, *arguments, **named)

    gradio.Blocks.launch = launch_with_function  # type: ignore[method-assign]


if __name__ == "spaces":
    if is_zero_gpu and "torch" in sys.modules:
        raise RuntimeError("CUDA may have been initialised before spaces was imported: import it first")
    __path__: list[str] = []
    reloading = ModuleType("spaces.reloading")
    reloading.start_reload_server = start_reload_server  # type: ignore[attr-defined]
    sys.modules[reloading.__name__] = reloading
    if is_zero_gpu:
        _refuse_launch_without_function()
