"""SAM-REF's ablations: what its sizes are worth, and what its parts are, over one base and by one measurement.

The sizes (blocks, width) are trained alike and briefly; what concerns the use of a refiner (no local refiner, the
selector and its direction, the mask given back) is measured with the weights that are shipped. Source: papers.md 1.1
for the rows of the paper's tables; their figures are not known, and the scale here is no match for them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from samref.datasets.objects import find_images, load_objects, read_image, sample_objects
from samref.errors import DataError, StorageError
from samref.evaluation.noc import ClickCurve, Stage, click_curve, score_curves
from samref.inference.predictor import Predictor
from samref.models.checkpoints import load_into, load_safetensors
from samref.models.interface import InteractiveModel
from samref.models.layers import channels_last
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.weights import AGNOSTIC_REFINER
from samref.training.agnostic import AGNOSTIC_RECIPES, AgnosticObjective
from samref.training.mask_records import MaskRecord
from samref.training.run_state import export_weights
from samref.training.trainer import Trainer

__all__ = ["BASELINE", "SIZES", "USES", "Measured", "measure", "refiner_of", "to_table", "train_size", "trained_size"]

BASELINE = SamRefConfig(
    width=32, global_blocks=5, local_blocks=5, residual_detail=True, surest=4.0, inject_embedding=False, crop=256
)
"""The paper's number of blocks at the narrower of its two possible widths; the crop fits a frame of 512 pixels."""

STAY = 0.3
"""Weight of :func:`samref.training.agnostic.harm`: small, as in a first round."""

SIZES: Mapping[str, SamRefConfig] = {
    "C 32, N 5": BASELINE,
    "N 1": replace(BASELINE, global_blocks=1, local_blocks=1),
    "N 3": replace(BASELINE, global_blocks=3, local_blocks=3),
    "N 8": replace(BASELINE, global_blocks=8, local_blocks=8),
    "C 64": replace(BASELINE, width=64),
    "spread blocks": replace(BASELINE, dilations=AGNOSTIC_REFINER.dilations),
}
"""Trained for this; named by what differs from the first."""

SHIPPED = replace(AGNOSTIC_REFINER, crop=BASELINE.crop)
USES: Mapping[str, SamRefConfig] = {
    "shipped": SHIPPED,
    "without LFR": replace(SHIPPED, use_local=False),
    "without DS": replace(SHIPPED, selector="never"),
    "DS the other way": replace(SHIPPED, selector="below"),
    "final mask given back": replace(SHIPPED, feedback="final"),
    "object window": replace(SHIPPED, rule="object"),
}
"""Of the refiner that fits any base, likewise."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a variant reached on the objects measured.

    Attributes:
        variant: its name; "base alone" has no refiner.
        parameters: of the refiner.
        steps: it was trained for; None for shipped weights.
        objects, clicks: measured.
        noc85, noc90: clicks to that IoU, a failure counting as ``clicks``.
        iou, biou: means after the first and after the last click.
        click_s: median seconds per click.
    """

    variant: str
    parameters: int
    steps: int | None
    objects: int
    clicks: int
    noc85: float
    noc90: float
    iou: tuple[float, float]
    biou: tuple[float, float]
    click_s: float


def trained_size(config: SamRefConfig) -> str:
    """Names what has to be trained for ``config``: variants of equal sizes share their weights."""
    spread = "".join(f"-{dilation}" for dilation in config.dilations)
    return f"c{config.width}-g{config.global_blocks}-l{config.local_blocks}-d{spread}"


