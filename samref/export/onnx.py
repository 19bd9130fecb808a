"""Writes a model as ONNX graphs for browsers and other runtimes, and holds them to the model they come from.

The exporter is torch's own (``torch.onnx.export``, from a ``torch.export`` program, which proves that a graph holds
for every size it promises). Each graph is then run in onnxruntime beside the module; one that differs is not written.
Beside the graphs lies ``model.json``: what a runtime must know besides, so that nobody has to read Python to use them.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samref.errors import ModelError, StorageError
from samref.export.graphs import Axis, Graph, Length, Port, graphs_of
from samref.models.focsam.model import FocsamModel
from samref.models.interface import InteractiveModel
from samref.models.sam.model import SamModel
from samref.models.sam.network import PIXEL_MEAN as SAM_MEAN
from samref.models.sam.network import PIXEL_STD as SAM_STD
from samref.models.sam_ref.model import SamRefModel
from samref.models.segnext.model import THRESHOLD, SegNextModel
from samref.models.segnext.network import PIXEL_MEAN as SEGNEXT_MEAN
from samref.models.segnext.network import PIXEL_STD as SEGNEXT_STD
from samref.models.tiny.model import FRAME_MULTIPLE, TinyModel

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

    ``model`` is on the CPU, in float32. The whole takes a minute or two; ``tell`` is told of each graph when it is
    done.
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
    """Return quietly when all that an export needs is installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"Exporting needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            "Install with: pip install 'samref[onnx]'"
        )


def write_graph(graph: Graph, path: Path) -> tuple[Path, ...]:
    """Export one part to ``path``; its weights go into a second file where one cannot hold them."""
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

    It is the greatest |difference| over the standard deviation of the module's output.
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


FORMAT = "samref-onnx"
VERSION = 1

DISK = (
    "A click at image pixel (x, y) lies at ((x + 0.5) * scale_x, (y + 0.5) * scale_y) model pixels. Divided by the "
    "map's cell size (after the window's corner is taken off) and less 0.5 this is a fractional cell index; every "
    "cell whose index lies within the radius is 1."
)
SHAPES = (
    "A box sets the cells between its corners, rounded; a rough outline fills its polygon, a negative one in the "
    "negative map; a scribble is a line of its width."
)


def describe(model: InteractiveModel, opset: int, exporter: str) -> dict[str, Any]:
    """Everything but the list of graphs."""
    spec = model.spec
    base = model.base if isinstance(model, SamRefModel) else model
    described: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "model": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "source": spec.source,
        "opset": opset,
        "exporter": exporter,
        "axes": "Shapes name free lengths; equal names are equal lengths in all graphs of one image.",
        "threshold": {"logits_above": 0.0},
    }
    match base:
        case TinyModel():
            described |= _tiny(base)
        case SamModel():
            described |= _sam(base)
        case FocsamModel():
            described |= _refocus(base)
        case SegNextModel():
            described |= _segnext(base)
    if isinstance(model, SamRefModel):
        described["refiner"] = _refiner(model)
    return described


def describe_graph(graph: Graph) -> dict[str, Any]:
    """One graph's ports; shapes are numbers, and words for free lengths."""
    axes = {
        side.axis.name: {"least": side.axis.least, "most": side.axis.most}
        for port in graph.inputs
        for side in port.shape
        if isinstance(side, Length)
    }
    return {
        "name": graph.name,
        "purpose": graph.purpose,
        "axes": axes,
        "inputs": [_port(port) for port in graph.inputs],
        "outputs": [_port(port) for port in graph.outputs],
    }


def _port(port: Port) -> dict[str, Any]:
    shape = [side if isinstance(side, int) else str(side) for side in port.shape]
    return {"name": port.name, "dtype": "float32", "shape": shape, "meaning": port.meaning}


def _normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    return {"channels": "RGB", "from": "0..255", "formula": "(x - mean) / std", "mean": list(mean), "std": list(std)}


def _letterbox(side: int, multiple: int | None, resize: str) -> dict[str, Any]:
    return {
        "resize": "letterbox",
        "longest_side": side,
        "rounding": "each side: floor(side * scale + 0.5), at least 1; scale_x and scale_y are the ratios after it",
        "filter": resize,
        "pad_to": "square" if multiple is None else {"next_multiple_of": multiple},
        "pad_where": "right and bottom, with 0, after normalisation",
    }


def _tiny(model: TinyModel) -> dict[str, Any]:
    config = model.net.config
    return {
        "frame": _letterbox(config.image_size, FRAME_MULTIPLE, "bilinear, antialiased where it shrinks, on 8 bits"),
        "normalisation": _normalisation((127.5,) * 3, (127.5,) * 3),
        "low_res_stride": 4,
        "prompt_maps": {
            "graph": "decoder",
            "channels": ["positive", "negative", "box", "region", "rough_mask"],
            "cell_size": config.map_stride,
            "click_radius_cells": config.click_radius / config.map_stride,
            "clicks": DISK,
            "shapes": SHAPES,
        },
        "feedback": "mask_input is the decoder's own last logits of the object; zeros and has_mask 0 at first.",
    }


