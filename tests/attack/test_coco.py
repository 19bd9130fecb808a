"""COCO files that are wrong or huge: read or refused in words, in time, while others go on clicking."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.attack import images
from tests.attack.client import Person, bare_request
from tests.attack.figures import Figures, quantile
from tests.attack.mutations import damaged, with_odd_values
from tests.attack.server import AttackedServer, Watch
from tests.attack.size import seeded, sized

FILES = sized(80, 800)
FILES_PER_WORKSPACE = 100
SLOWEST_S = 60.0
SLOWEST_CLICK_S = 15.0
LARGEST = sized(2**17, 64 * 2**20)
WIDTH, HEIGHT = 640, 480


class _Clicker(threading.Thread):
    """Somebody else, who clicks without a pause."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.failure: BaseException | None = None
        self._ended = threading.Event()
        self._person = Person(url)
        self._person.hello()
        self._digest = self._person.add(images.photo(seeded("clicker")), "mine.png")
        self._person.open(self._digest)

    def run(self) -> None:
        try:
            while not self._ended.wait(0.05):
                reply = self._person.click(self._digest, 20 + len(self.seconds) % 100, 60)
                reply.accepted()
                self.seconds.append(reply.seconds[-1])
                if len(self.seconds) % 20 == 0:
                    self._person.send("clear", self._digest).accepted()
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            self.failure = failure

    def end(self) -> None:
        self._ended.set()
        self.join(timeout=60)
        self._person.close()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def clicker(served: AttackedServer) -> Iterator[_Clicker]:
    clicker = _Clicker(served.url)
    clicker.start()
    yield clicker
    clicker.end()


