"""The network of Segment Anything: the ``segment-anything`` package's own modules in any size.

Source: Kirillov et al., "Segment Anything" (2023), and the authors' package (Apache-2.0).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from typing import Any

import torch
from torch import Tensor, nn

from samref.errors import ModelError
from samref.models.checkpoints import load_into
from samref.models.layers import seeded_weights

PACKAGE = "segment_anything"
ALIAS = "_samref_segment_anything"
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of ImageNet's RGB on 0..255, as the package has them."""


@dataclass(frozen=True, slots=True)
class SamConfig:
    """Every size of a SAM network; the defaults are those that all released variants share.

    Attributes:
        embed_dim, depth, heads, global_blocks: of the image encoder; blocks counted from 0.
        window: side of the other blocks' attention windows, in cells.
        image_size, patch_size: of the model frame, in pixels.
        prompt_dim: width of image embedding, prompt encoder and mask decoder.
        mask_channels: hidden channels of the mask prompt's convolutions.
        decoder_heads, decoder_mlp_dim: of the two-way transformer.
        iou_hidden: of the head that predicts the IoU.
    """

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    image_size: int = 1024
    patch_size: int = 16
    prompt_dim: int = 256
    mask_channels: int = 16
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_hidden: int = 256


SAM_CONFIGS: Mapping[str, SamConfig] = {
    "sam-vit-b": SamConfig(768, 12, 12, (2, 5, 8, 11)),
    "sam-vit-l": SamConfig(1024, 24, 16, (5, 11, 17, 23)),
    "sam-vit-h": SamConfig(1280, 32, 16, (7, 15, 23, 31)),
    "sam-random": SamConfig(
        32, 2, 2, (1,), window=7, image_size=256, prompt_dim=32, decoder_heads=4, decoder_mlp_dim=64, iou_hidden=32
    ),
}


def build_sam_network(config: SamConfig) -> Any:
    """The package's ``Sam`` module of these sizes, in eval mode, with the package's initial weights."""
    modeling = segment_anything_module("modeling")
    grid = config.image_size // config.patch_size
    network = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=4,
            out_chans=config.prompt_dim,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window,
            global_attn_indexes=config.global_blocks,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_channels,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=2,
                embedding_dim=config.prompt_dim,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_heads,
            ),
            transformer_dim=config.prompt_dim,
            iou_head_depth=3,
            iou_head_hidden_dim=config.iou_hidden,
        ),
    )
    return network.eval()


def random_weights(config: SamConfig, seed: int) -> dict[str, Tensor]:
    """Seeded weights that give varied answers (the package's own start has empty position tables)."""
    with torch.device("meta"):
        shapes = build_sam_network(config).state_dict()
    weights = seeded_weights(shapes, seed, 0.2)
    weights["mask_decoder.iou_prediction_head.layers.2.bias"] += 0.5  # an IoU is no negative number
    return weights


def network_from(config: SamConfig, weights: Mapping[str, Tensor], name: str) -> Any:
    """A network that *is* these tensors: built without memory of its own, so ViT-H needs 2.5 GB and not 5."""
    with torch.device("meta"):
        network = build_sam_network(config)
    load_into(network, weights, name, assign=True)
    device = weights["prompt_encoder.no_mask_embed.weight"].device
    network.pixel_mean = torch.tensor(PIXEL_MEAN, device=device).view(3, 1, 1)
    network.pixel_std = torch.tensor(PIXEL_STD, device=device).view(3, 1, 1)
    return network


def segment_anything_module(name: str) -> Any:
    """``segment_anything.<name>``, imported without running the package's ``__init__``.

    That ``__init__`` also imports the automatic mask generator and with it torchvision, whose compiled operators must
    match torch to the patch release; nothing samref needs uses them. So the package's folder gets a second name,
    under which it is a plain package without code of its own. ``import segment_anything`` elsewhere is not affected.
    """
    if ALIAS not in sys.modules:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise ModelError("The segment-anything package is missing. Install it with: pip install segment-anything")
        spec = ModuleSpec(ALIAS, None, is_package=True)
        spec.submodule_search_locations = list(found.submodule_search_locations)
        sys.modules.setdefault(ALIAS, importlib.util.module_from_spec(spec))
    return importlib.import_module(f"{ALIAS}.{name}")
