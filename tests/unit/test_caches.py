"""The cache has a size and a clock, and makes each value once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from samref.caches import Cache, CacheFullError, CacheStats


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Box:
    """A value that may refuse to go."""

    def __init__(self, size_bytes: int = 10) -> None:
        self.size_bytes = size_bytes
        self.is_at_work = False
        self.is_closed = False

    def close(self) -> bool:
        self.is_closed |= not self.is_at_work
        return not self.is_at_work


def of_bytes(max_bytes: int, *, keeps_oversize: bool = False) -> Cache[str, Box]:
    return Cache(
        max_bytes=max_bytes, size_of=lambda box: box.size_bytes, may_evict=Box.close, keeps_oversize=keeps_oversize
    )


def of_count(max_count: int) -> Cache[str, Box]:
    return Cache(max_count=max_count, may_evict=Box.close)


def test_a_value_is_made_once_and_then_found() -> None:
    cache = of_bytes(100)
    made = cache.get_or_create("a", Box)
    assert cache.get_or_create("a", Box) is made
    assert cache.get("a") is made
    assert "a" in cache
    stats = cache.stats()
    assert stats == CacheStats(1, 10)


def test_the_least_recently_used_goes_first() -> None:
    cache = of_bytes(20)
    for key in "ab":
        cache.get_or_create(key, Box)
    cache.get("a")
    assert "b" in cache, "asking whether it is here is no use"
    cache.get_or_create("c", Box)
    assert [key in cache for key in "abc"] == [True, False, True]
    assert cache.stats().size_bytes == 20


def test_a_value_larger_than_the_cache_is_given_but_not_kept() -> None:
    cache = of_bytes(20)
    cache.put("small", Box())
    assert cache.get_or_create("large", lambda: Box(30)).size_bytes == 30
    assert "large" not in cache
    assert "small" in cache


def test_values_that_have_grown_push_others_out_but_never_themselves() -> None:
    cache = of_bytes(100, keeps_oversize=True)
    old, large = Box(40), Box(40)
    cache.put("old", old)
    cache.put("large", large)
    large.size_bytes = 500
    assert cache.get("large") is large
    assert old.is_closed
    assert not large.is_closed
    assert cache.stats().size_bytes == 500


def test_threads_that_want_the_same_value_wait_for_one_maker() -> None:
    cache = of_bytes(100)
    calls: list[int] = []
    go = threading.Event()

    def create() -> Box:
        calls.append(1)
        assert go.wait(20)
        return Box()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(cache.get_or_create, "a", create) for _ in range(8)]
        go.set()
        made = {id(future.result(20)) for future in futures}
    assert len(made) == len(calls) == 1


def test_a_maker_that_fails_fails_for_all_who_wait_and_leaves_nothing_behind() -> None:
    cache = of_bytes(100)
    go, begun = threading.Event(), threading.Event()

    def fail() -> Box:
        begun.set()
        assert go.wait(20)
        raise RuntimeError("no")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(cache.get_or_create, "a", fail)]
        assert begun.wait(20)
        futures += [pool.submit(cache.get_or_create, "a", fail) for _ in range(2)]
        go.set()
        assert {type(future.exception(20)) for future in futures} == {RuntimeError}
    assert cache.stats().count == 0
    assert cache.get_or_create("a", Box) is cache.get("a")


def test_a_value_is_found_until_its_time_is_up() -> None:
    clock = FakeClock()
    cache: Cache[str, Box] = Cache(max_idle_s=60, may_evict=Box.close, clock=clock)
    box = Box()
    cache.put("a", box)
    for _ in range(3):
        clock.now += 50
        assert cache.get("a") is box
    clock.now += 61
    assert "a" not in cache
    assert cache.get("a") is None
    assert box.is_closed
    assert cache.stats().count == 0


def test_a_value_at_work_outlives_its_time() -> None:
    clock = FakeClock()
    cache: Cache[str, Box] = Cache(max_idle_s=60, may_evict=Box.close, clock=clock)
    box = Box()
    box.is_at_work = True
    cache.put("a", box)
    clock.now += 1000
    assert cache.get("a") is box
    box.is_at_work = False
    clock.now += 1000
    assert "a" not in cache


def test_the_value_unused_for_longest_makes_room_for_a_new_one() -> None:
    cache = of_count(2)
    boxes = {key: Box() for key in "abc"}
    cache.put("a", boxes["a"])
    cache.put("b", boxes["b"])
    cache.get("a")
    cache.put("c", boxes["c"])
    assert {key: box.is_closed for key, box in boxes.items()} == {"a": False, "b": True, "c": False}
    assert cache.get("b") is None


def test_a_newcomer_is_turned_away_when_none_may_go() -> None:
    cache = of_count(1)
    busy = Box()
    busy.is_at_work = True
    cache.put("a", busy)
    with pytest.raises(CacheFullError):
        cache.get_or_create("b", Box)
    assert cache.get("a") is busy
    busy.is_at_work = False
    assert cache.get_or_create("b", Box) is cache.get("b")


def test_removing_and_replacing_close_unless_at_work() -> None:
    cache = of_count(2)
    box = Box()
    cache.put("a", box)
    box.is_at_work = True
    assert not cache.remove("a")
    with pytest.raises(CacheFullError):
        cache.put("a", Box())
    assert cache.get("a") is box
    box.is_at_work = False
    assert cache.remove("a")
    assert box.is_closed
    assert not cache.remove("a")
