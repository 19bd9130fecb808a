"""Which files, locks and transactions one click crosses in the running server.

    python -m tests.bench.one_click [CHECKOUT]

Starts ``app.py`` of a checkout with a profile in every thread, opens an example, clicks once to warm up, then records
the next click and prints the files of ``samref/`` whose functions ran, in the order in which the click reached them.
How the table of docs/one-click.md was made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.attack.client import Person
from tests.attack.server import AttackedServer

TRACER = """
import json, os, signal, sys, threading

RECORD = os.environ["ONE_CLICK_RECORD"]
ROOT = os.path.realpath(os.environ["ONE_CLICK_ROOT"]) + os.sep
seen, on = {}, False


def profile(frame, event, argument):
    if on and event == "call":
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and not frame.f_code.co_name.startswith("<"):
            entry = seen.setdefault(name[len(ROOT):], {})
            entry[frame.f_code.co_qualname] = entry.get(frame.f_code.co_qualname, 0) + 1


def start(*_):
    global on
    seen.clear()
    locks.clear()
    statements.clear()
    on = True


def stop(*_):
    global on
    on = False
    with open(RECORD + ".part", "w") as file:
        json.dump({"files": seen, "locks": locks, "statements": statements}, file)
    os.replace(RECORD + ".part", RECORD)


locks, statements = {}, []


def of_samref():
    frame = sys._getframe(2)
    name = frame.f_code.co_filename
    return f"{name[len(ROOT):]}:{frame.f_lineno}" if name.startswith(ROOT) else None


def counted(make, kind):
    def build(*arguments, **options):
        lock, place = make(*arguments, **options), of_samref()
        return lock if place is None else Counted(lock, f"{kind} of {place}")
    return build


class Counted:
    def __init__(self, lock, name):
        self.lock, self.name = lock, name

    def acquire(self, *arguments, **options):
        if on:
            locks[self.name] = locks.get(self.name, 0) + 1
        return self.lock.acquire(*arguments, **options)

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.lock.release()

    def __getattr__(self, name):
        return getattr(self.lock, name)


threading.Lock, threading.RLock = counted(threading.Lock, "Lock"), counted(threading.RLock, "RLock")
threading.setprofile(profile)
sys.setprofile(profile)
signal.signal(signal.SIGUSR1, start)
signal.signal(signal.SIGUSR2, stop)

import asyncio

plain = asyncio.Lock.acquire


async def acquire(self):
    if on:
        frame = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(ROOT):
            frame = frame.f_back
        if frame is not None:
            name = f"asyncio.Lock at {frame.f_code.co_filename[len(ROOT):]}:{frame.f_code.co_name}"
            locks[name] = locks.get(name, 0) + 1
    return await plain(self)


asyncio.Lock.acquire = acquire

import sqlalchemy.event, sqlalchemy.engine


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute")
def executed(connection, cursor, statement, *_):
    if on:
        statements.append(" ".join(statement.split())[:100])
"""
"""Runs in the server before anything of samref is imported, as ``sitecustomize``."""


def main(checkout: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tracer").mkdir()
        (folder / "tracer" / "sitecustomize.py").write_text(TRACER)
        record = folder / "record.json"
        server = AttackedServer(
            folder,
            PYTHONPATH=os.pathsep.join([str(folder / "tracer"), str(checkout)]),
            ONE_CLICK_RECORD=str(record),
            ONE_CLICK_ROOT=str(checkout),
        )
        server.checkout = checkout
        server.start()
        try:
            found = _recorded(server, record)
        finally:
            server.stop()
    files = {name: calls for name, calls in found["files"].items() if name.startswith("samref/")}
    for name, calls in files.items():
        print(f"{name:44} {sum(calls.values()):5} calls: {', '.join(list(calls)[:4])}")
    print(f"{len(files)} files")
    for name, count in found["locks"].items():
        print(f"lock x {count}: {name}")
    for statement in found["statements"]:
        print(f"SQL: {statement}")


def _recorded(server: AttackedServer, record: Path) -> dict[str, dict[str, dict[str, int]]]:
    """What one click crossed."""
    person = Person(server.url)
    person.hello()
    image = person.send("open_example", name="raccoon.jpg").accepted()["view"]["image"]["digest"]
    click = {"type": "click", "x": 500, "y": 300, "positive": True}
    person.send("prompt", image, prompts=[click]).accepted()
    time.sleep(0.5)
    os.kill(server.pid, signal.SIGUSR1)
    time.sleep(0.2)
    payload = {**person.payload("prompt", image, prompts=[{**click, "x": 520}])}
    payload["known"] = {"annotations": 2**40, "workspace": 2**40}
    answer = person.http.post("samref/send", content=json.dumps(payload))
    assert answer.status_code == 200, answer.text
    time.sleep(0.2)
    os.kill(server.pid, signal.SIGUSR2)
    for _ in range(100):
        if record.exists():
            break
        time.sleep(0.1)
    found: dict[str, dict[str, dict[str, int]]] = json.loads(record.read_text())
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
