"""The bundled images, what is hard about some of them, and the finished result that the start page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from samref.errors import ImageError

EXAMPLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

HARD_FILE = "examples.json"
"""Beside the images: which ones are hard, in the order the page shows them."""

SHOWCASE_FILE = "showcase.json"

FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.[a-z]+$")]
Side: TypeAlias = Annotated[int, Field(gt=0)]


class Hard(BaseModel):
    """What makes an image hard to segment: a word or two, and a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: FileName
    hard: Annotated[str, Field(min_length=1, max_length=16)]
    why: Annotated[str, Field(min_length=1, max_length=80)]


_HARD: TypeAdapter[list[Hard]] = TypeAdapter(list[Hard])


@dataclass(frozen=True, slots=True)
class Example:
    """One bundled image."""

    name: str
    path: Path
    width: int
    height: int
    hard: Hard | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the page is told."""
        title = self.path.stem.replace("_", " ").replace("-", " ")
        said = {"name": self.name, "title": title, "width": self.width, "height": self.height}
        return said if self.hard is None else {**said, "hard": self.hard.hard, "why": self.hard.why}


def list_examples(folder: Path) -> Mapping[str, Example]:
    """The images of ``folder`` by name, hard ones first; what is not in this list is never read, whatever is asked."""
    said = folder / HARD_FILE
    hard = {one.name: one for one in _HARD.validate_json(said.read_bytes())} if said.is_file() else {}
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in EXAMPLE_SUFFIXES and path.is_file():
            with Image.open(path) as image:
                found[path.name] = Example(path.name, path, *image.size, hard.get(path.name))
    return MappingProxyType({name: found[name] for name in (*(n for n in hard if n in found), *found)})


class ShowcaseMask(BaseModel):
    """A mask as in an answer of the protocol, never a preview."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    box: tuple[int, int, int, int]
    counts: str
    scale: Literal[1] = 1


class ShowcaseClick(BaseModel):
    """A click as in a request of the protocol, image frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["click"] = "click"
    x: int
    y: int
    positive: bool


class Showcase(BaseModel):
    """A finished result on an example, made by ``python -m tests.tools.showcase`` and kept in ``assets/showcase``.

    Attributes:
        example: name of the image among the examples.
        image: file beside this one, the example as the start page shows it.
        width, height: of the example; clicks and masks are in its frame.
        model: answered the prompts.
        weights: its files and their SHA-256.
        prompts: all that was said about the object.
        what: that was clicked, in words.
        coarse, refined: masks of the two stages.
        iou: between the two.
        pixels_differ: in one of the two but not in the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: FileName
    image: FileName
    width: Side
    height: Side
    model: str
    weights: dict[str, str]
    prompts: Annotated[tuple[ShowcaseClick, ...], Field(min_length=1, max_length=3)]
    what: str
    coarse: ShowcaseMask
    refined: ShowcaseMask
    iou: Annotated[float, Field(ge=0, le=1)]
    pixels_differ: int


@dataclass(frozen=True, slots=True)
class ShowcaseFiles:
    """What a browser may fetch of a showcase."""

    folder: Path
    showcase: Showcase

    def to_wire(self) -> dict[str, str]:
        """As the page is told: the example and the file with its image; masks and prompts are in the JSON."""
        return {"example": self.showcase.example, "image": self.showcase.image}

    def path(self, name: str) -> Path:
        """The file of that name.

        Raises:
            ImageError: the start page has none of that name.
        """
        if name not in (SHOWCASE_FILE, self.showcase.image):
            raise ImageError("The start page has no file of that name.")
        return self.folder / name


def find_showcase(folder: Path) -> ShowcaseFiles | None:
    """The showcase of a folder; None where there is none."""
    said = folder / SHOWCASE_FILE
    return ShowcaseFiles(folder, Showcase.model_validate_json(said.read_bytes())) if said.is_file() else None
