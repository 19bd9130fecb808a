"""File names as people and browsers give them, made fit to be shown, compared and written."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from samref.labels.annotations import MAX_FILE_NAME, ImageRecord

_FALLBACK = "image"
_MAX_STEM_BYTES = 120  # with a number, a suffix and a folder well below every file system's limit of 255
_RESERVED = frozenset('<>:"/\\|?*')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def tidy_file_name(name: str) -> str:
    """The last part of a file name as it came, on one line, of 1 to 200 characters; never ``.`` or ``..``."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()[:MAX_FILE_NAME].strip()
    return _FALLBACK if not name.strip(".") else name


def safe_stem(name: str) -> str:
    """A file name without folder and suffix, fit for every file system; cannot lead out of a folder."""
    name = tidy_file_name(name)
    stem, _ = _split(name)
    stem = "".join("_" if c in _RESERVED else c for c in stem)
    stem = stem.encode("utf-8")[:_MAX_STEM_BYTES].decode("utf-8", "ignore").strip(" .")
    return f"_{stem}" if stem.partition(".")[0].casefold() in _DEVICES else stem or _FALLBACK


def file_names(images: Iterable[ImageRecord]) -> dict[str, str]:
    """A file name for each digest: the image's own, with ``-2``, ``-3``, … before the suffix where it is taken."""
    split = ((image.digest, tidy_file_name(image.file_name).rpartition(".")) for image in images)
    return _unique(
        (digest, stem, dot + suffix) if stem else (digest, dot + suffix, "") for digest, (stem, dot, suffix) in split
    )


def safe_stems(images: Iterable[ImageRecord]) -> dict[str, str]:
    """A stem for the files made from each digest: see :func:`safe_stem`; capital letters make no difference."""
    return _unique((image.digest, safe_stem(image.file_name), "") for image in images)


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _unique(parts: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: set[str] = set()
    tried: dict[str, int] = {}  # how far the numbering of a name has come: a thousand equal names take no million tries
    for digest, stem, suffix in parts:
        name = stem + suffix
        key = name.casefold()
        while name.casefold() in taken:
            tried[key] = tried.get(key, 1) + 1
            name = f"{stem}-{tried[key]}{suffix}"
        taken.add(name.casefold())
        names[digest] = name
    return names
