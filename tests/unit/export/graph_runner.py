"""Models whose networks are the exported graphs in onnxruntime; everything around them is samref's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samref.inference.predictor import Predictor
from samref.models.focsam.model import FocsamModel, SingleMask
from samref.models.interface import ImageFeatures
from samref.models.sam.model import SamModel
from samref.models.sam.prompts import SamPrompt
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import Refined
from samref.models.segnext.model import SegNextModel
from samref.models.tiny.model import TinyModel
from samref.models.tiny.network import Embedding

__all__ = ["Graphs", "predictor_over"]


class Graphs:
    """The sessions of an exported folder, opened by what its ``model.json`` says and by nothing else."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        self.description: dict[str, Any] = json.loads((folder / "model.json").read_text("utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.sessions = {
            entry["name"]: onnxruntime.InferenceSession(
                str(folder / entry["files"][0]["file"]), options, providers=["CPUExecutionProvider"]
            )
            for entry in self.description["graphs"]
        }
        self.calls: list[str] = []
        self.latest: dict[str, dict[str, Tensor]] = {}
        """What each graph gave last."""

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        self.calls.append(name)
        session = self.sessions[name]
        names = [port.name for port in session.get_outputs()]
        outputs = session.run(names, {key: value.detach().float().numpy() for key, value in inputs.items()})
        self.latest[name] = {key: torch.from_numpy(value) for key, value in zip(names, outputs, strict=True)}
        return self.latest[name]


def predictor_over(model: SamRefModel | SamModel | FocsamModel | SegNextModel, graphs: Graphs) -> Predictor:
    """A predictor of ``model``'s kind that computes with ``graphs``; the model's own networks are cut out."""
    predictor = Predictor(model)
    _cut(predictor._model, graphs)
    return predictor


def _cut(model: Any, graphs: Graphs) -> None:
    match model:
        case SamRefModel():
            _cut(model.base, graphs)
            _cut_refiner(model, graphs)
        case TinyModel():
            _cut_tiny(model, graphs)
        case SamModel():
            _cut_sam(model, graphs)
        case FocsamModel():
            _cut_refocus(model, graphs)
        case SegNextModel():
            _cut_segnext(model, graphs)
        case _:
            raise TypeError(type(model))


def _cut_tiny(model: TinyModel, graphs: Graphs) -> None:
    def decode(levels: Embedding, maps: Tensor, mask_input: Tensor, has_mask: Tensor) -> Tensor:
        given = {"maps": maps, "mask_input": mask_input, "has_mask": has_mask}
        return graphs.run("decoder", **levels._asdict(), **given)["logits"]

    net = model.net
    _replace({net: {"embed": lambda image: Embedding(**graphs.run("encoder", image=image))}})
    _replace({net.decoder: {"forward": decode}})


def _cut_refiner(model: SamRefModel, graphs: Graphs) -> None:
    refiner = model.refiner
    ports = [port.name for port in graphs.sessions["refiner_image"].get_inputs()]

    def stem(image: Tensor) -> Tensor:  # called right after the base has encoded the image
        given = {port: graphs.latest["encoder"][port] for port in ports if port != "image"}
        return graphs.run("refiner_image", image=image, **given)["refiner_image"]

    def correct_globally(image: Tensor, maps: Tensor, embedding: Tensor | None, mask: Tensor) -> Refined:
        injected = {} if embedding is None else {"refiner_embedding": embedding}
        out = graphs.run("refiner_global", refiner_image=image, maps=maps[:, :2], coarse_logits=mask, **injected)
        return Refined(out["error_logits"], out["logits"])

    def correct_locally(crop: Tensor, maps: Tensor, embedding: Tensor | None, mask: Tensor) -> Refined:
        injected = {} if embedding is None else {"embedding": embedding}
        out = graphs.run("refiner_local", image=crop, maps=maps[:, :2], coarse_logits=mask, **injected)
        return Refined(out["error_logits"], out["logits"])

    _replace(
        {
            refiner: {"project": lambda *_: graphs.latest["refiner_image"].get("refiner_embedding")},
            refiner.global_refiner: {"forward": correct_globally},
            refiner.global_refiner.image_stem: {"forward": stem},
            refiner.local_refiner: {"forward": correct_locally},
            refiner.local_refiner.image_stem: {"forward": lambda crop: crop},
        }
    )


def _cut_sam(model: SamModel, graphs: Graphs) -> None:
    def predict_masks(features: ImageFeatures, prompt: SamPrompt, *, multimask: bool) -> tuple[Tensor, Tensor]:
        out = _decode_sam(model, graphs, features.image_embedding, prompt)
        taken = slice(1, None) if multimask else slice(0, 1)
        return out["logits"][:, taken], out["iou_predictions"][:, taken]

    _cut_sam_encoder(model, graphs)
    model.predict_masks = predict_masks  # type: ignore[method-assign]


def _cut_refocus(model: FocsamModel, graphs: Graphs) -> None:
    def predict_mask(image_embedding: Tensor, prompt: SamPrompt) -> SingleMask:
        out = _decode_sam(model.base, graphs, image_embedding, prompt)
        return SingleMask(out["logits"], out["mask_token"])

    def refocus(image_embedding: Tensor, mask_token: Tensor, cells: Tensor) -> Tensor:
        given = {"image_embedding": image_embedding, "mask_token": mask_token, "cells": cells}
        return graphs.run("refocus", **given)["refocused"]

    _cut_sam_encoder(model.base, graphs)
    _replace({model.refiner: {"forward": refocus}})
    model.predict_mask = predict_mask  # type: ignore[method-assign]


def _cut_sam_encoder(model: SamModel, graphs: Graphs) -> None:
    encoder = model.network.image_encoder
    _replace({encoder: {"forward": lambda image: graphs.run("encoder", image=image)["image_embedding"]}})


def _decode_sam(model: SamModel, graphs: Graphs, image_embedding: Tensor, prompt: SamPrompt) -> dict[str, Tensor]:
    points, labels = [*prompt.points_xy], [*prompt.labels]
    if prompt.box_xyxy is not None:
        points += [prompt.box_xyxy[:2], prompt.box_xyxy[2:]]
        labels += [2, 3]
    else:
        points, labels = [*points, (0.0, 0.0)], [*labels, -1]
    mask = prompt.mask_input
    return graphs.run(
        "decoder",
        image_embedding=image_embedding,
        point_coords=torch.tensor([points]),
        point_labels=torch.tensor([labels]),
        mask_input=torch.zeros(1, 1, model.low_res.height, model.low_res.width) if mask is None else mask,
        has_mask=torch.full((1, 1, 1, 1), float(mask is not None)),
    )


def _cut_segnext(model: SegNextModel, graphs: Graphs) -> None:
    def embed(image: Tensor) -> Tensor:
        return graphs.run("encoder", image=image)["image_embedding"]

    def decode(image_embedding: Tensor, maps: Tensor) -> Tensor:
        return graphs.run("decoder", image_embedding=image_embedding, maps=maps)["logits"]

    _replace({model.network: {"embed": embed, "decode": decode}})


def _replace(replaced: dict[Any, dict[str, Any]]) -> None:
    for module, methods in replaced.items():
        for name, function in methods.items():
            assert callable(getattr(module, name)), "only what the model really calls can be replaced"
            object.__setattr__(module, name, function)
