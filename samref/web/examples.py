"""The example images that come with samref: listed once at start, addressed by name only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from samref.errors import ImageError

__all__ = ["Example", "Examples"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True)
class Example:
    """One bundled image."""

    name: str
    title: str
    path: Path
    width: int
    height: int

    def to_wire(self) -> dict[str, Any]:
        """As the page is told."""
        return {"name": self.name, "title": self.title, "width": self.width, "height": self.height}


class Examples:
    """All bundled images; what is not in this list is never read, whatever a client asks for."""

    def __init__(self, folder: Path) -> None:
        """List the images of ``folder``; none when it does not exist (samref installed without its assets)."""
        found = {}
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    with Image.open(path) as image:
                        width, height = image.size
                    title = path.stem.replace("_", " ").replace("-", " ")
                    found[path.name] = Example(path.name, title, path, width, height)
        self._by_name: Mapping[str, Example] = MappingProxyType(found)

    def __iter__(self) -> Any:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Example:
        """The example called ``name``.

        Raises:
            ImageError: there is none.
        """
        example = self._by_name.get(name)
        if example is None:
            raise ImageError("There is no example image of that name.")
        return example
