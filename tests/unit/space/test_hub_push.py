"""Pushing a Space to a Hub of our own: what is sent, when, and what is said."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("huggingface_hub")

from huggingface_hub import HfApi, constants

from samref.errors import SpaceError
from samref.space.hub import Hub, git_digest
from samref.space.manifest import Secret
from samref.space.plan import NOTE, PRICE_USD_PER_HOUR, Wanted, status_in_words
from samref.space.push import Person, Pushed, push
from tests.unit.space.fake_hub import STILL, TOKEN, Blob, FakeHub, FakeSpace, fake_hub

SPACE = "anna/samref"
SECRET = "s3cret-värdet-42"
README = "---\ntitle: samref\nsdk: gradio\n---\n\nWords\n"


@dataclass
class Bench:
    """A Hub, what should be on it, and everything that was said, asked and clicked."""

    hub: FakeHub
    folder: Path
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    clicked: list[tuple[str, bool]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    answer: bool = True
    given: dict[str, str] = field(default_factory=dict)
    typed: str = ""
    hardware: str = "cpu-basic"
    sleep_after_s: int | None = None
    variables: dict[str, str] = field(default_factory=lambda: {"SAMREF_API": "1", "SAMREF_DEMO_DAYS": "7"})
    secrets: tuple[Secret, ...] = ()

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    @property
    def files(self) -> dict[str, bytes]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}

    @property
    def space(self) -> FakeSpace:
        return self.hub.spaces[SPACE]

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def wanted(self) -> Wanted:
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}
        return Wanted(
            "cpu",
            "gradio",
            self.hardware,
            self.sleep_after_s,
            self.variables,
            self.secrets,
            self.folder,
            digests,
        )

    def door(self, space: str = SPACE, token: str = TOKEN) -> Hub:
        def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        api = HfApi(endpoint=self.hub.endpoint, token=token)
        return Hub(api, space, self.said.append, sleep, lambda: sum(self.slept))

    def push(self, *, space: str = SPACE, token: str = TOKEN, patience_s: float = 600, **options: Any) -> Pushed | None:
        def ask(question: str) -> bool:
            self.asked.append(question)
            return self.answer

        def ask_secret(secret: Secret) -> str:
            self.asked.append(secret.name)
            return self.typed

        def click(address: str, is_private: bool) -> str:
            self.clicked.append((address, is_private))
            return "one click in 0.1 s"

        self.hub.requests.clear()
        self.said.clear()
        return push(
            self.door(space, token),
            self.wanted(),
            Person(self.given, ask, ask_secret),
            first_click=click,
            patience_s=patience_s,
            **options,
        )

    def refused(self, **options: Any) -> str:
        """The one sentence of a push that is refused."""
        with pytest.raises(SpaceError) as raised:
            self.push(**options)
        sentence = str(raised.value)
        assert "\n" not in sentence
        assert len(re.findall(r"[.:](?: |$)", sentence)) >= 2  # what happened, and what to do
        return sentence


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with fake_hub() as hub:
        made = Bench(hub, tmp_path / "built")
        made.write("README.md", README.encode())
        made.write("app.py", b"print('hello')\n")
        made.write("samref/core/masks.py", b"# masks\n")
        made.write("assets/weights/tiny.safetensors", bytes(range(256)) * 40)
        made.write("assets/examples/photo.jpg", b"\xff\xd8\xff\x00" + b"photo" * 50)
        yield made
        assert hub.unknown == []


def commits(hub: FakeHub) -> int:
    return len(hub.made("POST", r"/commit/main$"))


# ---- the first push, and the ones after it


def test_the_first_push_makes_the_space_and_fills_it_in_one_commit(bench: Bench) -> None:
    done = bench.push()
    space = bench.space
    assert done is not None
    assert space.files == bench.files | {".gitattributes": space.files[".gitattributes"]}
    assert len(space.commits) == 2  # the Hub's own, and ours
    assert done.commit == space.head.id
    assert {name: each["value"] for name, each in space.variables.items()} == bench.variables
    assert {each["description"] for each in space.variables.values()} == {NOTE}
    assert space.sdk == "gradio"
    assert bench.clicked == [("https://anna-samref.hf.space", False)]
    assert done.click == "one click in 0.1 s"
    assert [line for line in bench.said if line.endswith(("building", "starting", "running"))] != []
    assert bench.asked == []


def test_the_order_is_create_variables_secrets_commit(bench: Bench) -> None:
    bench.secrets = (Secret(name="BUCKET_KEY", why="keeps labels", required=True),)
    bench.given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.push()
    order = [each.path.rsplit("/", 1)[-1] for each in bench.hub.changes if "preupload" not in each.path]
    order = [name for name in order if name in {"create", "variables", "secrets", "main"}]
    assert order == ["create", "variables", "variables", "secrets", "main"]
    assert bench.hub.requests[0].path == "/api/whoami-v2"


def test_binary_files_go_as_large_ones_and_text_with_the_commit(bench: Bench) -> None:
    bench.write("assets/weights/big.dat", b"a" * 10_000_001)
    bench.push()
    files = bench.space.head.files
    large = {path for path, blob in files.items() if blob.is_large}
    assert large == {"assets/weights/tiny.safetensors", "assets/examples/photo.jpg", "assets/weights/big.dat"}
    assert len(bench.hub.made("PUT", "^/storage/")) == 3
    assert commits(bench.hub) == 1


def test_nothing_changed_means_no_change_at_all(bench: Bench) -> None:
    bench.push()
    before = bench.space.head.id
    done = bench.push()
    assert bench.hub.changes == []
    assert done is not None
    assert done.commit == before
    assert len(bench.clicked) == 2  # it is looked at all the same


def test_only_what_changed_is_sent(bench: Bench) -> None:
    bench.push()
    bench.write("app.py", b"print('hello again')\n")
    bench.write("samref/web/new.js", b"export {};\n")
    (bench.folder / "samref/core/masks.py").unlink()
    bench.push()
    (sent,) = bench.hub.made("POST", "/commit/main$")
    lines = sent.body.decode().splitlines()
    assert len(lines) == 4  # the header, and three files
    assert bench.space.files.keys() - {".gitattributes"} == bench.files.keys()
    assert bench.space.files["app.py"] == b"print('hello again')\n"
    assert "  add samref/web/new.js" in bench.said
    assert "  change app.py" in bench.said
    assert "  delete samref/core/masks.py" in bench.said


def test_changed_weights_are_one_commit_too(bench: Bench) -> None:
    bench.push()
    bench.write("assets/weights/tiny.safetensors", b"\0new" * 100)
    bench.push()
    assert len(bench.hub.made("PUT", "^/storage/")) == 1
    assert len(bench.space.commits) == 3
    assert bench.space.files["assets/weights/tiny.safetensors"] == b"\0new" * 100


def test_files_on_many_pages_of_a_list_are_compared(bench: Bench) -> None:
    for number in range(120):
        bench.write(f"samref/part_{number}.py", f"# {number}\n".encode())
    bench.push()
    bench.push()
    assert bench.hub.changes == []


def test_the_digest_of_a_small_file_is_that_of_git() -> None:
    assert git_digest(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_gitignore_that_holds_a_file_back_is_said(bench: Bench) -> None:
    bench.push()
    space = bench.space
    kept = dict(space.head.files) | {".gitignore": Blob(b"new.py\n")}
    space.commit(kept, space.head.title, space.head.message)
    bench.write(".gitignore", b"new.py\n")
    bench.write("new.py", b"1\n")
    bench.write("other.py", b"2\n")
    assert "new.py" in bench.refused()


def test_a_push_names_some_files_and_a_dry_run_all(bench: Bench) -> None:
    for number in range(30):
        bench.write(f"samref/part_{number}.py", f"# {number}\n".encode())
    bench.push(dry_run=True)
    assert sum(line.startswith("  add ") for line in bench.said) == 35
    bench.push()
    assert sum(line.startswith("  add ") for line in bench.said) == 11
    assert "  add 25 files more" in bench.said
    assert "  commit 35 files at once" in bench.said


# ---- dry run


def test_a_dry_run_reads_only_and_says_what_would_happen(bench: Bench) -> None:
    bench.hardware = "t4-small"
    assert bench.push(dry_run=True) is None
    assert bench.hub.changes == []
    assert bench.hub.spaces == {}
    assert (
        "  create anna/samref (gradio) on t4-small at 0.40 $ an hour while it runs (prices of August 2026)"
        in bench.said
    )
    assert "  set the variable SAMREF_API to '1'" in bench.said
    assert [f"  add {path}" in bench.said for path in bench.files] == [True] * 5
    assert bench.asked == []


def test_a_dry_run_on_what_is_there_changes_nothing(bench: Bench) -> None:
    bench.push()
    before = (bench.space.head.id, dict(bench.space.variables))
    bench.variables = {"SAMREF_API": "0"}
    bench.write("app.py", b"3\n")
    bench.push(dry_run=True)
    assert bench.hub.changes == []
    assert before == (bench.space.head.id, dict(bench.space.variables))
    assert "  set the variable SAMREF_API to '0' (now '1')" in bench.said
    assert "  remove the variable SAMREF_DEMO_DAYS, which an earlier push set" in bench.said
    assert bench.clicked == [("https://anna-samref.hf.space", False)]  # of the first push


# ---- variables


def test_variables_are_compared_by_name_and_value(bench: Bench) -> None:
    bench.push()
    bench.variables = {"SAMREF_API": "0", "SAMREF_DEMO_DAYS": "7"}
    bench.push()
    (sent,) = bench.hub.changes
    assert sent.path.endswith("/variables")
    assert bench.space.variables["SAMREF_API"]["value"] == "0"


def test_a_variable_that_a_push_set_is_removed_and_others_are_left_alone(bench: Bench) -> None:
    bench.push()
    bench.space.variables["HAND_MADE"] = {"value": "x", "description": "by hand"}
    bench.variables = {"SAMREF_API": "1"}
    bench.push()
    assert bench.space.variables.keys() == {"SAMREF_API", "HAND_MADE"}
    assert "  leave the variable HAND_MADE alone: no push has set it" in bench.said


# ---- secrets


def secret_bench(bench: Bench, *, required: bool = True) -> Bench:
    bench.secrets = (Secret(name="BUCKET_KEY", why="keeps labels", required=required),)
    return bench


def test_a_secret_comes_from_the_environment_or_is_asked_for(bench: Bench) -> None:
    secret_bench(bench).typed = SECRET
    bench.push()
    assert bench.space.secrets["BUCKET_KEY"]["value"] == SECRET
    assert bench.asked == ["BUCKET_KEY"]


def test_a_secret_that_is_there_is_not_set_again_unless_told_to(bench: Bench) -> None:
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.push()
    bench.given = {"SPACE_SECRET_BUCKET_KEY": "another value"}
    bench.push()
    assert bench.space.secrets["BUCKET_KEY"]["value"] == SECRET
    bench.push(replace=["BUCKET_KEY"])
    assert bench.space.secrets["BUCKET_KEY"]["value"] == "another value"


def test_an_optional_secret_without_a_value_is_left_out_and_said(bench: Bench) -> None:
    secret_bench(bench, required=False).push()
    assert bench.space.secrets == {}
    assert bench.asked == []
    assert "go without the secret BUCKET_KEY" in bench.text


def test_a_key_that_happens_to_be_in_the_environment_is_not_sent(bench: Bench) -> None:
    bench.secrets = (Secret(name="HF_TOKEN", why="keeps labels"),)
    bench.given = {"HF_TOKEN": "hf_mine_and_nobody_elses"}
    bench.push()
    assert bench.space.secrets == {}


def test_the_value_of_a_secret_is_in_one_request_and_nothing_that_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "huggingface_hub")
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.push()
    sent = [
        each for each in bench.hub.requests if holds_the_secret(each.body + each.path.encode() + each.query.encode())
    ]
    assert [each.path for each in sent] == [f"/api/spaces/{SPACE}/secrets"]
    told = capsys.readouterr()
    assert SECRET not in bench.text + told.out + told.err + caplog.text
    assert not any(SECRET.encode() in blob.data for blob in bench.space.head.files.values())
    assert SECRET not in bench.space.head.message + bench.space.head.title


def holds_the_secret(body: bytes, *texts: str) -> bool:
    forms = (SECRET, json.dumps(SECRET)[1:-1], quote(SECRET))
    coded = base64.b64encode(SECRET.encode())[:16]
    return any(form.encode() in body or form in "".join(texts) for form in forms) or coded in body


def test_a_hub_that_repeats_a_secret_in_its_refusal_is_not_repeated(bench: Bench) -> None:
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.hub.fail("POST", "/secrets$", 400, {"error": f"the value {SECRET} is too weak"})
    with pytest.raises(SpaceError) as raised:
        bench.push()
    told = "".join(traceback.format_exception(raised.value))
    assert SECRET not in told
    assert "the value ••• is too weak" in str(raised.value)


def test_no_secret_is_sent_while_the_library_logs_requests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_DEBUG", True)
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    assert "HF_DEBUG" in bench.refused()
    assert bench.hub.made("POST", "/secrets$") == []


def test_a_secret_that_stands_in_a_file_is_refused_before_anything_is_sent(bench: Bench) -> None:
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.write("samref/oops.py", f"KEY = '{SECRET}'\n".encode())
    assert "samref/oops.py" in bench.refused()
    assert bench.hub.changes == []


def test_an_empty_secret_is_refused(bench: Bench) -> None:
    secret_bench(bench)
    assert "BUCKET_KEY is empty" in bench.refused()
    assert bench.hub.changes == []


# ---- somebody else's changes


def hand_edit(space: FakeSpace) -> None:
    space.commit(dict(space.head.files) | {"notes.txt": Blob(b"mine")}, "Update notes", author="bob")


def test_a_foreign_commit_is_not_written_over(bench: Bench) -> None:
    bench.push()
    hand_edit(bench.space)
    bench.write("app.py", b"4\n")
    sentence = bench.refused()
    assert "“Update notes” by bob" in sentence
    assert "--overwrite" in sentence
    assert bench.hub.changes == []
    bench.push(overwrite=True)
    assert bench.space.files.keys() - {".gitattributes"} == bench.files.keys()
    assert any(each.title == "Update notes" for each in bench.space.commits)


def test_a_commit_that_comes_in_between_stops_the_push(bench: Bench) -> None:
    bench.push()
    bench.write("app.py", b"5\n")
    bench.hub.before_commit = hand_edit
    for overwrite in (False, True):
        bench.hub.before_commit = hand_edit
        sentence = bench.refused(overwrite=overwrite)
        assert "by bob" in sentence
        assert bench.space.files["app.py"] == b"print('hello')\n"
        assert "notes.txt" in bench.space.files


def test_a_space_made_by_hand_with_files_of_its_own_is_not_written_over(bench: Bench) -> None:
    space = FakeSpace(SPACE, "gradio")
    space.commit({"README.md": Blob(b""), "app.py": Blob(b"mine")}, "initial commit")
    bench.hub.spaces[SPACE] = space
    assert "--overwrite" in bench.refused()
    assert bench.hub.changes == []


def test_a_space_just_made_by_hand_is_filled(bench: Bench) -> None:
    space = FakeSpace(SPACE, "gradio")
    space.commit({"README.md": Blob(b"---\n"), ".gitattributes": Blob(b"")}, "initial commit", author="anna")
    bench.hub.spaces[SPACE] = space
    bench.push()
    assert space.files["app.py"] == b"print('hello')\n"


# ---- lost connections


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_is_made_once_when_the_connection_is_lost(bench: Bench, when: str) -> None:
    bench.push()
    bench.write("app.py", b"6\n")
    bench.hub.lost_commits = [when]
    done = bench.push()
    assert len(bench.space.commits) == 3
    assert bench.space.files["app.py"] == b"6\n"
    assert done is not None
    assert done.commit == bench.space.head.id
    assert ("sending it again" in bench.text) == (when == "before")
    assert ("the commit is there" in bench.text) == (when == "after")


def test_a_connection_that_stays_away_is_said_and_the_push_can_be_repeated(bench: Bench) -> None:
    bench.push()
    bench.write("app.py", b"7\n")
    bench.hub.lost_commits = ["before"] * 3
    assert "connection" in bench.refused()
    assert len(bench.space.commits) == 2
    bench.push()
    assert bench.space.files["app.py"] == b"7\n"


def test_a_foreign_commit_during_a_lost_connection_is_not_taken_for_ours(bench: Bench) -> None:
    bench.push()
    bench.write("app.py", b"8\n")
    bench.hub.fail("POST", "/commit/main$", 502)
    bench.hub.faults[0].headers = Acting(lambda: hand_edit(bench.space))
    assert "by bob" in bench.refused()
    assert bench.space.files["app.py"] == b"print('hello')\n"


def test_somebody_elses_push_during_a_lost_connection_is_not_taken_for_ours(bench: Bench) -> None:
    bench.push()
    theirs = bench.space.head
    bench.write("app.py", b"8\n")
    bench.hub.fail("POST", "/commit/main$", 502)
    files = dict(theirs.files) | {"app.py": Blob(b"theirs\n")}
    message = re.sub("[0-9a-f]{64}", "0" * 64, theirs.message)
    assert message != theirs.message
    bench.hub.faults[0].headers = Acting(lambda: bench.space.commit(files, theirs.title, message, "bob"))
    assert "by bob" in bench.refused()
    assert bench.space.files["app.py"] == b"theirs\n"


class Acting(dict[str, str]):
    """Headers that do something as they are sent."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def items(self) -> Any:
        self._act()
        return super().items()