class _Workspace:
    """A workspace with two images and some labels, and its own exports."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self.person = Person(url, patience_s=2 * SLOWEST_S)
        self.person.hello()
        self.names = ("one.png", "two.png")
        for name in self.names:
            digest = self.person.add(images.photo(rng), name)
            self.person.open(digest)
            for x, y in ((40, 40), (110, 70)):
                self.person.click(digest, x, y).accepted()
                self.person.send("commit", digest, class_id=1).accepted()
        self.exports = [self.person.export(kind).json() for kind in ("coco-rle", "coco-polygon")]

    def state(self) -> Any:
        """Grows whenever an import changes anything."""
        return self.person.hello()["workspace"]["revision"]


def test_wrong_coco_files_are_refused_in_words_and_change_nothing(
    served: AttackedServer, clicker: _Clicker, figures: Figures
) -> None:
    rng = seeded("coco")
    statuses: Counter[int] = Counter()
    seconds, wrong = [], []
    workspace = _Workspace(served.url, rng)
    revision = workspace.state()
    with served.without_bugs(), Watch(served) as watch:
        for number in range(FILES):
            if number and number % FILES_PER_WORKSPACE == 0:
                workspace.person.close()
                workspace = _Workspace(served.url, rng)
                revision = workspace.state()
            file = rng.choice(workspace.exports)
            if rng.random() < 0.75:
                data = json.dumps(with_odd_values(rng, file, rng.randint(1, 4))).encode()
            else:
                data = damaged(rng, json.dumps(file).encode())
            began = time.perf_counter()
            answer = workspace.person.bring(data)
            seconds.append(time.perf_counter() - began)
            statuses[answer.status_code] += 1
            now = workspace.state()
            if answer.status_code not in (200, 413, 422):
                wrong.append(f"number {number}: {answer.status_code} {answer.text[:300]} for {data[:300]!r}")
            elif answer.status_code != 200 and now != revision:
                wrong.append(f"number {number} was refused, and yet something changed")
            revision = now
    assert workspace.person.export("zip").status_code == 200
    workspace.person.close()
    assert wrong == []
    assert statuses[200] > 0
    assert statuses[422] > 0
    assert max(seconds) < SLOWEST_S
    assert served.leftovers == []
    figures.note("coco", mutated=FILES, **{f"status_{status}": n for status, n in sorted(statuses.items())})
    figures.note("coco", growth_mib=round(watch.grown_mib))
    figures.times("coco", "mutated file", seconds)
    _note_clicks(figures, clicker, "during_mutated")


def _note_clicks(figures: Figures, clicker: _Clicker, when: str) -> None:
    until = time.monotonic() + SLOWEST_CLICK_S
    while not clicker.seconds and time.monotonic() < until:  # what is refused at once leaves no time for a click
        time.sleep(0.05)
    assert clicker.seconds, "the other person got no answer at all"
    figures.times("coco", f"click of another {when}", clicker.seconds)
    assert quantile(clicker.seconds, 0.95) < SLOWEST_CLICK_S


def _file(rng: random.Random, objects: int, corners: int) -> bytes:
    """Objects that zigzag over the whole image."""
    entries = []
    for number in range(1, objects + 1):
        outline = [rng.randrange(WIDTH if n % 2 == 0 else HEIGHT) for n in range(2 * corners)]
        entries.append({"id": number, "image_id": 1, "category_id": 1, "segmentation": [outline]})
    return json.dumps(_coco(entries)).encode()


def _coco(entries: list[Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "large.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": entries,
    }


@pytest.mark.parametrize("corners", [8, 200, 10_000])
def test_growing_files_are_read_until_one_is_refused_and_others_go_on_clicking(
    served: AttackedServer, clicker: _Clicker, figures: Figures, corners: int
) -> None:
    """Files of ever more objects: each is read or refused in time; the last that is read is the largest there is."""
    rng = seeded(f"growing {corners}")
    person = Person(served.url, patience_s=2 * SLOWEST_S)
    seconds: dict[str, float] = {"read": 0.0, "refused": 0.0}
    largest = {"read": 0, "refused": 0}
    objects = max(1, 800 // corners)
    with served.without_bugs(), Watch(served) as watch:
        while True:
            person.token = None
            person.hello()  # a workspace of its own for each
            person.add(images.photo(seeded("large"), WIDTH, HEIGHT), "large.png")
            data = _file(rng, objects, corners)
            began = time.perf_counter()
            answer = person.bring(data)
            took = time.perf_counter() - began
            assert answer.status_code in (200, 413, 422), answer.text[:300]
            kind = "read" if answer.status_code == 200 else "refused"
            seconds[kind] = max(seconds[kind], took)
            largest[kind] = len(data)
            if kind == "refused" or len(data) > LARGEST:
                break
            objects *= 4
    person.close()
    name = f"objects_of_{corners}_corners"
    figures.note("coco", **{f"{name}_{kind}_bytes": size for kind, size in largest.items() if size})
    figures.note("coco", **{f"{name}_{kind}_max_s": round(s, 2) for kind, s in seconds.items() if s})
    figures.note("coco", **{f"{name}_peak_mib": round(watch.peak_mib)})
    assert max(seconds.values()) < SLOWEST_S
    assert watch.peak_mib < 1_600
    _note_clicks(figures, clicker, f"beside objects of {corners} corners")


def _special_files() -> dict[str, bytes]:
    """Files made on purpose."""

    def entry(segmentation: Any, **more: Any) -> bytes:
        return json.dumps(
            _coco([{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, **more}])
        ).encode()

    triangle = [[0, 0, 9, 0, 9, 9]]
    image = {"id": 1, "file_name": "large.png", "width": WIDTH, "height": HEIGHT}
    digests: tuple[Any, ...] = ([], {}, 7, None, "", True, 1.5)
    made = {
        f"digest is {type(digest).__name__}": json.dumps(
            {**_coco([]), "images": [{**image, "samref": {"digest": digest}}]}
        ).encode()
        for digest in digests
    }
    return made | {
        "nothing": b"",
        "no json": b"hello",
        "a list": b"[]",
        "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "a number of 10^5 digits": b'{"images": ' + b"9" * 100_000 + b"}",
        "NaN": b'{"images": NaN}',
        "small lists": b"[" + b"[]," * 300_000 + b"[]]",
        "corner far outside": entry([[0, 0, 1e300, 0, 9, 9]]),
        "corner not finite": entry([[0, 0, 1e400, 0, 9, 9]]),
        "two corners": entry([[0, 0, 9, 9]]),
        "odd numbers": entry([[0, 0, 9, 0, 9, 9, 1]]),
        "counts are text": entry({"size": [HEIGHT, WIDTH], "counts": "\u0000\u00ff"}),
        "counts never end": entry({"size": [HEIGHT, WIDTH], "counts": "o" * 100_000}),
        "negative runs": entry({"size": [HEIGHT, WIDTH], "counts": [-1, 2, HEIGHT * WIDTH]}),
        "too many runs": entry({"size": [HEIGHT, WIDTH], "counts": [1] * 1_000_000}),
        "another size": entry({"size": [2**31, 2**31], "counts": "00"}),
        "sides are lists": entry({"size": [[], []], "counts": "00"}),
        "class is a list": entry(triangle, category_id=[1]),
        "image is an object": entry(triangle, image_id={}),
        "score is not finite": entry(triangle, score=float("nan")),
        "own values are wrong": entry(triangle, samref={"id": [], "prompts": 7, "created_at": {}}),
        "half a character": entry(triangle, samref={"id": "\ud800"}),
        "name is half a character": json.dumps({**_coco([]), "categories": [{"id": 1, "name": "\ud800"}]}).encode(),
        "many classes": json.dumps(
            {**_coco([]), "categories": [{"id": n, "name": f"class {n}"} for n in range(300)]}
        ).encode(),
    }


def test_coco_files_made_on_purpose_are_read_or_refused_in_words(
    served: AttackedServer, clicker: _Clicker, figures: Figures
) -> None:
    person = Person(served.url, patience_s=2 * SLOWEST_S)
    person.hello()
    person.add(images.photo(seeded("large"), WIDTH, HEIGHT), "large.png")
    seconds = []
    files = _special_files()
    with served.without_bugs():
        for name, data in files.items():
            began = time.perf_counter()
            answer = person.bring(data)
            seconds.append(time.perf_counter() - began)
            assert answer.status_code in (200, 413, 422), f"{name}: {answer.status_code} {answer.text[:300]}"
            assert person.export("coco-rle").status_code == 200, name
        declared = [*person.headers.items(), ("Content-Length", str(10**12))]
        assert bare_request(served.url, "POST", "/samref/import", declared).status == 413
    person.close()
    figures.note("coco", made_on_purpose=len(files) + 1)
    figures.times("coco", "made on purpose", seconds)
    assert max(seconds) < SLOWEST_S
