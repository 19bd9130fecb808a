"""``python -m samref compare``: every model on one machine in one run, as a table in a document and as JSON."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DeviceOption", "PrecisionOption", "compare"]


class DeviceOption(StrEnum):
    """Values of ``--device``."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PrecisionOption(StrEnum):
    """Values of ``--precision``."""

    FP32 = "fp32"
    BF16 = "bf16"


def compare(
    data: Annotated[Path, typer.Option(metavar="DIR", help="A data set folder, or a folder of such folders.")],
    models: Annotated[
        str, typer.Option(metavar="NAMES", help="Names with commas between; all that are compared unless told.")
    ] = "",
    readme: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put the table between the marks <!-- comparison --> there.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all numbers here; reports of single models go beside it."),
    ] = None,
    max_clicks: Annotated[int, typer.Option(min=1, max=200, help="Interactions per object.")] = 20,
    limit_per_dataset: Annotated[int, typer.Option(min=1, metavar="N", help="Objects of each data set.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of objects.")] = 0,
    sat_grid: Annotated[
        int, typer.Option(min=0, max=64, help="Clicks along each side for the SAT latency; 0 leaves it out.")
    ] = 16,
    device: Annotated[DeviceOption, typer.Option(help="Where to run.")] = DeviceOption.AUTO,
    precision: Annotated[PrecisionOption, typer.Option(help="Of every model alike.")] = PrecisionOption.FP32,
) -> None:
    """Measure every model on this machine in one run.

    Parameters, seconds and memory of each, in a process of its own; and the quality of those whose weights are on
    this machine. Architectures without weights are timed with random ones. Leave the machine alone meanwhile.
    """
    from samref.evaluation import comparison
    from samref.evaluation.comparison_table import check_marks, comparison_to_markdown, put_between_marks
    from samref.evaluation.progress import show_progress
    from samref.evaluation.report.files import check_target, write_json

    contenders = comparison.find_contenders([name.strip() for name in models.split(",") if name.strip()])
    if json_file is not None:
        check_target(json_file)
    if readme is not None:
        check_marks(readme)
    settings = comparison.Settings(max_clicks, limit_per_dataset, seed, sat_grid, device.value, precision.value)
    found = comparison.compare(
        data,
        contenders,
        settings,
        json_path=json_file,
        progress=show_progress,
        told=lambda words: typer.echo(words, err=True),
    )
    words = ["python", "-m", "samref", "compare", "--data", data.resolve().name]
    words += [] if not models else ["--models", models]
    words += ["--max-clicks", str(max_clicks), "--limit-per-dataset", str(limit_per_dataset), "--seed", str(seed)]
    words += ["--sat-grid", str(sat_grid), "--device", device.value, "--precision", precision.value]
    table = comparison_to_markdown(found, shlex.join(words))
    if json_file is not None:
        write_json(comparison.comparison_to_dict(found), json_file)
    if readme is not None:
        put_between_marks(readme, table)
    typer.echo(table, nl=False)