def test_an_answer_that_is_not_a_hubs_is_one_sentence(bench: Bench) -> None:
    bench.hub.fail("GET", f"/spaces/{SPACE}$", 200, {"hello": "I am a proxy"})
    assert "cannot be read" in bench.refused()


def test_a_hub_that_is_not_there_is_one_sentence(bench: Bench) -> None:
    bench.hub.endpoint = "http://127.0.0.1:9"
    assert "cannot" in bench.refused() or "lost" in bench.refused()


# ---- refusals


@pytest.mark.parametrize(
    ("status", "method", "path", "words"),
    [
        (402, "POST", "/repos/create$", "billing"),
        (403, "POST", "/repos/create$", "may not"),
        (401, "GET", "/whoami-v2$", "hf auth login"),
        (403, "POST", "/variables$", "may not"),
        (404, "POST", "/variables$", "finds no Space"),
        (413, "POST", "/commit/main$", "fewer or smaller"),
        (400, "POST", "/commit/main$", "refuses with 400"),
        (400, "POST", "/validate-yaml$", "README.md"),
        (402, "POST", "/preupload/main$", "billing"),
        (402, "POST", "/objects/batch$", "billing"),
        (403, "PUT", "^/storage/", "may not"),
        (503, "GET", "/variables$", "status.huggingface.co"),
    ],
)
def test_each_refusal_is_one_sentence(bench: Bench, status: int, method: str, path: str, words: str) -> None:
    bench.hub.fail(method, path, status, {"error": "so it is", "errors": [{"message": "so it is"}]}, times=9)
    sentence = bench.refused()
    assert words in sentence


