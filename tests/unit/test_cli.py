"""The command line as a person meets it: one sentence on stderr and exit code 1 for everything that can be repaired."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.cli.main import COMMANDS, main
from samref.cli.segment import parse_box, parse_click, parse_polygon, parse_scribble
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Scribble
from samref.errors import PromptError

MODEL = ("--model", "tiny-random")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "disk.png"
    rows, columns = np.mgrid[0:96, 0:128]
    disk = (rows - 48) ** 2 + (columns - 64) ** 2 < 30**2
    Image.fromarray(np.where(disk[..., None], (220, 60, 40), (30, 90, 160)).astype(np.uint8)).save(path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, err = run(capsys, *arguments)
    assert code != 0
    assert out == ""
    assert err.startswith("samref: ")
    assert err.count("\n") == 1, "one sentence, no traceback"
    return err


def test_help_names_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    program = "import sys; from samref.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "assert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_can_be_asked_for_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"samref {name}" in out


def test_help_tells_the_defaults_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "serve", "--help")
    assert "[tiny]" in out
    assert "[7860]" in out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "paint")
    assert code != 0
    assert "paint" in err


def test_prompts_are_read_from_text() -> None:
    assert parse_click("3,4") == Click(3, 4)
    assert parse_click("3.5,4,-") == Click(3.5, 4, positive=False)
    assert parse_click(" 3, 4, + ") == Click(3, 4)
    assert parse_box("0,1,20,30") == Box(0, 1, 20, 30)
    assert parse_scribble("1,2;3,4;5,6") == Scribble(((1, 2), (3, 4), (5, 6)))
    assert parse_scribble("1,2;3,4,-") == Scribble(((1, 2), (3, 4)), positive=False)
    assert parse_scribble("1,2;3,4;,-") == Scribble(((1, 2), (3, 4)), positive=False)
    assert parse_polygon("0,0;9,0;9,9") == Polygon(((0, 0), (9, 0), (9, 9)))


@pytest.mark.parametrize("text", ["", "3", "3,4,5", "x,y", "3,4,-,-", "3;4"])
def test_text_that_is_no_click_is_refused(text: str) -> None:
    with pytest.raises(PromptError, match="not of the form"):
        parse_click(text)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d"])
def test_text_that_is_no_box_is_refused(text: str) -> None:
    with pytest.raises(PromptError, match="not of the form"):
        parse_box(text)


def test_segment_writes_the_mask_and_its_story(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask_file, json_file = tmp_path / "mask.png", tmp_path / "mask.json"
    arguments = ("--click", "64,48", "--click", "2,2,-", "--box", "30,10,98,86", "--scribble", "60,40;70,50")
    code, out, err = run(
        capsys, "segment", str(image), *arguments, *MODEL, "-o", str(mask_file), "--json", str(json_file)
    )
    assert (code, err) == (0, "")
    assert "pixels" in out
    story = json.loads(json_file.read_text(encoding="utf-8"))
    with Image.open(mask_file) as written:
        mask = np.asarray(written)
    assert mask.shape == (96, 128)
    assert set(np.unique(mask)) <= {0, 255}
    counts = story["segmentation"]
    height, width = counts["size"]
    assert np.array_equal(Rle(height, width, counts["counts"]).to_mask(), mask > 0)
    assert story["area"] == np.count_nonzero(mask)
    assert [prompt["type"] for prompt in story["prompts"]] == ["box", "scribble", "click", "click"]
    assert story["model"] == "tiny-random"
    assert story["stage"] == "refined"


def test_segment_can_speak_json_on_standard_output(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "segment", str(image), "--click", "64,48", *MODEL, "--json", "-", "--stage", "coarse")
    assert code == 0
    assert json.loads(out)["stage"] == "coarse"


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ((), "at least one"),
        (("--click", "500,10"), "outside the image"),
        (("--click", "-3,10"), "outside the image"),
        (("--click", "nan,10"), "finite"),
        (("--click", "inf,10"), "finite"),
        (("--click", "somewhere"), "not of the form"),
        (("--box", "10,10,10,50"), "no area"),
        (("--box", "10,10,5,50"), "no area"),
        (("--scribble", "5,5;900,5"), "outside the image"),
        (("--polygon", "5,5;9,9"), "three corners"),
        (("--polygon", "5,5;9,9;7,7"), "no area"),
        (("--click", "5,5") * 10_000, "10000"),
        (("--click", "5,5", "--stage", "final"), "no stage"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_in_one_sentence(
    image: Path, capsys: pytest.CaptureFixture[str], prompts: tuple[str, ...], words: str
) -> None:
    assert words in refused(capsys, "segment", str(image), *prompts, *MODEL)


def bomb() -> bytes:
    """A PNG that claims 300 megapixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 15_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.jpg", b""),
        ("words.jpg", b"this is not an image"),
        ("half.jpg", truncated()),
        ("bomb.png", bomb()),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    ],
)
def test_a_file_that_is_no_usable_image_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    target = tmp_path / "mask.png"
    refused(capsys, "segment", str(path), "--click", "1,1", *MODEL, "-o", str(target))
    assert not target.exists()


def test_a_missing_image_and_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file" in refused(capsys, "segment", str(tmp_path / "gone.jpg"), "--click", "1,1", *MODEL)
    refused(capsys, "segment", str(tmp_path), "--click", "1,1", *MODEL)


def test_an_unknown_model_is_refused_by_name(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gigantic" in refused(capsys, "segment", str(image), "--click", "5,5", "--model", "gigantic")


def test_a_checkpoint_of_something_else_is_refused(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"not weights at all")
    refused(capsys, "segment", str(image), "--click", "5,5", "--model", "tiny", "--checkpoint", str(weights))


def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("segment", str(image), "--click", "5,5", *MODEL)
    assert "folder" in refused(capsys, *arguments, "-o", str(tmp_path))
    assert "not a folder" in refused(capsys, *arguments, "-o", str(tmp_path / "nowhere" / "mask.png"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_no_space_left_is_one_sentence(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the disk is full" in refused(capsys, "segment", str(image), "--click", "5,5", *MODEL, "-o", "/dev/full")


def test_a_failed_write_leaves_the_old_file(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "mask.png"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samref.files.os.fsync", full)
    assert "the disk is full" in refused(capsys, "segment", str(image), "--click", "5,5", *MODEL, "-o", str(target))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
