"""Every layout by name, and which one a folder has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samref.datasets.classic import BERKELEY, DAVIS, GRABCUT
from samref.datasets.coco import COCO, LVIS
from samref.datasets.coco_lvis import COCO_LVIS
from samref.datasets.fine import COD10K, HQSEG, MVTEC
from samref.datasets.folders import FOLDERS
from samref.datasets.layout import Layout, Listing
from samref.datasets.panoptic import COCO_PANOPTIC
from samref.datasets.records import ImageRecord
from samref.datasets.voc import PASCAL_VOC, SBD
from samref.errors import DataError

__all__ = ["AUTO", "LAYOUTS", "images_of", "layout_of", "list_data_sets"]

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


def images_of(folder: Path, layout: str = AUTO, split: str | None = None) -> list[ImageRecord]:
    """The images of a data set, or of a folder of data sets, in a fixed order; nothing is decoded.

    Each has ``dataset`` (the name of its folder), ``name``, ``image_path`` and ``load()``, which gives rgb uint8
    (H, W, 3), a list of bool masks (H, W) with their ids, and the ignored pixels; ``load().label_map()`` gives one
    uint8 map of numbers. An image is a small value that can be sent to another process. Images may turn out to
    have no object at all (``load().masks == ()``): only decoding tells.

    Args:
        folder: one data set, or a folder whose folders are data sets (each may have a layout of its own).
        layout: a name in :data:`LAYOUTS`, or "auto".
        split: "train", "val", "test", ... as the layout has them (:attr:`Layout.splits`); None: the one that is
            measured, **not** the one to train on. A folder without such parts (``folders``) is given whole.

    Raises:
        DataError: no data set there, a layout or split that does not exist, an image without its mask, a list of
            images that is missing, an annotation file that is damaged.
    """
    return [record for listing in list_data_sets(folder, layout, split) for record in listing.records]


def list_data_sets(folder: Path, layout: str = AUTO, split: str | None = None) -> list[Listing]:
    """As :func:`images_of`, one listing per data set, with the count of what was left out.

    Raises:
        DataError: as :func:`images_of`.
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
    listing = layout.list_images(folder, layout.choose_split(split))
    if not listing.records:
        raise DataError(f"{folder} holds no image with an object. The layout {layout.name} expects {layout.expects}.")
    return listing
