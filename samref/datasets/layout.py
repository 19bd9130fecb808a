"""What a layout is: how the files of one data set lie in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from samref.datasets.records import ImageRecord, Skipped
from samref.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "Layout", "Listing", "list_files", "read_names"]

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of one data set, and what could be seen to be missing without decoding a mask."""

    records: tuple[ImageRecord, ...]
    skipped: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True, slots=True)
class Layout:
    """One public directory layout.

    Attributes:
        name: as ``--layout`` takes it.
        expects: the files it looks for, for messages.
        splits: names of its parts, the one to measure first; empty: it has no parts, and any name means all of it.
        fits: whether a folder has what it needs, from names alone.
        list_images: the images of a folder and one split, in a fixed order.
        claims: whether a folder of unknown layout is taken for it; None: whenever it fits.
    """

    name: str
    expects: str
    splits: tuple[str, ...]
    fits: Callable[[Path], bool]
    list_images: Callable[[Path, str], Listing]
    claims: Callable[[Path], bool] | None = None

    def recognises(self, folder: Path) -> bool:
        """Whether a folder of unknown layout is taken for this one."""
        return (self.claims or self.fits)(folder)

    def choose_split(self, split: str | None) -> str:
        """``split``, or the one to measure where that is None.

        Raises:
            DataError: the layout has no such part.
        """
        if not self.splits:
            return split or "all"
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise DataError(f"The layout {self.name} has no part {split!r}. It has: {', '.join(self.splits)}.")
        return split


def list_files(folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The files directly in ``folder`` with one of these suffixes, by name; hidden ones are left out.

    Raises:
        DataError: there is no such folder.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"There is no folder {folder}.") from error
    return [p for p in entries if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()]


def read_names(path: Path) -> list[str]:
    """The first word of each line of a split file (some have a label after it), in its order.

    Raises:
        DataError: it is missing, cannot be read, or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"The list of images {path} is missing.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list of images {path} cannot be read. Copy or download it again.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"The list of images {path} is empty.")
    return list(dict.fromkeys(names))
