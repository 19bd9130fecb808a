"""Requests that no page would send: answered in time and in words, and nothing is changed by what is refused."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.attack import images
from tests.attack.client import Answer, Person, bare_request, changes
from tests.attack.figures import Figures
from tests.attack.mutations import odd_value, with_odd_values
from tests.attack.server import AttackedServer, Watch
from tests.attack.size import FULL, seeded, sized

PAYLOADS = sized(500, 2_200)
SLOWEST_S = 15.0
GROWTH_MIB = sized(200, 250)
"""Memory that may be gained after the first quarter: sessions and embeddings of a few images."""

ENOUGH = 5
"""Wrong answers after which no more are looked for."""

OTHER_ENCODINGS = ("utf-16", "with a mark")
"""JSON that the parser reads, although no page writes it."""

KINDS = ("view", "error", "bye")


class _Subject:
    """The workspace that is attacked, seen from another tab."""

    def __init__(self, url: str) -> None:
        self.watcher = Person(url)
        self.watcher.hello()
        self.digest = self.watcher.add(images.photo(seeded("protocol")), "attacked.png")
        self.watcher.open(self.digest)
        self.watcher.click(self.digest, 80, 60).accepted()
        self.watcher.send("commit", self.digest, class_id=1).accepted()
        view = self.watcher.click(self.digest, 30, 30).accepted()["view"]
        self.annotation = view["annotations"]["order"][0]

    def fingerprint(self) -> dict[str, Any]:
        """What must not change; masks follow from it."""
        answer = self.watcher.send("sync", self.digest).accepted()
        view, workspace = answer["view"], answer["workspace"]
        return {
            "revision": view["revision"],
            "prompts": view["draft"]["prompts"],
            "editing": view["draft"]["editing"],
            "annotations": view["annotations"]["order"],
            "workspace": workspace["revision"],
            "classes": workspace["classes"],
            "images": workspace["images"],
        }


def _valid(rng: random.Random, subject: _Subject) -> tuple[str, dict[str, Any]]:
    """A verb with arguments as a page might send them."""
    x, y = rng.randrange(160), rng.randrange(120)
    some_class = {"class_id": 1}
    one = {"id": subject.annotation}
    points = [[rng.randrange(160), rng.randrange(120)] for _ in range(rng.randint(3, 30))]
    prompts = [
        {"type": "click", "x": x, "y": y, "positive": True},
        {"type": "box", "x0": x / 2, "y0": y / 2, "x1": x / 2 + 9, "y1": y / 2 + 9},
        {"type": "scribble", "points": points, "positive": False, "width": 11},
        {"type": "polygon", "points": points, "positive": True},
    ]
    return rng.choice(
        (
            ("prompt", {"prompts": [rng.choice(prompts)]}),
            ("prompt", {"prompts": rng.sample(prompts, 2)}),
            ("prompt", {"prompts": [rng.choice(prompts)]}),
            ("prompt", {"prompts": prompts}),
            ("hello", {}),
            ("open", {}),
            ("open_example", {"name": "coffee.jpg"}),
            ("sync", {}),
            ("undo", {}),
            ("redo", {}),
            ("clear", {}),
            ("commit", {**some_class, "author": "me"}),
            ("edit", one),
            ("delete", one),
            ("set_visible", {**one, "visible": False}),
            ("reclass", {**one, **some_class}),
            ("use_model", {"name": "tiny"}),
            ("add_class", {"name": "a class", "colour": "#123456"}),
            ("change_class", {**some_class, "name": "another", "colour": "#654321"}),
            ("remove_class", some_class),
            ("prefetch", {"digest": subject.digest}),
        )
    )


def _payload(rng: random.Random, person: Person, subject: _Subject) -> Any:
    verb, arguments = _valid(rng, subject)
    person.revisions = dict(subject.watcher.revisions)
    payload: Any = person.payload(verb, subject.digest, **arguments)
    kind = rng.random()
    if kind < 0.65:  # the arguments alone, so that the request comes far
        changed = with_odd_values(rng, arguments, rng.randint(1, 3)) if arguments else {"prompts": odd_value(rng)}
        payload = payload | (changed if isinstance(changed, dict) else {})
    elif kind < 0.95:
        payload = with_odd_values(rng, payload, rng.randint(1, 3))
    elif kind < 0.98:
        payload["seq"] = rng.choice((0, -1, 1, person.seq - 1, 2**53, 2**53 + 1, 10**400, "7", 1.5))
    else:
        payload = odd_value(rng)
    return payload


class _Fuzzed:
    """What the server made of all that was sent."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def read(self, sent: str, status: int, body: bytes, seconds: float) -> str:
        """How one request ended."""
        self.seconds.append(seconds)
        if seconds > SLOWEST_S:
            self.wrong.append(f"{seconds:.1f} s for {sent[:300]}")
        outcome = str(status)
        if status == 200:
            lines = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
            answers: list[Answer] = [json.loads(line) for line in lines]
            outcome = answers[-1]["kind"] if answers else "silence"
            if any(answer["kind"] not in KINDS for answer in answers):
                self.wrong.append(f"an unknown kind of answer to {sent[:300]}")
            if answers and answers[-1]["kind"] == "error":
                outcome = f"error {answers[-1]['error']['code']}"
        if status >= 500 or outcome == "error internal":
            self.wrong.append(f"{status} {outcome} for {sent[:500]}: {body[:300]!r}")
        if status not in (200, 400, 403, 413, 415, 422) and status < 500:
            self.wrong.append(f"{status} for {sent[:300]}")
        self.outcomes[outcome] += 1
        return outcome


