"""Image embeddings on disk: computed once, so that a frozen encoder does not run in training.

One file per image, ``<model>-<weights>/<aa>/<image>.safetensors`` in half precision; *weights* are the first digits
of a digest of the encoder's weights and *image* the SHA-256 of the image's file. Other weights get other folders,
so embeddings of two models cannot be mixed up.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from samref.datasets.records import ImageRecord
from samref.errors import DataError, StorageError
from samref.files import disk_errors, write_atomically
from samref.models.interface import ImageInput
from samref.models.sam.model import SamModel

KEY = "image_embedding"
OVERHEAD_BYTES = 400
"""Of a file, besides the numbers."""
SPARE_BYTES = 64 * 2**20
"""Left free on the disk."""


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class EmbeddingStore:
    """The embeddings of one encoder. A value: loader processes get a copy.

    Attributes:
        folder: of all stores.
        model: name of the model.
        weights: digest of its encoder's weights, see :func:`weights_digest`.
        shape: (C, h, w) of an embedding.
    """

    folder: Path
    model: str
    weights: str
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, folder: Path, sam: SamModel) -> EmbeddingStore:
        """The store of ``sam``'s encoder, whether or not anything is in it."""
        _, channels, height, width = sam.image_pe.shape
        return cls(folder, sam.spec.name, weights_digest(sam.network.image_encoder), (channels, height, width))

    @property
    def place(self) -> Path:
        """Where this encoder's files lie."""
        return self.folder / f"{self.model}-{self.weights[:12]}"

    @property
    def bytes_each(self) -> int:
        """Size of a file, about."""
        channels, height, width = self.shape
        return 2 * channels * height * width + OVERHEAD_BYTES

    def path(self, record: str) -> Path:
        """The file of the image with that digest."""
        return self.place / record[:2] / f"{record}.safetensors"

    def require(self) -> None:
        """Return quietly when there are embeddings of this very encoder."""
        if self.place.is_dir():
            return
        made = f"python -m samref precompute --model {self.model} --out {self.folder}"
        others = sorted(path.name for path in self.folder.glob(f"{self.model}-*"))
        if others:
            raise DataError(
                f"The embeddings in {self.folder} were made with other weights of {self.model} ({', '.join(others)}), "
                f"not with these ({self.weights[:12]}). Make them again: {made}"
            )
        raise DataError(f"There are no embeddings of {self.model} in {self.folder}. Make them with: {made}")

    def write(self, record: str, embedding: Tensor) -> None:
        """Store (1, C, h, w) or (C, h, w); the file is whole or not there."""
        path = self.path(record)
        about = {"model": self.model, "weights": self.weights, "image": record}
        halved = embedding.detach().reshape(self.shape).to("cpu", torch.float16).contiguous()
        with disk_errors(f"The folder {path.parent} cannot be made"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({KEY: halved}, metadata=about))

    def read(self, record: str) -> Tensor:
        """float16 (C, h, w)."""
        path = self.path(record)
        if not path.is_file():
            raise DataError(
                f"The embedding of an image is missing: {path}. The data has changed since the embeddings were made; "
                f"run this again on it: python -m samref precompute --model {self.model} --out {self.folder}"
            )
        try:
            with safe_open(path, framework="pt") as file:
                about, embedding = file.metadata() or {}, file.get_tensor(KEY)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} is damaged. Delete it and run samref precompute again.") from error
        if about.get("weights") != self.weights or tuple(embedding.shape) != self.shape:
            raise DataError(f"{path} was made with other weights. Delete it and run samref precompute again.")
        halved: Tensor = embedding
        return halved


@dataclass(frozen=True, slots=True)
class Precomputed:
    """What a run of :func:`precompute` did."""

    made: int
    there: int
    size_bytes: int


def precompute(
    sam: SamModel,
    records: Sequence[ImageRecord],
    store: EmbeddingStore,
    report: Callable[[str], None] = lambda _: None,
) -> Precomputed:
    """Compute and store what is not there yet. Run again after a break: it goes on."""
    made = there = 0
    needed = len(records) * store.bytes_each
    report(f"{len(records)} images, {store.bytes_each / 1e6:.2f} MB each: {needed / 1e9:.2f} GB in {store.place}.")
    store.folder.mkdir(parents=True, exist_ok=True)
    held = sum(path.stat().st_size for path in store.place.glob("*/*.safetensors"))
    free = shutil.disk_usage(store.folder).free
    if needed - held > free - SPARE_BYTES:
        raise StorageError(
            f"The embeddings need {(needed - held) / 1e9:.2f} GB more, but only {free / 1e9:.2f} GB are free at "
            f"{store.folder}. Free some space or name another folder with --out."
        )
    for record in tqdm(records, unit="image", disable=None):
        image = record.read_image()
        if store.path(image.digest).is_file():
            there += 1
        else:
            frame = sam.frame(image.size)
            store.write(image.digest, sam.encode(ImageInput(torch.from_numpy(image.rgb), frame)).image_embedding)
            made += 1
    return Precomputed(made, there, sum(path.stat().st_size for path in store.place.glob("*/*.safetensors")))
