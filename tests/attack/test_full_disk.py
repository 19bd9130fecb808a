"""The disk becomes full: everything is refused in a sentence, nothing is lost, and it goes on when there is space."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack import images
from tests.attack.client import Person, RefusedError, changes, taken
from tests.attack.figures import Figures
from tests.attack.server import AttackedServer
from tests.attack.size import seeded, sized

DISK_MIB = 6
RESTARTS = sized(1, 5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def _fill(place: Path) -> Path:
    """Take every last byte."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return filler


def _refused(person: Person, digest: str) -> dict[str, str]:
    """What each kind of change is answered with; those that were taken are left out."""
    image = person.open(digest)["view"]
    annotation = image["annotations"]["order"][0]
    click = {"type": "click", "x": 9, "y": 9, "positive": True}
    told = {}
    verbs: tuple[tuple[str, dict[str, Any]], ...] = (
        ("prompt", {"prompts": [click] * 200}),
        ("undo", {}),
        ("clear", {}),
        ("commit", {"class_id": 1}),
        ("delete", {"id": annotation}),
        ("set_visible", {"id": annotation, "visible": False}),
        ("add_class", {"name": "one more"}),
        ("change_class", {"class_id": 1, "name": "renamed"}),
    )
    for verb, arguments in verbs:
        try:
            person.send(verb, digest, **arguments).accepted()
        except RefusedError as refused:
            told[verb] = refused.code if refused.message.endswith(".") else f"no sentence: {refused.message}"
    for name, answer in (
        ("upload", person.upload(images.photo(seeded("no room"), 300, 200), "more.png")),
        ("import", person.bring(person.export("coco-rle").content)),
    ):
        if answer.status_code != 200:
            assert answer.status_code == 507, answer.text
            told[name] = taken_code(answer.json())
    return told


def taken_code(body: Any) -> str:
    code: str = body["error"]["code"]
    return code


def _can_be_looked_at(person: Person, digest: str, before: dict[str, Any]) -> None:
    assert changes(before, person.everything()) == []
    assert person.image(digest).status_code == 200
    for kind in ("zip", "coco-polygon"):
        assert person.export(kind).status_code == 200


def _accepted_soon(act: Callable[[], object]) -> None:
    """Do it again until it is accepted: the server looks about once a second whether it may write again."""
    deadline = time.monotonic() + 5
    while True:
        try:
            act()
        except RefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def test_a_full_disk_loses_nothing_and_a_restart_on_it_still_shows_and_exports(
    small_disk: Path, tmp_path: Path, figures: Figures
) -> None:
    server = AttackedServer(tmp_path)
    server.data = small_disk / "data"
    server.start()
    try:
        person = Person(server.url)
        person.hello()
        digest = person.add(images.photo(seeded("disk")), "mine.png")
        person.open(digest)
        person.click(digest, 80, 60).accepted()
        person.send("commit", digest, class_id=1).accepted()
        person.click(digest, 30, 30).accepted()
        with server.without_bugs():
            filler = _fill(small_disk)
            before = person.everything()
            told = _refused(person, digest)
            assert set(told.values()) == {"storage"}, told
            assert {"prompt", "upload"} <= set(told), told
            # What needed no new page of the database may have been taken; what was refused changed nothing.
            if len(told) == 10:
                assert changes(before, person.everything()) == []
            before = person.everything()
            _can_be_looked_at(person, digest, before)
        for _ in range(RESTARTS):
            for end in (server.kill, server.stop):
                end()
                _fill(small_disk)
                server.start()
                with server.without_bugs():
                    person.close()
                    person = Person(server.url, person.token)
                    _can_be_looked_at(person, digest, before)
        filler.unlink()
        with server.without_bugs():
            person.open(digest)
            _accepted_soon(lambda: person.click(digest, 50, 50).accepted())
            person.send("commit", digest, class_id=1).accepted()
            assert taken(person.upload(images.photo(seeded("room again")), "more.png"))["digest"]
        server.check_database(tmp_path / "copy")
        assert server.leftovers == []
        person.close()
    finally:
        server.stop()
    figures.note("full disk", kinds_of_change_refused=len(told), lost=0, restarts_on_the_full_disk=2 * RESTARTS)
