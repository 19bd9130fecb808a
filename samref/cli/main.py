"""The table of commands, and the command line made of it.

Each command is imported when it is asked for, so that ``--help`` is quick and a package that only one command needs
is missed by that command alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import typer

from samref.errors import SamrefError

COMMANDS = {
    "serve": ("serve", "serve", "Open the labelling page on this machine."),
    "backup": ("workspaces", "backup", "Copy all images and labels, while a server may be running."),
    "workspaces": ("workspaces", "app", "List, export, check and repair what a server keeps."),
    "labels": ("labels", "app", "Write labels as files of other programs, and read them."),
    "segment": ("segment", "segment", "Segment one object of one image."),
    "segment-folder": ("segment_folder", "segment_folder", "Turn boxes of many images into masks."),
    "models": ("models", "app", "List, fetch and verify models."),
    "export": ("models", "export", "Write a model as ONNX graphs for browsers and other runtimes."),
    "evaluate": ("evaluate", "evaluate", "Measure clicks needed and speed on a data set."),
    "compare": ("evaluate", "compare", "Measure every model on this machine in one run."),
    "ablate": ("evaluate", "ablate", "Measure SAM-REF without, or with another use of, its parts."),
    "latency": ("evaluate", "latency", "Measure seconds for whole images."),
    "train": ("train", "train", "Train the embedded model, a refiner, or a paper's stage."),
    "space": ("space", "app", "Make samref a Space of Hugging Face: build, check, push, status."),
    "precompute": ("train", "precompute_embeddings", "Store SAM's image embeddings for training."),
}
"""The module in this package, the name in it, and what ``--help`` says, by the name of the command."""


def build_app(wanted: str | None) -> typer.Typer:
    """The command line with the command ``wanted`` imported; the others are only named."""
    app = typer.Typer(
        name="samref",
        help="Interactive image segmentation: click an object, get its mask, export the labels.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def samref() -> None:
        """Interactive image segmentation: click an object, get its mask, export the labels."""

    for name, (module, attribute, words) in COMMANDS.items():
        if name != wanted:
            app.command(name, help=words)(_named_only)
            continue
        target = _imported(name, module, attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=words)
        else:
            app.command(name)(target)
    return app


def _named_only() -> None:
    raise AssertionError("a command is imported before it runs")


def _imported(name: str, module: str, attribute: str) -> Callable[..., object] | typer.Typer:
    try:
        target: Callable[..., object] | typer.Typer = getattr(import_module(f"samref.cli.{module}"), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("samref"):
            raise
        raise SamrefError(
            f"The command {name} needs the package {error.name}, which is not installed. "
            "Install everything with: pip install -r requirements.txt"
        ) from error
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a failure that a person can repair is one sentence on stderr and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((argument for argument in given if not argument.startswith("-")), None)
    try:
        build_app(wanted)(given, prog_name="samref")
    except SamrefError as error:
        typer.echo(f"samref: {error}", err=True)
        raise SystemExit(1) from error
    except BrokenPipeError as error:  # the reader of a pipe has gone
        sys.stderr.close()
        raise SystemExit(1) from error
