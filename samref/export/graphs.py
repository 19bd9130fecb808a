"""The parts of a model as graphs that other runtimes can hold: tensors in, tensors out, no Python in between.

One graph per part and not one per model: what depends on the image alone runs once, what depends on a prompt runs
per prompt, and the encoder and decoder of the embedded model take any image (a window of one as well). Prompt maps
are inputs, so that a browser draws them itself. What happens between the graphs is described by
:func:`samref.export.onnx.describe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from samref.errors import ModelError
from samref.models.focsam.model import FocsamModel, decode_single_mask
from samref.models.focsam.network import FocusRefiner
from samref.models.interface import InteractiveModel
from samref.models.layers import resize
from samref.models.sam.model import SamModel
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef
from samref.models.sam_ref.step import Closeup, refine_global, refine_local
from samref.models.segnext.model import SegNextModel
from samref.models.tiny.model import FRAME_MULTIPLE, TinyModel
from samref.models.tiny.network import MAP_CHANNELS, Embedding, TinyNet

LARGEST_FRAME = 2048
"""Longest side, in pixels, that an encoder of free size is promised for."""

MOST_POINTS = 512
"""Points that SAM's decoder is promised for; attention grows with the square."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A free length.

    Attributes:
        name: as in the graph; equal names are equal lengths, within a model.
        least, most: what is promised.
        traced: lengths that export and check run with; the first one is the example's.
    """

    name: str
    least: int
    most: int
    traced: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Length:
    """A multiple of a free length."""

    axis: Axis
    times: int = 1

    def __str__(self) -> str:
        return self.axis.name if self.times == 1 else f"{self.times}*{self.axis.name}"


Side: TypeAlias = int | Length


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output: float32, with what it means in one sentence."""

    name: str
    shape: tuple[Side, ...]
    meaning: str

    def sides(self, trial: int) -> tuple[int, ...]:
        """The shape of trial number ``trial``: every axis at that one of its traced lengths."""
        return tuple(
            side if isinstance(side, int) else side.times * side.axis.traced[trial % len(side.axis.traced)]
            for side in self.shape
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """One part.

    Attributes:
        name: of the file, without ``.onnx``.
        purpose: what it is for and how often it runs, in one sentence.
        module: tensors in the order of ``inputs`` to a tensor or a tuple in the order of ``outputs``.
        inputs, outputs: what goes in and comes out.
        fixed: inputs whose numbers are not arbitrary, by name, as tensors that broadcast to their shape.
    """

    name: str
    purpose: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    fixed: Mapping[str, Tensor] | None = None

    @property
    def trials(self) -> int:
        """How many different sizes export and check look at."""
        axes = [side.axis for port in self.inputs for side in port.shape if isinstance(side, Length)]
        return max((len(axis.traced) for axis in axes), default=1)

    def example(self, trial: int, seed: int) -> tuple[Tensor, ...]:
        """Inputs of sizes number ``trial``, normally distributed where they are not fixed."""
        generator = torch.Generator().manual_seed(seed)
        made = []
        for port in self.inputs:
            drawn = torch.randn(port.sides(trial), generator=generator)
            given = (self.fixed or {}).get(port.name)
            made.append(drawn if given is None else given.expand(drawn.shape).contiguous())
        return tuple(made)


def graphs_of(model: InteractiveModel) -> tuple[Graph, ...]:
    """The graphs of a model, in the order in which a click runs them."""
    match model:
        case SamRefModel():
            return (*graphs_of(model.base), *_refiner(model))
        case TinyModel():
            return _tiny(model.net)
        case FocsamModel():
            return _sam(model.base) if model.refiner is None else _refocus(model.base, model.refiner)
        case SamModel():
            return _sam(model)
        case SegNextModel():
            return _segnext(model)
    raise ModelError(
        f"The model {model.spec.name} has no ONNX form yet. Those of tiny, sam, focsam and segnext have one."
    )


def _free_sides(side: int) -> tuple[Axis, Axis]:
    """Rows and columns at the coarsest stride; a full frame, and flat, narrow and odd ones."""
    full = side // FRAME_MULTIPLE
    most = LARGEST_FRAME // FRAME_MULTIPLE
    return (
        Axis("h", 1, most, (full, max(2, 3 * full // 4), full - 1, 1)),
        Axis("w", 1, most, (max(2, 3 * full // 4), full, 2, full)),
    )


def _at(channels: int, sides: Sequence[Axis], times: int) -> tuple[Side, ...]:
    return (1, channels, *(Length(axis, times) for axis in sides))


def _tiny(net: TinyNet) -> tuple[Graph, ...]:
    width4, width8, width16 = net.config.widths
    sides = _free_sides(net.config.image_size)
    levels = (
        Port("level4", _at(width4, sides, 4), "the image's maps at stride 4"),
        Port("level8", _at(width8, sides, 2), "the image's maps at stride 8"),
        Port("level16", _at(width16, sides, 1), "the image's maps at stride 16, its image embedding"),
    )
    cells = FRAME_MULTIPLE // net.config.map_stride
    image = Port("image", _at(3, sides, FRAME_MULTIPLE), "RGB, normalised, then padded with 0 at the right and bottom")
    maps = Port(
        "maps",
        _at(MAP_CHANNELS, sides, cells),
        "0 or 1 per cell: positive, negative, box, region (filled outlines), rough mask of the user",
    )
    previous = Port("mask_input", _at(1, sides, 4), "the object's previous logits, 0 where there are none")
    flag = Port("has_mask", (1, 1, 1, 1), "1 where there are previous logits, else 0")
    logits = Port("logits", _at(1, sides, 4), "the coarse answer; above 0 is the object")
    return (
        Graph("encoder", "Runs once per image (or window of one).", TinyEncoder(net), (image,), levels),
        Graph(
            "decoder",
            "Runs once per prompt: the coarse answer.",
            TinyDecoder(net),
            (*levels, maps, previous, flag),
            (logits,),
            {"has_mask": torch.ones(1, 1, 1, 1)},
        ),
    )


def _refiner(model: SamRefModel) -> tuple[Graph, ...]:
    refiner, config = model.refiner, model.refiner.config
    free = isinstance(model.base, TinyModel)
    side = model.spec.image_size
    stride = config.low_res_stride
    full = side // FRAME_MULTIPLE

    def shape(channels: int, times: int) -> tuple[Side, ...]:
        """``times``: cells per cell of the coarsest stride."""
        return _at(channels, _free_sides(side), times) if free else (1, channels, times * full, times * full)

    def embedding(port: Port) -> tuple[Port, ...]:
        return (port,) if config.inject_embedding else ()

    width, low, grid = config.width, FRAME_MULTIPLE // stride, config.local_grid
    seen = Port("refiner_image", shape(width, low), "what the global refiner keeps of the image")
    projected = Port("refiner_embedding", shape(width, low), "the image embedding in the low-res frame")
    base_embedding = Port(
        "level16" if free else "image_embedding",
        shape(config.embedding_channels, 1),
        "the encoder's output of this name",
    )
    image = Port("image", shape(3, FRAME_MULTIPLE), "RGB in -1..1, padded with 0: the embedded model's encoder input")
    drawn = "0 or 1 per pixel: positive and negative clicks and strokes"
    answer = (
        Port("logits", shape(1, low), "the corrected mask; above 0 is the object"),
        Port("error_logits", shape(1, low), "above 0 where the mask given was believed wrong"),
    )
    local_answer = tuple(Port(port.name, (1, 1, grid, grid), f"{port.meaning}; covers the window") for port in answer)
    return (
        Graph(
            "refiner_image",
            "Runs once per image, after the encoder.",
            RefinerImage(refiner),
            (image, *embedding(base_embedding)),
            (seen, *embedding(projected)),
        ),
        Graph(
            "refiner_global",
            "Runs once per prompt: corrects the coarse answer over the whole frame.",
            Refine(refiner, local=False),
            (
                seen,
                Port("maps", shape(2, FRAME_MULTIPLE), drawn),
                Port("coarse_logits", shape(1, low), "the coarse answer"),
                *embedding(projected),
            ),
            answer,
        ),
        Graph(
            "refiner_local",
            "Runs once per prompt: corrects the answer inside a window of the image's own pixels.",
            Refine(refiner, local=True),
            (
                Port("image", (1, 3, config.crop, config.crop), "the window's pixels, RGB in -1..1"),
                Port("maps", (1, 2, config.crop, config.crop), drawn),
                Port("coarse_logits", (1, 1, grid, grid), "the answer so far, sampled in the window"),
                *embedding(Port("embedding", (1, width, grid, grid), "refiner_embedding sampled in the window")),
            ),
            local_answer,
        ),
    )


def _sam(model: SamModel) -> tuple[Graph, ...]:
    mask_side = model.low_res.height
    logits = Port(
        "logits", (1, 4, mask_side, mask_side), "the single mask, then three masks for an ambiguous first click"
    )
    ious = Port("iou_predictions", (1, 4), "the model's own estimate of each mask's IoU")
    return _sam_with(model, SamDecoder(model.network, model.image_pe), (logits, ious))


def _refocus(base: SamModel, refiner: FocusRefiner) -> tuple[Graph, ...]:
    mask_side, grid = base.low_res.height, base.config.image_size // base.config.patch_size
    logits = Port("logits", (1, 1, mask_side, mask_side), "the single mask; above 0 is the object")
    token = Port("mask_token", (1, 1, base.config.prompt_dim), "what the refiner starts from")
    encoder, decoder = _sam_with(base, FocusDecoder(base.network, base.image_pe), (logits, token))
    (embedding,) = encoder.outputs
    cells = Port("cells", (1, 1, grid, grid), "1 in the embedding's cells that the grown box touches, else 0")
    seen = torch.zeros(1, 1, grid, grid)
    seen[..., : grid // 3, grid // 4 : grid // 2] = 1  # some windows with the object and some without it
    refocus = Graph(
        "refocus",
        "Runs once per object: its own embedding, which later prompts are decoded from.",
        Refocus(refiner),
        (embedding, token, cells),
        (Port("refocused", embedding.shape, "the embedding around the object"),),
        {"cells": seen},
    )
    return (encoder, decoder, refocus)


def _sam_with(model: SamModel, decoder: nn.Module, outputs: tuple[Port, ...]) -> tuple[Graph, Graph]:
    """SAM's encoder, and a decoder with SAM's inputs."""
    side, channels = model.config.image_size, model.config.prompt_dim
    grid = side // model.config.patch_size
    points = Axis("n", 2, MOST_POINTS, (3, 2, 7))
    image = Port("image", (1, 3, side, side), "RGB, normalised, then padded with 0 at the right and bottom")
    embedding = Port("image_embedding", (1, channels, grid, grid), "the image's embedding")
    mask_side = model.low_res.height
    inputs = (
        embedding,
        Port("point_coords", (1, Length(points), 2), "x, y in model pixels: points, box corners, padding"),
        Port(
            "point_labels",
            (1, Length(points)),
            "1 inside, 0 outside, 2 and 3 a box's top left and bottom right corner, -1 padding (one, where no box is)",
        ),
        Port("mask_input", (1, 1, mask_side, mask_side), "the object's previous low-res logits, 0 where none"),
        Port("has_mask", (1, 1, 1, 1), "1 where there are previous logits, else 0"),
    )
    fixed = {"has_mask": torch.ones(1, 1, 1, 1), "point_labels": torch.ones(1, 1)}
    return (
        Graph("encoder", "Runs once per image.", model.network.image_encoder, (image,), (embedding,)),
        Graph("decoder", "Runs once per prompt.", decoder, inputs, outputs, fixed),
    )


def _segnext(model: SegNextModel) -> tuple[Graph, ...]:
    config = model.network.config
    side, grid = config.image_size, config.grid
    embedding = Port("image_embedding", (1, config.width, grid, grid), "the ViT's tokens")
    return (
        Graph(
            "encoder",
            "Runs once per image.",
            SegNextEncoder(model.network),
            (Port("image", (1, 3, side, side), "RGB of the whole image stretched to the frame, normalised"),),
            (embedding,),
        ),
        Graph(
            "decoder",
            "Runs once per prompt.",
            SegNextDecoder(model.network),
            (embedding, Port("maps", (1, 3, side, side), "probability of the mask so far, positive, negative disks")),
            (Port("logits", (1, 1, side // 4, side // 4), "the answer; see the threshold"),),
        ),
    )


class TinyEncoder(nn.Module):
    """The embedded model's encoder and neck: an image to its maps at three strides."""

    def __init__(self, net: TinyNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.embed(image))


class TinyDecoder(nn.Module):
    """The embedded model's coarse decoder."""

    def __init__(self, net: TinyNet) -> None:
        super().__init__()
        self.decoder = net.decoder

    def forward(
        self, level4: Tensor, level8: Tensor, level16: Tensor, maps: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> Tensor:
        logits: Tensor = self.decoder(Embedding(level4, level8, level16), maps, mask_input, has_mask)
        return logits


class RefinerImage(nn.Module):
    """What the global refiner needs of the image."""

    def __init__(self, refiner: SamRef) -> None:
        super().__init__()
        self.stem = refiner.global_refiner.image_stem
        self.embedding = refiner.embedding

    def forward(self, image: Tensor, image_embedding: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        stem: Tensor = self.stem(image)
        if self.embedding is None or image_embedding is None:
            return stem
        return stem, resize(self.embedding(image_embedding), stem.shape[-2:])


class Refine(nn.Module):
    """One half of the refiner's step."""

    def __init__(self, refiner: SamRef, *, local: bool) -> None:
        super().__init__()
        self.refiner = refiner
        self.local = local

    def forward(
        self, image: Tensor, maps: Tensor, logits: Tensor, embedding: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if self.local:
            refined = refine_local(self.refiner, Closeup(image, maps, embedding, logits))
        else:
            refined = refine_global(self.refiner, image, maps, embedding, logits)
        return refined.logits, refined.error


class SamDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder: points, box corners and paddings in one list, all four masks out.

    The package's prompt encoder writes into tensors by boolean index, which no graph can say; this says the same with
    a table that the label looks up.
    """

    image_pe: Tensor

    def __init__(self, network: Any, image_pe: Tensor) -> None:
        super().__init__()
        self.prompt_encoder = network.prompt_encoder
        self.mask_decoder = network.mask_decoder
        self.register_buffer("image_pe", image_pe)
        self.side = float(network.prompt_encoder.input_image_size[0])

    def forward(
        self, image_embedding: Tensor, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self.embed_prompt(point_coords, point_labels, mask_input, has_mask)
        masks, ious = self.mask_decoder.predict_masks(
            image_embeddings=image_embedding,
            image_pe=self.image_pe,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        return masks, ious

    def embed_prompt(
        self, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sparse (1, N, C) and dense (1, C, h, w) prompt embeddings."""
        encoder = self.prompt_encoder
        # A position: sines and cosines of random frequencies (segment_anything's PositionEmbeddingRandom).
        unit = 2 * ((point_coords + 0.5) / self.side) - 1
        angles = 2 * torch.pi * (unit @ encoder.pe_layer.positional_encoding_gaussian_matrix)
        position = torch.cat([angles.sin(), angles.cos()], dim=-1)  # 1 N C
        label = point_labels[..., None]
        sparse = torch.where(label < 0, 0.0, position)
        kinds = (encoder.not_a_point_embed, *encoder.point_embeddings)  # labels -1, 0, 1, 2, 3
        for number, kind in enumerate(kinds, start=-1):
            sparse = sparse + torch.where(label == number, kind.weight, 0.0)
        dense = torch.where(
            has_mask > 0.5,
            encoder.mask_downscaling(mask_input),
            encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
        )
        return sparse, dense


class FocusDecoder(SamDecoder):
    """The same for FocSAM: the single mask, and the mask token that the refiner starts from."""

    def forward(
        self, image_embedding: Tensor, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self.embed_prompt(point_coords, point_labels, mask_input, has_mask)
        return decode_single_mask(self.mask_decoder, image_embedding, self.image_pe, sparse, dense)


class Refocus(nn.Module):
    """FocSAM's refiner; windows without the object are computed as well and left as they were."""

    def __init__(self, refiner: FocusRefiner) -> None:
        super().__init__()
        self.refiner = refiner

    def forward(self, image_embedding: Tensor, mask_token: Tensor, cells: Tensor) -> Tensor:
        refocused: Tensor = self.refiner(image_embedding, mask_token, cells > 0.5, skips=False)
        return refocused


class SegNextEncoder(nn.Module):
    """SegNext's ViT."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.network.embed(image)  # type: ignore[operator]
        return embedding


class SegNextDecoder(nn.Module):
    """SegNext's fusion, neck and head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_embedding: Tensor, maps: Tensor) -> Tensor:
        logits: Tensor = self.network.decode(image_embedding, maps)  # type: ignore[operator]
        return logits
