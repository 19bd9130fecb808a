"""A family of models is one package with a table of specs, and one line in the registry; nothing else knows it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samref import load_predictor
from samref.core.geometry import Frame, ImageSize
from samref.core.images import decode_image
from samref.core.prompts import Click, Prompts
from samref.errors import UnknownModelError
from samref.evaluation.noc import ClickProtocol
from samref.evaluation.run import evaluate
from samref.models import registry
from samref.models.interface import DecoderState, ImageFeatures, ImageInput, MaskOutput, ModelSpec, PromptBatch
from samref.serve import build
from samref.settings import Settings
from samref.web.server import Server

SIDE = 64


class ToyModel:
    """An object is what is as bright as the pixel clicked last."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def frame(self, size: ImageSize) -> Frame:
        return Frame.letterbox(size, SIDE)

    def to(self, device: torch.device, dtype: torch.dtype) -> ToyModel:
        return self

    def encode(self, image: ImageInput) -> ImageFeatures:
        pixels = image.rgb.permute(2, 0, 1)[None]
        resized = (image.frame.resized.height, image.frame.resized.width)
        grey = torch.nn.functional.interpolate(pixels.float().mean(1, keepdim=True), resized)
        below, beside = SIDE - resized[0], SIDE - resized[1]
        return ImageFeatures(torch.nn.functional.pad(grey, (0, beside, 0, below), value=-99.0), pixels, image.frame)

    def decode(self, features: ImageFeatures, prompts: PromptBatch, state: DecoderState) -> Iterator[MaskOutput]:
        click = prompts.prompts.clicks[-1]
        grey = features.image_embedding
        logits = 20 - (grey - grey[..., int(click.y), int(click.x)].item()).abs()
        yield MaskOutput("coarse", logits, 0.5, DecoderState(state.step + 1, logits, logits))


TOY = ModelSpec(
    "toy",
    "Toy",
    "letterbox",
    SIDE,
    frozenset({"click"}),
    ("coarse",),
    build=lambda spec, checkpoint, seed: ToyModel(spec),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.SPECS, TOY.name, TOY)
    return TOY.name


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """A data set of one image: a bright square, and its mask."""
    gt = np.zeros((48, 64), dtype=np.uint8)
    gt[12:36, 16:40] = 1
    for folder, pixels in (("img", np.where(gt, 250, 10)), ("gt", gt * 255)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / folder / "square.png")
    return tmp_path / "data"


def test_a_new_family_segments(toy: str, square: Path) -> None:
    predictor = load_predictor(toy, device="cpu", precision="fp32")
    image = decode_image((square / "img" / "square.png").read_bytes())
    (answer,) = predictor.predict(predictor.embed(image), Prompts((Click(25, 20),)))
    assert int(answer.mask.to_mask().sum()) == 24 * 24


def test_a_new_family_is_evaluated(toy: str, square: Path) -> None:
    predictor = load_predictor(toy, device="cpu", precision="fp32")
    report = evaluate(square, predictor, ClickProtocol(max_clicks=3, stages=("coarse",)), model=toy)
    (curve,) = report.curves["coarse"]
    assert curve.clicks_to(0.95) == 1


async def clicked(server: Server, image: bytes) -> dict[str, Any]:
    """The last view of a page that opens an image and clicks into it."""
    token = server.store.create_workspace().token
    digest = server.add_image(server.find(token), image, "square.png").digest
    request = {"v": 1, "seq": 1, "tab": "tab", "token": token, "image": digest, "revision": 9, "verb": "prompt"}
    prompts = [{"type": "click", "x": 25, "y": 20}]
    answers = [json.loads(text) async for text in server.send({**request, "prompts": prompts})]
    view: dict[str, Any] = answers[-1]["view"]
    return view


def test_a_new_family_is_served(toy: str, square: Path, tmp_path: Path) -> None:
    app = build(Settings(model=toy, data_folder=tmp_path / "work", device="cpu", precision="fp32"))
    try:
        assert app.self_test().startswith("toy on cpu, float32: encode ")
        draft = asyncio.run(clicked(app.server, (square / "img" / "square.png").read_bytes()))["draft"]
        assert draft["mask"]["box"] == [16, 12, 24, 24]
    finally:
        app.close()


def test_every_model_of_the_tables_can_be_built_by_its_name() -> None:
    assert all(name == spec.name and spec.build is not None for name, spec in registry.SPECS.items())
    assert all(spec.checkpoints for spec in registry.list_models() if spec.purpose == "use")


def test_what_a_spec_says_about_the_frame_is_what_the_model_does() -> None:
    for spec in registry.list_models():
        if spec.purpose == "test":
            padded = registry.build_model(spec.name).frame(ImageSize(30, 40)).padded
            assert max(padded.height, padded.width) == spec.image_size


def test_a_name_that_is_not_known_is_refused_with_those_that_are_offered() -> None:
    with pytest.raises(
        UnknownModelError, match=r"no model 'resnet'\. There are: tiny, sam-vit-b, .*focsam-vit-h\.$"
    ) as no:
        registry.get_spec("resnet")
    assert "random" not in str(no.value)


def test_an_architecture_without_weights_says_what_it_is() -> None:
    model = registry.build_untrained("sam-random", seed=2)
    assert model.spec == replace(registry.get_spec("sam-random"), title=model.spec.title, note=model.spec.note)
    assert "masks mean nothing" in model.spec.note


def test_models_are_listed_without_torch() -> None:
    code = (
        "import sys; from samref.models.registry import list_models; list_models(); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
