"""One worker, newest click wins, everybody has a turn, nothing kills it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from samref.errors import SessionError, SupersededError
from samref.inference.scheduler import Job, Scheduler


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    with Scheduler() as running:
        yield running


class Brake:
    """Holds the worker inside a stage until let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def stages(self, *results: str) -> Iterator[str]:
        self.reached.set()
        assert self.go.wait(20)
        yield from results


def hold(scheduler: Scheduler, session_id: str = "brake") -> Brake:
    brake = Brake()
    scheduler.submit(session_id, brake.stages("held"))
    assert brake.reached.wait(20)
    return brake


def noted(order: list[str], *names: str) -> Iterator[str]:
    for name in names:
        order.append(name)
        yield name


def outcome(job: Job[str]) -> list[str]:
    return list(job)


def test_results_come_in_order_to_for_and_to_result(scheduler: Scheduler) -> None:
    job = scheduler.submit("a", iter(["coarse", "refined"]))
    assert outcome(job) == ["coarse", "refined"]
    assert outcome(job) == ["coarse", "refined"]
    assert job.result(20) == "refined"
    assert job.is_done


def test_the_first_result_is_there_before_the_second_is_computed(scheduler: Scheduler) -> None:
    go = threading.Event()

    def work() -> Iterator[str]:
        yield "coarse"
        assert go.wait(20)
        yield "refined"

    results = iter(scheduler.submit("a", work))
    assert next(results) == "coarse"
    go.set()
    assert next(results) == "refined"


def test_results_come_to_async_for_without_blocking_the_loop(scheduler: Scheduler) -> None:
    go = threading.Event()

    def work() -> Iterator[str]:
        yield "coarse"
        assert go.wait(20)
        yield "refined"

    async def consume() -> list[str]:
        seen = []
        async for result in scheduler.submit("a", work):
            seen.append(result)
            go.set()
        return seen

    assert asyncio.run(consume()) == ["coarse", "refined"]


def test_a_consumer_that_leaves_does_not_stop_the_job(scheduler: Scheduler) -> None:
    order: list[str] = []
    brake = hold(scheduler)
    job = scheduler.submit("a", noted(order, "coarse", "refined"))

    async def leave_early() -> None:
        async for _ in job:
            return

    brake.go.set()
    asyncio.run(leave_early())
    assert job.result(20) == "refined"
    assert order == ["coarse", "refined"]


def test_a_consumer_that_is_cancelled_leaves_the_job_alone(scheduler: Scheduler) -> None:
    brake = hold(scheduler)
    job = scheduler.submit("a", iter(["coarse"]))

    async def cancelled() -> None:
        async def consume() -> None:
            async for _ in job:
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    brake.go.set()
    assert job.result(20) == "coarse"


def test_a_newer_job_takes_the_place_of_one_that_waits(scheduler: Scheduler) -> None:
    order: list[str] = []
    brake = hold(scheduler)
    jobs = [scheduler.submit("a", noted(order, f"click {number}")) for number in range(10)]
    brake.go.set()
    assert outcome(jobs[-1]) == ["click 9"]
    assert order == ["click 9"]
    for job in jobs[:-1]:
        with pytest.raises(SupersededError):
            outcome(job)


def test_a_newer_job_stops_a_running_one_between_two_stages(scheduler: Scheduler) -> None:
    order: list[str] = []
    closed = threading.Event()
    reached, go = threading.Event(), threading.Event()

    def older() -> Iterator[str]:
        try:
            reached.set()
            assert go.wait(20)
            order.append("old coarse")
            yield "old coarse"
            order.append("old refined")
            yield "old refined"
        finally:
            closed.set()

    old = scheduler.submit("a", older)
    assert reached.wait(20)
    new = scheduler.submit("a", noted(order, "new coarse", "new refined"))
    with pytest.raises(SupersededError):
        outcome(old)
    go.set()
    assert outcome(new) == ["new coarse", "new refined"]
    assert closed.wait(20)
    assert order == ["old coarse", "new coarse", "new refined"]


def test_a_job_between_two_stages_is_closed_by_a_newer_one(scheduler: Scheduler) -> None:
    closed = threading.Event()

    def older() -> Iterator[str]:
        try:
            yield "old coarse"
            yield "old refined"
        finally:
            closed.set()

    # The brake of another session has its turn after the first stage and holds the worker there.
    first = hold(scheduler, "x")
    old = scheduler.submit("a", older)
    second = Brake()
    scheduler.submit("b", second.stages("held"))
    first.go.set()
    assert second.reached.wait(20)
    new = scheduler.submit("a", iter(["new"]))
    assert closed.is_set()
    second.go.set()
    assert outcome(new) == ["new"]
    with pytest.raises(SupersededError):
        old.result(20)


