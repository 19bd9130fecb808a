"""Writing a model as ONNX graphs for browsers and other runtimes, and holding them to the model they come from.

The exporter is torch's own (``torch.onnx.export``, from a ``torch.export`` program, which proves that a graph holds
for every size it promises). Each graph is then run in onnxruntime beside the module; one that differs is not written.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samref.errors import ModelError, StorageError
from samref.export.description import describe, describe_graph
from samref.export.graphs import Axis, Graph, Length, graphs_of
from samref.models.interface import InteractiveModel

__all__ = ["DESCRIPTION", "OPSET", "ExportedGraph", "deviation", "export_model", "write_graph"]

OPSET = 18
"""Understood by onnxruntime 1.14 and later, in browsers too; nothing we need came after it."""

DESCRIPTION = "model.json"
TOLERANCE = 1e-3
"""Most that a graph may differ from its module, in standard deviations of the output; float32 gives some 1e-5."""

LARGEST_FILE_BYTES = 1_500_000_000
"""Larger weights go into a file beside the graph (protobuf cannot hold 2 GB)."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """A graph on disk.

    Attributes:
        name: of the part.
        files: the graph, and its weights where they lie beside it.
        size_bytes: of the files together.
        deviation: largest difference from the module, in standard deviations of the output.
    """

    name: str
    files: tuple[Path, ...]
    size_bytes: int
    deviation: float


def export_model(
    model: InteractiveModel, folder: Path, *, tell: Callable[[ExportedGraph], None] | None = None
) -> tuple[ExportedGraph, ...]:
    """Write every part of ``model`` and ``model.json`` into ``folder``; all of them or none.

    Args:
        model: on the CPU, in float32.
        folder: made when it is not there; files of the same names are replaced.
        tell: told of each graph when it is done (the whole takes a minute or two).

    Raises:
        ModelError: a package is missing, the model has no such form, or a graph does not give the model's numbers.
        StorageError: the folder cannot be written; nothing in it has changed.
    """
    require_packages()
    graphs = graphs_of(model)
    with _disk_errors(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=folder, prefix=".export-"))
    done: list[ExportedGraph] = []
    try:
        entries = []
        for graph in graphs:
            path = stage / f"{graph.name}.onnx"
            with _disk_errors(folder):
                files = write_graph(graph, path)
                exported = _checked(graph, files)
                entries.append(describe_graph(graph) | {"files": [_file_entry(file) for file in files]})
            done.append(replace(exported, files=tuple(folder / file.name for file in files)))
            if tell is not None:
                tell(done[-1])
        described = describe(model, OPSET, f"torch {torch.__version__}") | {"graphs": entries}
        with _disk_errors(folder):
            _write(stage / DESCRIPTION, json.dumps(described, indent=2) + "\n")
            # The description goes last: it holds every file's digest, so a reader can tell that all belong together.
            for file in (*(file for entry in done for file in entry.files), folder / DESCRIPTION):
                (stage / file.name).replace(file)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()
    return tuple(done)


def require_packages() -> None:
    """Return quietly when all that an export needs is installed.

    Raises:
        ModelError: names what is missing and how to get it.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"Exporting needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            "Install with: pip install 'samref[onnx]'"
        )


def write_graph(graph: Graph, path: Path) -> tuple[Path, ...]:
    """Export one part to ``path``; its weights go into a second file where one cannot hold them.

    Raises:
        ModelError: torch could not make a graph of it.
        OSError: it could not be written.
    """
    module = copy.deepcopy(graph.module).requires_grad_(False).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    dims: dict[str, Any] = {}
    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                graph.example(0, seed=0),
                dynamic_shapes=tuple(_dynamic(port.shape, dims) for port in graph.inputs),
                input_names=[port.name for port in graph.inputs],
                output_names=[port.name for port in graph.outputs],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(
                f"torch {torch.__version__} could not make a graph of {graph.name}. Another torch may; samref's own "
                "tests say which works."
            ) from error
        assert program is not None
        _forget_origins(program.model)
        size_bytes = sum(value.numel() * value.element_size() for value in module.state_dict().values())
        program.save(str(path), external_data=size_bytes > LARGEST_FILE_BYTES)
    beside = path.with_name(path.name + ".data")
    return (path, beside) if beside.exists() else (path,)


def deviation(graph: Graph, path: Path, *, seed: int = 1) -> float:
    """Largest difference between a graph on disk and its module, over several sizes and all outputs.

    Returns:
        max |difference| / standard deviation of the module's output.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for trial in range(graph.trials):
        inputs = graph.example(trial, seed + trial)
        with torch.inference_mode():
            answer = graph.module(*inputs)
        expected: tuple[Tensor, ...] = (answer,) if isinstance(answer, Tensor) else tuple(answer)
        named = {port.name: value.numpy() for port, value in zip(graph.inputs, inputs, strict=True)}
        got = session.run([port.name for port in graph.outputs], named)
        for port, ours, theirs in zip(graph.outputs, expected, got, strict=True):
            assert tuple(ours.shape) == port.sides(trial), (port.name, ours.shape)
            spread = float(ours.std().clamp_min(1e-6))
            worst = max(worst, float(np.abs(ours.numpy() - theirs).max()) / spread)
    return worst


def _checked(graph: Graph, files: tuple[Path, ...]) -> ExportedGraph:
    difference = deviation(graph, files[0])
    if not difference <= TOLERANCE:  # not a number is none, too
        raise ModelError(
            f"The graph {graph.name} does not give the model's numbers in onnxruntime (it differs by {difference:.1g} "
            "standard deviations), so nothing was written."
        )
    return ExportedGraph(graph.name, files, sum(file.stat().st_size for file in files), difference)


def _dynamic(shape: tuple[int | Length, ...], dims: dict[str, Any]) -> dict[int, Any]:
    """What torch.export calls the dynamic shape of one input; ``dims`` are shared by all inputs of a graph."""
    found: dict[int, Any] = {}
    for index, side in enumerate(shape):
        if isinstance(side, Length):
            dim = dims.setdefault(side.axis.name, _dim(side.axis))
            found[index] = dim if side.times == 1 else side.times * dim
    return found


def _dim(axis: Axis) -> Any:
    # torch.export treats a length of 1 apart. Nothing of ours does, which the trials show.
    return torch.export.Dim(axis.name, min=max(2, axis.least), max=axis.most)


def _forget_origins(model: Any) -> None:
    """Leave out where each node came from: source files of the exporting machine, ten times the graph's own size."""
    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *getattr(graph, "initializers", {}).values()):
            value.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk about packages that nobody needs here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The graphs could not be written to {folder}: {error.strerror or error}. Nothing in it was changed; make "
            "room or choose another folder."
        ) from error


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "size_bytes": path.stat().st_size, "sha256": digest}


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