def test_payment_is_asked_for_once_and_nothing_was_made(bench: Bench) -> None:
    bench.hub.fail("POST", "/repos/create$", 402, {"error": "subscribe to PRO"})
    assert "subscribe to PRO" in bench.refused()
    assert bench.hub.spaces == {}
    assert bench.clicked == []


def test_a_token_that_may_only_read_is_refused_at_once(bench: Bench) -> None:
    bench.hub.role = "read"
    assert "may only read" in bench.refused()
    assert [each.path for each in bench.hub.requests] == ["/api/whoami-v2"]


def test_a_wrong_token_is_refused_at_once(bench: Bench) -> None:
    assert "does not know the token" in bench.refused(token="hf_old")


@pytest.mark.parametrize("space", ["samref", "anna/", "anna/a b", "https://huggingface.co/anna/samref", "a/b/c"])
def test_a_name_that_is_none_is_refused(bench: Bench, space: str) -> None:
    assert "OWNER/NAME" in bench.refused(space=space)


def test_words_of_the_hub_steer_no_terminal(bench: Bench) -> None:
    bench.hub.fail("POST", "/variables$", 400, {"error": "\x1b[31mred\nline\x07" + "x" * 5000})
    sentence = bench.refused()
    assert "\x1b" not in sentence
    assert "\x07" not in sentence
    assert "red line" in sentence
    assert len(sentence) < 600


