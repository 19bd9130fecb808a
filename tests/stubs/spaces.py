"""Stands in for Hugging Face's package ``spaces`` on ZeroGPU, as far as it can fail: for processes of their own.

Put its folder on ``sys.path`` and import it first. Like the real one it makes torch believe in a GPU that no thread may
touch, runs each call in a forked process with pickled arguments and results, finds the visitor in Gradio's context,
multiplies the duration, and raises ``gr.Error`` with the same titles. What a test wants to go wrong it sets here.
"""

from __future__ import annotations

import functools
import inspect
import io
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from contextvars import copy_context
from multiprocessing.context import ForkProcess
from typing import Any, NoReturn

import gradio as gr
import torch
from gradio.context import LocalContext
from torch.overrides import TorchFunctionMode

FACTOR = 1.5
LONGEST_S = 120.0

left_s = 300.0
"""What the visitor has left today."""

dies = False
"""Whether the process with the GPU is killed when it begins."""

no_gpu_becomes_free = False

look: Callable[[], Any] | None = None
"""Called in the forked process before the function; what it gives is put into :data:`seen`."""

seen: list[Any] = []
asked_s: list[float] = []
visitors: list[str | None] = []
imitated: list[str] = []
"""What was computed in the main thread."""

decorated: list[Callable[..., Any]] = []
forks = 0

_fork = multiprocessing.get_context("fork")
_workers: list[_Worker] = []


def GPU(task: Callable[..., Any] | None = None, *, duration: float | None = None) -> Any:
    """The decorator."""
    if task is None:
        return functools.partial(GPU, duration=duration)
    if inspect.iscoroutinefunction(task):
        raise NotImplementedError
    assert duration is not None, "the default of 60 s is half of what an anonymous visitor has"
    decorated.append(task)

    @functools.wraps(task)
    def handler(*args: Any, **kwargs: Any) -> Any:
        _schedule(duration)
        worker = _workers.pop() if _workers and _workers[-1].process.is_alive() else _Worker(task)
        worker.arguments.put((args, kwargs))
        kind, value = worker.results.get()
        if kind == "saw":
            seen.append(value)
            kind, value = worker.results.get()
        if kind == "done":
            _workers.append(worker)
            return value
        raise _error("ZeroGPU worker error", value)

    return handler


def forget_workers() -> None:
    """End the processes with the GPU, as Hugging Face does when they are idle."""
    while _workers:
        worker = _workers.pop()
        worker.process.terminate()
        worker.process.join()


def _schedule(duration: float) -> None:
    request = LocalContext.request.get(None)
    asked = duration * FACTOR
    asked_s.append(asked)
    if request is None:  # it is charged to the Space itself, which has nothing
        raise _error("ZeroGPU quota exceeded", "Space app has reached its GPU limit.")
    visitors.append(request.headers.get("x-ip-token"))
    if asked > LONGEST_S:
        raise _error("ZeroGPU illegal duration", "The requested GPU duration is larger than the maximum allowed")
    if asked > left_s:
        raise _error("ZeroGPU quota exceeded", f"You have exceeded your quota ({asked}s requested vs. {left_s}s left).")
    if no_gpu_becomes_free:
        raise _error("ZeroGPU queue timeout", "No GPU was available after 60s.")


def _error(title: str, message: str) -> gr.Error:
    return gr.Error(message, title=title, print_exception=False)


class _Worker:
    """A forked process that has the GPU; a thread of this one notices its death."""

    process: ForkProcess

    def __init__(self, task: Callable[..., Any]) -> None:
        global forks
        forks += 1
        self.arguments: Any = _fork.SimpleQueue()
        self.results: Any = _fork.SimpleQueue()
        self.process = _fork.Process(target=self._work, args=(task,), daemon=True)
        self.process.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.process.join()
        self.results.put(("error", "GPU task aborted"))

    def _work(self, task: Callable[..., Any]) -> None:
        while True:
            args, kwargs = self.arguments.get()
            thread = threading.Thread(target=copy_context().run, args=(self._answer, task, args, kwargs))
            thread.start()
            thread.join()

    def _answer(self, task: Callable[..., Any], args: Any, kwargs: Any) -> None:
        if look is not None:
            self.results.put(("saw", look()))
        if dies:
            os._exit(137)
        try:
            value = task(*args, **kwargs)
            _OnThisMachine(io.BytesIO()).dump(value)
            answer = ("done", value)
        except Exception as error:  # noqa: BLE001 - as the real one does
            answer = ("error", type(error).__name__)
        self.results.put(answer)


class _OnThisMachine(pickle.Pickler):
    """Refuses tensors: in the real process they lie on a GPU, from which none comes back."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            raise pickle.PicklingError("a tensor of the GPU")
        return NotImplemented


def _touched(*_: Any) -> NoReturn:
    raise RuntimeError("Low-level CUDA init (`torch._C._cuda_init`) reached.")


torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch._C._cuda_init = _touched


class _Imitation(TorchFunctionMode):
    """Stands between whoever computes in this thread and torch; the real one is slow, and imports half of torch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        imitated.append(getattr(func, "__name__", "?"))
        return func(*args, **(kwargs or {}))


_Imitation().__enter__()  # type: ignore[no-untyped-call]

_launch = gr.Blocks.launch


@functools.wraps(_launch)
def _launch_once(*args: Any, **kwargs: Any) -> Any:
    if not decorated:
        raise RuntimeError("No @spaces.GPU function detected during startup")
    gr.Blocks.launch = _launch  # type: ignore[method-assign]
    return _launch(*args, **kwargs)


gr.Blocks.launch = _launch_once  # type: ignore[method-assign]
