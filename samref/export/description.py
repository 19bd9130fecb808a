"""``model.json``: what a runtime must know beside the graphs, so that nobody has to read Python to use them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from samref.export.graphs import Graph, Length, Port
from samref.models.focsam.model import RefocusModel
from samref.models.interface import InteractiveModel
from samref.models.sam.model import SamModel
from samref.models.sam.network import PIXEL_MEAN as SAM_MEAN
from samref.models.sam.network import PIXEL_STD as SAM_STD
from samref.models.sam_ref.model import SamRefModel
from samref.models.segnext.model import THRESHOLD, DensePromptsModel
from samref.models.segnext.network import PIXEL_MEAN as SEGNEXT_MEAN
from samref.models.segnext.network import PIXEL_STD as SEGNEXT_STD
from samref.models.tiny.model import FRAME_MULTIPLE, TinyModel

__all__ = ["FORMAT", "describe", "describe_graph"]

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
    """Everything but the list of graphs.

    Args:
        model: an exported one.
        opset: of the graphs.
        exporter: name and version of what wrote them.
    """
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
        case RefocusModel():
            described |= _refocus(base)
        case DensePromptsModel():
            described |= _dense_prompts(base)
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


def _refocus(model: RefocusModel) -> dict[str, Any]:
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


def _dense_prompts(model: DensePromptsModel) -> dict[str, Any]:
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
        "selector": "With use_selector: when error_logits is above 0 in more than `selector_threshold` times as many "
        "cells as at the object's last prompt (`selector_direction` above), the window is pasted on the last final "
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
        "settled": "Where `settled_after` is not 0 and more prompts than that were given, the newest a click or a "
        "scribble: where the final low-res mask differs from the last one, 8-connected parts of the difference that "
        "no point of it touches (its own cell or one of the eight around it) keep the last final logits.",
        "islands": "With drop_islands, where only clicks and scribbles were given: 8-connected parts of the final "
        "low-res mask that no positive point touches (its own cell or one of the eight around it) are left out.",
    }
