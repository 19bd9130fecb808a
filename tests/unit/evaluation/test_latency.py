from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.datasets import images_of
from samref.evaluation import cost
from samref.evaluation.cost import grid_clicks, mean_latency, sat_latency, spread
from tests.unit.evaluation.painter import Canvas, Painter, Painting, write_zoo


class Listener(Painter):
    """Also remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Prompts] = []

    def predict(self, embedding: Canvas, prompts: Prompts, state: Any) -> Iterator[Painting]:
        self.asked.append(prompts)
        return super().predict(embedding, prompts, state)


def record(height: int = 48, width: int = 64) -> DecodedImage:
    return DecodedImage(np.zeros((height, width, 3), dtype=np.uint8), ImageSize(height, width), "digest")


def test_the_grid_is_one_click_in_the_middle_of_each_tile_row_by_row() -> None:
    clicks = grid_clicks(ImageSize(48, 64))
    assert len(clicks) == 256
    assert clicks[0] == Click(2, 1, True)
    assert clicks[1] == Click(6, 1, True)
    assert clicks[-1] == Click(62, 46, True)
    tiny = grid_clicks(ImageSize(3, 5))
    assert {click.y for click in tiny} == {0, 1, 2}
    assert max(click.x for click in tiny) == 4


def test_a_image_is_encoded_once_and_every_click_is_a_new_object() -> None:
    listener = Listener()
    encode_s, clicks_s = sat_latency(listener, record())
    assert listener.embedded == 1
    assert [prompts.items for prompts in listener.asked] == [(click,) for click in grid_clicks(ImageSize(48, 64))]
    assert set(listener.states) == {None}
    assert listener.refined == 256
    assert encode_s < clicks_s


def test_waiting_for_the_coarse_mask_runs_no_refiner() -> None:
    painter = Painter()
    sat_latency(painter, record(), stage="coarse", side=3)
    assert painter.refined == 0
    assert len(painter.states) == 9


def test_timings_of_several_images_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = iter([(1.0, 10.0), (3.0, 20.0)])
    monkeypatch.setattr(cost, "sat_latency", lambda *_, **__: next(timings))
    assert mean_latency(Painter(), [record(), record()], "refined") == (2.0, 15.0)


def test_images_are_spread_over_the_data(tmp_path: Path) -> None:
    write_zoo(tmp_path, ("air", "zoo"), records=4)
    records = images_of(tmp_path)
    assert [(one.dataset, one.name) for one in spread(records, 2)] == [("air", "0"), ("zoo", "0")]
    assert spread(records, 99) == records


def test_the_command_prints_the_seconds_of_both_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_zoo(tmp_path, ("zoo",), records=1)
    with pytest.raises(SystemExit) as stop:
        main(["latency", "--data", str(tmp_path), "--model", "tiny-random", "--images", "1"])
    assert not stop.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny-random, 1 images, 16 x 16 clicks each")
    assert [line.split()[0] for line in lines if line][1:] == [
        "stage",
        "-" * len(lines[3]),
        "coarse",
        "refined",
        "Machine:",
    ]
    assert "SAT s" in lines[2]
