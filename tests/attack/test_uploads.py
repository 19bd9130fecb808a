"""Files that are hardly images, sent to the real server: refused in words or taken whole, and nothing is left."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from tests.attack import images
from tests.attack.client import Person, changes
from tests.attack.figures import Figures
from tests.attack.mutations import damaged
from tests.attack.server import AttackedServer, Watch
from tests.attack.size import FULL, seeded, sized

UPLOADS = sized(200, 2_400)
UPLOADS_PER_WORKSPACE = 150
SLOWEST_S = 30.0
MOST_MIB = 1_200 + 400
"""What the server may take in all, and a margin for what lies in its stores by then."""

TAKEN, REFUSED = 200, (413, 422, 507)

NAMES = (
    "", " ", ".", "..", "/", "../../x.png", "C:\\windows\\x.png", "con.png", "a" * 5_000, "\x00.png",
    "x\r\nSet-Cookie: a=b", "\u202egnp.exe", "e\u0301.png", "𝕏🙂.png", "<img src=x onerror=alert(1)>.png",
    "${7*7}.png", "{{7*7}}.png", "=1+1.png", "%2e%2e%2f", "'; DROP TABLE images; --", "-rf", ".hidden", "a/b/c",
    "x.png/", "x\ty", "x\ny", " x ", "NUL", "~root", "$(id)", "`id`", "x;y", "x|y", "x&y", "\\\\host\\share",
    "file:///etc/passwd", "x" * 199 + "🙂🙂", "\ufeffx.png",
)  # fmt: skip


@pytest.fixture
def labels(owner: Person) -> Iterator[Person]:
    """Somebody whose labels must stay as they are, whatever others upload."""
    digest = owner.add(images.photo(seeded("labels of another")), "mine.png")
    owner.open(digest)
    owner.click(digest, 80, 60).accepted()
    owner.send("commit", digest, class_id=1).accepted()
    owner.click(digest, 30, 30).accepted()
    before = owner.everything()
    yield owner
    assert changes(before, owner.everything()) == []


def _check_taken(person: Person, digest: str, what: str) -> list[str]:
    """An image that was taken must be of use: shown, as a thumbnail too."""
    wrong = []
    for thumbnail in (False, True):
        shown = person.image(digest, thumbnail=thumbnail)
        if shown.status_code != 200 or not shown.content.startswith(b"\xff\xd8"):
            wrong.append(f"{what} was taken but cannot be shown: {shown.status_code} {shown.text[:200]}")
    return wrong


def _check_workspace(person: Person) -> list[str]:
    """No image may stand in the way of opening, exporting or importing."""
    wrong = []
    for kind in ("coco-rle", "zip"):
        exported = person.export(kind)
        if exported.status_code != 200:
            wrong.append(f"export fails: {exported.status_code} {exported.text[:300]}")
    coco = person.export("coco-polygon").content
    if (brought := person.bring(coco)).status_code != 200:
        wrong.append(f"import fails: {brought.status_code} {brought.text[:300]}")
    last = person.hello()["workspace"]["images"][-3:]
    for image in last:
        answer = person.send("open", image["digest"]).last
        if answer["kind"] != "view":
            wrong.append(f"{image['file_name']} was taken but cannot be opened: {answer.get('error')}")
    return wrong


def test_damaged_images_are_taken_whole_or_refused_in_words(
    served: AttackedServer, labels: Person, figures: Figures
) -> None:
    rng = seeded("uploads")
    files = images.files_of_all_formats()
    statuses: Counter[int] = Counter()
    seconds, wrong = [], []
    person = Person(served.url)
    with served.without_bugs(), Watch(served) as watch:
        for number in range(UPLOADS):
            if number % UPLOADS_PER_WORKSPACE == 0:
                wrong += _check_workspace(person) if number else []
                person.close()
                person = Person(served.url)
                person.hello()
            name = rng.choice(sorted(files))
            data = damaged(rng, files[name], files[rng.choice(sorted(files))])
            began = time.perf_counter()
            answer = person.upload(data, f"{name} {number}")
            seconds.append(time.perf_counter() - began)
            statuses[answer.status_code] += 1
            if answer.status_code == TAKEN:
                wrong += _check_taken(person, answer.json()["digest"], f"number {number}, a damaged {name},")
            elif answer.status_code not in REFUSED or not answer.json()["error"]["message"].endswith("."):
                wrong.append(f"number {number}, a damaged {name}: {answer.status_code} {answer.text[:200]}")
        wrong += _check_workspace(person)
    person.close()
    assert wrong == []
    assert served.leftovers == []
    assert statuses[TAKEN] > 0
    assert statuses[422] > 0
    assert max(seconds) < SLOWEST_S
    assert watch.peak_mib < MOST_MIB
    figures.note("uploads", damaged=UPLOADS, **{f"status_{status}": n for status, n in sorted(statuses.items())})
    figures.note("uploads", peak_mib=round(watch.peak_mib), grown_mib=round(watch.grown_mib), unusable=len(wrong))
    figures.times("uploads", "damaged", seconds)


def test_files_made_on_purpose_neither_block_a_workspace_nor_eat_the_memory(
    served: AttackedServer, labels: Person, figures: Figures
) -> None:
    wrong, seconds = [], []
    peak, heaviest = 0.0, ""
    specials = images.specials(large=FULL)
    with served.without_bugs():
        for name, data in specials.items():
            person = Person(served.url)
            person.hello()
            with Watch(served, every_s=0.01) as watch:
                began = time.perf_counter()
                answer = person.upload(data, f"{name}.png")
                seconds.append(time.perf_counter() - began)
                if answer.status_code == TAKEN:
                    wrong += _check_taken(person, answer.json()["digest"], name)
                    wrong += _check_workspace(person)
                elif answer.status_code not in REFUSED:
                    wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
            if watch.peak_mib > peak:
                peak, heaviest = watch.peak_mib, name
            person.close()
    assert wrong == []
    assert served.leftovers == []
    assert max(seconds) < SLOWEST_S
    assert peak < MOST_MIB, f"{heaviest} took the server to {peak:.0f} MiB"
    figures.note("uploads", made_on_purpose=len(specials), purpose_peak_mib=round(peak), heaviest=heaviest)
    figures.times("uploads", "made on purpose", seconds)


def test_whole_images_of_all_formats_are_taken_upright(served: AttackedServer, labels: Person) -> None:
    person = Person(served.url)
    person.hello()
    with served.without_bugs():
        for name, data in images.files_of_all_formats().items():
            answer = person.upload(data, name)
            assert answer.status_code == TAKEN, f"{name}: {answer.text}"
            turned = name.startswith("jpeg turned") and int(name.rpartition(" ")[2]) >= 5
            assert (answer.json()["width"], answer.json()["height"]) == ((24, 31) if turned else (31, 24)), name
            with Image.open(io.BytesIO(person.image(answer.json()["digest"]).content)) as shown:
                assert shown.size == (answer.json()["width"], answer.json()["height"]), name
    person.close()


def test_file_names_are_only_ever_names_and_lead_nowhere_but_down(
    served: AttackedServer, labels: Person, figures: Figures
) -> None:
    person = Person(served.url)
    person.hello()
    noise = np.random.default_rng(5)
    before = {path for path in served.data.rglob("*") if path.parent == served.data}
    with served.without_bugs():
        for name in NAMES:
            file = io.BytesIO()
            Image.fromarray(noise.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file, "PNG")
            answer = person.upload(file.getvalue(), name)
            assert answer.status_code == TAKEN, f"{name!r}: {answer.text}"
            kept = answer.json()["file_name"]
            assert kept.strip() == kept != ""
            assert len(kept) <= 400
            assert kept.isprintable()
            assert "\\" not in kept
            parts = kept.split("/")  # folders of the image stay; they lead nowhere but down
            assert all(part.strip(". ") for part in parts)
            assert not PureWindowsPath(kept).drive
    assert {path for path in served.data.rglob("*") if path.parent == served.data} == before
    assert _check_workspace(person) == []
    person.close()
    figures.note("uploads", file_names=len(NAMES))


def test_a_body_that_is_too_long_is_refused_before_it_is_read(served: AttackedServer, labels: Person) -> None:
    limit = labels.hello()["workspace"]["limits"]["upload_bytes"]

    def endless() -> Iterator[bytes]:
        for _ in range(limit // 2**20 + 8):
            yield bytes(2**20)

    with served.without_bugs(), Watch(served) as watch:
        declared = labels.http.post("samref/images", content=bytes(limit + 1), headers=labels.headers)
        streamed = labels.http.post("samref/images", content=endless(), headers=labels.headers)
    assert [declared.status_code, streamed.status_code] == [413, 413]
    assert watch.grown_mib < 2 * limit / 2**20
    assert served.leftovers == []