def _sam(model: SamModel) -> dict[str, Any]:
    return {
        "frame": _letterbox(model.config.image_size, None, "bilinear with Pillow's antialiasing, on 8 bits"),
        "normalisation": _normalisation(SAM_MEAN, SAM_STD),
        "low_res_stride": model.config.image_size // model.low_res.height,
        "prompts": {
            "points": "Model pixels, (x, y) * scale; the half pixel is added in the graph.",
            "order": "Points first, then the two corners of the box, or one padding (0, 0) labelled -1 without a box.",
            "mask_alone": "A mask without a point or box cannot be said to this graph.",
        },
        "multimask": {
            "mode": model.multimask,
            "single": "Take mask 0.",
            "first-click": "One point, no box, no mask_input: of masks 1 to 3 that of the highest iou_predictions; "
            "else mask 0.",
            "always": "Of masks 1 to 3 that of the highest iou_predictions.",
        },
        "feedback": "mask_input is the logits of the mask that was taken; zeros and has_mask 0 at first.",
    }


def _refocus(model: FocsamModel) -> dict[str, Any]:
    described = _sam(model.base)
    if model.refiner is None:
        return described
    del described["multimask"]  # the decoder gives one mask only
    return described | {
        "refocus": {
            "config": asdict(model.config),
            "when": "At prompt number refocus_at, or with refocus_areas_at_once at a first prompt that is more than "
            "one click: decode from image_embedding, then run refocus; this and every later prompt of the object is "
            "decoded from refocused, with the same mask_input.",
            "cells": "The smallest box of the decoder's logits above 0, brought to the frame (bilinear, corners not "
            "aligned), the whole frame where there are none; grown about its middle by expand_height and "
            "expand_width, rounded half to even, clipped; 1 in every cell it touches.",
            "input_rule": "focsam: the image is normalised, padded with 0 to multiples of 32, then resized as a "
            "tensor (bilinear, not antialiased), and the frame is fitted to that padded size. sam: as under frame.",
            "channel_order": "bgr: the channels are exchanged before normalisation.",
        },
    }


def _segnext(model: SegNextModel) -> dict[str, Any]:
    config = model.network.config
    mean, std = (tuple(255 * value for value in values) for values in (SEGNEXT_MEAN, SEGNEXT_STD))
    return {
        "frame": {
            "resize": "stretch",
            "side": config.image_size,
            "filter": "bilinear, not antialiased, corners not aligned, after normalisation",
        },
        "normalisation": _normalisation(mean, std),
        "threshold": {"probability_above": THRESHOLD},
        "low_res_stride": 4,
        "low_res_to_frame": "bilinear, corners aligned (this resize only)",
        "prompt_maps": {
            "graph": "decoder",
            "channels": ["mask_so_far", "positive", "negative"],
            "cell_size": 1,
            "click_radius_cells": config.click_radius,
            "clicks": DISK,
        },
        "feedback": "Channel 0 is the sigmoid of the last logits, brought to the frame, then to the image's size and "
        "back to the frame; zeros at first.",
    }


def _refiner(model: SamRefModel) -> dict[str, Any]:
    config = model.refiner.config
    return {
        "config": asdict(config),
        "maps": {
            "graphs": ["refiner_global", "refiner_local"],
            "channels": ["positive", "negative"],
            "cell_size": "1 in refiner_global; the window's side divided by crop in refiner_local",
            "click_radius_cells": config.click_radius,
            "drawn": "clicks and scribbles only",
        },
        "selector": "When error_logits is above 0 in more than `selector_threshold` times as many cells as at the "
        "object's last prompt (`selector` above; below is the other way round), the window is pasted on the last final "
        "mask and not on the new one.",
        "window": "In low-res cells. Rule `object`: box of refiner_global's mask and of the positive clicks, grown "
        "about its centre by `expand` to at least `minimum` cells, moved into the image, its ends rounded outwards. "
        "Rule `change`: box of the changed part that holds the newest click, likewise grown.",
        "closer": "Where `closer` is not 0: encoder and decoder answer for the window at a longest side of that many "
        "pixels (both sides multiples of 16, mask_input the corrected logits sampled there), and refiner_local "
        "corrects that answer.",
        "sampling": "Bilinear at the centres of a grid over the window, rim repeated; the image is averaged first "
        "where it shrinks by a whole factor.",
        "paste": "The local logits cover the window exactly; resized bilinearly to it they replace what lies under.",
        "islands": "With drop_islands, where only clicks and scribbles were given: 8-connected parts of the final "
        "low-res mask that no positive point touches (its own cell or one of the eight around it) are left out.",
    }