# ---- asked too often


def test_retry_after_is_waited_for_and_said(bench: Bench) -> None:
    bench.hub.fail("POST", "/variables$", 429, headers={"Retry-After": "17"}, times=2)
    bench.push()
    assert bench.slept[:2] == [17.0, 17.0]
    assert "waiting 17 s, as it says (2 of 5)" in bench.text
    assert bench.space.variables.keys() == bench.variables.keys()


def test_a_date_to_wait_for_is_understood(bench: Bench) -> None:
    bench.hub.fail("GET", "/whoami-v2$", 429, headers={"Retry-After": formatdate(time() + 40, usegmt=True)})
    bench.push()
    assert 30 < bench.slept[0] <= 40


def test_the_hubs_own_header_is_understood(bench: Bench) -> None:
    bench.hub.fail("GET", "/whoami-v2$", 429, headers={"RateLimit": '"api";r=0;t=55'})
    bench.push()
    assert bench.slept[0] == 55.0


def test_waiting_ends_after_some_times(bench: Bench) -> None:
    bench.hub.fail("POST", "/repos/create$", 429, headers={"Retry-After": "3"}, times=99)
    assert "too often" in bench.refused()
    assert bench.slept == [3.0] * 5


def test_nobody_waits_for_an_hour(bench: Bench) -> None:
    bench.hub.fail("GET", "/whoami-v2$", 429, headers={"Retry-After": "3600"})
    assert "in 60 minutes" in bench.refused()
    assert bench.slept == []