@pytest.fixture
def subject(served: AttackedServer) -> Iterator[_Subject]:
    subject = _Subject(served.url)
    yield subject
    subject.watcher.close()


def test_odd_requests_are_answered_in_time_and_change_nothing_when_refused(
    served: AttackedServer, subject: _Subject, labels_of_another: Person, figures: Figures
) -> None:
    rng = seeded("protocol")
    fuzzed = _Fuzzed()
    person = Person(served.url, subject.watcher.token, patience_s=2 * SLOWEST_S)
    headers = {"Content-Type": "application/json"}
    known = subject.fingerprint()
    with served.without_bugs(), Watch(served) as watch:
        for number in range(PAYLOADS):
            if person.seq > 40:  # a number beyond all others silences a tab, as it should
                person.close()
                person = Person(served.url, subject.watcher.token, patience_s=2 * SLOWEST_S)
            sent = json.dumps(_payload(rng, person, subject))
            began = time.perf_counter()
            try:
                answer = person.http.post("samref/send", content=sent, headers=headers)
            except httpx.TimeoutException:
                fuzzed.wrong.append(f"no answer to {sent[:500]}")
                continue
            outcome = fuzzed.read(sent, answer.status_code, answer.content, time.perf_counter() - began)
            now = subject.fingerprint()
            if outcome != "view" and now != known:
                fuzzed.wrong.append(f"{outcome}, and yet something changed: {sent[:500]}")
            known = now
            if number % 60 == 59:
                known = _tidied(subject)
            if len(fuzzed.wrong) >= ENOUGH:
                break
    person.close()
    assert fuzzed.wrong == []
    growth = (watch.samples[-1].rss - watch.since(0.25)[0].rss) / 2**20
    assert growth < GROWTH_MIB
    assert fuzzed.outcomes["view"] > PAYLOADS // 50, f"hardly anything came far: {fuzzed.outcomes}"
    figures.note("protocol", payloads=PAYLOADS, wrong=len(fuzzed.wrong), growth_after_first_quarter_mib=round(growth))
    figures.note("protocol", **{f"ended_in_{name.replace(' ', '_')}": n for name, n in sorted(fuzzed.outcomes.items())})
    figures.times("protocol", "answer", fuzzed.seconds)


def _tidied(subject: _Subject) -> dict[str, Any]:
    """The draft given up and one annotation there, so that all verbs stay possible."""
    watcher = subject.watcher
    watcher.send("clear", subject.digest)
    view = watcher.open(subject.digest)["view"]
    if not view["annotations"]["order"]:
        watcher.click(subject.digest, 80, 60).accepted()
        classes = watcher.send("sync", subject.digest).accepted()["workspace"]["classes"]
        view = watcher.send("commit", subject.digest, class_id=classes[0]["id"]).accepted()["view"]
    subject.annotation = view["annotations"]["order"][0]
    return subject.fingerprint()


@pytest.fixture
def labels_of_another(owner: Person) -> Iterator[Person]:
    digest = owner.add(images.photo(seeded("another")), "mine.png")
    owner.open(digest)
    owner.click(digest, 80, 60).accepted()
    before = owner.everything()
    yield owner
    assert changes(before, owner.everything()) == []


