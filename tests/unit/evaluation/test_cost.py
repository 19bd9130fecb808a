from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.core.prompts import Click, Prompts
from samref.datasets import find_images, images_of
from samref.errors import SamrefError
from samref.evaluation import cost
from samref.evaluation.cost import (
    Contender,
    Cost,
    Settings,
    build_predictor,
    count_parameters,
    grid_clicks,
    measure_cost,
    sat_latency,
    spread,
)
from samref.models.registry import build_model, build_untrained
from tests.unit.evaluation.painter import Canvas, Painter, Painting, write_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_zoo(folder, ("air", "zoo"), records=1)
    return folder


QUICK = Settings(max_clicks=2, sat_grid=0)


def contender(model: str = "grabcut", **changed: Any) -> Contender:
    return Contender("name", "title", model, **changed)


def measured(zoo: Path, one: Contender, settings: Settings = QUICK) -> Cost:
    return measure_cost(one, find_images(zoo)[0][0], settings)


def test_a_fresh_process_measures_times_and_its_own_memory_only(zoo: Path) -> None:
    found = measured(zoo, contender("tiny-random"), Settings(max_clicks=2, sat_grid=1))
    assert found.loaded
    assert found.parameters == count_parameters(build_model("tiny-random"))
    assert 0 < found.coarse_s < found.click_s
    assert found.amortised_s == pytest.approx(found.encode_s / 20 + found.click_s)
    assert found.sat_s is not None
    assert found.sat_s > found.click_s
    ballast = np.ones(600_000_000, dtype=np.uint8)  # held by this process, not by the one that measures
    assert 50e6 < measured(zoo, contender()).memory_bytes < ballast.nbytes


def test_the_coarse_stage_alone_is_timed_without_the_refiner(zoo: Path) -> None:
    found = measured(zoo, contender("tiny-random", stage="coarse"))
    assert found.coarse_s == found.click_s
    assert found.refiner_ratio == 0
    assert found.sat_s is None


def test_what_goes_wrong_in_the_process_is_told_in_its_own_words(zoo: Path) -> None:
    with pytest.raises(SamrefError, match="There is no model 'no-such-model'"):
        measured(zoo, contender("no-such-model"))
    with pytest.raises(SamrefError, match=r"^TypeError: "):
        measured(zoo, contender(), replace(QUICK, max_clicks="two"))  # type: ignore[arg-type]


def _die(*_: object) -> Cost:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def test_a_process_that_is_killed_says_so(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_measure", _die)
    with pytest.raises(SamrefError, match="not enough memory"):
        measured(zoo, contender())


def test_every_number_of_a_model_is_counted_once_whoever_holds_it() -> None:
    shared = nn.Linear(3, 4)

    class Holder:
        def __init__(self) -> None:
            self.network = nn.Sequential(shared, shared)
            self.again = shared
            self.base = self

    Holder.__module__ = "samref.models.test"
    assert count_parameters(Holder()) == 16


def test_missing_weights_give_the_untrained_architecture_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    small = build_model("tiny-random")
    monkeypatch.setattr(cost, "build_untrained", lambda name: {"sam-vit-b": small}[name])
    _, _, loaded = build_predictor(contender("sam-vit-b"), QUICK)
    assert not loaded


def test_a_model_that_lacks_its_refiner_counts_as_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, whole = build_model("sam-random"), build_model("tiny-random")
    monkeypatch.setattr(cost, "build_untrained", lambda name: whole)
    monkeypatch.setattr(cost, "build_model", lambda name: plain)
    assert build_predictor(contender("x", refines=True), QUICK)[2] is False
    assert build_predictor(contender("x", refines=False), QUICK)[2] is True


@pytest.mark.slow
def test_segment_anything_without_weights_is_as_large_as_published() -> None:
    model = build_untrained("sam-ref-vit-b-c32")
    assert model.spec.stages == ("coarse", "refined")
    assert "andom" in model.spec.title
    sam = count_parameters(build_untrained("sam-vit-b"))
    assert sam == 93_735_472
    assert 0.1e6 < count_parameters(model) - sam < 0.5e6


# ---- SAT latency


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
