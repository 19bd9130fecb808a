"""One stage at a time, coarse masks first, nobody waits for ever, nothing kills the device's thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.errors import SessionError, SupersededError
from samref.inference import engine as engine_module
from samref.inference.engine import LocalEngine, StoredImage
from samref.inference.predictor import Prediction
from tests.unit.inference.exact_model import Watch, make_image, make_predictor

IMAGE = make_image()
CLICK = Prompts((Click(5, 6),))


class Bench:
    """An engine whose device is held at its first embedding until let go."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.engine = LocalEngine(lambda name: make_predictor(name, watch=self.watch), "exact")
        self.brake = threading.Event()
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.on_coarse: dict[str, Callable[[], None]] = {}

    def source(self, image: DecodedImage = IMAGE, name: str = "") -> StoredImage:
        def load() -> DecodedImage:
            if name:
                self.order.append(name)
            return image

        return StoredImage(image.digest, load)

    async def hold(self) -> None:
        """Embed the image everybody clicks on, then keep the device busy."""
        await self.engine.embed(self.source(), "exact", owner="first")
        await self.hold_again()

    async def hold_again(self) -> None:

        def wait() -> DecodedImage:
            assert self.brake.wait(20), "the test forgot to let go"
            return blocker

        blocker = make_image(99 + len(self.tasks))
        self.later(self.engine.embed(StoredImage(blocker.digest, wait), "exact", owner="holder"))
        await until(lambda: self.engine.stats().waiting == 1)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def click(self, owner: str, *, final_only: bool = False) -> list[Prediction]:
        seen = []
        async with contextlib.aclosing(
            self.engine.segment(self.source(), "exact", CLICK, None, owner=owner, final_only=final_only)
        ) as predictions:
            async for prediction in predictions:
                self.order.append(f"{owner} {prediction.stage}")
                if prediction.stage == "coarse" and owner in self.on_coarse:
                    self.on_coarse[owner]()
                seen.append(prediction)
        return seen

    async def finish(self) -> None:
        self.brake.set()
        await asyncio.gather(*self.tasks)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen in ten seconds")


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.hold()
    try:
        yield bench
    finally:
        bench.brake.set()
        bench.engine.close()


def test_the_answers_are_those_of_the_predictor_coarse_first() -> None:
    async def scenario() -> None:
        bench = Bench()
        seen = await bench.click("a")
        predictor = make_predictor("exact")
        expected = list(predictor.predict(predictor.embed(IMAGE), CLICK))
        assert [(p.stage, p.mask, p.score) for p in seen] == [(p.stage, p.mask, p.score) for p in expected]

    asyncio.run(scenario())


def test_everybodys_coarse_mask_goes_before_anybodys_refined_one() -> None:
    async def scenario() -> None:
        async with held() as bench:
            for owner in "abc":
                bench.later(bench.click(owner))
            await until(lambda: bench.engine.stats().waiting == 4)
            await bench.finish()
            assert bench.order == ["a coarse", "b coarse", "c coarse", "a refined", "b refined", "c refined"]

    asyncio.run(scenario())


def test_whoever_has_a_coarse_mask_already_gets_the_final_one_after_the_coarse_masks_of_others() -> None:
    async def scenario() -> None:
        async with held() as bench:
            seen: list[Prediction] = []

            async def click() -> None:
                seen.extend(await bench.click("a", final_only=True))

            bench.later(click())
            bench.later(bench.click("b"))
            await until(lambda: bench.engine.stats().waiting == 3)
            await bench.finish()
            assert bench.order[:2] == ["b coarse", "a refined"]
            predictor = make_predictor("exact")
            *_, final = predictor.predict(predictor.embed(IMAGE), CLICK)
            assert [(p.stage, p.mask, p.score) for p in seen] == [(final.stage, final.mask, final.score)]

    asyncio.run(scenario())


def test_whoever_has_gone_longest_without_a_refined_mask_gets_the_next_one() -> None:
    async def scenario() -> None:
        async with held() as bench:
            for owner in "ab":
                bench.later(bench.click(owner))
            await until(lambda: bench.engine.stats().waiting == 3)
            await bench.finish()
            bench.order.clear()
            bench.brake.clear()
            await bench.hold_again()
            for owner in "bac":
                bench.later(bench.click(owner))
            await until(lambda: bench.engine.stats().waiting == 4)
            await bench.finish()
            assert [entry for entry in bench.order if "refined" in entry] == ["c refined", "a refined", "b refined"]

    asyncio.run(scenario())


