"""The sets with numbered instances: the Semantic Boundaries Dataset and PascalVOC.

SBD (val: 6671 objects in 2857 images; train: 20 172 in 8498), as published, or any folder around it::

    benchmark_RELEASE/dataset/img/2008_000002.jpg
    benchmark_RELEASE/dataset/inst/2008_000002.mat   GTinst.Segmentation: the object's number per pixel
    benchmark_RELEASE/dataset/val.txt                one name per line

PascalVOC 2012 (val: 3417 objects in 1449 images), or any folder around it::

    VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg
    VOCdevkit/VOC2012/SegmentationObject/2007_000033.png    palette: the object's number; 255, the border, ignored
    VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt        one name per line

Source: papers.md §4.3. RITM converts VOC's palette to grey, where the border is 220; the index 255 is the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samref.datasets.layout import Layout, Listing, read_names
from samref.datasets.mask_files import NumberedMask, SbdMask
from samref.datasets.records import ImageRecord, MaskSource
from samref.errors import DataError

__all__ = ["PASCAL_VOC", "SBD"]

_SBD_ROOTS = ("", "dataset", "benchmark_RELEASE/dataset")
_VOC_ROOTS = ("", "VOC2012", "VOCdevkit/VOC2012")


def _root(folder: Path, roots: tuple[str, ...], needed: tuple[str, str]) -> Path | None:
    """Where in ``folder`` the two folders that are needed lie."""
    places = (folder / root for root in roots)
    return next((place for place in places if all((place / name).is_dir() for name in needed)), None)


def _sbd_root(folder: Path) -> Path | None:
    return _root(folder, _SBD_ROOTS, ("img", "inst"))


def _voc_root(folder: Path) -> Path | None:
    return _root(folder, _VOC_ROOTS, ("JPEGImages", "SegmentationObject"))


def _named_images(
    dataset: str, layout: str, names: Path, images: Path, masks: Path, source: Callable[[Path], MaskSource], end: str
) -> Listing:
    """The images that a list names, each with its mask file.

    Raises:
        DataError: the list is missing, or a file that it names.
    """
    records = []
    for name in read_names(names):
        image, mask = images / f"{name}.jpg", masks / f"{name}{end}"
        for path in (image, mask):
            if not path.is_file():
                raise DataError(f"{path} is missing; {names} names it. Copy it there.")
        records.append(ImageRecord(dataset, name, image, source(mask), layout))
    return Listing(tuple(records))


def _list_sbd(folder: Path, split: str) -> Listing:
    root = _sbd_root(folder)
    assert root is not None, "only asked of folders that fit"
    return _named_images(folder.name, "sbd", root / f"{split}.txt", root / "img", root / "inst", SbdMask, ".mat")


def _list_voc(folder: Path, split: str) -> Listing:
    root = _voc_root(folder)
    assert root is not None, "only asked of folders that fit"
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    images, masks = root / "JPEGImages", root / "SegmentationObject"
    return _named_images(folder.name, "pascalvoc", names, images, masks, NumberedMask, ".png")


SBD = Layout(
    name="sbd",
    expects="img/NAME.jpg with inst/NAME.mat, and val.txt or train.txt",
    splits=("val", "train"),
    fits=lambda folder: _sbd_root(folder) is not None,
    list_images=_list_sbd,
)

PASCAL_VOC = Layout(
    name="pascalvoc",
    expects="JPEGImages/NAME.jpg with SegmentationObject/NAME.png, and ImageSets/Segmentation/val.txt",
    splits=("val", "train", "trainval"),
    fits=lambda folder: _voc_root(folder) is not None,
    list_images=_list_voc,
)
