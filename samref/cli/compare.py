"""``python -m samref compare``: every model on one machine in one run, as a table in a document and as JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from samref.cli.evaluate import Data, MaxClicks, Seed


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
