"""Fetching, checking and loading weights; the server is a local one and the file a few kilobytes."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError
from samref.models.checkpoints import (
    cache_folder,
    cached_path,
    check_address,
    fetch,
    load_into,
    load_safetensors,
    load_torch,
    locate,
    verify,
)
from samref.models.interface import Checkpoint

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A file server with switches for everything that can go wrong."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    stop_after: int | None = None
    status: int | None = None
    redirect: str | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.redirect is not None and self.path != state.redirect:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if state.status is not None:
                self.send_error(state.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if start and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.stop_after is None else body[: state.stop_after])

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/weights.pth"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def wanted(server: Server) -> Checkpoint:
    return Checkpoint("weights.pth", server.url, DIGEST, len(CONTENT))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SAMREF_CACHE", str(folder))
    return folder


def files(folder: Path) -> list[str]:
    """What lies in ``folder`` but for locks."""
    return sorted(path.name for path in folder.glob("[!.]*"))


class TestFetching:
    def test_a_fetched_file_lies_in_the_cache_under_its_own_name(self, wanted: Checkpoint, cache: Path) -> None:
        path = fetch(wanted)
        assert path == cache / "weights.pth"
        assert path.read_bytes() == CONTENT
        assert files(cache) == ["weights.pth"]

    def test_a_good_file_is_not_fetched_again(self, wanted: Checkpoint, server: Server) -> None:
        fetch(wanted)
        fetch(wanted)
        assert len(server.asked) == 1

    def test_a_damaged_file_is_replaced(self, wanted: Checkpoint, cache: Path) -> None:
        cache.mkdir()
        (cache / "weights.pth").write_bytes(b"x" * len(CONTENT))
        assert fetch(wanted).read_bytes() == CONTENT

    def test_a_broken_transfer_goes_on_where_it_stopped(self, wanted: Checkpoint, server: Server, cache: Path) -> None:
        server.stop_after = 4000
        with pytest.raises(CheckpointMissingError, match="goes on from there"):
            fetch(wanted)
        assert files(cache) == ["weights.pth.part"]
        server.stop_after = None
        assert fetch(wanted).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=4000-"]

    def test_a_server_without_ranges_sends_everything_again(
        self, wanted: Checkpoint, server: Server, cache: Path
    ) -> None:
        cache.mkdir()
        (cache / "weights.pth.part").write_bytes(b"stale" * 100)
        server.ranges = False
        assert fetch(wanted).read_bytes() == CONTENT

    def test_a_partial_file_longer_than_the_checkpoint_is_started_again(
        self, wanted: Checkpoint, server: Server, cache: Path
    ) -> None:
        cache.mkdir()
        (cache / "weights.pth.part").write_bytes(bytes(len(CONTENT) + 7))
        assert fetch(wanted).read_bytes() == CONTENT
        assert server.asked == [None]

    def test_a_range_the_server_cannot_serve_starts_again(
        self, wanted: Checkpoint, server: Server, cache: Path
    ) -> None:
        cache.mkdir()
        (cache / "weights.pth.part").write_bytes(bytes(len(CONTENT) + 7))
        unknown_size = replace(wanted, size_bytes=None)
        assert fetch(unknown_size).read_bytes() == CONTENT
        assert len(server.asked) == 2

    def test_a_wrong_digest_leaves_nothing_behind(self, wanted: Checkpoint, server: Server, cache: Path) -> None:
        server.content = bytes(len(CONTENT))
        with pytest.raises(CheckpointInvalidError, match="SHA-256"):
            fetch(wanted)
        assert files(cache) == []

    def test_damage_in_the_first_part_is_found_after_resuming(self, wanted: Checkpoint, cache: Path) -> None:
        cache.mkdir()
        (cache / "weights.pth.part").write_bytes(b"y" * 100)
        with pytest.raises(CheckpointInvalidError):
            fetch(wanted)
        assert fetch(wanted).read_bytes() == CONTENT

    @pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"more", b"<html>sign in first</html>"])
    def test_a_file_of_another_size_is_refused_before_its_first_byte(
        self, wanted: Checkpoint, server: Server, cache: Path, content: bytes
    ) -> None:
        server.content = content
        with pytest.raises(CheckpointInvalidError, match="offers a file of"):
            fetch(wanted)
        assert files(cache) == []

    def test_a_transfer_of_unknown_size_that_breaks_off_is_noticed(self, wanted: Checkpoint, server: Server) -> None:
        server.stop_after = 10
        with pytest.raises(CheckpointMissingError, match="broke off"):
            fetch(replace(wanted, size_bytes=None))

    def test_an_error_page_is_a_sentence_with_the_way_out(
        self, wanted: Checkpoint, server: Server, cache: Path
    ) -> None:
        server.status = 404
        with pytest.raises(CheckpointMissingError, match="404") as raised:
            fetch(wanted)
        assert str(cache) in str(raised.value)

    def test_no_server_is_a_sentence(self, wanted: Checkpoint) -> None:
        closed = replace(wanted, url="http://127.0.0.1:9/weights.pth")
        with pytest.raises(CheckpointMissingError, match="Check the connection"):
            fetch(closed)

    def test_a_checkpoint_without_an_address_cannot_be_fetched(self) -> None:
        with pytest.raises(CheckpointMissingError, match="no address"):
            fetch(Checkpoint("own.pth"))

    def test_two_processes_do_not_share_a_partial_file(self, wanted: Checkpoint, cache: Path) -> None:
        cache.mkdir()
        with (
            filelock.FileLock(cache / ".weights.pth.lock"),
            pytest.raises(CheckpointMissingError, match="Another process"),
        ):
            fetch(wanted)


class TestAddresses:
    @pytest.mark.parametrize(
        "url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "http://127.0.0.1.example.org/a"]
    )
    def test_only_encrypted_addresses_are_asked(self, url: str) -> None:
        with pytest.raises(CheckpointInvalidError, match="https only"):
            fetch(Checkpoint("a.pth", url))

    def test_https_and_this_machine_may_be_asked(self) -> None:
        check_address("https://example.org/a")
        check_address("http://localhost:8000/a")

    def test_a_redirect_to_plain_http_is_not_followed(self, wanted: Checkpoint, server: Server) -> None:
        server.redirect = "http://example.org/weights.pth"
        with pytest.raises(CheckpointInvalidError, match="https only"):
            fetch(wanted)

    def test_a_redirect_on_this_machine_is_followed(self, wanted: Checkpoint, server: Server) -> None:
        server.redirect = "/elsewhere/weights.pth"
        assert fetch(wanted).read_bytes() == CONTENT


class TestFullDisk:
    def test_too_little_space_is_said_before_the_transfer(
        self, wanted: Checkpoint, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage("/")._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(StorageError, match="Make room"):
            fetch(wanted)
        assert server.asked == []

    def test_a_disk_that_fills_up_keeps_what_has_arrived(self, wanted: Checkpoint, server: Server, cache: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, limits[1]))
        try:
            with pytest.raises(StorageError, match="the disk is full"):
                fetch(wanted)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (cache / "weights.pth.part").read_bytes() == CONTENT[:2500]
        assert not (cache / "weights.pth").exists()
        assert fetch(wanted).read_bytes() == CONTENT
        assert server.asked[-1] == "bytes=2500-"

    def test_a_folder_that_cannot_be_made_is_a_sentence(
        self, wanted: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "file" / "below"))
        with pytest.raises(StorageError, match="reports Not a directory"):
            fetch(wanted)


class TestFinding:
    def test_the_cache_folder_can_be_chosen(self, cache: Path) -> None:
        assert cache_folder() == cache
        assert cached_path(Checkpoint("a.pth")) == cache / "a.pth"

    def test_the_users_cache_folder_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SAMREF_CACHE")
        assert "samref" in cache_folder().parts

    def test_a_missing_checkpoint_names_the_path_and_the_command(self, cache: Path) -> None:
        with pytest.raises(CheckpointMissingError) as raised:
            locate(Checkpoint("a.pth", url="https://example.org/a.pth"), "sam-vit-b")
        assert str(cache / "a.pth") in str(raised.value)
        assert "python -m samref models fetch sam-vit-b" in str(raised.value)

    def test_missing_weights_that_nobody_publishes_are_to_be_trained(self, cache: Path) -> None:
        with pytest.raises(CheckpointMissingError, match="None of segnext-b-sum are published: train them"):
            locate(Checkpoint("a.pth"), "segnext-b-sum")

    def test_a_path_of_the_users_own_comes_first(self, tmp_path: Path) -> None:
        own = tmp_path / "own.pth"
        with pytest.raises(CheckpointMissingError, match=r"own\.pth"):
            locate(Checkpoint("a.pth"), "sam-vit-b", own)
        own.touch()
        assert locate(Checkpoint("a.pth"), "sam-vit-b", own) == own


class TestVerifying:
    @pytest.mark.parametrize("sha256", [DIGEST, DIGEST[:6], DIGEST.upper(), None])
    def test_the_right_file_passes_whole_or_leading_digits(self, tmp_path: Path, sha256: str | None) -> None:
        path = tmp_path / "weights.pth"
        path.write_bytes(CONTENT)
        verify(path, Checkpoint("weights.pth", sha256=sha256, size_bytes=len(CONTENT)))

    @pytest.mark.parametrize("checkpoint", [Checkpoint("w.pth", sha256="ab" * 32), Checkpoint("w.pth", size_bytes=3)])
    def test_another_file_is_refused(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        path = tmp_path / "w.pth"
        path.write_bytes(CONTENT)
        with pytest.raises(CheckpointInvalidError, match=r"w\.pth"):
            verify(path, checkpoint)

    def test_no_file_is_a_missing_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointMissingError):
            verify(tmp_path / "none.pth", Checkpoint("none.pth"))


class Evil:
    """A pickle that would run a command when loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class TestLoading:
    def test_weights_come_back_as_they_were_saved(self, tmp_path: Path) -> None:
        weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}
        torch.save(weights, tmp_path / "plain.pth")
        torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "nested.pth")
        save_file(weights, tmp_path / "own.safetensors")
        for loaded in (
            load_torch(tmp_path / "plain.pth"),
            load_torch(tmp_path / "nested.pth"),
            load_safetensors(tmp_path / "own.safetensors"),
        ):
            assert loaded.keys() == weights.keys()
            assert all(torch.equal(loaded[key], weights[key]) for key in weights)

    def test_a_pickle_with_code_is_refused_and_never_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        torch.save({"a": Evil(marker)}, tmp_path / "evil.pth")
        (tmp_path / "plain-pickle.pth").write_bytes(pickle.dumps(Evil(marker), protocol=2))
        for name in ("evil.pth", "plain-pickle.pth"):
            with pytest.raises(CheckpointInvalidError, match="refused"):
                load_torch(tmp_path / name)
        assert not marker.exists()

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not really", CONTENT])
    def test_a_file_of_something_else_is_a_sentence(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(CheckpointInvalidError):
            load_torch(path)
        with pytest.raises(CheckpointInvalidError):
            load_safetensors(path)

    def test_a_truncated_checkpoint_is_a_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.pth"
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(CheckpointInvalidError):
            load_torch(path)

    def test_something_else_than_weights_by_name_is_refused(self, tmp_path: Path) -> None:
        torch.save([torch.zeros(1)], tmp_path / "list.pth")
        with pytest.raises(CheckpointInvalidError, match="weights by name"):
            load_torch(tmp_path / "list.pth")

    def test_the_digest_is_checked_before_the_file_is_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "w.pth"
        torch.save({"a": torch.zeros(1)}, path)
        with pytest.raises(CheckpointInvalidError, match="SHA-256"):
            load_torch(path, Checkpoint("w.pth", sha256="00" * 32))
        with pytest.raises(CheckpointInvalidError, match="SHA-256"):
            load_safetensors(path, sha256="00" * 32)


class TestFilling:
    def test_weights_that_fit_are_taken(self) -> None:
        module = nn.Linear(2, 1)
        load_into(module, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "toy")
        assert float(module(torch.ones(1, 2)).item()) == 2.0

    def test_what_does_not_fit_is_named_and_nothing_is_changed(self) -> None:
        module = nn.Linear(2, 1)
        before = module.weight.clone()
        with pytest.raises(CheckpointInvalidError) as raised:
            load_into(module, {"weight": torch.ones(3, 2), "gamma": torch.ones(1)}, "toy")
        message = str(raised.value)
        assert "toy" in message
        assert "missing: bias" in message
        assert "not part of the model: gamma" in message
        assert "weight is (3, 2) instead of (1, 2)" in message
        assert torch.equal(module.weight, before)

    def test_a_long_list_of_keys_is_shortened(self) -> None:
        with pytest.raises(CheckpointInvalidError, match="and 6 more"):
            load_into(nn.Identity(), {f"k{i}": torch.ones(1) for i in range(10)}, "toy")
