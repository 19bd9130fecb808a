"""A folder of images on the server's own machine that the page offers to open.

What is opened is copied into the workspace, so the folder may change or vanish without a label being lost. A path that
a client names is never used: it only chooses one of the paths that were found in the folder here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from samref.errors import ImageError, SettingsError
from samref.files import bytes_in_words, counted
from samref.settings import Settings
from samref.web.guard import is_loopback

MAX_IMAGES = 20_000
"""Images of one folder that are offered; more than this is a mistake in its name."""

SUFFIXES = frozenset(
    (
        ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
        ".pnm", ".ppm", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip


@dataclass(slots=True)
class ImageFolder:
    """The folder that whoever started the server named."""

    folder: Path
    _known: frozenset[str] = field(default=frozenset(), init=False)

    @property
    def name(self) -> str:
        """As the page calls it."""
        return self.folder.resolve().name or str(self.folder)

    def paths(self) -> tuple[list[str], str]:
        """The images in it and below, as relative paths in order, and a sentence about what was left out, if anything.

        Raises:
            ImageError: the folder is not there any more, or may not be read.
        """
        unread: list[str] = []
        found: list[str] = []
        if not self.folder.is_dir():
            raise ImageError(f"The folder {self.name} is not there any more. What was opened from it before is kept.")
        if not os.access(self.folder, os.R_OK | os.X_OK):
            raise ImageError(f"The folder {self.name} may not be read. Change its permissions and open it again.")
        for place, folders, files in os.walk(self.folder, onerror=lambda error: unread.append(str(error.filename))):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(place).relative_to(self.folder)
            images = (name for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."))
            found.extend((below / name).as_posix() for name in sorted(images))
            if len(found) > MAX_IMAGES:
                break
        said = []
        if unread:
            said.append(f"{counted(len(unread), 'folder')} in it may not be read, such as {Path(unread[0]).name}.")
        if len(found) > MAX_IMAGES:
            said.append(f"It holds more than {MAX_IMAGES:,} images; those after the first {MAX_IMAGES:,} are left out.")
        self._known = frozenset(found[:MAX_IMAGES])
        return found[:MAX_IMAGES], " ".join(said)

    def read(self, path: str, max_bytes: int) -> bytes:
        """The file of one of :meth:`paths`.

        Raises:
            ImageError: the folder holds no such image, or it cannot be read.
        """
        if path not in self._known:
            self.paths()  # since a restart nobody has asked for them
            if path not in self._known:
                raise ImageError("The folder holds no image of that name any more. Open the folder again.")
        try:
            place = (self.folder / path).resolve(strict=True)
            if not place.is_relative_to(self.folder.resolve()) or not place.is_file():
                raise ImageError("This is a link that leads out of the folder, so it is not opened. Copy the file.")
            with place.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise ImageError(f"It cannot be read from the folder just now ({error.strerror}).") from error
        if len(data) > max_bytes:
            raise ImageError(f"The file is larger than the {bytes_in_words(max_bytes)} that may be opened.")
        return data


def offered_folder(settings: Settings) -> ImageFolder | None:
    """The folder of the settings; None where none is named.

    Raises:
        SettingsError: it is no folder, or others than the person at this machine could open it.
    """
    if not settings.images:
        return None
    folder = Path(settings.images).expanduser()
    if not folder.is_dir():
        raise SettingsError(f"--images is {settings.images!r}, but there is no such folder. Name one with images.")
    if not is_loopback(settings.host) or settings.hosts:
        raise SettingsError(
            "--images lets everyone who reaches the page open that folder, so it works only on your own machine. Leave "
            "out --images, or both --host and --hosts."
        )
    return ImageFolder(folder)
