"""ONNX graphs: the model's own numbers in onnxruntime, a description that is enough, and exports that fail whole."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from samref.cli.main import main
from samref.core.geometry import Frame
from samref.core.images import DecodedImage
from samref.core.prompts import Box, Click, Polygon, Prompts, Scribble
from samref.errors import ModelError, StorageError, UnknownModelError
from samref.export import onnx as onnx_export
from samref.export.graphs import Axis, Graph, Length, Port, graphs_of
from samref.export.onnx import DESCRIPTION, OPSET, deviation, export_model
from samref.inference.image_source import image_from
from samref.inference.postprocess import mask_from_logits
from samref.inference.predictor import Predictor
from samref.models.interface import DecoderState, InteractiveModel, MaskOutput
from samref.models.layers import randomize
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig
from tests.unit.export.graph_runner import Graphs, predictor_over

EQUAL = 1e-4
"""Standard deviations of the output by which a graph may differ; float32 sums in another order give some 1e-5."""

exports_a_model = pytest.mark.timeout(1800)  # half a minute on an idle machine, spent in torch.export


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    for name in onnx_export.PACKAGES:
        pytest.importorskip(name)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model's graphs, written once, by the command."""
    folders: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp("onnx") / name
            with pytest.raises(SystemExit) as stopped:
                main(["export", name, "--out", str(folder)])
            assert stopped.value.code in (0, None)
            folders[name] = folder
        return folders[name]

    return folder_of


def photo(height: int = 90, width: int = 120, seed: int = 0) -> DecodedImage:
    """A blurred disk on noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    disk = ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 3) ** 2)[..., None]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return image_from(np.where(disk, 180 - noise, 40 + noise).astype(np.uint8))


def rounds(size: tuple[int, int]) -> list[Prompts]:
    """What a person says about one object, step by step."""
    height, width = size
    first = Click(width // 2, height // 2)
    return [
        Prompts((first,)),
        Prompts((first, Click(width // 8, height // 8, positive=False))),
        Prompts((first, Click(width // 8, height // 8, positive=False), Click(width // 2 + 9, height // 2 - 4))),
    ]


def shapes(size: tuple[int, int]) -> list[Prompts]:
    height, width = size
    box = Box(width // 5, height // 5, 4 * width // 5, 4 * height // 5)
    stroke = Scribble(((width // 3, height // 2), (2 * width // 3, height // 2)), positive=True, width=6)
    outline = Polygon(((width // 4, height // 4), (3 * width // 4, height // 4), (width // 2, 3 * height // 4)))
    return [Prompts((box,)), Prompts((stroke,)), Prompts((outline,)), Prompts((box, Click(width // 2, height // 2)))]


def check_same_masks(ours: Predictor, theirs: Predictor, image: DecodedImage) -> int:
    """Both predictors through all dialogues; masks may differ only in pixels whose logit is as good as 0.

    Returns:
        pixels compared.
    """
    own, other = ours.embed(image), theirs.embed(image)
    frame = own.frame
    size = (image.size.height, image.size.width)
    compared = 0
    for dialogue in (rounds(size), *([one] for one in shapes(size))):
        own_state, other_state = DecoderState(), DecoderState()
        for prompts in dialogue:
            mine = list(ours._model.decode(own.features, ours._batch(prompts, frame), own_state))
            yours = list(theirs._model.decode(other.features, theirs._batch(prompts, frame), other_state))
            assert [output.stage for output in mine] == [output.stage for output in yours]
            for left, right in zip(mine, yours, strict=True):
                near = 1e-3 * float(left.logits.std())
                surely, perhaps = (_mask(left, frame, shift) for shift in (-near, near))
                differ = _mask(left, frame) ^ _mask(right, frame)
                assert not (differ & (surely == perhaps)).any(), "a pixel whose logit is not near 0 changed sides"
                assert (surely != perhaps).mean() < 0.05
                assert abs(left.iou_prediction - right.iou_prediction) < 1e-3
                assert (left.patch and left.patch.box_xyxy) == (right.patch and right.patch.box_xyxy)
                compared += differ.size
            own_state, other_state = mine[-1].state, yours[-1].state
    return compared


def _mask(output: MaskOutput, frame: Frame, shift: float = 0.0) -> np.ndarray:
    """The image's mask if every logit were larger by ``shift``."""
    patch = None if output.patch is None else replace(output.patch, logits=output.patch.logits + shift)
    return mask_from_logits(output.logits + shift, frame, patch).to_mask()


