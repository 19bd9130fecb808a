"""``python -m samref models`` and ``export``: which models there are, their weights, and models as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError
from samref.models.checkpoints import cache_folder, fetch, locate, place_of, verify
from samref.models.interface import Checkpoint, ModelSpec
from samref.models.registry import build_model, get_spec, list_models

app = typer.Typer(no_args_is_help=True, help="List, fetch and verify models.")


@app.command("list")
def list_command() -> None:
    """Every model by name, and whether its weights are on this machine."""
    specs = list_models()
    names = max(len(spec.name) for spec in specs)
    states = max(len(_state(spec)) for spec in specs)
    for spec in specs:
        typer.echo(f"{spec.name:<{names}}  {_state(spec):<{states}}  {spec.title}")
        if spec.note:
            typer.echo(f"{'':<{names}}  {'':<{states}}  {spec.note}")
    typer.echo(f"\nFetched weights live in {cache_folder()} (SAMREF_CACHE chooses another folder).")


@app.command("fetch")
def fetch_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Models, as `models list` names them.")],
) -> None:
    """Fetch the weights of models into the cache folder; goes on where an earlier attempt stopped."""
    for spec in [get_spec(name) for name in names]:
        wanted = _fetched(spec)
        if not wanted:
            typer.echo(f"{spec.name} needs nothing: its weights come with samref.")
        for checkpoint in wanted:
            typer.echo(f"{fetch(checkpoint)} is complete and right.")


@app.command("verify")
def verify_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]", help="Models; without names, all whose weights are here.")
    ] = None,
) -> None:
    """Compare size and SHA-256 of weights with what they should be; files without a published one are loaded."""
    specs = [get_spec(name) for name in names] if names else list_models()
    owners: dict[Checkpoint, str] = {}  # models share files, and each is read once
    for spec in specs:
        for checkpoint in spec.checkpoints:
            if names or place_of(checkpoint).is_file():
                owners.setdefault(checkpoint, spec.name)
    bad = False
    for checkpoint, name in owners.items():
        try:
            path = place_of(checkpoint) if checkpoint.comes_with_samref else locate(checkpoint, name)
            verify(path, checkpoint)
            if checkpoint.sha256 is None and not checkpoint.comes_with_samref:
                build_model(name)
                found = f"holds weights of {name}, by every name and shape. (No SHA-256 of it is published.)"
            else:
                found = "is complete and right."
        except (CheckpointInvalidError, CheckpointMissingError, StorageError) as error:
            bad = True
            typer.echo(str(error), err=True)
        else:
            typer.echo(f"{path} {found}")
    if not owners:
        typer.echo("Nothing to check: there are no weights on this machine.")
    if bad:
        raise typer.Exit(1)


def _fetched(spec: ModelSpec) -> list[Checkpoint]:
    """The checkpoints that do not come with samref."""
    return [checkpoint for checkpoint in spec.checkpoints if not checkpoint.comes_with_samref]


def _state(spec: ModelSpec) -> str:
    missing = [checkpoint for checkpoint in spec.checkpoints if not place_of(checkpoint).is_file()]
    if any(checkpoint.comes_with_samref for checkpoint in missing):
        return "weights missing"
    if any(checkpoint.url is None for checkpoint in missing):
        return "to download by hand"
    if missing:
        return f"not fetched ({sum(checkpoint.size_bytes or 0 for checkpoint in missing) / 1e6:,.0f} MB)"
    return "fetched" if _fetched(spec) else "included"


def export(
    model: Annotated[str, typer.Argument(help="Name of the model; 'samref models list' shows them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the graphs and their description.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    browser: Annotated[
        bool, typer.Option("--browser", help="Only what samref's own page runs, without weights: assets/browser.")
    ] = False,
) -> None:
    """Write MODEL as ONNX graphs, one per part, with a description of inputs, outputs and what lies between them.

    Every graph is run in onnxruntime beside the model before it is kept; the difference is printed. How to use the
    graphs stands in docs/onnx.md.
    """
    from samref.export.onnx import DESCRIPTION, ExportedGraph, export_model, require_packages

    require_packages()
    if browser:
        from samref.export.browser import write_browser_graphs

        for path in write_browser_graphs(build_model(model, checkpoint=checkpoint), out):
            typer.echo(f"{path.name:<24} {path.stat().st_size / 1e3:9,.1f} kB")
        return

    def tell(graph: ExportedGraph) -> None:
        files = " + ".join(file.name for file in graph.files)
        typer.echo(f"{files:<24} {graph.size_bytes / 1e6:9,.2f} MB   differs by {graph.deviation:.0e} of its spread")

    graphs = export_model(build_model(model, checkpoint=checkpoint), out, tell=tell)
    total = sum(graph.size_bytes for graph in graphs)
    typer.echo(f"{len(graphs)} graphs, {total / 1e6:,.2f} MB in all; {out / DESCRIPTION} says how they fit together.")
