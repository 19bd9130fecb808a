"""``python -m samref space``: samref as a Space of Hugging Face, made of the repository by its Spacefile."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from samref.errors import SpaceError
from samref.files import bytes_in_words, counted
from samref.space.build import build_space, listing
from samref.space.checks import check_space
from samref.space.manifest import SPACEFILE_NAME, load_spacefile

app = typer.Typer(no_args_is_help=True, help="Build samref as a Space of Hugging Face, and check it.")

Root = Annotated[Path, typer.Option(metavar="DIR", help="Repository with the Spacefile.")]

LISTED = 10
"""Largest files that are shown after a build."""


@app.command("build")
def build_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the Space.")],
    target: Annotated[str, typer.Option(help="Machine, as the Spacefile names it: cpu, gpu or zerogpu.")] = "cpu",
    root: Root = Path(),
) -> None:
    """Make the folder that is pushed; the same repository gives the same bytes."""
    spacefile = load_spacefile(root / SPACEFILE_NAME)
    for line in listing(build_space(root.resolve(), spacefile, target, out), LISTED):
        typer.echo(line)


@app.command("check")
def check_command(
    target: Annotated[
        list[str] | None, typer.Option(help="Machine, as the Spacefile names it; can be given again; else all of them.")
    ] = None,
    boot: Annotated[bool, typer.Option("--boot/--no-boot", help="Whether to start what was built, and click.")] = True,
    root: Root = Path(),
) -> None:
    """Build for each target and say everything that would break there; ends with 1 when there is something."""
    spacefile = load_spacefile(root / SPACEFILE_NAME)
    faults: list[str] = []
    for name in target or spacefile.targets:
        with tempfile.TemporaryDirectory(prefix="samref-space-") as folder:
            built = build_space(root.resolve(), spacefile, name, Path(folder) / name)
            typer.echo(f"{name} ({spacefile.target(name).hardware}), {bytes_in_words(built.size_bytes)}:")
            for outcome in check_space(root.resolve(), spacefile, built, boots=boot):
                mark = "left out" if outcome.left_out else "FAILS" if outcome.faults else "holds"
                typer.echo(f"  {mark:<8}  {outcome.says}")
                for line in (*outcome.notes, *outcome.faults):
                    typer.echo(f"  {'':<8}  - {line}")
                faults += outcome.faults
    if faults:
        raise SpaceError(f"{counted(len(faults), 'fault')} must be mended before this can be a Space.")