@pytest.mark.slow
@exports_a_model
@pytest.mark.parametrize("name", ["tiny-random", "sam-random", "focsam-random", "segnext-random"])
class TestExportedModels:
    def test_every_graph_gives_the_models_numbers_at_every_size(
        self, exported: Callable[[str], Path], name: str
    ) -> None:
        for graph in graphs_of(build_model(name)):
            assert deviation(graph, exported(name) / f"{graph.name}.onnx", seed=17) < EQUAL, graph.name

    def test_the_description_names_every_port_as_the_graphs_do(
        self, exported: Callable[[str], Path], name: str
    ) -> None:
        graphs = Graphs(exported(name))
        assert graphs.description["opset"] == OPSET
        assert graphs.description["model"] == name
        for entry in graphs.description["graphs"]:
            session = graphs.sessions[entry["name"]]
            for ports, described in (
                (session.get_inputs(), entry["inputs"]),
                (session.get_outputs(), entry["outputs"]),
            ):
                assert [port.name for port in ports] == [port["name"] for port in described]
                for port, said in zip(ports, described, strict=True):
                    assert port.type == "tensor(float)"
                    assert said["dtype"] == "float32"
                    fixed = [side if isinstance(side, int) else None for side in port.shape]
                    assert [side if isinstance(side, int) else None for side in said["shape"]] == fixed

    def test_the_description_knows_every_file(self, exported: Callable[[str], Path], name: str) -> None:
        description = json.loads((exported(name) / DESCRIPTION).read_text("utf-8"))
        files = [file for entry in description["graphs"] for file in entry["files"]]
        for file in files:
            content = (exported(name) / file["file"]).read_bytes()
            assert len(content) == file["size_bytes"]
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert {path.name for path in exported(name).iterdir()} == {file["file"] for file in files} | {DESCRIPTION}

    def test_no_graph_tells_where_it_was_made(self, exported: Callable[[str], Path], name: str, root: Path) -> None:
        for path in exported(name).iterdir():
            content = path.read_bytes()
            assert str(root).encode() not in content
            assert b"site-packages" not in content
            assert b".py" not in content

    def test_a_dialogue_over_the_graphs_gives_the_predictors_masks(
        self, exported: Callable[[str], Path], name: str
    ) -> None:
        model: Any = build_model(name)
        graphs = Graphs(exported(name))
        theirs = predictor_over(model, graphs)
        for height, width in ((90, 120), (120, 51)):
            assert check_same_masks(Predictor(model), theirs, photo(height, width)) > 0
        assert set(graphs.calls) == set(graphs.sessions), "every graph has been used"


@pytest.mark.slow
@exports_a_model
def test_the_same_graphs_serve_a_refiner_that_encodes_its_window_anew(exported: Callable[[str], Path]) -> None:
    built: Any = build_model("tiny-random")
    refiner = SamRef(replace(built.refiner.config, closer=96))
    refiner.load_state_dict(built.refiner.state_dict())
    model = SamRefModel(built.base, refiner, built.spec)
    graphs = Graphs(exported("tiny-random"))
    assert check_same_masks(Predictor(model), predictor_over(model, graphs), photo()) > 0
    assert graphs.calls.count("encoder") > 1, "the window has been encoded too"


@pytest.mark.slow
@exports_a_model
@pytest.mark.parametrize("inject", [True, False])
def test_a_refiner_over_segment_anything_is_exported_with_it(tmp_path: Path, inject: bool) -> None:
    base = build_model("sam-random")
    config = SamRefConfig(width=8, global_blocks=1, local_blocks=1, embedding_channels=32, crop=32, minimum=8)
    refiner = SamRef(replace(config, inject_embedding=inject))
    randomize(refiner, 1)
    model = SamRefModel(base, refiner, base.spec)
    assert all(graph.deviation < EQUAL for graph in export_model(model, tmp_path))
    graphs = Graphs(tmp_path)
    assert check_same_masks(Predictor(model), predictor_over(model, graphs), photo()) > 0
    assert set(graphs.calls) == set(graphs.sessions)