def test_sessions_take_turns_stage_by_stage(scheduler: Scheduler) -> None:
    order: list[str] = []
    brake = hold(scheduler)
    jobs = [scheduler.submit(name, noted(order, f"{name} coarse", f"{name} refined")) for name in "abc"]
    brake.go.set()
    for job in jobs:
        job.result(20)
    assert order == ["a coarse", "b coarse", "c coarse", "a refined", "b refined", "c refined"]


def test_clicks_go_before_the_encodes_of_others(scheduler: Scheduler) -> None:
    order: list[str] = []
    brake = hold(scheduler)
    encode = scheduler.submit("a", noted(order, "encode"), "encode")
    click = scheduler.submit("b", noted(order, "coarse", "refined"))
    brake.go.set()
    encode.result(20)
    click.result(20)
    assert order == ["coarse", "refined", "encode"]


def test_an_encode_does_not_wait_for_ever() -> None:
    order: list[str] = []
    with Scheduler(clicks_per_encode=3) as scheduler:
        brake = hold(scheduler)
        encode = scheduler.submit("a", noted(order, "encode", "ready"), "encode")
        clicks = [scheduler.submit(f"b{number}", noted(order, f"{number}")) for number in range(8)]
        brake.go.set()
        for job in (encode, *clicks):
            job.result(20)
    assert order.index("encode") == 3
    assert order[-1] == "ready"  # what follows an encode has its turn like any click


def test_what_a_job_raises_reaches_its_consumer_and_the_worker_goes_on(scheduler: Scheduler) -> None:
    def fails() -> Iterator[str]:
        yield "coarse"
        raise RuntimeError("the model broke")

    results = iter(scheduler.submit("a", fails))
    assert next(results) == "coarse"
    with pytest.raises(RuntimeError, match="the model broke"):
        next(results)
    with pytest.raises(ZeroDivisionError):
        scheduler.submit("a", lambda: iter([str(1 // 0)])).result(20)
    with pytest.raises(SystemExit):
        scheduler.submit("a", exits).result(20)
    assert scheduler.submit("a", iter(["fine"])).result(20) == "fine"

    async def consume() -> None:
        async for _ in scheduler.submit("a", fails):
            pass

    with pytest.raises(RuntimeError, match="the model broke"):
        asyncio.run(consume())


def exits() -> Iterator[str]:
    raise SystemExit(3)


def test_an_error_while_a_superseded_job_is_closed_hurts_nobody(scheduler: Scheduler) -> None:
    reached, go = threading.Event(), threading.Event()

    def stubborn() -> Iterator[str]:
        try:
            reached.set()
            assert go.wait(20)
            yield "coarse"
        finally:
            raise RuntimeError("not like this")

    old = scheduler.submit("a", stubborn)
    assert reached.wait(20)
    new = scheduler.submit("a", iter(["new"]))
    go.set()
    assert new.result(20) == "new"
    with pytest.raises(SupersededError):
        old.result(20)


def test_a_cancelled_job_ends(scheduler: Scheduler) -> None:
    brake = hold(scheduler)
    job = scheduler.submit("a", iter(["never"]))
    scheduler.cancel("a")
    brake.go.set()
    with pytest.raises(SupersededError):
        job.result(20)
    scheduler.cancel("nobody")


def test_a_job_that_says_nothing_ends_without_a_result(scheduler: Scheduler) -> None:
    job = scheduler.submit("a", iter(()))
    assert list(job) == []
    with pytest.raises(ValueError, match="nothing"):
        job.result(20)


def test_waiting_for_a_result_can_be_given_up(scheduler: Scheduler) -> None:
    brake = hold(scheduler)
    with pytest.raises(TimeoutError):
        scheduler.submit("a", iter(["late"])).result(0.01)
    assert scheduler.queue_length == 2
    brake.go.set()


def test_shutting_down_lets_the_running_stage_end_and_refuses_the_rest() -> None:
    scheduler = Scheduler()
    brake = hold(scheduler)
    waiting = scheduler.submit("a", iter(["never"]))
    assert not scheduler.shutdown(timeout=0.01)
    with pytest.raises(SessionError, match="shutting down"):
        waiting.result(20)
    with pytest.raises(SessionError, match="shutting down"):
        scheduler.submit("a", iter(["never"]))
    brake.go.set()
    assert scheduler.shutdown(timeout=20)


def test_many_threads_may_submit_at_once(scheduler: Scheduler) -> None:
    def click(name: str) -> str:
        for number in range(50):
            last = scheduler.submit(name, iter([f"{name} {number}"]))
        return last.result(20)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(click, "abcdef")) == [f"{name} 49" for name in "abcdef"]