def test_a_refined_mask_that_somebody_waits_for_goes_before_the_others() -> None:
    async def scenario() -> None:
        async with held() as bench:
            for owner in "abc":
                bench.later(bench.click(owner))
            await until(lambda: bench.engine.stats().waiting == 4)
            bench.on_coarse["c"] = lambda: bench.later(hurried(bench))
            await bench.finish()
            assert bench.order == ["a coarse", "b coarse", "c coarse", "a refined", "c refined", "b refined"]

    async def hurried(bench: Bench) -> None:
        bench.engine.hurry("c")

    asyncio.run(scenario())


def test_answers_go_before_embeddings_and_wanted_embeddings_before_those_made_ahead() -> None:
    async def scenario() -> None:
        async with held() as bench:
            ahead, wanted = make_image(1), make_image(2)
            bench.later(bench.engine.embed(bench.source(ahead, "ahead"), "exact", owner="p", wanted=False))
            bench.later(bench.engine.embed(bench.source(wanted, "wanted"), "exact", owner="w"))
            bench.later(bench.click("a"))
            await until(lambda: bench.engine.stats().waiting == 4)
            await bench.finish()
            assert bench.order == ["a coarse", "a refined", "wanted", "ahead"]

    asyncio.run(scenario())


def test_an_embedding_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STAGES_PER_EMBEDDING", 3)

    async def scenario() -> None:
        async with held() as bench:
            bench.later(bench.engine.embed(bench.source(make_image(2), "embedding"), "exact", owner="w"))
            for number in range(8):
                bench.later(bench.click(f"c{number}"))
            await until(lambda: bench.engine.stats().waiting == 10)
            await bench.finish()
            assert bench.order.index("embedding") == 3

    asyncio.run(scenario())


def test_an_image_that_two_ask_for_is_embedded_once() -> None:
    async def scenario() -> None:
        async with held() as bench:
            image = make_image(5)
            for owner in "ab":
                bench.later(bench.engine.embed(bench.source(image, "load"), "exact", owner=owner))
            await until(lambda: bench.engine.stats().waiting == 3)
            await bench.finish()
            assert bench.order == ["load"]
            assert bench.engine.is_embedded(bench.source(image), "exact")
            assert await bench.engine.embed(bench.source(image), "exact", owner="c") == 0

    asyncio.run(scenario())


def test_what_is_taken_back_is_not_computed() -> None:
    async def scenario() -> None:
        async with held() as bench:
            bench.later(refused(bench.click("a"), SupersededError))
            bench.later(bench.click("b"))
            await until(lambda: bench.engine.stats().waiting == 3)
            bench.engine.cancel("a")
            bench.engine.cancel("nobody")
            await bench.finish()
            assert bench.order == ["b coarse", "b refined"]

    asyncio.run(scenario())


