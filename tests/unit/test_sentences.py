"""The sentences a person can meet, all in ``sentences.json``; elsewhere tests assert codes, so prose can be mended.

``SAMREF_SENTENCES=write pytest tests/unit/test_sentences.py`` writes the file anew; read what has changed.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.cli.main import build_app
from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts, Scribble, check_prompts, prompt_from_dict
from samref.errors import SamrefError
from samref.labels.classes import LabelClass, find_class
from samref.models.checkpoints import verify
from samref.models.interface import Checkpoint
from samref.settings import Settings

SNAPSHOT = Path(__file__).with_name("sentences.json")

CLASSES = (LabelClass(1, "cat", "#ff0000"),)


def samref(*arguments: str) -> Callable[[Path], object]:
    """A call of the command line; ``{folder}`` is the test's own folder."""

    def call(folder: Path) -> object:
        words = [word.replace("{folder}", str(folder)) for word in arguments]
        return build_app(words[0])(words, prog_name="samref", standalone_mode=False)

    return call


def segment(*prompts: str, image: str = "{folder}/image.png") -> Callable[[Path], object]:
    return samref("segment", image, "--model", "tiny-random", *prompts)


def segment_file(name: str) -> Callable[[Path], object]:
    return segment("--click", "1,1", image=f"{{folder}}/{name}")


def setting(name: str, value: str) -> Callable[[Path], object]:
    return lambda _: Settings.from_environment({name: value})