def test_a_commit_that_came_too_often_is_made_once(bench: Bench) -> None:
    bench.hub.fail("POST", "/commit/main$", 429, headers={"Retry-After": "2"})
    bench.push()
    assert len(bench.space.commits) == 2
    assert bench.slept[0] == 2.0


# ---- what costs


def test_paid_hardware_is_asked_about_before_anything_is_made(bench: Bench) -> None:
    bench.hardware, bench.sleep_after_s, bench.answer = "t4-small", 1800, False
    assert bench.push() is None
    assert bench.asked == [
        "From this push on the Space runs on t4-small at 0.40 $ an hour while it runs (prices of August 2026). Go on?"
    ]
    assert bench.hub.changes == []
    bench.answer = True
    bench.push()
    assert (bench.space.hardware, bench.space.sleep_s) == ("t4-small", 1800)
    assert bench.hub.made("POST", "/hardware$") == []  # it was made on it


def test_hardware_of_unknown_price_is_asked_about(bench: Bench) -> None:
    assert "rtx-pro-6000" not in PRICE_USD_PER_HOUR
    bench.hardware, bench.answer = "rtx-pro-6000", False
    bench.push()
    assert "not known here" in bench.asked[0]


def test_other_hardware_is_asked_for_after_the_commit_and_only_once(bench: Bench) -> None:
    bench.push()
    bench.hardware, bench.sleep_after_s = "t4-small", 1800
    bench.write("app.py", b"9\n")
    bench.push()
    paths = [each.path.rsplit("/", 1)[-1] for each in bench.hub.changes]
    assert paths.index("hardware") > paths.index("main")
    assert len(bench.asked) == 1
    bench.push()
    assert bench.hub.changes == []
    assert len(bench.asked) == 1