@pytest.mark.slow
@exports_a_model
class TestEmbeddedModel:
    """The weights that ship."""

    def test_every_graph_gives_the_models_numbers_at_every_size(self, exported: Callable[[str], Path]) -> None:
        for graph in graphs_of(build_model("tiny")):
            assert deviation(graph, exported("tiny") / f"{graph.name}.onnx", seed=3) < EQUAL, graph.name

    def test_all_graphs_together_are_small(self, exported: Callable[[str], Path]) -> None:
        sizes = {path.name: path.stat().st_size for path in exported("tiny").glob("*.onnx")}
        print(sizes)
        weights = 4 * sum(
            value.numel() for graph in graphs_of(build_model("tiny")) for value in graph.module.state_dict().values()
        )
        assert sum(sizes.values()) < 1.6 * weights

    def test_a_dialogue_on_a_photo_gives_the_predictors_masks(
        self, exported: Callable[[str], Path], examples_dir: Path
    ) -> None:
        model: Any = build_model("tiny")
        theirs = predictor_over(model, Graphs(exported("tiny")))
        image = image_from(min(examples_dir.glob("*.jpg")))
        assert check_same_masks(Predictor(model), theirs, image) > 0

    def test_the_python_example_of_the_document_gives_the_predictors_mask(
        self, exported: Callable[[str], Path], examples_dir: Path, root: Path, tmp_path: Path
    ) -> None:
        code, _ = re.findall(r"```python\n(.*?)```", (root / "docs" / "onnx.md").read_text("utf-8"), re.DOTALL)
        path = min(examples_dir.glob("*.jpg"))
        x, y = (side // 2 for side in Image.open(path).size)
        code = code.replace('"exported"', repr(str(exported("tiny")))).replace('"photo.jpg"', repr(str(path)))
        code, changed = re.subn(r"clicks = \[.*?\]", f"clicks = [({x}, {y}, True)]", code)
        assert changed == 1
        assert len([line for line in code.splitlines() if line.strip()]) <= 40
        names: dict[str, Any] = {}
        exec(compile(code, "docs/onnx.md", "exec"), names)
        model: Any = build_model("tiny")
        whole = SamRef(replace(model.refiner.config, use_local=False, drop_islands=False))  # the example stops there
        whole.load_state_dict(model.refiner.state_dict())
        predictor = Predictor(SamRefModel(model.base, whole, model.spec))
        *_, refined = predictor.predict(predictor.embed(image_from(path)), Prompts((Click(x, y),)))
        mask, expected = names["mask"], refined.mask.to_mask()
        assert mask.shape == expected.shape
        assert (mask & expected).sum() / (mask | expected).sum() > 0.97


def part(module: nn.Module, name: str = "part") -> Graph:
    """A graph that is exported in a second."""
    rows = Axis("h", 1, 8, (3, 1, 5))
    return Graph(
        name, "For tests.", module, (Port("x", (1, 2, Length(rows)), "in"),), (Port("y", (1, 2, Length(rows)), "out"),)
    )


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tiny-random``, which says that it consists of two parts as small as can be."""
    parts = (part(Doubled(), "first"), part(Doubled(), "second"))
    monkeypatch.setattr(onnx_export, "graphs_of", lambda _: parts)
    return build_model("tiny-random")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriting:
    def test_all_parts_and_their_description_arrive(self, small: Any, tmp_path: Path) -> None:
        told: list[str] = []
        graphs = export_model(small, tmp_path / "deep" / "new", tell=lambda graph: told.append(graph.name))
        assert told == ["first", "second"]
        assert names(tmp_path / "deep" / "new") == ["first.onnx", DESCRIPTION, "second.onnx"]
        assert all(graph.size_bytes == sum(file.stat().st_size for file in graph.files) for graph in graphs)
        assert all(graph.deviation == 0 for graph in graphs)

    @pytest.mark.usefixtures("small")
    def test_the_command_prints_each_file_its_size_and_its_difference(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["export", "tiny-random", "--out", str(tmp_path)])
        assert stopped.value.code == 0
        first, second, last = capsys.readouterr().out.splitlines()
        size = (tmp_path / "first.onnx").stat().st_size
        assert first.split()[:3] == ["first.onnx", f"{size / 1e6:.2f}", "MB"]
        assert "differs by 0e+00" in second
        assert "2 graphs" in last
        assert str(tmp_path / DESCRIPTION) in last

    def test_an_earlier_export_is_replaced_and_other_files_stay(self, small: Any, tmp_path: Path) -> None:
        for name in ("first.onnx", DESCRIPTION, "mine.txt"):
            (tmp_path / name).write_text("old")
        export_model(small, tmp_path)
        assert names(tmp_path) == ["first.onnx", "mine.txt", DESCRIPTION, "second.onnx"]
        assert (tmp_path / "first.onnx").read_bytes() != b"old"
        assert (tmp_path / "mine.txt").read_text() == "old"

    @pytest.mark.parametrize("place", ["save", "description"])
    @pytest.mark.parametrize("exists", [True, False])
    def test_a_full_disk_is_a_sentence_and_leaves_everything_as_it_was(
        self, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, exists: bool
    ) -> None:
        folder = tmp_path / "out"
        if exists:
            folder.mkdir()
            (folder / "first.onnx").write_text("old")

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if place == "save":
            monkeypatch.setattr(torch.onnx.ONNXProgram, "save", full)
        else:
            monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            export_model(small, folder)
        if exists:
            assert names(folder) == ["first.onnx"]
            assert (folder / "first.onnx").read_text() == "old"
        else:
            assert not folder.exists()

    def test_a_file_in_the_folders_place_is_a_sentence(self, small: Any, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("mine")
        for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
            with pytest.raises(StorageError, match="could not be written"):
                export_model(small, folder)
        assert (tmp_path / "taken").read_text() == "mine"

    def test_a_graph_that_differs_is_not_written(
        self, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Drifting(nn.Module):
            calls = 0

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                Drifting.calls += 1  # traced once, and another number each time it is run
                return x * float(Drifting.calls)

        monkeypatch.setattr(onnx_export, "graphs_of", lambda _: (part(Doubled(), "first"), part(Drifting(), "second")))
        with pytest.raises(ModelError, match="second does not give the model's numbers"):
            export_model(small, tmp_path)
        assert names(tmp_path) == []

    def test_weights_too_large_for_one_file_lie_beside_the_graph(
        self, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        linear = nn.Conv1d(2, 2, 1)
        monkeypatch.setattr(onnx_export, "graphs_of", lambda _: (replace(part(linear), name="wide"),))
        monkeypatch.setattr(onnx_export, "LARGEST_FILE_BYTES", 1)
        (graph,) = export_model(small, tmp_path)
        assert [file.name for file in graph.files] == ["wide.onnx", "wide.onnx.data"]
        assert names(tmp_path) == [DESCRIPTION, "wide.onnx", "wide.onnx.data"]
        assert deviation(part(linear), tmp_path / "wide.onnx") < EQUAL


class TestRefusals:
    def test_a_missing_package_is_named_with_the_way_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
        with pytest.raises(SystemExit) as stopped:
            main(["export", "tiny-random", "--out", str(tmp_path / "out")])
        assert stopped.value.code == 1
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert "onnxscript, which is not installed" in message
        assert "pip install 'samref[onnx]'" in message
        assert not (tmp_path / "out").exists()

    def test_a_model_without_graphs_says_which_have_some(self, tmp_path: Path) -> None:
        other = cast(InteractiveModel, SimpleNamespace(spec=build_model("tiny-random").spec))
        with pytest.raises(ModelError, match="tiny-random has no ONNX form yet"):
            export_model(other, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_unknown_model_is_refused_before_anything_is_made(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["export", "tinny", "--out", str(tmp_path / "out")])
        assert isinstance(stopped.value.__cause__, UnknownModelError)
        assert not (tmp_path / "out").exists()
