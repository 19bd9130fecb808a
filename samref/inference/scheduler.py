"""One device, many people: a single worker thread that runs one *stage* at a time and takes turns between sessions.

A job is an iterator; each ``next`` is a stage (encode, coarse mask, refined mask). The rules:

- **Newest wins.** A session has one job. A newer one takes its place, whether the older still waits or stands between
  two stages; the older one's consumer gets :class:`SupersededError`. A stage that runs is not interrupted.
- **Fair.** After each stage the next session has its turn, so one person's refinement does not hold up another's
  coarse mask.
- **Clicks first.** A job submitted as ``"encode"`` waits with its first stage while clicks of other sessions are there,
  but after every ``clicks_per_encode`` click stages one encode goes ahead.
- **Nothing kills the worker.** What a job raises is raised to its consumer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from samref.errors import SessionError, SupersededError
from samref.inference.limits import CLICKS_PER_ENCODE

__all__ = ["Job", "JobKind", "Scheduler"]

T = TypeVar("T")

JobKind: TypeAlias = Literal["click", "encode"]

_log = logging.getLogger(__name__)


class Job(Generic[T]):
    """The results of one job, as they come. Made by :meth:`Scheduler.submit`.

    Iterate over it with ``for`` or ``async for``; each iteration starts with the first result. Leaving an iteration
    does not cancel the job: what a session has recorded is worth finishing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._is_done = False
        self._wakers: list[Callable[[], None]] = []

    @property
    def is_done(self) -> bool:
        """Whether no more results will come."""
        with self._changed:
            return self._is_done

    def __iter__(self) -> Iterator[T]:
        seen = 0
        while True:
            fresh, is_done, error = self._wait_beyond(seen)
            yield from fresh
            seen += len(fresh)
            if is_done:
                if error is not None:
                    raise error
                return

    async def __aiter__(self) -> AsyncIterator[T]:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop of a consumer that has gone is closed
                loop.call_soon_threadsafe(woken.set)

        with self._changed:
            self._wakers.append(wake)
        try:
            seen = 0
            while True:
                woken.clear()
                with self._changed:
                    fresh, is_done, error = self._results[seen:], self._is_done, self._error
                for result in fresh:
                    yield result
                seen += len(fresh)
                if is_done:
                    if error is not None:
                        raise error
                    return
                if not fresh:
                    await woken.wait()
        finally:
            with self._changed:
                self._wakers.remove(wake)

    def result(self, timeout: float | None = None) -> T:
        """The last result, once it is there.

        Raises:
            TimeoutError: it did not come in ``timeout`` seconds.
            SupersededError: a newer job of the session took this one's place.
            Exception: whatever the job raised.
            ValueError: the job had nothing to say.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_done, timeout):
                raise TimeoutError(f"no result within {timeout} seconds")
            if self._error is not None:
                raise self._error
            if not self._results:
                raise ValueError("the job yielded nothing")
            return self._results[-1]

    def _wait_beyond(self, seen: int) -> tuple[list[T], bool, BaseException | None]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._results) > seen or self._is_done)
            return self._results[seen:], self._is_done, self._error

    def _add(self, result: T) -> None:
        with self._changed:
            if not self._is_done:
                self._results.append(result)
                self._wake()

    def _finish(self, error: BaseException | None = None) -> None:
        with self._changed:
            if self._is_done:
                return
            self._is_done, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        for wake in self._wakers:
            wake()


class _Task:
    """A job and the work behind it; belongs to the worker once it has started."""

    def __init__(self, session_id: str, work: Callable[[], Iterable[Any]], kind: JobKind) -> None:
        self.session_id = session_id
        self.job: Job[Any] = Job()
        self.kind = kind
        self.is_cancelled = False
        self._work = work
        self._stages: Iterator[Any] | None = None

    def run_stage(self) -> bool:
        """One stage, its result given to the consumer; whether there may be more."""
        try:
            if self._stages is None:
                self._stages = iter(self._work())
            result = next(self._stages)
        except StopIteration:
            self.job._finish()  # noqa: SLF001 - the scheduler is the job's writer
            return False
        except BaseException as error:  # noqa: BLE001 - the consumer gets it, the worker lives on
            self.job._finish(error)  # noqa: SLF001
            return False
        self.job._add(result)  # noqa: SLF001
        return True

    def abandon(self, error: SessionError) -> None:
        """No further stage; the work may clean up. Only for a task that nobody runs."""
        self.job._finish(error)  # noqa: SLF001
        close = getattr(self._stages, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:  # noqa: BLE001 - its consumer has its answer already; neither submitter nor worker may fall
            _log.exception("a superseded job failed while it was closed")


class Scheduler:
    """Runs jobs of many sessions on one thread; see the module for the rules.

    Args:
        clicks_per_encode: click stages that may overtake a waiting encode.
        name: of the thread.
    """

    def __init__(self, clicks_per_encode: int = CLICKS_PER_ENCODE, name: str = "samref-device") -> None:
        self._clicks_per_encode = clicks_per_encode
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, _Task] = OrderedDict()  # by session, next turn first
        self._running: _Task | None = None
        self._clicks_since_encode = 0
        self._is_closed = False
        self._worker = threading.Thread(target=self._run, name=name, daemon=True)
        self._worker.start()

    def submit(self, session_id: str, work: Callable[[], Iterable[T]] | Iterator[T], kind: JobKind = "click") -> Job[T]:
        """Queue ``work`` for a session and return at once; the session's older job, if any, is superseded.

        Args:
            session_id: whose work it is; jobs of one id never run side by side.
            work: an iterator (such as :meth:`Session.prompt` returns), or what makes one when its turn comes.
            kind: ``"encode"`` when its first stage encodes an image: it lets other sessions' clicks go first.

        Raises:
            SessionError: the scheduler was shut down.
        """
        make: Callable[[], Iterable[T]] = work if callable(work) else lambda: work
        task = _Task(session_id, make, kind)
        superseded = SupersededError("A newer click took this one's place.")
        with self._changed:
            if self._is_closed:
                raise SessionError("The server is shutting down. Your work is saved; reload the page in a moment.")
            older = self._take_away(session_id, superseded)
            self._waiting[session_id] = task
            self._changed.notify_all()
        if older is not None:
            older.abandon(superseded)
        job: Job[T] = task.job
        return job

    def cancel(self, session_id: str) -> None:
        """Give up a session's job, after its running stage if it is at one."""
        gone = SupersededError("This job was cancelled.")
        with self._changed:
            waiting = self._take_away(session_id, gone)
        if waiting is not None:
            waiting.abandon(gone)

    @property
    def queue_length(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + (self._running is not None)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Take no more jobs, give up those that wait, and let the running stage end; whether it did in time."""
        gone = SessionError("The server is shutting down. Your work is saved; reload the page in a moment.")
        with self._changed:
            self._is_closed = True
            sessions = [*self._waiting, *([] if self._running is None else [self._running.session_id])]
            waiting = [self._take_away(session_id, gone) for session_id in sessions]
            self._changed.notify_all()
        for task in waiting:
            if task is not None:
                task.abandon(gone)
        if threading.current_thread() is not self._worker:
            self._worker.join(timeout)
        return not self._worker.is_alive()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _take_away(self, session_id: str, error: SessionError) -> _Task | None:
        """The session's waiting task, for the caller to abandon without the lock; a running one is told to stop."""
        running = self._running
        if running is not None and running.session_id == session_id:
            running.is_cancelled = True
            running.job._finish(error)  # noqa: SLF001
        return self._waiting.pop(session_id, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                task = self._running = self._next()
            has_more = task.run_stage()
            with self._changed:
                self._running = None
                goes_on = has_more and not task.is_cancelled
                if goes_on:
                    task.kind = "click"  # what comes after an encode is the answer to a click
                    self._waiting[task.session_id] = task  # at the end: the others have their turn first
            if has_more and not goes_on:
                task.abandon(SupersededError("A newer click took this one's place."))

    def _next(self) -> _Task:
        """Take the task whose turn it is out of the queue."""
        clicks = [task for task in self._waiting.values() if task.kind == "click"]
        encodes = [task for task in self._waiting.values() if task.kind == "encode"]
        is_encode_due = self._clicks_since_encode >= self._clicks_per_encode
        if encodes and (not clicks or is_encode_due):
            task = encodes[0]
            self._clicks_since_encode = 0
        else:
            task = clicks[0]
            self._clicks_since_encode = self._clicks_since_encode + 1 if encodes else 0
        del self._waiting[task.session_id]
        return task
