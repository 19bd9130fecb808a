"""``python -m samref evaluate``: clicks needed and seconds per click on folders of images with known objects."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samref.errors import ModelError, StorageError

if TYPE_CHECKING:
    from samref.evaluation.noc import EvaluatedPredictor
    from samref.models.sam.model import MultimaskMode

__all__ = ["PromptOption", "ProtocolOption", "SamMasksOption", "StageOption", "build_measured", "evaluate"]

GRABCUT = "grabcut"


class StageOption(StrEnum):
    """Values of ``--stage``."""

    COARSE = "coarse"
    REFINED = "refined"
    BOTH = "both"


class PromptOption(StrEnum):
    """Values of ``--prompt``."""

    CLICK = "click"
    BOX = "box"
    SCRIBBLE = "scribble"


class SamMasksOption(StrEnum):
    """Values of ``--sam-masks``."""

    SINGLE = "single"
    FIRST = "first"
    BEST = "best"


class ProtocolOption(StrEnum):
    """Values of ``--protocol``."""

    RITM = "ritm"
    FOCSAM = "focsam"


_MULTIMASK: dict[SamMasksOption, MultimaskMode] = {
    SamMasksOption.SINGLE: "single",
    SamMasksOption.FIRST: "first-click",
    SamMasksOption.BEST: "always",
}


def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of a data set, or a folder of such folders.")],
    model: Annotated[str, typer.Option(help="Name of the model, or grabcut for OpenCV's GrabCut.")] = "tiny",
    max_clicks: Annotated[int, typer.Option(min=1, max=200, help="Interactions per object.")] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers and curves here.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots and the worst cases here.")
    ] = None,
    stage: Annotated[
        StageOption, typer.Option(help="Which mask the simulated annotator looks at.")
    ] = StageOption.REFINED,
    prompt: Annotated[PromptOption, typer.Option(help="The first prompt; all others are clicks.")] = PromptOption.CLICK,
    protocol: Annotated[
        ProtocolOption, typer.Option(help="ritm: ignored pixels count nowhere; focsam: as background, ties are drawn.")
    ] = ProtocolOption.RITM,
    layout: Annotated[
        str,
        typer.Option(
            help="How the data lie in the folder: auto, folders, grabcut, berkeley, davis, sbd, pascalvoc, cod10k, "
            "mvtec, hqseg, coco, lvis, coco-panoptic or coco-lvis."
        ),
    ] = "auto",
    split: Annotated[
        str | None, typer.Option(help="Part of the data: val, train, test, ...; the one the field measures by default.")
    ] = None,
    sam_masks: Annotated[
        SamMasksOption | None,
        typer.Option(
            help="For Segment Anything: a single mask always, the best of three at a lone first click (its default), "
            "or the best of three at every click."
        ),
    ] = None,
    limit_per_dataset: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Measure N objects of each data set, always the same ones.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    stop_at: Annotated[
        float | None, typer.Option(metavar="IOU", help="Stop an object there (quicker; IoU@k keeps the last mask).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Images at the same time; >1 blurs times.")] = 1,
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where an interrupted run left its results beside the report.")
    ] = False,
) -> None:
    """Measure clicks needed and speed on a data set.

    A simulated annotator clicks the middle of the largest mistake until it has used up its clicks. The data may be any
    published click benchmark as it comes, or your own: for the image images/cat.jpg the objects are in masks/cat.png
    (one number per object, 255 = ignore) or in masks/cat__1.png, masks/cat__2.png, ... (one object each, 128 = ignore).
    Where no masks/cat.png has a value besides 0 and 255, they are black and white: what is white is the one object.

    An interrupted run with --json or --html goes on where it stopped when it is started again in the same words.
    """
    from samref.evaluation.progress import show_progress
    from samref.evaluation.report.files import check_target
    from samref.evaluation.report.page import check_page
    from samref.evaluation.report.table import report_to_table
    from samref.evaluation.run import evaluate as measure

    for option, target in (("--json", json_file), ("--html", html_file)):
        if target is not None:
            if str(target) == "-":
                raise StorageError(f"Give {option} the name of a file; the table goes to standard output.")
            check_target(target)
    if html_file is not None:
        check_page()
    masks = sam_masks or _sam_masks_of(model)
    report = measure(
        data,
        build_measured(
            model,
            checkpoint,
            device,
            _same_precision(precision, None if restart else json_file or html_file),
            sam_masks,
        ),
        model=model,
        weights=_weights(model, checkpoint),
        max_clicks=max_clicks,
        stage=stage.value,
        first_prompt=prompt.value,
        stop_at=stop_at,
        rule=protocol.value,
        layout=layout,
        split=split,
        sam_masks=None if masks is None else masks.value,
        limit=limit_per_dataset,
        seed=seed,
        workers=workers,
        json_path=json_file,
        html_path=html_file,
        restart=restart,
        progress=show_progress(),
    )
    typer.echo(report_to_table(report), nl=False)


def build_measured(
    model: str, checkpoint: Path | None, device: str, precision: str, sam_masks: SamMasksOption | None = None
) -> EvaluatedPredictor:
    """The model or baseline of that name.

    Raises:
        ModelError: there is no such model, device or precision, its weights are missing or damaged, or it has no
            choice of masks.
    """
    if model == GRABCUT:
        from samref.evaluation.grabcut import GrabCutPredictor

        if sam_masks is not None:
            raise ModelError("--sam-masks is for Segment Anything; grabcut has no such choice. Leave it out.")
        return GrabCutPredictor()
    from samref import load_predictor

    mode = None if sam_masks is None else _MULTIMASK[sam_masks]
    return load_predictor(model, device=device, precision=precision, checkpoint=checkpoint, multimask=mode)


def _sam_masks_of(model: str) -> SamMasksOption | None:
    """What Segment Anything does when it is not told, so that a report always names it; None for other models."""
    if model == GRABCUT:
        return None
    from samref.models.sam import SPECS as SAM_SPECS

    return SamMasksOption.FIRST if model in SAM_SPECS else None


def _weights(model: str, checkpoint: Path | None) -> dict[str, str]:
    if model == GRABCUT:
        return {}
    from samref.evaluation.provenance import weights_digests

    return weights_digests(model, checkpoint)


def _same_precision(precision: str, target: Path | None) -> str:
    """What an interrupted run chose, where this one may choose: "auto" measures, and can come out differently."""
    from samref.evaluation.journal import journal_path, read_header

    if precision != "auto" or target is None:
        return precision
    header = read_header(journal_path(target))
    return {"torch.float32": "fp32", "torch.bfloat16": "bf16"}.get(str(header.get("dtype")), precision)
