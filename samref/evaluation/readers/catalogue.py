"""Every layout by name, and which one a folder has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samref.errors import DataError
from samref.evaluation.readers.classic import BERKELEY, DAVIS, GRABCUT
from samref.evaluation.readers.coco import COCO, LVIS
from samref.evaluation.readers.coco_lvis import COCO_LVIS
from samref.evaluation.readers.fine import COD10K, HQSEG, MVTEC
from samref.evaluation.readers.folders import FOLDERS
from samref.evaluation.readers.layout import Layout, Listing
from samref.evaluation.readers.panoptic import COCO_PANOPTIC
from samref.evaluation.readers.pictures import Picture
from samref.evaluation.readers.voc import PASCAL_VOC, SBD

__all__ = ["AUTO", "LAYOUTS", "layout_of", "list_data_sets", "pictures_of"]

AUTO = "auto"
"""Recognise the layout by the names in the folder."""

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        GRABCUT,
        BERKELEY,
        DAVIS,
        SBD,
        PASCAL_VOC,
        COD10K,
        MVTEC,
        HQSEG,
        COCO_LVIS,
        COCO,
        LVIS,
        COCO_PANOPTIC,
        FOLDERS,
    )
}
"""In the order in which they are tried: the more particular ones first."""


def pictures_of(folder: Path, layout: str = AUTO, split: str | None = None) -> list[Picture]:
    """The pictures of a data set, or of a folder of data sets, in a fixed order; nothing is decoded.

    Each has ``dataset`` (the name of its folder), ``name``, ``image_path`` and ``load()``, which gives rgb uint8
    (H, W, 3), a list of bool masks (H, W) with their ids, and the ignored pixels; ``load().label_map()`` gives one
    uint8 map of numbers. A picture is a small value that can be sent to another process. Pictures may turn out to
    have no object at all (``load().masks == ()``): only decoding tells.

    Args:
        folder: one data set, or a folder whose folders are data sets (each may have a layout of its own).
        layout: a name in :data:`LAYOUTS`, or "auto".
        split: "train", "val", "test", ... as the layout has them (:attr:`Layout.splits`); None: the one that is
            measured, **not** the one to train on. A folder without such parts (``folders``) is given whole.

    Raises:
        DataError: no data set there, a layout or split that does not exist, a picture without its mask, a list of
            pictures that is missing, an annotation file that is damaged.
    """
    return [picture for listing in list_data_sets(folder, layout, split) for picture in listing.pictures]


def list_data_sets(folder: Path, layout: str = AUTO, split: str | None = None) -> list[Listing]:
    """As :func:`pictures_of`, one listing per data set, with the count of what was left out.

    Raises:
        DataError: as :func:`pictures_of`.
    """
    return [_list_one(place, found, split) for place, found in _locate(folder, layout)]


def layout_of(folder: Path) -> Layout | None:
    """The layout that a folder looks like, by the names in it; None where it looks like none."""
    return next((layout for layout in LAYOUTS.values() if layout.recognises(folder)), None)


def _locate(folder: Path, name: str) -> list[tuple[Path, Layout]]:
    """Data set folders with their layouts: the folder itself, or those in it."""
    if name != AUTO and name not in LAYOUTS:
        raise DataError(f"There is no layout {name!r}. There are: {AUTO}, {', '.join(LAYOUTS)}.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    folder = folder.resolve()
    for places in ([folder], [child for child in sorted(folder.iterdir()) if child.is_dir()]):
        if name in (AUTO, FOLDERS.name):
            for place in places:
                _refuse_half(place)
        if name == AUTO:
            found = [(place, layout) for place in places if (layout := layout_of(place)) is not None]
        else:
            found = [(place, LAYOUTS[name]) for place in places if LAYOUTS[name].fits(place)]
        if found:
            return found
    if name != AUTO:
        expected = LAYOUTS[name].expects
        raise DataError(f"{folder} does not look like {name}. Expected there, or one folder further in: {expected}.")
    raise DataError(
        f"{folder} holds neither the folders images and masks nor folders that do, nor any other layout that is known "
        f"({', '.join(LAYOUTS)})."
    )


def _refuse_half(folder: Path) -> None:
    """A folder with images and no masks, or the other way round, that is of no other layout."""
    images, masks = (folder / "images").is_dir(), (folder / "masks").is_dir()
    if images != masks and layout_of(folder) is None:
        have, lack = ("images", "masks") if images else ("masks", "images")
        raise DataError(f"{folder} has a folder {have} but no folder {lack}. Put both side by side.")


def _list_one(folder: Path, layout: Layout, split: str | None) -> Listing:
    listing = layout.list_pictures(folder, layout.choose_split(split))
    if not listing.pictures:
        raise DataError(f"{folder} holds no picture with an object. The layout {layout.name} expects {layout.expects}.")
    return listing