async def refused(work: Coroutine[Any, Any, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await work


def test_whoever_goes_away_holds_up_nobody() -> None:
    async def scenario() -> None:
        async with held() as bench:
            gone = asyncio.create_task(bench.click("a"))
            bench.later(bench.click("b"))
            await until(lambda: bench.engine.stats().waiting == 3)
            gone.cancel()
            await bench.finish()
            assert bench.order == ["b coarse", "b refined"]

    asyncio.run(scenario())


def test_what_a_stage_raises_reaches_who_asked_and_the_device_goes_on() -> None:
    async def scenario() -> None:
        bench = Bench()

        def broken() -> DecodedImage:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await bench.engine.embed(StoredImage("ab", broken), "exact", owner="a")
        bench.watch.fail_at = "refined"
        with pytest.raises(RuntimeError, match="no refined today"):
            await bench.click("a")
        bench.watch.fail_at = ""
        assert len(await bench.click("a")) == 2

    asyncio.run(scenario())


def test_closing_lets_the_running_stage_end_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        async with held() as bench:
            bench.later(refused(bench.click("a"), SessionError))
            await until(lambda: bench.engine.stats().waiting == 2)
            bench.engine.close()
            await bench.finish()
            with pytest.raises(SessionError, match="shutting down"):
                await bench.click("b")

    asyncio.run(scenario())


def test_other_models_are_loaded_when_they_are_asked_for_and_the_default_stays() -> None:
    loaded: list[str] = []

    def load(name: str) -> Any:
        loaded.append(name)
        return make_predictor(name)

    async def scenario() -> None:
        engine = LocalEngine(load, "exact", other_models=1)
        for model in ("exact", "other", "other", "third", "exact", "other"):
            assert engine.spec(model).name == model
            async for _ in engine.segment(StoredImage(IMAGE.digest, lambda: IMAGE), model, CLICK, None, owner="a"):
                pass

    asyncio.run(scenario())
    assert loaded == ["exact", "other", "third", "other"]


def test_what_is_done_in_bulk_waits_for_a_pause_of_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_PAUSE_S", 0.4)
    monkeypatch.setattr(engine_module, "PAUSE_PER_STAGE", 1e9)

    came: list[float] = []

    async def in_bulk(bench: Bench) -> None:
        async for prediction in bench.engine.segment(bench.source(), "exact", CLICK, None, owner="bulk", in_bulk=True):
            bench.order.append(f"bulk {prediction.stage}")
            came.append(asyncio.get_running_loop().time())

    async def scenario() -> None:
        async with held() as bench:
            bench.later(in_bulk(bench))
            asked = asyncio.get_running_loop().time()
            for _ in range(3):
                bench.later(bench.click("a"))
            bench.later(bench.engine.embed(bench.source(make_image(5), "ahead"), "exact", owner="p", wanted=False))
            await bench.finish()
            assert bench.order[-2:] == ["bulk coarse", "bulk refined"]
            assert "ahead" in bench.order
            assert came[0] - asked >= 0.4

    asyncio.run(scenario())


# ---- embeddings that are made elsewhere


def lending() -> tuple[LocalEngine, Watch]:
    """An engine whose embeddings may come from elsewhere."""
    watch = Watch()
    engine = LocalEngine(lambda name: make_predictor(name, watch=watch), "exact", made_elsewhere=lambda _: True)
    return engine, watch


SOURCE = StoredImage(IMAGE.digest, lambda: IMAGE)


def test_an_embedding_from_elsewhere_is_waited_for_and_nothing_is_encoded_here() -> None:
    async def scenario() -> None:
        engine, watch = lending()
        made = make_predictor("exact").embed(IMAGE)
        waiting = [asyncio.create_task(engine.embed(SOURCE, "exact", owner=name)) for name in "ab"]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        assert engine.begin_elsewhere(IMAGE.digest, "exact")
        assert not engine.begin_elsewhere(IMAGE.digest, "exact"), "one is enough"
        assert engine.is_wanted_from_elsewhere(IMAGE.digest, "exact")
        engine.put_embedding(made)
        assert await asyncio.gather(*waiting) == [made.encode_s] * 2
        assert watch.encodes == 0
        assert not engine.is_wanted_from_elsewhere(IMAGE.digest, "exact")
        assert not engine._coming, "nothing is remembered of it"

    asyncio.run(scenario())


def test_where_the_other_side_gives_up_the_embedding_is_made_here() -> None:
    async def scenario() -> None:
        engine, watch = lending()
        waiting = asyncio.create_task(engine.embed(SOURCE, "exact", owner="a"))
        await asyncio.sleep(0)
        assert engine.begin_elsewhere(IMAGE.digest, "exact")
        engine.end_elsewhere(IMAGE.digest, "exact")
        assert not engine.is_wanted_from_elsewhere(IMAGE.digest, "exact")
        await waiting
        assert watch.encodes == 1
        assert not engine._coming

    asyncio.run(scenario())


def test_what_nobody_begins_with_or_ends_is_made_here_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BRING_S", 0.1)
    monkeypatch.setattr(engine_module, "BRINGING_S", 1.5)

    async def scenario(*, begun: bool) -> None:
        engine, watch = lending()
        waiting = asyncio.create_task(engine.embed(SOURCE, "exact", owner="a"))
        await asyncio.sleep(0)
        if begun:
            assert engine.begin_elsewhere(IMAGE.digest, "exact")
            await asyncio.sleep(0.15)  # on a busy machine longer, but not ten times as long
            assert watch.encodes == 0, "it is under way"
        await asyncio.wait_for(waiting, 20)
        assert watch.encodes == 1

    asyncio.run(scenario(begun=False))
    asyncio.run(scenario(begun=True))


def test_whoever_stops_waiting_for_it_goes_on_at_once() -> None:
    async def scenario() -> None:
        engine, _ = lending()
        waiting = asyncio.create_task(engine.embed(SOURCE, "exact", owner="a"))
        await asyncio.sleep(0)
        engine.cancel("b")
        await asyncio.sleep(0)
        assert not waiting.done()
        engine.cancel("a")
        with pytest.raises(SupersededError):
            await waiting
        assert not engine._coming
        waiting = asyncio.create_task(engine.embed(SOURCE, "exact", owner="a"))
        await asyncio.sleep(0)
        engine.close()
        with pytest.raises(SessionError):
            await waiting

    asyncio.run(scenario())


def test_nothing_is_brought_from_elsewhere_ahead_of_time_or_for_work_in_bulk() -> None:
    async def scenario() -> None:
        engine, watch = lending()
        assert await engine.embed(SOURCE, "exact", owner="a", wanted=False) == 0.0
        assert watch.encodes == 0
        answers = engine.segment(SOURCE, "exact", CLICK, None, owner="script", in_bulk=True)
        async with contextlib.aclosing(answers) as predictions:
            assert [p.stage async for p in predictions][-1] == "refined"
        assert watch.encodes == 1

    asyncio.run(scenario())
