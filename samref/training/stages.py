"""A recipe put together and run: the network, what of it is trained, its batches, and where its weights go."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from samref.datasets import ImageRecord, Skipped, list_data_sets
from samref.errors import TrainingError
from samref.inference.device import choose_device
from samref.models.checkpoints import load_into, load_safetensors, load_torch
from samref.models.focsam.model import about_focus, official_parts
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.layers import channels_last
from samref.models.sam.model import SamModel
from samref.models.sam_ref.model import SMALL_REFINER, about_refiner, trained_parts
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet
from samref.models.tiny.model import TINY_REFINER
from samref.models.tiny.network import TinyNet
from samref.training.embeddings import EmbeddingStore
from samref.training.recipes import RECIPES, PaperRecipe, SceneRecipe
from samref.training.sam_stage import FocusObjective, SamDecoderObjective, SamRefObjective, load_frozen_sam
from samref.training.samples import SampleFeed
from samref.training.scenes import SceneFeed
from samref.training.segnext_stage import SegNextObjective, load_mae
from samref.training.tiny_stage import BaseObjective, RefinerObjective, load_backbone
from samref.training.trainer import Feed, Processes, Trainee, Trainer, export_weights

SMALL_FOCUS = RefinerConfig(width=32, depth=3, heads=4, mlp_ratio=2.0, window=8)
"""Over ``sam-random``: to try a recipe in seconds."""


@dataclass(frozen=True, slots=True)
class StageFiles:
    """Weights that a stage begins with.

    Attributes:
        checkpoint: SAM's official file, when it is not in the cache.
        base: what lies below a refiner: the embedded model's finished base, or a finished stage 1 (``sam-ref-decoder``,
            ``focsam-decoder``) in place of SAM's own decoder.
        backbone: pretrained encoder: a table of MobileNetV2's layers for the embedded model, MAE ViT-B for SegNext.
        start: weights of the trained part to go on from.
    """

    checkpoint: Path | None = None
    base: Path | None = None
    backbone: Path | None = None
    start: Path | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What is trained, the side of its samples' model frame, and the frozen SAM below."""

    objective: Trainee
    recipe: SceneRecipe | PaperRecipe
    side: int = 0
    sam: SamModel | None = None

    def feed(self, records: Sequence[ImageRecord], store: EmbeddingStore | None = None) -> Feed:
        """Batches of images, over stored embeddings where there is a store."""
        if isinstance(self.recipe, SceneRecipe):
            return SceneFeed(records, self.recipe)
        with_pixels = isinstance(self.objective, SamRefObjective)
        recipe = self.recipe if store is None else replace(self.recipe, augmentation="none")
        return SampleFeed(records, recipe, self.side, store, with_pixels=with_pixels)

    def to_export(self) -> nn.Module:
        """The trained part under the names that whoever loads it expects.

        FocSAM's refiner takes the decoder it was trained through with it, in the authors' names: such a file is what
        ``focsam-vit-*`` loads with ``--checkpoint``. SAM-REF's refiner does likewise, for ``sam-ref-vit-*``. All others
        go out as they are.
        """
        if isinstance(self.objective, FocusObjective):
            return official_parts(self.objective.sam.network, self.objective.refiner, ("refine_head", "decode_head"))
        if isinstance(self.objective, SamRefObjective):
            return trained_parts(self.objective.sam.network, self.objective.refiner)
        return self.objective.trained

    def about_export(self) -> dict[str, str]:
        """What whoever loads the export must know beside the weights; empty where the names say it all."""
        if isinstance(self.objective, SamRefObjective):
            return about_refiner(self.objective.refiner.config)
        return about_focus(self.objective.refiner.config) if isinstance(self.objective, FocusObjective) else {}


def build_stage(recipe: SceneRecipe | PaperRecipe, files: StageFiles, device: torch.device) -> Stage:
    """The stage on ``device``, its new weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    if isinstance(recipe, SceneRecipe):
        return Stage(_embedded(recipe, files, device), recipe)
    if recipe.part == "segnext":
        return _segnext(recipe, files, device)
    name = recipe.model
    sam = load_frozen_sam(name, files.checkpoint, device)
    side, channels = sam.config.image_size, sam.config.prompt_dim
    if files.base is not None:
        load_into(sam.network.mask_decoder, _load(files.base), f"the mask decoder of {name}")
    objective: SamDecoderObjective | FocusObjective | SamRefObjective
    if recipe.part == "sam-decoder":
        objective = SamDecoderObjective(sam, recipe)
    elif recipe.part == "focsam":
        sizes = SMALL_FOCUS if name.endswith("-random") else RefinerConfig(width=channels)
        sizes = replace(sizes, dynamic_windows=recipe.dynamic_windows, dynamic_relu=recipe.dynamic_relu)
        objective = FocusObjective(sam, FocusRefiner(sizes).to(device), recipe)
    else:
        paper = SamRefConfig(width=recipe.width, embedding_channels=channels)
        refiner = SamRef(SMALL_REFINER if name.endswith("-random") else paper)
        objective = SamRefObjective(sam, refiner.to(device), recipe)
    _start(objective.trained, files, recipe.name)
    return Stage(objective, recipe, side, sam)


def _embedded(recipe: SceneRecipe, files: StageFiles, device: torch.device) -> Trainee:
    """The embedded model's base, or its refiner over a finished base."""
    net = TinyNet()
    if recipe.part == "base":
        if files.backbone is not None:
            load_backbone(net, files.backbone)
        if files.start is not None:
            load_into(net, load_safetensors(files.start), "tiny")
        return BaseObjective(channels_last(net, device))
    if files.base is None:
        raise TrainingError("A refiner is trained over a finished base: name it with --base FILE.safetensors.")
    load_into(net, load_safetensors(files.base), "tiny")
    return RefinerObjective(channels_last(net, device), channels_last(SamRef(TINY_REFINER), device))


