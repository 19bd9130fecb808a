"""Every store has a size and a clock, and dropping from it loses nothing a person made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from samref.core.images import DecodedImage
from samref.errors import SessionError, SessionExpiredError
from samref.inference.predictor import Embedding
from samref.inference.stores import EmbeddingStore, SessionStore
from tests.unit.inference.exact_model import Watch, make_image, make_predictor

ONE = 3 * 4 + 24 * 32 * 3
"""Bytes of one of the test model's embeddings."""


def loader(image: DecodedImage) -> Callable[[], DecodedImage]:
    return lambda: image


def test_an_embedding_is_made_once_and_then_found() -> None:
    watch = Watch()
    store, predictor, image = EmbeddingStore(), make_predictor(watch=watch), make_image()
    first = store.get_or_encode(predictor, image.digest, loader(image))
    assert store.get_or_encode(predictor, image.digest, loader(image)) is first
    assert store.get(image.digest, "exact") is first
    assert store.contains(image.digest, "exact")
    assert watch.encodes == 1
    stats = store.stats()
    assert (stats.count, stats.size_bytes, stats.hits, stats.misses, stats.evictions) == (1, ONE, 2, 1, 0)


def test_each_model_has_its_own_embedding_of_a_image() -> None:
    store, image = EmbeddingStore(), make_image()
    for name in ("one", "two"):
        assert store.get_or_encode(make_predictor(name), image.digest, loader(image)).model_name == name
    assert store.stats().count == 2


def test_the_least_recently_used_embedding_goes_first() -> None:
    store, predictor = EmbeddingStore(max_bytes=2 * ONE), make_predictor()
    one, two, three = (make_image(seed) for seed in (1, 2, 3))
    for image in (one, two):
        store.get_or_encode(predictor, image.digest, loader(image))
    store.get(one.digest, "exact")
    store.get_or_encode(predictor, three.digest, loader(three))
    assert [store.contains(image.digest, "exact") for image in (one, two, three)] == [True, False, True]
    assert store.stats().evictions == 1
    assert store.stats().size_bytes == 2 * ONE


def test_an_embedding_larger_than_the_store_is_given_but_not_kept() -> None:
    store, predictor = EmbeddingStore(max_bytes=ONE), make_predictor()
    small, large = make_image(), make_image(height=100)
    store.get_or_encode(predictor, small.digest, loader(small))
    assert store.get_or_encode(predictor, large.digest, loader(large)).image_digest == large.digest
    assert store.stats().count == 1
    assert store.contains(small.digest, "exact")


def test_threads_that_want_the_same_embedding_wait_for_one_encode() -> None:
    watch = Watch(before_encode=threading.Event())
    store, predictor, image = EmbeddingStore(), make_predictor(watch=watch), make_image()
    assert watch.before_encode is not None
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(store.get_or_encode, predictor, image.digest, loader(image)) for _ in range(8)]
        assert watch.reached.wait(20)
        watch.before_encode.set()
        embeddings = {id(future.result(20)) for future in futures}
    assert len(embeddings) == 1
    assert watch.encodes == 1


def test_an_encode_that_fails_fails_for_all_who_wait_and_is_tried_again() -> None:
    watch = Watch(before_encode=threading.Event(), fail_at="encode")
    store, predictor, image = EmbeddingStore(), make_predictor(watch=watch), make_image()
    assert watch.before_encode is not None
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(store.get_or_encode, predictor, image.digest, loader(image)) for _ in range(3)]
        assert watch.reached.wait(20)
        watch.before_encode.set()
        assert {type(future.exception(20)) for future in futures} == {RuntimeError}
    watch.fail_at = ""
    embedding = store.get_or_encode(predictor, image.digest, loader(image))
    assert isinstance(embedding, Embedding)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Box:
    """A session as far as a store is concerned."""

    def __init__(self, size_bytes: int = 10) -> None:
        self.size_bytes = size_bytes
        self.is_at_work = False
        self.is_closed = False

    def close(self) -> bool:
        self.is_closed |= not self.is_at_work
        return not self.is_at_work


def test_a_session_is_found_until_its_time_is_up() -> None:
    clock = FakeClock()
    store: SessionStore[Box] = SessionStore(max_idle_s=60, clock=clock)
    box = Box()
    store.put("a", box)
    for _ in range(3):
        clock.now += 50
        assert store.get("a") is box
    clock.now += 61
    with pytest.raises(SessionExpiredError, match="Open the image again"):
        store.get("a")
    assert box.is_closed
    assert store.stats().count == 0


def test_a_session_at_work_outlives_its_time() -> None:
    clock = FakeClock()
    store: SessionStore[Box] = SessionStore(max_idle_s=60, clock=clock)
    box = Box()
    box.is_at_work = True
    store.put("a", box)
    clock.now += 1000
    assert store.expire() == 0
    assert store.get("a") is box


def test_the_session_unused_for_longest_makes_room_for_a_new_one() -> None:
    store: SessionStore[Box] = SessionStore(max_count=2)
    boxes = {name: Box() for name in "abc"}
    store.put("a", boxes["a"])
    store.put("b", boxes["b"])
    store.get("a")
    store.put("c", boxes["c"])
    assert {name: box.is_closed for name, box in boxes.items()} == {"a": False, "b": True, "c": False}
    with pytest.raises(SessionExpiredError):
        store.get("b")


def test_a_newcomer_is_turned_away_when_everybody_is_at_work() -> None:
    store: SessionStore[Box] = SessionStore(max_count=1)
    busy = Box()
    busy.is_at_work = True
    store.put("a", busy)
    with pytest.raises(SessionError, match="Try again in a moment"):
        store.get_or_create("b", Box)
    assert store.get("a") is busy
    busy.is_at_work = False
    assert store.get_or_create("b", Box) is store.get("b")


def test_sessions_that_have_grown_push_others_out_but_never_themselves() -> None:
    store: SessionStore[Box] = SessionStore(max_bytes=100)
    old, large = Box(40), Box(40)
    store.put("old", old)
    store.put("large", large)
    large.size_bytes = 500
    assert store.get("large") is large
    assert old.is_closed
    assert not large.is_closed
    assert store.stats().size_bytes == 500


def test_a_missing_session_is_made_once_however_many_ask() -> None:
    store: SessionStore[Box] = SessionStore()
    calls: list[int] = []
    go = threading.Event()

    def create() -> Box:
        calls.append(1)
        assert go.wait(20)
        return Box()

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(store.get_or_create, "a", create) for _ in range(6)]
        go.set()
        made = {id(future.result(20)) for future in futures}
    assert len(made) == 1
    assert len(calls) == 1


def test_a_session_that_cannot_be_made_leaves_nothing_behind() -> None:
    store: SessionStore[Box] = SessionStore()

    def fail() -> Box:
        raise SessionError("no")

    with pytest.raises(SessionError, match="no"):
        store.get_or_create("a", fail)
    assert store.stats().count == 0
    assert store.get_or_create("a", Box) is store.get("a")


def test_removing_closes_unless_at_work() -> None:
    store: SessionStore[Box] = SessionStore()
    box = Box()
    store.put("a", box)
    box.is_at_work = True
    assert not store.remove("a")
    with pytest.raises(SessionError, match="still at work"):
        store.put("a", Box())
    box.is_at_work = False
    assert store.remove("a")
    assert box.is_closed
    assert not store.remove("a")