def train_size(
    config: SamRefConfig,
    records: Mapping[str, Sequence[MaskRecord]],
    data: Path,
    out: Path,
    steps: int,
    device: torch.device,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Weights of that size after ``steps`` of the agnostic recipe; nothing to do where they exist already.

    Raises:
        DataError: the folder holds weights of another number of steps.
    """
    folder = out / trained_size(config)
    weights, made = folder / "refiner.safetensors", folder / "steps.json"
    if weights.is_file() and made.is_file():
        if json.loads(made.read_text()) != steps:
            raise DataError(
                f"{folder} was trained for another number of steps. Name another folder, or the same number."
            )
        return weights
    recipe = replace(AGNOSTIC_RECIPES["agnostic-refiner"], steps=steps)
    torch.manual_seed(recipe.seed)
    objective = AgnosticObjective(channels_last(SamRef(config), device), records, stay=STAY)
    trainer = Trainer(objective, recipe, data, folder, device)
    trainer.run(report=report)
    export_weights(trainer.averaged, weights, {"recipe": recipe.name, "step": str(trainer.step)})
    _write(made, json.dumps(steps))
    return weights


def refiner_of(config: SamRefConfig, weights: Path) -> SamRef:
    """A refiner with weights of its size."""
    refiner = SamRef(config)
    load_into(refiner, load_safetensors(weights), "agnostic-refiner")
    return refiner


def measure(
    variant: str,
    refiner: SamRef | None,
    base: InteractiveModel,
    data: Path,
    out: Path,
    *,
    steps: int | None,
    clicks: int,
    limit: int | None,
) -> Measured:
    """Let the protocol's annotator correct the refined masks over ``base``; kept in ``out`` and not measured twice.

    Args:
        variant: its name.
        refiner: with its weights; None measures the base alone.
        base: whose masks are refined.
        data: folder of data sets.
        out: folder of results.
        steps: the refiner was trained for; None for shipped weights.
        clicks: per object.
        limit: objects per data set; None: all.
    """
    path = out / f"{variant.replace(' ', '-').replace(',', '')}-{clicks}-{limit or 'all'}.json"
    if path.is_file():
        known = json.loads(path.read_text())
        if known["steps"] == steps:
            return Measured(**{**known, "iou": tuple(known["iou"]), "biou": tuple(known["biou"])})
    model, parameters, stage = base, 0, "coarse"
    if refiner is not None:
        parameters = sum(parameter.numel() for parameter in refiner.parameters())
        model, stage = SamRefModel(base, refiner, replace(base.spec, stages=("coarse", "refined"))), "refined"
    curves = _curves(Predictor(model), data, "refined" if stage == "refined" else "coarse", clicks, limit)
    scores = score_curves(curves, clicks)
    found = Measured(
        variant=variant,
        parameters=parameters,
        steps=steps,
        objects=len(curves),
        clicks=clicks,
        noc85=scores.noc[0.85],
        noc90=scores.noc[0.90],
        iou=_first_and_last([(curve.iou_after(1), curve.iou_after(clicks)) for curve in curves]),
        biou=_first_and_last([(curve.biou_after(1), curve.biou_after(clicks)) for curve in curves]),
        click_s=scores.click_s,
    )
    _write(path, json.dumps(asdict(found), indent=1))
    return found


def _curves(predictor: Predictor, data: Path, stage: Stage, clicks: int, limit: int | None) -> list[ClickCurve]:
    records, _ = find_images(data)
    curves = []
    for record in sample_objects(records, limit, 0):
        image = read_image(record)
        embedding = predictor.embed(image)
        for target in load_objects(record, image):
            name = record.sample_id(target.key)
            curves.append(
                click_curve(
                    predictor,
                    embedding,
                    target,
                    sample_id=name,
                    dataset=record.dataset,
                    stage=stage,
                    max_clicks=clicks,
                )
            )
    return curves


def _first_and_last(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.fmean(first for first, _ in pairs), statistics.fmean(last for _, last in pairs)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"Results cannot be written to {path}: {error.strerror or error}.") from error


def to_table(rows: Sequence[Measured]) -> str:
    """A Markdown table."""
    last = rows[0].clicks
    means = f"IoU@1 | IoU@{last} | BIoU@1 | BIoU@{last}"
    lines = [
        f"| variant | parameters | steps | NoC@85 | NoC@90 | {means} | ms per click |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        means = " | ".join(f"{value:.3f}" for value in (*row.iou, *row.biou))
        clicks = f"{row.noc85:.2f} | {row.noc90:.2f}"
        steps = "shipped" if row.steps is None else str(row.steps)
        lines.append(f"| {row.variant} | {row.parameters} | {steps} | {clicks} | {means} | {1000 * row.click_s:.0f} |")
    return "\n".join(lines) + "\n"
