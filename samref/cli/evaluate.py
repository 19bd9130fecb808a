"""``python -m samref evaluate``: clicks needed and seconds per click on folders of images with known objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from samref.errors import StorageError

# Options that the commands which measure share.
Stages: TypeAlias = Literal["coarse", "refined", "both"]
Data: TypeAlias = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder of a data set, or a folder of such folders.")
]
Model: TypeAlias = Annotated[str, typer.Option(help="Name of the model, or grabcut for OpenCV's GrabCut.")]
Layout: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Layout of the data in the folder: auto, folders, project, grabcut, berkeley, davis, sbd, pascalvoc, "
        "cod10k, mvtec, hqseg, coco, lvis, coco-panoptic or coco-lvis."
    ),
]
Split: TypeAlias = Annotated[
    str | None, typer.Option(help="Part of the data: val, train, test, ...; the one the field measures by default.")
]
Checkpoint: TypeAlias = Annotated[Path | None, typer.Option(help="File with other weights.")]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Precision: TypeAlias = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
MaxClicks: TypeAlias = Annotated[int, typer.Option(min=1, max=200, help="Interactions per object.")]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, help="Random seed for sampling objects.")]


def evaluate(
    data: Data,
    model: Model = "tiny",
    max_clicks: MaxClicks = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="File for all numbers and curves.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="File for a page with plots and the worst cases.")
    ] = None,
    stage: Annotated[Stages, typer.Option(help="Mask that the simulated annotator sees.")] = "refined",
    prompt: Annotated[
        Literal["click", "box", "scribble"], typer.Option(help="First prompt; all others are clicks.")
    ] = "click",
    protocol: Annotated[
        Literal["ritm", "focsam"],
        typer.Option(help="ritm: ignored pixels count nowhere; focsam: as background, ties are drawn."),
    ] = "ritm",
    layout: Layout = "auto",
    split: Split = None,
    sam_masks: Annotated[
        Literal["single", "first", "best"] | None,
        typer.Option(
            help="For Segment Anything: a single mask always, the best of three at a lone first click (its default), "
            "or the best of three at every click."
        ),
    ] = None,
    limit_per_dataset: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Objects of each data set; all unless told."),
    ] = None,
    seed: Seed = 0,
    stop_at: Annotated[
        float | None,
        typer.Option(metavar="IOU", help="IoU at which an object is done (quicker; IoU@k keeps the last mask)."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Images at the same time; >1 blurs times.")] = 1,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    precision: Precision = "auto",
    restart: Annotated[
        bool, typer.Option("--restart", help="New start where an interrupted run left its results beside the report.")
    ] = False,
) -> None:
    """Measure clicks needed and speed on a data set.

    A simulated annotator clicks the middle of the largest mistake until it has used up its clicks. The data may be any
    published click benchmark as it comes, or your own: for the image images/cat.jpg the objects are in masks/cat.png
    (one number per object, 255 = ignore) or in masks/cat__1.png, masks/cat__2.png, ... (one object each, 128 = ignore).
    Where no masks/cat.png has a value besides 0 and 255, they are black and white: what is white is the one object.

    An interrupted run with --json or --html goes on where it stopped when it is started again in the same words.
    """
    from samref.evaluation.noc import ClickProtocol
    from samref.evaluation.report import report_to_table
    from samref.evaluation.run import evaluate_model

    for option, target in (("--json", json_file), ("--html", html_file)):
        if str(target) == "-":
            raise StorageError(f"Give {option} the name of a file; the table goes to standard output.")
    report = evaluate_model(
        data,
        model,
        ClickProtocol(
            max_clicks=max_clicks,
            stages=("coarse", "refined") if stage == "both" else (stage,),
            first_prompt=prompt,
            stop_at=stop_at,
            limit_per_dataset=limit_per_dataset,
            seed=seed,
            workers=workers,
            rule=protocol,
            split=split,
            sam_masks=sam_masks,
        ),
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        layout=layout,
        json_path=json_file,
        html_path=html_file,
        restart=restart,
        progress=True,
    )
    typer.echo(report_to_table(report), nl=False)
