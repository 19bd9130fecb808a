"""``python -m samref refiner``: record coarse masks, train the base-agnostic refiner on them, check it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from samref.errors import DataError, StorageError, TrainingError
from samref.training.ablation import SIZES, USES, measure, refiner_of, to_table, train_size
from samref.training.agnostic import AGNOSTIC_RECIPES, STAY, AgnosticObjective
from samref.training.refine_check import KINDS, changes, judge, to_json, to_markdown

if TYPE_CHECKING:
    from samref.models.tiny.network import TinyNet
    from samref.training.mask_records import MaskRecord

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="A refiner that fits any base: record masks, train, check.")

RECORDED_SIDE = 384
"""Pixels of a recorded scene; its low-res frame has a quarter of them, as SAM's 256 of 1024."""


class BaseKind(StrEnum):
    """Bases whose masks can be recorded."""

    TINY = "tiny"
    GRABCUT = "grabcut"


@app.command()
def masks(
    base: Annotated[BaseKind, typer.Argument(help="Whose masks: the embedded base's, or GrabCut's.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the records, one file per object.")],
    weights: Annotated[
        Path | None, typer.Option(help="tiny: a safetensors file, or state.pt of an unfinished training.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes, of two objects each.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes and of the simulated person.")] = 0,
) -> None:
    """Record what a base answers to a simulated person, to train a refiner on; goes on where it was stopped."""
    from samref.training.dataset import BatchShape, SceneBatches, find_images
    from samref.training.mask_records import record_grabcut, record_tiny, save_record

    net = None
    if base is BaseKind.TINY:
        if weights is None:
            raise DataError("Name the embedded base's weights with --weights FILE.")
        net = _tiny(weights)
    shape = BatchShape(images=1, side=RECORDED_SIDE, whole=0.3, zoomed=0.35, share=1.0)
    batches = SceneBatches(find_images(data), (shape,), 2, seed)
    for index in range(scenes):
        names = [out / f"{index:05d}-{number}.npz" for number in range(2)]
        if all(name.is_file() for name in names):
            continue
        rng = np.random.default_rng([seed, index, 2])
        batch = batches.batch(index)
        found = record_grabcut(batch, rng) if net is None else record_tiny(net, batch, rng)
        for name, record in zip(names, found, strict=True):
            save_record(record, name)
    typer.echo(f"{scenes} scenes of {base.value} are recorded in {out}.")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the resumable state and the log.")],
    tiny: Annotated[list[Path] | None, typer.Option(help="Records of the embedded base; may be repeated.")] = None,
    grabcut: Annotated[list[Path] | None, typer.Option(help="Records of GrabCut; may be repeated.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights (safetensors) to start from.")] = None,
    recipe: Annotated[str, typer.Option(help=f"One of: {', '.join(AGNOSTIC_RECIPES)}.")] = "agnostic-refiner",
    steps: Annotated[int | None, typer.Option(help="Other number of steps than the recipe's.")] = None,
    stay: Annotated[float, typer.Option(min=0, help="Extra cost of spoiling right pixels.")] = STAY,
    max_minutes: Annotated[float, typer.Option(help="Stop then; the same command goes on later.")] = math.inf,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fp32: Annotated[bool, typer.Option(help="No mixed precision.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the averaged weights here (safetensors, fp16).")] = None,
) -> None:
    """Train the refiner on imitated and on recorded masks; a kind without records is held out."""
    import torch

    from samref.models.layers import channels_last
    from samref.models.sam_ref.network import SamRef
    from samref.models.sam_ref.weights import AGNOSTIC_REFINER
    from samref.training.run_state import export_weights
    from samref.training.trainer import Trainer

    if recipe not in AGNOSTIC_RECIPES:
        raise TrainingError(f"There is no recipe {recipe[:60]!r}. There are: {', '.join(AGNOSTIC_RECIPES)}.")
    plan = AGNOSTIC_RECIPES[recipe] if steps is None else replace(AGNOSTIC_RECIPES[recipe], steps=steps)
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    torch.manual_seed(plan.seed)
    refiner = SamRef(AGNOSTIC_REFINER) if start is None else refiner_of(AGNOSTIC_REFINER, start)
    objective = AgnosticObjective(channels_last(refiner, chosen), _records(tiny, grabcut), stay=stay)
    trainer = Trainer(objective, plan, data, out, chosen, bf16=not fp32)
    trainer.run(max_seconds=60 * max_minutes, report=typer.echo)
    if export is not None:
        kinds = ", ".join(objective.kinds)
        about = {"recipe": plan.name, "step": str(trainer.step), "masks": kinds, "plan": json.dumps(trainer.plan)}
        export_weights(trainer.averaged, export, about)
        typer.echo(f"Wrote {export} ({export.stat().st_size / 1e6:.2f} MB) from step {trainer.step}; masks: {kinds}.")


