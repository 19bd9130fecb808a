"""Boxes of a folder become masks; what was done survives a kill; one bad image keeps no other from being done."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samref.cli.main import main
from samref.core.prompts import Box, Prompts
from samref.inference.device import load_predictor
from samref.inference.image_source import image_from
from samref.inference.predictor import Predictor

NAMES = ("a.png", "deep/b.png", "c.png")
BOXES = ([10, 10, 40, 30], [50, 30, 30, 30])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        pixels = np.random.default_rng(seed).integers(0, 255, (72, 96, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(images / name)
    write_boxes(tmp_path)
    return tmp_path


def write_boxes(folder: Path, names: tuple[str, ...] = NAMES, **size: int) -> None:
    data = {
        "images": [{"id": n, "file_name": name, **size} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": 1, "bbox": box}
            for n in range(len(names))
            for k, box in enumerate(BOXES)
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(data))


def arguments(folder: Path, *more: str) -> list[str]:
    out = ["--out", str(folder / "masks.json"), "--model", "tiny-random", "--device", "cpu", "--precision", "fp32"]
    return ["segment-folder", str(folder / "images"), *out, *more]


def run(folder: Path, *more: str) -> int:
    try:
        main(arguments(folder, *(more or ("--boxes", str(folder / "boxes.json")))))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "masks.json").read_text())
    return found


def test_each_box_becomes_the_mask_that_the_model_gives_for_it(folder: Path) -> None:
    assert run(folder, "--boxes", str(folder / "boxes.json"), "--rle", "--review", str(folder / "review.csv")) == 0
    found = result(folder)
    assert [image["file_name"] for image in found["images"]] == ["a.png", "deep/b.png", "c.png"]
    assert len(found["annotations"]) == 6
    predictor = load_predictor("tiny-random", device="cpu", precision="fp32")
    embedding = predictor.embed(image_from(folder / "images" / "deep" / "b.png"))
    *_, expected = predictor.predict(embedding, Prompts((Box(50, 30, 80, 60),)))
    mask = found["annotations"][3]
    assert mask["segmentation"] == expected.mask.to_coco()
    assert mask["samref"]["prompts"]["items"] == [{"type": "box", "x0": 50, "y0": 30, "x1": 80, "y1": 60}]
    assert not (folder / "masks.json.journal").exists()
    rows = list(csv.DictReader((folder / "review.csv").open()))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    assert {row["image"] for row in rows} == set(NAMES)


def test_yolo_labels_beside_the_images_or_in_their_own_folder_are_found(folder: Path) -> None:
    (folder / "labels" / "deep").mkdir(parents=True)
    (folder / "labels" / "deep" / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("names: [dog]\n")
    assert run(folder, "--rle") == 0
    found = result(folder)
    assert [image["file_name"] for image in found["images"]] == ["deep/b.png"]
    assert [one["name"] for one in found["categories"]] == ["dog"]


def test_without_boxes_it_is_refused_with_the_way_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--rle") == 1
    assert "--boxes" in capsys.readouterr().err
    assert not (folder / "masks.json").exists()


def test_what_fails_is_told_at_the_end_and_done_when_it_was_mended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "images" / "a.png"
    kept = broken.read_bytes()
    broken.write_bytes(kept[:100])
    write_boxes(folder, ("a.png", "deep/b.png", "missing.png"))
    assert run(folder) == 1
    said = capsys.readouterr().err
    assert "a.png:" in said
    assert "missing.png:" in said
    assert [image["file_name"] for image in result(folder)["images"]] == ["deep/b.png"]
    broken.write_bytes(kept)
    assert run(folder) == 1, "one is missing still"
    assert [image["file_name"] for image in result(folder)["images"]] == ["a.png", "deep/b.png"]


def test_a_box_outside_its_image_or_an_image_of_another_size_fails_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_boxes(folder, width=96, height=72)
    data = json.loads((folder / "boxes.json").read_text())
    data["annotations"][0]["bbox"] = [90, 10, 40, 30]
    data["images"][1]["width"] = 97
    (folder / "boxes.json").write_text(json.dumps(data))
    assert run(folder) == 1
    said = capsys.readouterr().err
    assert "annotation 0" in said
    assert "97 x 72" in said
    assert [image["file_name"] for image in result(folder)["images"]] == ["c.png"]


def test_a_run_goes_on_after_an_interruption_and_ends_as_if_there_was_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder) == 0
    whole = result(folder)
    (folder / "masks.json").unlink()
    embed, embedded = Predictor.embed, list[str]()

    def embed_two(self: Predictor, image: Any) -> Any:
        embedded.append(image.digest)
        if len(embedded) == 3:
            raise KeyboardInterrupt
        return embed(self, image)

    monkeypatch.setattr(Predictor, "embed", embed_two)
    assert run(folder) != 0
    assert not (folder / "masks.json").exists()
    assert run(folder) == 0
    assert len(embedded) == 4, "two, the interrupted one, and that one again"
    again = result(folder)
    for found in (whole, again):
        for annotation in found["annotations"]:
            del annotation["samref"]["created_at"]
    assert again == whole


def test_a_journal_of_another_model_is_not_gone_on_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "masks.json.journal").write_text('{"version":1,"model":"other","classes":["cat"]}\n')
    assert run(folder) == 1
    assert "--restart" in capsys.readouterr().err
    assert run(folder, "--boxes", str(folder / "boxes.json"), "--restart") == 0


@pytest.mark.slow
def test_a_killed_run_loses_the_image_under_way_at_most(folder: Path) -> None:
    names = tuple(f"{n}.png" for n in range(40))
    for n, name in enumerate(names):
        pixels = np.random.default_rng(n).integers(0, 255, (72, 96, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
    write_boxes(folder, names)
    command = [sys.executable, "-m", "samref", *arguments(folder, "--boxes", str(folder / "boxes.json"))]
    journal = folder / "masks.json.journal"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = journal.read_bytes().count(b"\n") - 1
    assert 4 <= done < 40
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(result(folder)["annotations"]) == 80