def test_a_longer_time_before_sleep_is_asked_about_and_a_shorter_one_is_not(bench: Bench) -> None:
    bench.hardware, bench.sleep_after_s = "t4-small", 1800
    bench.push()
    bench.sleep_after_s = 900
    bench.push()
    assert (bench.space.sleep_s, len(bench.asked)) == (900, 1)
    bench.sleep_after_s = 7200
    bench.push()
    assert (bench.space.sleep_s, len(bench.asked)) == (7200, 2)


def test_waking_paid_hardware_is_asked_about(bench: Bench) -> None:
    bench.hardware = "t4-small"
    bench.push()
    bench.space.stages = ["PAUSED"]
    bench.answer = False
    bench.push()
    assert len(bench.asked) == 2
    assert bench.space.restarts == 0


@pytest.mark.parametrize("stage", ["PAUSED", "SLEEPING", "STOPPED", "RUNTIME_ERROR"])
def test_a_space_that_does_not_run_is_started(bench: Bench, stage: str) -> None:
    bench.push()
    bench.space.stages = [stage]
    bench.push()
    assert bench.space.restarts == 1
    assert len(bench.clicked) == 2


# ---- waiting


def test_a_failed_build_shows_its_last_lines(bench: Bench) -> None:
    bench.hub.after_commit = ["BUILDING", "BUILD_ERROR"]
    bench.hub.spaces[SPACE] = space = FakeSpace(SPACE, "gradio", error="build failed")
    space.commit({".gitattributes": Blob(b"")}, "initial commit")
    space.logs["build"] = [f"line {number}\n" for number in range(100)] + ["\x1b[1mERROR: no torch for you\x1b[0m\n"]
    sentence = bench.refused()
    assert "build failed" in sentence
    shown = [line for line in bench.said if line.startswith("  | ")]
    assert shown[-1] == "  | ERROR: no torch for you"
    assert len(shown) == 20
    assert bench.clicked == []