CALLS: Mapping[str, Callable[[Path], object]] = {
    "prompt: none": segment(),
    "prompt: no click": segment("--click", "somewhere"),
    "prompt: no box": segment("--box", "1,2,3"),
    "prompt: no scribble": segment("--scribble", "1,2;3"),
    "prompt: no stage": segment("--click", "5,5", "--stage", "final"),
    "prompt: outside": segment("--click", "500,10"),
    "prompt: not finite": segment("--click", "nan,10"),
    "prompt: box without area": segment("--box", "10,10,10,50"),
    "prompt: polygon of two corners": segment("--polygon", "5,5;9,9"),
    "prompt: polygon without area": segment("--polygon", "5,5;9,9;7,7"),
    "prompt: too many": segment(*("--click", "5,5") * 1001),
    "prompt: empty scribble": lambda _: check_prompts(Prompts((Scribble(()),)), ImageSize(10, 10)),
    "prompt: wide scribble": lambda _: check_prompts(Prompts((Scribble(((1, 1),), width=99),)), ImageSize(10, 10)),
    "prompt: mask of another size": lambda _: check_prompts(
        Prompts((), Rle.from_mask(np.ones((4, 4), dtype=np.bool_))), ImageSize(10, 10)
    ),
    "prompt: unknown kind": lambda _: prompt_from_dict({"type": "lasso"}),
    "prompt: missing value": lambda _: prompt_from_dict({"type": "click", "positive": True}),
    "image: no file": segment_file("gone.jpg"),
    "image: folder": segment_file("."),
    "image: empty": segment_file("empty.jpg"),
    "image: words": segment_file("words.jpg"),
    "image: truncated": segment_file("half.jpg"),
    "image: too many pixels": segment_file("bomb.png"),
    "image: drawing": segment_file("drawing.svg"),
    "image: document": segment_file("document.pdf"),
    "image: HEIC": segment_file("photo.heic"),
    "storage: folder instead of file": segment("--click", "5,5", "-o", "{folder}"),
    "storage: no such folder": segment("--click", "5,5", "-o", "{folder}/nowhere/mask.png"),
    "storage: full disk": segment("--click", "5,5", "-o", "/dev/full"),
    "model: unknown": segment("--click", "5,5", "--model", "gigantic"),
    "model: not fetched": segment("--click", "5,5", "--model", "sam-vit-b"),
    "model: by hand": samref("models", "fetch", "segnext-b-sax1"),
    "model: no checkpoint file": segment("--click", "5,5", "--model", "tiny", "--checkpoint", "{folder}/none.pth"),
    "model: checkpoint is a folder": segment("--click", "5,5", "--model", "tiny", "--checkpoint", "{folder}"),
    "model: no device": segment("--click", "5,5", "--device", "abacus"),
    "model: no precision": segment("--click", "5,5", "--precision", "fp8"),
    "model: wrong size": lambda folder: verify(folder / "words.jpg", Checkpoint("sam.pth", size_bytes=7)),
    "model: wrong digest": lambda folder: verify(folder / "words.jpg", Checkpoint("sam.pth", sha256="00" * 32)),
    "model: empty file": lambda folder: verify(folder / "empty.jpg", Checkpoint("sam.pth")),
    "label: class without name": lambda _: LabelClass(1, "", "#ff0000"),
    "label: class of a wrong number": lambda _: LabelClass(0, "cat", "#ff0000"),
    "label: class of no colour": lambda _: LabelClass(1, "cat", "red"),
    "label: no such class": lambda _: find_class(CLASSES, 7),
    "labels: nothing to list": samref("workspaces", "list", "--data", "{folder}/nothing"),
    "labels: nothing to back up": samref("backup", "{folder}/backup", "--data", "{folder}/nothing"),
    "labels: nothing to restore": samref("workspaces", "restore", "{folder}/nothing", "--data", "{folder}/data"),
    "setting: port": setting("SAMREF_PORT", "70000"),
    "setting: number": setting("GRADIO_SERVER_PORT", "web"),
    "setting: not above zero": setting("SAMREF_STORE_BYTES", "0"),
    "setting: days": setting("SAMREF_DEMO_DAYS", "-1"),
    "setting: yes or no": setting("SAMREF_SELF_TEST", "perhaps"),
    "setting: precision": setting("SAMREF_PRECISION", "fp8"),
    "setting: frame": setting("SAMREF_FRAME_ANCESTORS", "example.org"),
    "setting: no longer there": setting("SAMREF_WORKSPACE_DAYS", "30"),
    "serve: taken address": samref("serve", "--host", "192.0.2.1", "--data", "{folder}/data", "--no-self-test"),
    "serve: data folder is a file": samref(
        "serve", "--data", "{folder}/words.jpg/data", "--model", "tiny-random", "--port", "0"
    ),
    "space: no owner": samref("space", "push", "samref"),
    "export: unknown model": samref("export", "gigantic", "--out", "{folder}/onnx"),
    "evaluate: no data": samref("evaluate", "--data", "{folder}/nothing", "--model", "tiny-random"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that cannot be used, and an image that can."""
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "cache"))
    rows, columns = np.mgrid[0:96, 0:128]
    rgb = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "image.png")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG")
    files = {
        "empty.jpg": b"",
        "words.jpg": b"this is not an image",
        "half.jpg": buffer.getvalue()[: buffer.tell() // 2],
        "bomb.png": bomb(),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "document.pdf": b"%PDF-1.7 and so on",
        "photo.heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def bomb() -> bytes:
    """A PNG that claims 300 megapixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 15_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def met(call: Callable[[Path], object], folder: Path) -> dict[str, str]:
    with pytest.raises(SamrefError) as raised:
        call(folder)
    return {"code": raised.value.code, "sentence": str(raised.value).replace(str(folder), "{folder}")}


@pytest.mark.parametrize("name", CALLS)
def test_a_failure_is_told_in_the_sentence_of_the_snapshot(name: str, folder: Path) -> None:
    known = json.loads(SNAPSHOT.read_text("utf-8")) if SNAPSHOT.is_file() else {}
    found = met(CALLS[name], folder)
    if os.environ.get("SAMREF_SENTENCES") == "write":
        known = {each: known[each] for each in CALLS if each in known} | {name: found}
        ordered = {each: known[each] for each in CALLS if each in known}
        SNAPSHOT.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        assert found == known[name]


def test_the_snapshot_holds_one_line_for_each_call_and_nothing_else() -> None:
    known = json.loads(SNAPSHOT.read_text("utf-8"))
    assert known.keys() == CALLS.keys()
    assert [name for name, each in known.items() if "\n" in each["sentence"]] == []