@app.command()
def check(
    weights: Annotated[Path, typer.Argument(help="The refiner (safetensors).")],
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    cache: Annotated[Path, typer.Option(help="Folder for the bases' answers, which are made once.")],
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Whose masks, may be repeated: {', '.join(KINDS)}; all unless told.")
    ] = None,
    side: Annotated[int, typer.Option(min=128, help="Of the model frame; the detail crop has half of it.")] = 512,
    steps: Annotated[int, typer.Option(min=1, help="Clicks per object.")] = 3,
    limit_per_dataset: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Check N objects of each data set, always the same ones.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here.")] = None,
) -> None:
    """Check that a refiner improves the masks of several bases and leaves good masks alone."""
    from samref import load_predictor
    from samref.models.sam_ref.weights import AGNOSTIC_REFINER

    wanted = tuple(known for known in KINDS if kind is None or known in kind)
    if kind is not None and len(wanted) < len(set(kind)):
        raise DataError(f"There are these kinds of masks: {', '.join(KINDS)}.")
    refiner = refiner_of(replace(AGNOSTIC_REFINER, crop=side // 2), weights)
    tiny = load_predictor("tiny", device="cpu", precision="fp32") if "tiny" in wanted else None
    found = list(
        changes(refiner, data, cache, kinds=wanted, side=side, steps=steps, limit=limit_per_dataset, tiny=tiny)
    )
    verdicts = judge(found)
    typer.echo(to_markdown(verdicts), nl=False)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(to_json(verdicts, found), indent=1))
        except OSError as error:
            raise StorageError(f"The numbers cannot be written to {json_file}: {error.strerror or error}.") from error


@app.command()
def ablate(
    data: Annotated[Path, typer.Option(help="Folder of data sets to train on.")],
    dev: Annotated[Path, typer.Option(help="Folder of data sets to measure on.")],
    out: Annotated[Path, typer.Option(help="Folder for weights and results; the same command goes on there.")],
    tiny: Annotated[list[Path] | None, typer.Option(help="Records of the embedded base; may be repeated.")] = None,
    grabcut: Annotated[list[Path] | None, typer.Option(help="Records of GrabCut; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of every size.")] = 600,
    clicks: Annotated[int, typer.Option(min=1, help="Per object.")] = 20,
    limit_per_dataset: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Measure N objects of each data set, always the same ones.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help=f"May be repeated: {'; '.join((*SIZES, *USES))}; all unless told.")
    ] = None,
) -> None:
    """Train and measure SAM-REF's ablations over the embedded base, and print their table."""
    import torch

    from samref.models.registry import build_model
    from samref.models.sam_ref import AGNOSTIC_WEIGHTS
    from samref.models.sam_ref.model import SamRefModel
    from samref.models.sam_ref.weights import load_agnostic_refiner

    known = (*SIZES, *USES)
    unknown = [name for name in variant or [] if name not in known]
    if unknown:
        raise TrainingError(f"There is no variant {unknown[0][:60]!r}. There are: {'; '.join(known)}.")
    records, device = _records(tiny, grabcut), torch.device("cpu")
    model = build_model("tiny")
    assert isinstance(model, SamRefModel)
    measured = partial(measure, base=model.base, data=dev, out=out, clicks=clicks, limit=limit_per_dataset)
    rows = [measured("base alone", None, steps=0)]
    for name, config in USES.items():
        if not variant or name in variant:
            rows.append(measured(name, load_agnostic_refiner(AGNOSTIC_WEIGHTS, config), steps=None))
    for name, config in SIZES.items():
        if not variant or name in variant:
            weights = train_size(config, records, data, out, steps, device, report=typer.echo)
            rows.append(measured(name, refiner_of(config, weights), steps=steps))
    typer.echo(to_table(rows), nl=False)


def _records(tiny: list[Path] | None, grabcut: list[Path] | None) -> dict[str, list[MaskRecord]]:
    """Recorded masks by whose they are; a kind without a folder is left out."""
    from samref.training.mask_records import load_records

    folders = {"tiny": tiny or [], "grabcut": grabcut or []}
    return {name: [r for folder in given for r in load_records(folder)] for name, given in folders.items() if given}


def _tiny(weights: Path) -> TinyNet:
    """The embedded base from a weights file or from a training state."""
    import torch

    from samref.models.checkpoints import load_into, load_safetensors
    from samref.models.tiny.network import TinyNet

    net = TinyNet()
    if weights.suffix == ".pt":
        state = torch.load(weights, map_location="cpu", weights_only=True)
        load_into(net, state["averaged"], "tiny")
    else:
        load_into(net, load_safetensors(weights), "tiny")
    return net.eval().requires_grad_(False)
