"""What a graph computes: parts of the models as modules that take tensors and give tensors, for tracing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samref.models.focsam.model import decode_single_mask
from samref.models.focsam.network import FocusRefiner
from samref.models.layers import resize
from samref.models.sam_ref.network import FusionRefiner, SamRef
from samref.models.tiny.network import Embedding, TinyNet

__all__ = [
    "DensePromptsDecoder",
    "DensePromptsEncoder",
    "FocusDecoder",
    "Refine",
    "RefinerImage",
    "Refocus",
    "SamDecoder",
    "TinyDecoder",
    "TinyEncoder",
]


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
    """One refiner, its probability map made from the logits it corrects."""

    def __init__(self, refiner: FusionRefiner, *, with_stem: bool) -> None:
        super().__init__()
        self.refiner = refiner
        self.with_stem = with_stem

    def forward(
        self, image: Tensor, maps: Tensor, logits: Tensor, embedding: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        probability = resize(logits.sigmoid(), maps.shape[-2:])
        seen = self.refiner.image_stem(image) if self.with_stem else image
        refined = self.refiner(seen, torch.cat([maps, probability], dim=1), embedding, logits)
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


class DensePromptsEncoder(nn.Module):
    """SegNext's ViT."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.network.embed(image)  # type: ignore[operator]
        return embedding


class DensePromptsDecoder(nn.Module):
    """SegNext's fusion, neck and head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_embedding: Tensor, maps: Tensor) -> Tensor:
        logits: Tensor = self.network.decode(image_embedding, maps)  # type: ignore[operator]
        return logits