def test_an_app_that_fails_shows_the_log_of_its_run_without_secrets(bench: Bench) -> None:
    secret_bench(bench).given = {"SPACE_SECRET_BUCKET_KEY": SECRET}
    bench.hub.after_commit = ["BUILDING", "APP_STARTING", "RUNTIME_ERROR"]
    bench.hub.spaces[SPACE] = space = FakeSpace(SPACE, "gradio")
    space.commit({".gitattributes": Blob(b"")}, "initial commit")
    space.logs["run"] = [f"key is {SECRET}\n", "Traceback\n"]
    bench.refused()
    assert "  | key is •••" in bench.said
    assert SECRET not in bench.text


def test_the_failure_of_the_version_before_is_not_taken_for_this_one(bench: Bench) -> None:
    bench.push()
    bench.space.stages = ["BUILD_ERROR"]
    bench.hub.after_commit = ["BUILD_ERROR", "BUILD_ERROR", "BUILDING", "RUNNING"]
    bench.write("app.py", b"10\n")
    bench.push()
    assert len(bench.clicked) == 2


@pytest.mark.parametrize("tells_commit", [True, False])
def test_the_version_before_that_still_runs_is_not_taken_for_this_one(bench: Bench, tells_commit: bool) -> None:
    bench.push()
    space = bench.space
    space.tells_commit = tells_commit
    before = space.head.id
    bench.hub.after_commit = [STILL, STILL, "RUNNING_BUILDING", "RUNNING_APP_STARTING", "RUNNING"]
    bench.write("app.py", b"11\n")
    bench.push()
    assert before != space.running == space.head.id
    assert len(bench.clicked) == 2


