"""The bound on what is being decoded at the same time."""

from __future__ import annotations

import threading
import time

from samref.core.images import DecodeGate


class Visitor(threading.Thread):
    """Goes through the gate, and stays in the room until told to leave."""

    def __init__(self, gate: DecodeGate, needed: int, *, is_large: bool) -> None:
        super().__init__(daemon=True)
        self.inside, self.leave = threading.Event(), threading.Event()
        self._gate, self._needed, self._is_large = gate, needed, is_large
        self.start()

    def run(self) -> None:
        with self._gate.room(self._needed, is_large=self._is_large):
            self.inside.set()
            self.leave.wait(10)

    def is_inside(self, within_s: float = 5.0) -> bool:
        return self.inside.wait(within_s)


def test_small_images_do_not_wait_for_large_ones() -> None:
    gate = DecodeGate(large_bytes=100, small_bytes=20)
    large = [Visitor(gate, 90, is_large=True) for _ in range(4)]
    small = [Visitor(gate, 10, is_large=False) for _ in range(2)]
    assert all(visitor.is_inside() for visitor in small)
    assert sum(visitor.is_inside(0.05) for visitor in large) == 1
    for visitor in (*small, *large):
        visitor.leave.set()
    assert all(visitor.is_inside() for visitor in large)


def test_together_they_never_need_more_than_there_is_and_all_come_in() -> None:
    gate = DecodeGate(large_bytes=100, small_bytes=20)
    most, now, lock = 0, 0, threading.Lock()

    def visit(needed: int) -> None:
        nonlocal most, now
        with gate.room(needed, is_large=True):
            with lock:
                now += needed
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= needed

    threads = [threading.Thread(target=visit, args=(10 + 13 * (number % 7),)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert 50 < most <= 100


def test_a_light_one_does_not_overtake_a_heavy_one_that_came_first() -> None:
    gate = DecodeGate(large_bytes=100, small_bytes=20)
    first = Visitor(gate, 60, is_large=True)
    assert first.is_inside()
    heavy = Visitor(gate, 90, is_large=True)
    assert not heavy.is_inside(0.1)
    light = Visitor(gate, 10, is_large=True)
    assert not light.is_inside(0.1)
    first.leave.set()
    assert heavy.is_inside()
    assert light.is_inside()
    heavy.leave.set()
    light.leave.set()


def test_one_that_needs_more_than_there_is_goes_alone() -> None:
    gate = DecodeGate(large_bytes=100, small_bytes=20)
    huge = Visitor(gate, 5_000, is_large=True)
    assert huge.is_inside()
    other = Visitor(gate, 1, is_large=True)
    assert not other.is_inside(0.1)
    huge.leave.set()
    assert other.is_inside()
    other.leave.set()


def test_a_failure_inside_gives_the_room_back() -> None:
    gate = DecodeGate(large_bytes=100, small_bytes=20)
    for _ in range(3):
        try:
            with gate.room(100, is_large=True):
                raise ValueError
        except ValueError:
            pass
    assert Visitor(gate, 100, is_large=True).is_inside()