def _bodies(person: Person, digest: str) -> dict[str, bytes]:
    """Bodies that are no request."""
    whole = json.dumps(person.payload("sync", digest)).encode()
    deep = sized(20_000, 100_000)
    small = b"[" + b"[],".join([b""] * sized(300_000, 10_000_000)) + b"[]]"
    return {
        "nothing": b"",
        "blank": b" \n ",
        "a word": b"hello",
        "half of it": whole[: len(whole) // 2],
        "twice": whole + whole,
        "bytes": bytes(range(256)),
        "zero bytes": bytes(1_000),
        "not utf-8": b'{"verb": "\xff\xfe"}',
        "utf-16": whole.decode().encode("utf-16"),
        "with a mark": b"\xef\xbb\xbf" + whole,
        "NaN": b"NaN",
        "minus infinity": b"-Infinity",
        "null": b"null",
        "a number": b"7",
        "a text": b'"hello"',
        "a list": b"[]",
        "1e400": b'{"v": 1, "seq": 1e400}',
        "a number of 10^5 digits": b'{"v": 1, "seq": ' + b"9" * 100_000 + b"}",
        "a list in a list": b"[" * deep + b"]" * deep,
        "an object in an object": b'{"a":' * deep + b"1" + b"}" * deep,
        "open lists": b"[" * deep,
        "one key often": b"{" + b",".join([b'"v": 1'] * 50_000) + b"}",
        "many keys": json.dumps({str(n): n for n in range(50_000)}).encode(),
        "small lists": small,
        "long text": b'{"v": 1, "verb": "' + b"a" * sized(8_000_000, 400_000_000) + b'"}',
        "prototype": b'{"__proto__": {"v": 1}, "constructor": {"prototype": {"verb": "hello"}}}',
        "a form": b"verb=hello&v=1",
        "xml": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    }


def test_bodies_that_are_no_requests_are_refused_in_time(
    served: AttackedServer, subject: _Subject, figures: Figures
) -> None:
    fuzzed = _Fuzzed()
    person = Person(served.url, subject.watcher.token)
    before = subject.fingerprint()
    bodies = _bodies(person, subject.digest)
    with served.without_bugs(), Watch(served) as watch:
        for name, body in bodies.items():
            for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
                began = time.perf_counter()
                headers = [("Content-Type", kind)]
                answer = bare_request(served.url, "POST", "/samref/send", headers, body, patience_s=2 * SLOWEST_S)
                outcome = fuzzed.read(f"{name} as {kind}", answer.status, answer.body, time.perf_counter() - began)
                if outcome == "view" and name not in OTHER_ENCODINGS:
                    fuzzed.wrong.append(f"{name} was taken for a request")
        packed = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
        answer = bare_request(served.url, "POST", "/samref/send", packed, b"\x1f\x8b" + bytes(20))
        fuzzed.read("packed", answer.status, answer.body, 0.0)
        assert subject.fingerprint() == before
    person.close()
    assert fuzzed.wrong == []
    assert watch.peak_mib < 1_600
    figures.note("protocol", raw_bodies=3 * len(bodies) + 1, raw_peak_mib=round(watch.peak_mib))
    figures.times("protocol", "raw body", fuzzed.seconds)


def test_gradios_own_queue_takes_nothing_and_logs_nothing(served: AttackedServer, subject: _Subject) -> None:
    forged = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    before = subject.fingerprint()
    with served.without_bugs():
        for fn_index in (-1, 0, 1, 77, 10**30, None, "send"):
            for event in (None, forged, subject.watcher.payload("clear", subject.digest)):
                body: dict[str, Any] = {
                    "fn_index": fn_index,
                    "data": [],
                    "session_hash": "abc",
                    "event_data": event,
                    "trigger_id": 1,
                }
                for path in ("/gradio_api/queue/join", "/queue/join", "/gradio_api/run/send", "/gradio_api/api/send"):
                    answer = bare_request(
                        served.url, "POST", path, [("Content-Type", "application/json")], json.dumps(body).encode()
                    )
                    assert answer.status in (403, 404, 405), f"{path}: {answer.status} {answer.text[:100]}"
    assert subject.fingerprint() == before


@pytest.mark.skipif(not FULL, reason="takes minutes; make attack")
def test_the_largest_prompts_that_are_taken_leave_the_server_to_others(
    served: AttackedServer, subject: _Subject, labels_of_another: Person, figures: Figures
) -> None:
    """What one person may ask at most is answered in time, and others wait no longer than for that."""
    rng = seeded("largest")
    seconds = []
    with served.without_bugs():
        for corners in (100, 1_000, 5_000, 10_000, 20_000):
            points = [[rng.uniform(0, 159), rng.uniform(0, 119)] for _ in range(corners)]
            for kind in ("polygon", "scribble"):
                prompt = {"type": kind, "points": points, "positive": True}
                began = time.perf_counter()
                subject.watcher.send("prompt", subject.digest, prompts=[prompt])
                seconds.append(time.perf_counter() - began)
                subject.watcher.send("clear", subject.digest)
    figures.times("protocol", "large prompt", seconds)
    assert max(seconds) < SLOWEST_S
