"""``python -m samref evaluate``, ``compare``, ``ablate`` and ``latency``: models on images with known objects."""

from __future__ import annotations

import shlex
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


def compare(
    data: Data,
    models: Annotated[
        str, typer.Option(metavar="NAMES", help="Names with commas between; all that are compared unless told.")
    ] = "",
    readme: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Document with the marks <!-- comparison --> for the table.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="File for all numbers; reports of single models go beside it."),
    ] = None,
    max_clicks: MaxClicks = 20,
    limit_per_dataset: Annotated[int, typer.Option(min=1, metavar="N", help="Objects of each data set.")] = 5,
    seed: Seed = 0,
    sat_grid: Annotated[
        int, typer.Option(min=0, max=64, help="Clicks along each side for the SAT latency; 0 leaves it out.")
    ] = 16,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device to run on.")] = "auto",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Precision of every model alike.")] = "fp32",
) -> None:
    """Measure every model on this machine in one run.

    Parameters, seconds and memory of each, in a process of its own; and the quality of those whose weights are on
    this machine. Architectures without weights are timed with random ones. Leave the machine alone meanwhile.
    """
    from samref.evaluation import compare as comparison
    from samref.evaluation.cost import Settings
    from samref.evaluation.report import check_target

    contenders = comparison.find_contenders([name.strip() for name in models.split(",") if name.strip()])
    if json_file is not None:
        check_target(json_file)
    if readme is not None:
        comparison.check_marks(readme)
    found = comparison.compare(
        data,
        contenders,
        Settings(max_clicks, limit_per_dataset, seed, sat_grid, device, precision),
        json_path=json_file,
        progress=True,
        told=lambda words: typer.echo(words, err=True),
    )
    words = ["python", "-m", "samref", "compare", "--data", data.resolve().name]
    words += [] if not models else ["--models", models]
    words += ["--max-clicks", str(max_clicks), "--limit-per-dataset", str(limit_per_dataset), "--seed", str(seed)]
    words += ["--sat-grid", str(sat_grid), "--device", device, "--precision", precision]
    table = comparison.comparison_to_markdown(found, shlex.join(words))
    if readme is not None:
        comparison.put_between_marks(readme, table)
    typer.echo(table, nl=False)


def ablate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the reports; the same command goes on there.")],
    model: Annotated[str, typer.Option(help="Model with a SAM-REF refiner: tiny or sam-ref-*.")] = "tiny",
    use: Annotated[list[str] | None, typer.Option(help="Row of the table, may be repeated; all unless told.")] = None,
    max_clicks: MaxClicks = 20,
    limit_per_dataset: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Objects of each data set; all unless told.")
    ] = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure a model without its local refiner, with other dynamic selectors, and with its final mask fed back."""
    from samref.evaluation.ablation import ablate as measure
    from samref.evaluation.noc import ClickProtocol
    from samref.files import disk_errors

    with disk_errors(f"The folder {out} cannot be made"):
        out.mkdir(parents=True, exist_ok=True)
    protocol = ClickProtocol(max_clicks, limit_per_dataset=limit_per_dataset, seed=seed)
    table = measure(
        data,
        model,
        protocol,
        out,
        use or (),
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        told=lambda words: typer.echo(words, err=True),
    )
    typer.echo(table, nl=False)


def latency(
    data: Data,
    model: Model = "tiny",
    images: Annotated[int, typer.Option(min=1, max=1000, help="Number of images, spread over the data.")] = 3,
    stage: Annotated[Stages, typer.Option(help="Mask that is waited for.")] = "both",
    layout: Layout = "auto",
    split: Split = None,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure how long a model takes for whole images.

    Each image is encoded once; then 16 x 16 single clicks are answered one after the other, each with its mask at the
    image's own size ("SAT latency"). One image is done beforehand, so that nothing is measured while it warms up.
    """
    from samref.datasets import images_of
    from samref.evaluation.cost import GRID_SIDE, mean_latency, sat_latency, spread
    from samref.evaluation.report import describe_machine, in_words, text_table
    from samref.evaluation.run import build_measured

    predictor = build_measured(model, checkpoint, device, precision)
    chosen = [record.read_image() for record in spread(images_of(data, layout, split), images)]
    sat_latency(predictor, chosen[0], side=1)
    rows = [["stage", "SAT s", "encode s", "s/click"]]
    for one in ("coarse", "refined") if stage == "both" else (stage,):
        encode_s, clicks_s = mean_latency(predictor, chosen, one)
        rows.append([one, f"{encode_s + clicks_s:.2f}", f"{encode_s:.3f}", f"{clicks_s / GRID_SIDE**2:.4f}"])
    typer.echo(f"{model}, {len(chosen)} images, {GRID_SIDE} x {GRID_SIDE} clicks each, means in seconds\n")
    typer.echo(text_table(rows, has_sum=False))
    typer.echo(f"\nMachine: {in_words(describe_machine(predictor))}.")