def _segnext(recipe: PaperRecipe, files: StageFiles, device: torch.device) -> Stage:
    name = recipe.model
    if name not in SEGNEXT_CONFIGS:
        raise TrainingError(f"{name[:60]!r} is not a SegNext model. There are: {', '.join(SEGNEXT_CONFIGS)}.")
    net = SegNextNet(SEGNEXT_CONFIGS[name])
    if files.backbone is not None:
        load_mae(net, files.backbone)
    _start(net, files, recipe.name)
    return Stage(SegNextObjective(net.to(device), recipe), recipe, net.config.image_size)


def _start(module: nn.Module, files: StageFiles, name: str) -> None:
    if files.start is None:
        return
    weights = _load(files.start)
    # An export holds more than the trained part (Stage.to_export); of that, the part alone is taken.
    prefix = {FocusRefiner: "refine_head.", SamRef: "refiner."}.get(type(module))
    if prefix is not None and any(key.startswith(prefix) for key in weights):
        weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    load_into(module, weights, f"the part that {name} trains")


def _load(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return {key: value.float() for key, value in load_safetensors(path).items()}
    return load_torch(path)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to train on, and what had to be left out."""

    records: tuple[ImageRecord, ...]
    skipped: Skipped

    @property
    def summary(self) -> str:
        """One line for the person who started the training."""
        names = sorted({record.dataset for record in self.records})
        left_out = self.skipped.to_sentences()
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        return f"{len(self.records)} images of {', '.join(names)}{rest}."


def find_training_images(data: Path, layout: str = "auto", split: str | None = None) -> Found:
    """The images in ``data``, nothing decoded.

    ``data`` is one data set, a folder of data sets, or the folder of a samref project; ``layout`` a name in
    :data:`~samref.datasets.LAYOUTS`, or "auto" to recognise it; ``split`` is "train" unless told, where there are
    parts.
    """
    listings = list_data_sets(data, layout, split or "train")
    records = tuple(record for listing in listings for record in listing.records)
    return Found(records, sum((listing.skipped for listing in listings), Skipped()))


def train(
    name: str,
    data: Path,
    out: Path,
    files: StageFiles,
    report: Callable[[str], None],
    *,
    layout: str = "auto",
    split: str | None = None,
    model: str | None = None,
    embeddings: Path | None = None,
    steps: int | None = None,
    batch: int | None = None,
    accumulate: int = 1,
    max_seconds: float = math.inf,
    save_every: int = 100,
    workers: int = 1,
    device: str = "auto",
    bf16: bool = True,
    export: Path | None = None,
) -> None:
    """Train a recipe to its end, or until ``max_seconds`` are over; called again, it goes on.

    ``data``, ``layout`` and ``split`` are :func:`find_training_images`'s; ``model`` takes the place of a paper recipe's
    network (``sam-vit-b|l|h``, ``segnext-b-sax1|sax2|sum``, or ``*-random`` to try it), ``steps`` and ``batch`` that of
    its numbers. ``embeddings`` is a folder that :func:`samref.training.embeddings.precompute` filled, ``out`` that of
    the state and the log. The first process tells ``report`` what there is to train on and what was written.
    """
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {name[:60]!r}. There are: {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    if isinstance(recipe, PaperRecipe):
        recipe = replace(recipe, batch=batch or recipe.batch, model=model or recipe.model)
    elif model is not None or files.checkpoint is not None or embeddings is not None or batch is not None:
        raise TrainingError(f"{name} trains the embedded model: it takes no model, checkpoint or embeddings.")
    processes = Processes.join(cpu=device == "cpu")
    place = processes.device or choose_device(device)
    found = find_training_images(data, layout, split)
    stage = build_stage(recipe, files, place)
    if export is not None and export.suffix == ".pth" and stage.about_export():
        raise TrainingError(f"{name} is exported as .safetensors: a .pth file cannot say what refiner it holds.")
    store = None
    if embeddings is not None:
        if stage.sam is None:
            raise TrainingError(f"{name} trains its encoder, so there are no embeddings to store.")
        store = EmbeddingStore.of(embeddings, stage.sam)
        store.require()
    if processes.is_first:
        report(found.summary)
    feed = stage.feed(found.records, store)
    trainer = Trainer(
        stage.objective, recipe, feed, out, place, bf16, accumulate=accumulate, processes=processes, workers=workers
    )
    trainer.run(max_seconds, save_every=save_every, progress=True)
    if export is not None and processes.is_first:
        about = {"recipe": name, "step": str(trainer.step), "plan": json.dumps(asdict(recipe))}
        if recipe.ema > 0:
            export_weights(trainer.averaged, export, about)
        else:
            export_weights(stage.to_export(), export, about | stage.about_export(), torch.float32)
        report(f"Wrote {export} ({export.stat().st_size / 1e6:.1f} MB) from step {trainer.step}.")
    processes.close()
