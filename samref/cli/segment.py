"""``python -m samref segment``: one image, some prompts, one mask, for scripts and quick trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import typer

from samref.core.images import encode_png
from samref.core.prompts import Box, Click, Point, Polygon, Prompt, Prompts, Scribble, check_prompts, prompt_to_dict
from samref.errors import PromptError, StorageError
from samref.files import disk_errors, write_atomically
from samref.inference.image_source import image_from

SIGNS = {"+": True, "-": False}

Given: TypeAlias = list[tuple[Callable[[str], Prompt], list[str] | None]]


def segment(
    image: Annotated[Path, typer.Argument(help="The image: JPEG, PNG, WebP, TIFF, ...", show_default=False)],
    click: Annotated[
        list[str] | None, typer.Option(metavar="X,Y[,-]", help="A pixel of the object; ',-': not of the object.")
    ] = None,
    box: Annotated[list[str] | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    scribble: Annotated[
        list[str] | None, typer.Option(metavar="X,Y;X,Y;...[,-]", help="A stroke on (',-': beside) the object.")
    ] = None,
    polygon: Annotated[
        list[str] | None, typer.Option(metavar="X,Y;X,Y;X,Y[,-]", help="A rough outline of the object.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model; 'samref models list' shows them.")] = "tiny",
    stage: Annotated[str, typer.Option(help="Which mask to keep: refined or coarse.")] = "refined",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the mask here as PNG, 255 is the object.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write prompts, mask and times here ('-': standard output).")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Segment one object of IMAGE from clicks, boxes, scribbles and polygons.

    Coordinates are pixels of the upright image, from the top left corner. Options may be given more than once.
    """
    if stage not in ("coarse", "refined"):
        raise PromptError(f"There is no stage {stage!r}; use coarse or refined.")
    given: Given = [(parse_box, box), (parse_polygon, polygon), (parse_scribble, scribble), (parse_click, click)]
    prompts = Prompts(tuple(parse(text) for parse, texts in given for text in texts or ()))
    if prompts.is_empty():
        raise PromptError("Say where the object is: give at least one --click, --box, --scribble or --polygon.")
    decoded = image_from(image)
    check_prompts(prompts, decoded.size)
    _check_target(output)
    _check_target(json_file)

    from samref.inference.device import load_predictor  # torch: after everything that can be refused without it

    predictor = load_predictor(model, device=device, precision=precision, checkpoint=checkpoint)
    embedding = predictor.embed(decoded)
    kept = None
    for kept in predictor.predict(embedding, prompts, None):
        if kept.stage == stage:
            break
    assert kept is not None, "a model yields at least one mask"
    mask, score = kept.mask, round(float(kept.score), 6)
    if output is not None:
        _write(output, encode_png(mask.to_mask().astype(np.uint8) * 255))
    if json_file is not None:
        size = {"width": decoded.size.width, "height": decoded.size.height}
        story = {
            "image": {"file_name": image.name, "sha256": decoded.digest, **size},
            "model": model,
            "prompts": [prompt_to_dict(prompt) for prompt in prompts.items],
            "stage": kept.stage,
            "score": score,
            "area": mask.area,
            "bbox": list(mask.box_xywh),
            "segmentation": mask.to_coco(),
            "seconds": {"encode": round(embedding.encode_s, 4), "decode": round(kept.seconds, 4)},
        }
        text = json.dumps(story, indent=2) + "\n"
        if str(json_file) == "-":
            typer.echo(text, nl=False)
            return
        _write(json_file, text.encode("utf-8"))
    where = "" if output is None else f", mask in {output}"
    typer.echo(
        f"{mask.area} of {decoded.size.pixels} pixels, score {score:.2f}, "
        f"encode {embedding.encode_s:.2f} s, decode {kept.seconds:.2f} s{where}"
    )


def parse_click(text: str) -> Click:
    """``"3,4"`` or ``"3,4,-"`` as a click."""
    body, positive = _signed(text)
    x, y = _numbers(body, 2, f"The click {text!r} is not of the form x,y or x,y,-.")
    return Click(x, y, positive)


def parse_box(text: str) -> Box:
    """``"x0,y0,x1,y1"`` as a box."""
    return Box(*_numbers(text, 4, f"The box {text!r} is not of the form x0,y0,x1,y1."))


def parse_scribble(text: str) -> Scribble:
    """``"x,y;x,y;..."`` with ``",-"`` at the end for a negative one."""
    return Scribble(*_points(text, "scribble"))


def parse_polygon(text: str) -> Polygon:
    """``"x,y;x,y;x,y"`` with ``",-"`` at the end for a negative one."""
    return Polygon(*_points(text, "polygon"))


def _points(text: str, what: str) -> tuple[tuple[Point, ...], bool]:
    body, positive = _signed(text)
    short = text if len(text) <= 60 else text[:57] + "..."
    sentence = f"The {what} {short!r} is not of the form x,y;x,y;... (',-' at the end: not the object)."
    pairs = [_numbers(pair, 2, sentence) for pair in body.rstrip(";").split(";")]
    return tuple((x, y) for x, y in pairs), positive


def _signed(text: str) -> tuple[str, bool]:
    body, _, last = text.strip().rpartition(",")
    sign = SIGNS.get(last.strip())
    return (text.strip(), True) if sign is None else (body.rstrip(";"), sign)


def _numbers(text: str, count: int, sentence: str) -> list[float]:
    parts = text.split(",")
    if len(parts) != count:
        raise PromptError(sentence)
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise PromptError(sentence) from error


def _check_target(path: Path | None) -> None:
    if path is not None and str(path) != "-" and (path.is_dir() or not path.parent.is_dir()):
        problem = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is not a folder"
        raise StorageError(f"The result cannot be written: {path} {problem}.")


def _write(path: Path, data: bytes) -> None:
    """Write ``path`` whole or not at all; a device or a pipe, which cannot be replaced, as far as it goes."""
    if path.exists() and not path.is_file():
        with disk_errors(f"{path} was not saved"):
            path.write_bytes(data)
    else:
        write_atomically(path, data)
