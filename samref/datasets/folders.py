"""The project's own form: ``images/`` and ``masks/``.

For the image ``images/cat.jpg`` the objects are in either

- ``masks/cat.png``: one channel, value = object number, 0 = background, 255 = ignore. Where no such mask of the folder
  has a value besides 0 and 255, they are plain black-and-white masks: 255 = the image's one object. One mask with a
  number is enough to make 255 mean ignore in all of them; one that has 255 only is then counted as ignored; or
- ``masks/cat__1.png``, ``masks/cat__2.png``, ...: one object each, above 128 = object, 128 = ignore, below = background
  (a file with no value above 1 is read as 0/1).
"""

from __future__ import annotations

from pathlib import Path

from samref.datasets.layout import Layout, Listing, list_files
from samref.datasets.mask_files import BinaryMask, NumberedMask, SingleMasks, holds_numbers
from samref.datasets.records import ImageRecord, MaskSource, Skipped
from samref.errors import DataError

__all__ = ["FOLDERS"]


def _fits(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _list_images(folder: Path, _split: str) -> Listing:
    records: dict[str, Path] = {}
    for path in list_files(folder / "images"):
        if path.stem in records:
            raise DataError(f"{path} and {records[path.stem].name} have the same name. Rename or remove one of them.")
        records[path.stem] = path
    numbered: dict[str, Path] = {}
    single: dict[str, list[Path]] = {}
    orphans = 0
    for path in list_files(folder / "masks", frozenset({".png"})):
        stem = path.stem.rpartition("__")[0]
        if path.stem in records:
            numbered[path.stem] = path
        elif stem in records:
            single.setdefault(stem, []).append(path)
        else:
            orphans += 1
    plain = bool(numbered) and not any(holds_numbers(path) for path in numbered.values())
    found = [
        ImageRecord(folder.name, stem, path, _masks_of(path, folder / "masks", numbered, single, plain), FOLDERS.name)
        for stem, path in records.items()
    ]
    return Listing(tuple(found), Skipped(masks_without_image=orphans))


def _masks_of(
    image: Path, masks: Path, numbered: dict[str, Path], single: dict[str, list[Path]], plain: bool
) -> MaskSource:
    """``plain``: whether the masks of one channel are black and white."""
    stem = image.stem
    if stem in numbered and stem in single:
        raise DataError(
            f"{image} has both {numbered[stem].name} and {single[stem][0].name} in {masks}. "
            "Keep either the numbered mask or the masks of single objects."
        )
    if stem in numbered:
        return BinaryMask(numbered[stem]) if plain else NumberedMask(numbered[stem])
    if stem in single:
        return SingleMasks(tuple((path.stem.rpartition("__")[2], path) for path in single[stem]))
    raise DataError(
        f"{image} has no mask. Put {stem}.png (one number per object, or black and white) or "
        f"{stem}__1.png, {stem}__2.png, ... (one object each) into {masks}."
    )


FOLDERS = Layout(
    name="folders",
    expects="images/NAME.jpg with masks/NAME.png (numbers, or black and white) or masks/NAME__1.png, ... (one each)",
    splits=(),
    fits=_fits,
    list_images=_list_images,
)
