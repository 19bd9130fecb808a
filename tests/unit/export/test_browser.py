"""The graphs that the page runs: with the weights that the server loads they give the model's numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage
from samref.errors import ModelError
from samref.export.browser import DESCRIPTION, GRAPHS, describe_for_browser, weightless, write_browser_graphs
from samref.export.graphs import Graph, graphs_of
from samref.files import assets_folder
from samref.inference.framed import framed_pixels
from samref.models.interface import ImageInput
from samref.models.layers import fit_frame, load_pixels, to_unit
from samref.models.registry import build_model
from samref.models.sam_ref.model import SamRefModel
from samref.models.tiny.model import PIXELS_PER_FRAME, TinyModel

FOLDER = assets_folder() / "browser"
WEIGHTS = assets_folder() / "weights" / "tiny-base.safetensors"
SHAPES = ((32, 24), (21, 32), (32, 1), (2, 32), (20, 15))
"""Of images in the frame, in multiples of 16: upright, wide, narrow, flat, and that for hovering."""

MOST = 1e-4
"""Standard deviations of the output: float32 in another order."""


@pytest.fixture(scope="module")
def model() -> TinyModel:
    built = build_model("tiny")
    assert isinstance(built, SamRefModel)
    assert isinstance(built.base, TinyModel)
    return built.base


def run(name: str, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights = load_file(WEIGHTS)
    names = [key for key in weights if key.startswith("decoder.") == (name == "decoder")]
    data = [weights[key].tobytes() for key in names]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_external_initializers_from_files_in_memory(names, data, list(map(len, data)))
    graph = (FOLDER / GRAPHS[name]).read_bytes()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    answer: list[NDArray[np.float32]] = session.run(None, feeds)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_gives_the_models_numbers(model: TinyModel, name: str, shape: tuple[int, int]) -> None:
    graph = next(graph for graph in graphs_of(model) if graph.name == name)
    inputs = example(graph, dict(zip("hw", shape, strict=True)))
    with torch.inference_mode():
        answer: Any = graph.module(*inputs)
    expected = (answer,) if isinstance(answer, torch.Tensor) else tuple(answer)
    got = run(name, {port.name: value.numpy() for port, value in zip(graph.inputs, inputs, strict=True)})
    for ours, theirs in zip(expected, got, strict=True):
        assert float(np.abs(ours.numpy() - theirs).max()) <= MOST * float(ours.std())


def example(graph: Graph, lengths: dict[str, int]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sides = [
        [side if isinstance(side, int) else side.times * lengths[side.axis.name] for side in port.shape]
        for port in graph.inputs
    ]
    return tuple(torch.randn(shape, generator=generator) for shape in sides)


def test_no_weight_lies_in_a_graph() -> None:
    onnx = pytest.importorskip("onnx")
    held = set(load_file(WEIGHTS))
    named = set()
    for file in GRAPHS.values():
        for tensor in onnx.load(FOLDER / file, load_external_data=False).graph.initializer:
            if tensor.external_data:
                named.add(tensor.external_data[0].value)
            else:
                assert np.prod(tensor.dims, dtype=int) <= 4, tensor.name
    assert named == held


def test_the_documents_example_loads_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    _, code = re.findall(r"```python\n(.*?)```", (root / "docs" / "onnx.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(root)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/onnx.md", "exec"), names)
    assert [port.name for port in names["encoder"].get_outputs()] == ["level4", "level8", "level16"]


def test_the_description_is_the_models(model: TinyModel) -> None:
    assert json.loads((FOLDER / DESCRIPTION).read_text("utf-8")) == describe_for_browser(model)


def test_a_constant_that_is_no_weight_is_refused() -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.from_array(np.arange(3, dtype=np.float32), "odd")
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "odd"], ["y"])], "g", [port], [out], [value])
    made = onnx.helper.make_model(graph).SerializeToString()
    with pytest.raises(ModelError, match="odd of a graph is no weight"):
        weightless(made, {"other": np.ones(3, dtype=np.float32)})


def test_only_the_embedded_model_goes_into_the_page(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ModelError, match="Export tiny"):
        write_browser_graphs(build_model("sam-random"), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("height", "width"), [(40, 60), (700, 300), (2500, 2100), (1, 900)])
def test_framed_pixels_are_what_the_encoder_gets(model: TinyModel, height: int, width: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = DecodedImage(rgb, ImageSize(height, width), "digest")
    frame = model.frame(image.size)
    given = ImageInput(torch.from_numpy(rgb), frame)
    expected = fit_frame(load_pixels(given.rgb, PIXELS_PER_FRAME * model.net.config.image_size), frame)
    framed = torch.from_numpy(framed_pixels(image)).permute(2, 0, 1)[None]
    assert torch.equal(to_unit(framed), expected[..., : frame.resized.height, : frame.resized.width])
