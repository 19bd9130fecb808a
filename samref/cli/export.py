"""``python -m samref export``: a model as ONNX graphs, for browsers and other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samref.export.onnx import DESCRIPTION, ExportedGraph, export_model, require_packages
from samref.models.registry import build_model


def export(
    model: Annotated[str, typer.Argument(help="Name of the model; 'samref models list' shows them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the graphs and their description.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
) -> None:
    """Write MODEL as ONNX graphs, one per part, with a description of inputs, outputs and what lies between them.

    Every graph is run in onnxruntime beside the model before it is kept; the difference is printed. How to use the
    graphs stands in docs/onnx.md.
    """
    require_packages()

    def tell(graph: ExportedGraph) -> None:
        files = " + ".join(file.name for file in graph.files)
        typer.echo(f"{files:<24} {graph.size_bytes / 1e6:9,.2f} MB   differs by {graph.deviation:.0e} of its spread")

    graphs = export_model(build_model(model, checkpoint=checkpoint), out, tell=tell)
    total = sum(graph.size_bytes for graph in graphs)
    typer.echo(f"{len(graphs)} graphs, {total / 1e6:,.2f} MB in all; {out / DESCRIPTION} says how they fit together.")
