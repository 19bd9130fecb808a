"""The click benchmarks of small size: GrabCut, Berkeley and DAVIS, an image and its mask side by side.

GrabCut (50 objects in 50 images)::

    data_GT/banana1.bmp  boundary_GT/banana1.bmp     0 background, 128 ignored, above 128 object

Berkeley (100 objects in 96 images), the same rule; ignored pixels do not occur in practice::

    images/113016.jpg  masks/113016.png

DAVIS (345 frames of 50 videos, all foreground objects as one)::

    img/bear_00001.jpg  gt/bear_00001.png            anything not black is object

These are the releases of f-BRS and RITM. FocusCut's releases, which FocSAM uses, hold all three as ``img/NAME.jpg`` and
``gt/NAME#001.png`` (1 object, 255 ignored). Both forms are read; an image may have several masks ``NAME#001``,
``NAME#002``, ....

Source: papers.md §4.3; the loaders of RITM and FocSAM (values of the masks).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samref.datasets.layout import Layout, Listing, list_files
from samref.datasets.mask_files import GreyMasks, GreyRule
from samref.datasets.records import ImageRecord, Skipped
from samref.errors import DataError

__all__ = ["BERKELEY", "DAVIS", "GRABCUT", "pair_by_name"]

ONE_OBJECT = "1"
"""Name of the object of a mask whose file says no other."""


def pair_by_name(
    dataset: str, layout: str, images: list[Path], masks: list[Path], rule: GreyRule, prefix: str = ""
) -> Listing:
    """Images with the masks of the same name, or of that name and ``#`` and a number.

    Args:
        dataset: name for the reports.
        layout: likewise.
        images: the images.
        masks: black-and-white files.
        rule: which brightness is the object; a mask with ``#`` in its name follows FocusCut's rule "one".
        prefix: before the images' names.

    Raises:
        DataError: two images of one name, or one without mask.
    """
    by_name: dict[str, list[tuple[str, Path]]] = {}
    for path in masks:
        name, hash_sign, number = path.stem.partition("#")
        by_name.setdefault(path.stem, []).append((number or ONE_OBJECT, path))
        if hash_sign:
            by_name.setdefault(name, []).append((number or ONE_OBJECT, path))
    seen: dict[str, Path] = {}
    used: set[Path] = set()
    records = []
    for image in images:
        if image.stem in seen:
            raise DataError(f"{image} and {seen[image.stem].name} have the same name. Rename or remove one of them.")
        seen[image.stem] = image
        files = by_name.get(image.stem)
        if files is None:
            where = f" in {masks[0].parent}" if masks else ""
            raise DataError(f"{image} has no mask of the same name{where}. Copy it there or remove the image.")
        keys = [key for key, _ in files]
        if len(set(keys)) < len(keys):
            raise DataError(
                f"{image} has the masks {', '.join(path.name for _, path in files)}. Keep one of each name."
            )
        used |= {path for _, path in files}
        own_rule: GreyRule = "one" if "#" in files[0][1].stem else rule
        records.append(ImageRecord(dataset, prefix + image.stem, image, GreyMasks(tuple(files), own_rule), layout))
    return Listing(tuple(records), Skipped(masks_without_image=len(masks) - len(used)))


def _side_by_side(layout: str, forms: tuple[tuple[str, str], ...], rule: GreyRule) -> Callable[[Path, str], Listing]:
    """A reader of the first of ``forms`` (folder of images, folder of masks) that is there."""

    def list_images(folder: Path, _split: str) -> Listing:
        images, masks = next((i, m) for i, m in forms if (folder / i).is_dir() and (folder / m).is_dir())
        return pair_by_name(folder.name, layout, list_files(folder / images), list_files(folder / masks), rule)

    return list_images


def _has(*forms: tuple[str, str]) -> Callable[[Path], bool]:
    return lambda folder: any((folder / i).is_dir() and (folder / m).is_dir() for i, m in forms)


def _is_called(folder: Path, word: str) -> bool:
    return word in folder.name.casefold()


_RITM_GRABCUT, _RITM_BERKELEY, _FOCUSCUT = ("data_GT", "boundary_GT"), ("images", "masks"), ("img", "gt")


def _claims_grabcut(folder: Path) -> bool:
    return _has(_RITM_GRABCUT)(folder) or (_has(_FOCUSCUT)(folder) and _is_called(folder, "grabcut"))


def _claims_berkeley(folder: Path) -> bool:
    if not _has(_RITM_BERKELEY, _FOCUSCUT)(folder):
        return False
    return _is_called(folder, "berkeley") or ((folder / "masks").is_dir() and any((folder / "masks").glob("*#*.png")))


GRABCUT = Layout(
    name="grabcut",
    expects="data_GT/NAME.jpg with boundary_GT/NAME.bmp, or img/NAME.jpg with gt/NAME#001.png",
    splits=("test",),
    fits=_has(_RITM_GRABCUT, _FOCUSCUT),
    claims=_claims_grabcut,
    list_images=_side_by_side("grabcut", (_RITM_GRABCUT, _FOCUSCUT), "trimap"),
)

BERKELEY = Layout(
    name="berkeley",
    expects="images/NAME.jpg with masks/NAME.png, or img/NAME.jpg with gt/NAME#001.png",
    splits=("test",),
    fits=_has(_RITM_BERKELEY, _FOCUSCUT),
    claims=_claims_berkeley,
    list_images=_side_by_side("berkeley", (_RITM_BERKELEY, _FOCUSCUT), "trimap"),
)

DAVIS = Layout(
    name="davis",
    expects="img/NAME.jpg with gt/NAME.png or gt/NAME#001.png",
    splits=("test",),
    fits=_has(_FOCUSCUT),
    list_images=_side_by_side("davis", (_FOCUSCUT,), "any"),
)
