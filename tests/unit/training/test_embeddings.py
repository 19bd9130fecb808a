"""Embeddings on disk: what a frozen encoder would say, made once, never mixed up with those of other weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from samref.core.geometry import ImageSize
from samref.errors import DataError, StorageError
from samref.models.interface import ImageInput
from samref.models.sam import RANDOM
from samref.models.sam.model import SamModel, build_sam
from samref.training.embeddings import EmbeddingStore, precompute
from samref.training.recipes import PAPER_RECIPES, SessionClicks
from samref.training.stages import StageFiles, build_stage, find_training_images
from samref.training.trainer import Trainer

CPU = torch.device("cpu")
RECIPE = replace(
    PAPER_RECIPES["sam-ref-decoder"], model="sam-random", batch=2, steps=1, warmup=0, clicks=SessionClicks(most=0)
)


@pytest.fixture(scope="module")
def sam() -> SamModel:
    return build_sam(RANDOM, "single")


def test_stored_embeddings_are_the_encoders_own_and_are_made_once(shapes: Path, sam: SamModel, tmp_path: Path) -> None:
    images = find_training_images(shapes).records
    store = EmbeddingStore.of(tmp_path, sam)
    said: list[str] = []
    first = precompute(sam, images[:4], store, said.append)
    assert (first.made, first.there) == (4, 0)
    assert "4 images, 0.02 MB each" in said[0]
    assert first.size_bytes == pytest.approx(4 * store.bytes_each, rel=0.02)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    second = precompute(sam, images, store)
    assert (second.made, second.there) == (2, 4)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for record in images:
        image = record.read_image()
        frame = sam.frame(ImageSize(*image.rgb.shape[:2]))
        live = sam.encode(ImageInput(torch.from_numpy(image.rgb), frame)).image_embedding
        assert torch.equal(store.read(image.digest), live[0].half())


def test_training_on_stored_embeddings_never_runs_the_encoder(shapes: Path, sam: SamModel, tmp_path: Path) -> None:
    """And learns what it learns from live ones, up to half precision."""
    images = find_training_images(shapes).records
    precompute(sam, images, EmbeddingStore.of(tmp_path / "store", sam))
    gradients = {}
    for stored in (False, True):
        stage = build_stage(RECIPE, StageFiles(), CPU)
        assert stage.sam is not None
        store = EmbeddingStore.of(tmp_path / "store", stage.sam) if stored else None
        if stored:
            stage.sam.network.image_encoder.forward = _never
        feed = stage.feed(images, store)
        trainer = Trainer(stage.objective, RECIPE, feed, tmp_path / str(stored), CPU, bf16=False, workers=0)
        trainer._train_step(trainer._batches())
        gradients[stored] = torch.cat([p.grad.flatten() for p in trainer.trained.parameters() if p.grad is not None])
    off = (gradients[True] - gradients[False]).norm() / gradients[False].norm()
    assert 0 < off < 0.02


def _never(*_: Any) -> None:
    raise AssertionError("the encoder ran")


def test_other_weights_missing_and_damaged_embeddings_are_refused(shapes: Path, sam: SamModel, tmp_path: Path) -> None:
    images = find_training_images(shapes).records[:1]
    store = EmbeddingStore.of(tmp_path, sam)
    with pytest.raises(DataError, match="There are no embeddings of sam-random"):
        store.require()
    precompute(sam, images, store)
    store.require()
    other = EmbeddingStore.of(tmp_path, build_sam(RANDOM, "single", seed=1))
    assert other.weights != store.weights
    with pytest.raises(DataError, match="made with other weights of sam-random"):
        other.require()
    digest = images[0].read_image().digest
    with pytest.raises(DataError, match="missing"):
        store.read("0" * 64)
    other.path(digest).parent.mkdir(parents=True)
    store.path(digest).rename(other.path(digest))
    with pytest.raises(DataError, match="made with other weights"):
        other.read(digest)
    other.path(digest).write_bytes(b"half")
    with pytest.raises(DataError, match="is damaged"):
        other.read(digest)


def test_a_disk_too_small_for_all_embeddings_is_refused_before_the_first(
    shapes: Path, sam: SamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddingStore.of(tmp_path, sam)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"need 0\.00 GB more"):
        precompute(sam, find_training_images(shapes).records, store)
    assert not store.place.exists()
