"""``python -m samref space``: samref as a Space of Hugging Face, made of the repository by its Spacefile."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from samref.errors import SpaceError
from samref.files import bytes_in_words, counted
from samref.labels.shipping.depot import Depot
from samref.labels.shipping.restoring import fetch_home
from samref.space.build import BuiltSpace, build_space, listing
from samref.space.checks import check_space
from samref.space.first_click import first_click
from samref.space.manifest import SPACEFILE_NAME, Secret, Spacefile, load_spacefile

app = typer.Typer(no_args_is_help=True, help="Build samref as a Space of Hugging Face, check it, push it.")

Root = Annotated[Path, typer.Option(metavar="DIR", help="Repository with the Spacefile.")]

SpaceName: TypeAlias = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The Space on Hugging Face.")]
TargetName: TypeAlias = Annotated[str, typer.Option(help="Machine, as the Spacefile names it: cpu, gpu or zerogpu.")]

CLICK_PATIENCE_S = 180.0
"""For the first click on a Space that has just begun to run, its page included."""

LISTED = 10
"""Largest files that are shown after a build."""


@app.command("build")
def build_command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the Space.")],
    target: TargetName = "cpu",
    space: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The Space it is for, if it has a name yet.")] = "",
    root: Root = Path(),
) -> None:
    """Make the folder that is pushed; the same repository gives the same bytes."""
    spacefile = load_spacefile(root / SPACEFILE_NAME)
    for line in listing(build_space(root.resolve(), spacefile, target, out, space), LISTED):
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


@app.command("push")
def push_command(
    space: SpaceName,
    target: TargetName = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Yes to what costs money; for scripts.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also on top of a commit that no push made; history keeps that.")
    ] = False,
    replace_secret: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Secret to set although the Space has it; can be repeated.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Minutes to wait until it runs; 0 does not wait.")] = 30.0,
    root: Root = Path(),
) -> None:
    """Build, and bring the Space to it: settings, one commit, hardware; then wait, and click once at its address.

    Values of secrets are taken from SPACE_SECRET_<NAME>, or asked for. Run again after a fault: what is done already is
    not done again.
    """
    _needs_hub("push")
    from samref.space import hub, plan
    from samref.space.push import Person, push

    there = hub.connect(space, typer.echo)

    def click(address: str, is_private: bool) -> object:
        return first_click(address, patience_s=CLICK_PATIENCE_S, token=there.token if is_private else "")

    with _fresh_build(root, target, space) as (spacefile, built):
        for outcome in check_space(root.resolve(), spacefile, built, boots=False):
            if outcome.faults:
                raise SpaceError("\n".join(outcome.faults))
        push(
            there,
            plan.Wanted.from_build(spacefile, built),
            Person(os.environ, lambda question: _agreed(question, yes=yes), _typed_secret),
            first_click=click,
            patience_s=wait * 60,
            dry_run=dry_run,
            overwrite=overwrite,
            replace=replace_secret or (),
        )


@app.command("status")
def status_command(space: SpaceName, target: TargetName = "cpu", root: Root = Path()) -> None:
    """Say what the Space does, and where it differs from the Spacefile and a fresh build; changes nothing."""
    _needs_hub("status")
    from samref.space import hub, plan

    there = hub.connect(space, typer.echo)
    with _fresh_build(root, target, space) as (spacefile, built):
        for line in plan.status_in_words(there, plan.Wanted.from_build(spacefile, built)):
            typer.echo(line)


@app.command("pull-data")
def pull_data_command(
    address: Annotated[str, typer.Argument(help="Where the Space ships its labels to: storage.ship_to.")],
    folder: Annotated[Path, typer.Argument(help="New data folder, for `samref serve --data`.")],
) -> None:
    """Fetch the labels and images that a Space has shipped, while it may be running; HF_TOKEN opens hf:// addresses."""
    fetched = fetch_home(Depot(address, os.environ), folder)
    typer.echo(f"{folder}: {fetched}.")
    for fault in fetched.faults:
        typer.echo(f"Not fetched: {fault}", err=True)
    if fetched.faults:
        raise typer.Exit(1)


@contextmanager
def _fresh_build(root: Path, target: str, space: str) -> Iterator[tuple[Spacefile, BuiltSpace]]:
    spacefile = load_spacefile(root / SPACEFILE_NAME)
    with tempfile.TemporaryDirectory(prefix="samref-space-") as folder:
        yield spacefile, build_space(root.resolve(), spacefile, target, Path(folder) / target, space)


def _needs_hub(command: str) -> None:
    """Before the Hub's library is imported: say where it is missing, and keep its bars out of files."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if find_spec("huggingface_hub") is None:
        raise SpaceError(
            f"space {command} needs the package huggingface_hub, which is not installed. Install it with: "
            "pip install 'huggingface_hub>=1.16,<3'"
        )


def _agreed(question: str, *, yes: bool) -> bool:
    if yes:
        typer.echo(f"{question} Yes, by --yes.")
        return True
    if not sys.stdin.isatty():
        raise SpaceError(f"{question} Nobody is here to answer, so nothing was sent. Say yes with --yes.")
    return typer.confirm(question)


def _typed_secret(secret: Secret) -> str:
    if not sys.stdin.isatty():
        raise SpaceError(
            f"The secret {secret.name} is needed ({secret.why}), and nobody is here to type it. Put its value into "
            f"SPACE_SECRET_{secret.name} and push again; nothing was sent."
        )
    typed: str = typer.prompt(f"Secret {secret.name} ({secret.why})", hide_input=True)
    return typed