def test_a_hub_that_is_slow_to_begin_is_waited_for_where_it_names_the_commit(bench: Bench) -> None:
    bench.push()
    bench.hub.after_commit = [*[STILL] * 40, "RUNNING_BUILDING", "RUNNING"]
    bench.write("app.py", b"11\n")
    bench.push()
    assert bench.space.running == bench.space.head.id


@pytest.mark.parametrize("tells_commit", [True, False])
def test_a_changed_variable_is_waited_for_although_the_commit_is_the_same(bench: Bench, tells_commit: bool) -> None:
    bench.push()
    bench.space.tells_commit = tells_commit
    bench.space.stages = [STILL, "APP_STARTING", "RUNTIME_ERROR"]
    bench.variables = {"SAMREF_API": "0"}
    assert "the app has failed" in bench.refused()


def test_patience_ends_in_a_sentence(bench: Bench) -> None:
    bench.hub.after_commit = ["BUILDING"]
    sentence = bench.refused(patience_s=120)
    assert "After 2 minutes the Space is still building" in sentence
    assert 120 <= sum(bench.slept) <= 130


def test_no_patience_means_no_wait(bench: Bench) -> None:
    done = bench.push(patience_s=0)
    assert done is not None
    assert done.click == ""
    assert bench.clicked == []


def test_a_private_space_is_clicked_with_the_token(bench: Bench) -> None:
    bench.push()
    bench.space.is_private = True
    bench.push()
    assert bench.clicked[-1] == ("https://anna-samref.hf.space", True)


# ---- status


def test_status_of_what_was_just_pushed_finds_no_difference(bench: Bench) -> None:
    bench.push()
    lines = status_in_words(bench.door(), bench.wanted())
    assert "files      all 5 are those of a fresh build" in lines
    assert "stage      running" in lines
    assert not any("missing" in line or "differs" in line or "there only" in line for line in lines)


def test_status_tells_every_difference_and_changes_nothing(bench: Bench) -> None:
    bench.push()
    hand_edit(bench.space)
    bench.space.stages = ["SLEEPING"]
    bench.space.variables["HAND_MADE"] = {"value": "x"}
    bench.variables = {"SAMREF_API": "0"}
    secret_bench(bench)
    bench.hardware = "t4-small"
    bench.write("app.py", b"12\n")
    bench.write("new.py", b"13\n")
    bench.hub.requests.clear()
    text = "\n".join(status_in_words(bench.door(), bench.wanted()))
    assert bench.hub.changes == []
    for words in (
        "asleep",
        "the next visitor wakes it",
        "cpu-basic, free; Spacefile says t4-small",
        "“Update notes” by bob",
        "SAMREF_API='0', but '1' there",
        "HAND_MADE='x' is there only",
        "secret     BUCKET_KEY missing, required (keeps labels)",
        "file       app.py differs",
        "file       new.py is missing there",
        "file       notes.txt is there only",
    ):
        assert words in text


def test_status_of_no_space_says_how_to_make_it(bench: Bench) -> None:
    with pytest.raises(SpaceError, match="space push anna/samref"):
        status_in_words(bench.door(), bench.wanted())
