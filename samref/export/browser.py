"""The embedded model for the page: its encoder and coarse decoder as graphs without a single weight.

Every weight of a graph is a name that the file of weights has, in the half precision of that file, and is brought to
float32 when the graph is loaded. So the page takes the very file that the server loads, there is no second copy of the
weights, and training the model anew changes nothing here. Only a new shape of the network does.

Which weight of the graph is which of the file is found by value, in a network whose random weights are all different.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samref.errors import ModelError
from samref.export.graphs import Graph, graphs_of
from samref.export.onnx import OPSET, require_packages, write_graph
from samref.files import disk_errors
from samref.models.interface import InteractiveModel
from samref.models.layers import randomize
from samref.models.sam_ref.model import SamRefModel
from samref.models.tiny.model import FRAME_MULTIPLE, LOW_RES_STRIDE, TinyModel
from samref.models.tiny.network import MAP_CHANNELS, TinyNet

__all__ = ["DESCRIPTION", "GRAPHS", "describe_for_browser", "weightless", "write_browser_graphs"]

GRAPHS = {"encoder": "encoder.onnx", "decoder": "coarse.onnx"}
"""The graphs of the export that the page runs, and their files."""

DESCRIPTION = "model.json"
FORMAT = "samref-browser"
VERSION = 1


def write_browser_graphs(model: InteractiveModel, folder: Path) -> tuple[Path, ...]:
    """Write both graphs and ``model.json``; of ``model`` only its shape counts. Takes a minute.

    Raises:
        ModelError: it is not the embedded model.
    """
    require_packages()
    base = model.base if isinstance(model, SamRefModel) else model
    if not isinstance(base, TinyModel):
        raise ModelError(f"The page runs the embedded model only, not {model.spec.name}. Export tiny.")
    net = TinyNet(base.net.config)
    randomize(net, seed=0)
    graphs = graphs_of(TinyModel(net, base.spec))
    with disk_errors(f"The graphs could not be written to {folder}"):
        return _write(graphs, net, describe_for_browser(base), folder)


def _write(graphs: Sequence[Graph], net: TinyNet, described: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for graph in graphs:
        path = folder / GRAPHS[graph.name]
        path.write_bytes(_without_weights(graph, net))
        written.append(path)
    description = folder / DESCRIPTION
    description.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return (*written, description)


def describe_for_browser(model: TinyModel) -> dict[str, Any]:
    """What the page must know besides the graphs."""
    config = model.net.config
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model.spec.name,
        "opset": OPSET,
        "graphs": {"encoder": GRAPHS["encoder"], "coarse": GRAPHS["decoder"]},
        "side": config.image_size,
        "multiple": FRAME_MULTIPLE,
        "low_res_stride": LOW_RES_STRIDE,
        "map_stride": config.map_stride,
        "map_channels": MAP_CHANNELS,
        "click_radius": config.click_radius,
    }


def _without_weights(graph: Graph, net: TinyNet) -> bytes:
    with tempfile.TemporaryDirectory(prefix="samref-export-") as folder:
        path = Path(folder) / GRAPHS[graph.name]
        write_graph(graph, path)
        named = {name: value.numpy() for name, value in net.state_dict().items()}
        return weightless(path.read_bytes(), named)


def weightless(model: bytes, named: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A graph whose weights are replaced by the names of those in ``named`` that they equal.

    A weight may be there as it is, transposed (of linear layers) or in another shape (of norms).

    Raises:
        ModelError: a float constant of more than one number is none of them.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    sources = {value.tobytes(): name for name, value in named.items()}
    kept, outside, nodes = [], dict[str, Any](), []
    for constant in graph.initializer:
        value = numpy_helper.to_array(constant)
        if constant.data_type != TensorProto.FLOAT:
            kept.append(constant)
            continue
        turned = np.ascontiguousarray(value.T)
        source = sources.get(value.tobytes()) or sources.get(turned.tobytes())
        if source is None and value.size == 1:
            kept.append(constant)  # of a formula, not of the network
            continue
        if source is None:
            raise ModelError(f"The constant {constant.name} of a graph is no weight of the model.")
        half, full = f"{source}:fp16", f"{constant.name}:fp32"
        outside[half] = _external(source, half, named[source].shape)
        if sources.get(value.tobytes()) is None:
            nodes.append(helper.make_node("Cast", [half], [full], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Transpose", [full], [constant.name], perm=[1, 0]))
        elif value.shape != named[source].shape:
            shape = f"{constant.name}:shape"
            kept.append(numpy_helper.from_array(np.array(value.shape, dtype=np.int64), shape))
            nodes.append(helper.make_node("Cast", [half], [full], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Reshape", [full, shape], [constant.name]))
        else:
            nodes.append(helper.make_node("Cast", [half], [constant.name], to=TensorProto.FLOAT))
    nodes += graph.node
    del graph.initializer[:], graph.node[:], graph.value_info[:]
    graph.initializer.extend([*kept, *outside.values()])
    graph.node.extend(nodes)
    made: bytes = proto.SerializeToString(deterministic=True)
    return made


def _external(source: str, name: str, shape: tuple[int, ...]) -> Any:
    """A tensor in half precision that lies outside the graph, alone in a file called as the weight."""
    from onnx import TensorProto

    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT16, dims=shape, data_location=TensorProto.DataLocation.EXTERNAL
    )
    tensor.external_data.add(key="location", value=source)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="length", value=str(2 * math.prod(shape)))
    return tensor
