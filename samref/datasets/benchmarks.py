"""The field's data sets whose masks lie in files beside their images.

GrabCut (50 objects in 50 images)::

    data_GT/banana1.bmp  boundary_GT/banana1.bmp     0 background, 128 ignored, above 128 object

Berkeley (100 objects in 96 images), the same rule; ignored pixels do not occur in practice::

    images/113016.jpg  masks/113016.png

DAVIS (345 frames of 50 videos, all foreground objects as one)::

    img/bear_00001.jpg  gt/bear_00001.png            anything not black is object

These are the releases of f-BRS and RITM. FocusCut's releases, which FocSAM uses, hold all three as ``img/NAME.jpg`` and
``gt/NAME#001.png`` (1 object, 255 ignored). Both forms are read; an image may have several masks ``NAME#001``,
``NAME#002``, ....

SBD (val: 6671 objects in 2857 images; train: 20 172 in 8498), as published, or any folder around it::

    benchmark_RELEASE/dataset/img/2008_000002.jpg
    benchmark_RELEASE/dataset/inst/2008_000002.mat   GTinst.Segmentation: the object's number per pixel
    benchmark_RELEASE/dataset/val.txt                one name per line

PascalVOC 2012 (val: 3417 objects in 1449 images), or any folder around it::

    VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg
    VOCdevkit/VOC2012/SegmentationObject/2007_000033.png    palette: the object's number; 255, the border, ignored
    VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt        one name per line

COD10K-v3 (2026 camouflaged images of the test part; all animals of an image as one object)::

    Test/Image/COD10K-CAM-1-Aquatic-1-BatFish-1.jpg
    Test/GT_Object/COD10K-CAM-1-Aquatic-1-BatFish-1.png
    Info/CAM_test.txt                                   the camouflaged ones, name first in each line

MVTec AD (all defects of an image as one object; ``good`` has none)::

    bottle/test/broken_large/000.png
    bottle/ground_truth/broken_large/000_mask.png

``transistor`` with ``cut_lead`` and ``misplaced`` is left out: there is nothing to see where the mask is.

HQSeg-44K (val 1537 images, train 44 320; one object each)::

    DIS5K/DIS-VD/{im,gt}                                            val, 470
    thin_object_detection/ThinObject5K/{images_test,masks_test}     val, 500
    thin_object_detection/COIFT/{images,masks}                      val, 280
    thin_object_detection/HRSOD/{images,masks_max255 or masks}      val, 287
    DIS5K/DIS-TR/{im,gt}                                            train
    thin_object_detection/ThinObject5K/{images_train,masks_train}   train
    cascade_psp/{fss_all,DUTS-TR,DUTS-TE,ecssd,MSRA_10K}            train, NAME.jpg and NAME.png in one folder

Source: papers.md §3.6 and §4.3; the loaders of RITM and FocSAM (values of the masks). RITM converts VOC's palette to
grey, where the border is 220; the index 255 is the same pixels. HQSeg: SegNext's loader, for which every pixel that is
not black is object (HQ-SAM's own evaluation takes those above 128).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samref.datasets.folders import GreyMasks, GreyRule, NumberedMask, images_by_stem, split_numbers
from samref.datasets.records import (
    ImageRecord,
    Layout,
    Listing,
    MaskSource,
    ObjectMask,
    Skipped,
    list_files,
    read_bytes,
    read_names,
)
from samref.errors import DataError

ONE_OBJECT = "1"
"""Name of the object of a mask whose file says no other."""

MVTEC_LEFT_OUT = frozenset({("transistor", "cut_lead"), ("transistor", "misplaced")})

_CAMOUFLAGED = "-CAM-"
"""In the names of COD10K's camouflaged images; the others have ``-NonCAM-``."""

_JPG, _PNG = frozenset({".jpg"}), frozenset({".png"})


# ---- images and masks of the same name


def _pair_by_name(
    dataset: str, layout: str, images: list[Path], masks: list[Path], rule: GreyRule, prefix: str = ""
) -> Listing:
    """Images with the masks of the same name, or of that name and ``#`` and a number, all in one folder.

    A mask with ``#`` in its name follows FocusCut's rule "one" instead of ``rule``.
    """
    by_name: dict[str, list[tuple[str, str]]] = {}
    for path in masks:
        name, _, number = path.stem.partition("#")
        for own in {path.stem, name}:
            by_name.setdefault(own, []).append((number or ONE_OBJECT, path.name))
    used: set[str] = set()
    records = []
    for stem, image in images_by_stem(images).items():
        files = by_name.get(stem)
        if files is None:
            where = f" in {masks[0].parent}" if masks else ""
            raise DataError(f"{image} has no mask of the same name{where}. Copy it there or remove the image.")
        if len({key for key, _ in files}) < len(files):
            raise DataError(f"{image} has the masks {', '.join(name for _, name in files)}. Keep one of each name.")
        used |= {name for _, name in files}
        source = GreyMasks(masks[0].parent, tuple(files), "one" if "#" in files[0][1] else rule)
        records.append(ImageRecord(dataset, prefix + stem, image, source, layout))
    return Listing(tuple(records), Skipped(masks_without_image=len(masks) - len(used)))


_RITM_GRABCUT, _RITM_BERKELEY, _FOCUSCUT = ("data_GT", "boundary_GT"), ("images", "masks"), ("img", "gt")


def _has(folder: Path, *forms: tuple[str, str]) -> bool:
    return any((folder / images).is_dir() and (folder / masks).is_dir() for images, masks in forms)


def _side_by_side(
    name: str,
    expects: str,
    forms: tuple[tuple[str, str], ...],
    rule: GreyRule,
    claims: Callable[[Path], bool] | None = None,
) -> Layout:
    """A layout that is the first of ``forms`` (folder of images, folder of masks) that is there."""

    def list_images(folder: Path, _split: str) -> Listing:
        images, masks = next(form for form in forms if _has(folder, form))
        return _pair_by_name(folder.name, name, list_files(folder / images), list_files(folder / masks), rule)

    return Layout(name, expects, ("test",), lambda folder: _has(folder, *forms), list_images, claims)


def _claims_grabcut(folder: Path) -> bool:
    return _has(folder, _RITM_GRABCUT) or (_has(folder, _FOCUSCUT) and "grabcut" in folder.name.casefold())


def _claims_berkeley(folder: Path) -> bool:
    if not _has(folder, _RITM_BERKELEY, _FOCUSCUT):
        return False
    return "berkeley" in folder.name.casefold() or any((folder / "masks").glob("*#*.png"))


GRABCUT = _side_by_side(
    "grabcut",
    "data_GT/NAME.jpg with boundary_GT/NAME.bmp, or img/NAME.jpg with gt/NAME#001.png",
    (_RITM_GRABCUT, _FOCUSCUT),
    "trimap",
    _claims_grabcut,
)

BERKELEY = _side_by_side(
    "berkeley",
    "images/NAME.jpg with masks/NAME.png, or img/NAME.jpg with gt/NAME#001.png",
    (_RITM_BERKELEY, _FOCUSCUT),
    "trimap",
    _claims_berkeley,
)

DAVIS = _side_by_side("davis", "img/NAME.jpg with gt/NAME.png or gt/NAME#001.png", (_FOCUSCUT,), "any")


# ---- images and masks named by a list


def _listed(
    name: str,
    expects: str,
    splits: tuple[str, ...],
    roots: tuple[str, ...],
    names: str,
    images: str,
    masks: str,
    source: Callable[[Path], MaskSource],
    suffix: str,
) -> Layout:
    """A layout whose list ``names`` of a split lies with its images and masks in one of ``roots``."""

    def root_of(folder: Path) -> Path | None:
        places = (folder / root for root in roots)
        return next((place for place in places if _has(place, (images, masks))), None)

    def list_images(folder: Path, split: str) -> Listing:
        root = root_of(folder)
        assert root is not None, "only asked of folders that fit"
        listed = root / names.format(split=split)
        records = []
        for stem in read_names(listed):
            image, mask = root / images / f"{stem}.jpg", root / masks / f"{stem}{suffix}"
            for path in (image, mask):
                if not path.is_file():
                    raise DataError(f"{path} is missing; {listed} names it. Copy it there.")
            records.append(ImageRecord(folder.name, stem, image, source(mask), name))
        return Listing(tuple(records))

    return Layout(name, expects, splits, lambda folder: root_of(folder) is not None, list_images)


@dataclass(frozen=True, slots=True)
class SbdMask(MaskSource):
    """A MATLAB file of the Semantic Boundaries Dataset: ``GTinst.Segmentation`` holds the number of the object."""

    def read(self) -> list[ObjectMask]:
        values: Any = _read_matlab(self.path)
        try:
            numbers = np.asarray(values["GTinst"]["Segmentation"][0, 0])
            valid = numbers.ndim == 2 and numbers.size > 0 and np.issubdtype(numbers.dtype, np.integer)
        except (KeyError, IndexError, ValueError, TypeError):
            valid = False
        if not valid:
            raise DataError(f"{self.path} has no GTinst.Segmentation with a number per pixel. Is it from SBD's inst?")
        return split_numbers(numbers.astype(np.int32))


def _read_matlab(path: Path) -> Any:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError as error:
        raise DataError(
            "SBD's masks are MATLAB files, which need scipy. Install it with: pip install 'samref[evaluate]'"
        ) from error
    data = read_bytes(path)
    try:
        return loadmat(io.BytesIO(data), variable_names=["GTinst"])
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is no MATLAB file that can be read, or is damaged. Copy it again.") from error


SBD = _listed(
    "sbd",
    "img/NAME.jpg with inst/NAME.mat, and val.txt or train.txt",
    ("val", "train"),
    ("", "dataset", "benchmark_RELEASE/dataset"),
    "{split}.txt",
    "img",
    "inst",
    SbdMask,
    ".mat",
)

PASCAL_VOC = _listed(
    "pascalvoc",
    "JPEGImages/NAME.jpg with SegmentationObject/NAME.png, and ImageSets/Segmentation/val.txt",
    ("val", "train", "trainval"),
    ("", "VOC2012", "VOCdevkit/VOC2012"),
    "ImageSets/Segmentation/{split}.txt",
    "JPEGImages",
    "SegmentationObject",
    NumberedMask,
    ".png",
)


# ---- images on which clicks are hard: camouflaged animals, defects of manufacture, fine structures


def _list_cod10k(folder: Path, split: str) -> Listing:
    part = folder / split.capitalize()
    images = {path.stem: path for path in list_files(part / "Image", _JPG)}
    masks = {path.stem: path for path in list_files(part / "GT_Object", _PNG)}
    names = folder / "Info" / f"CAM_{split}.txt"
    if names.is_file():
        wanted = sorted(Path(name).stem for name in read_names(names))
    else:
        wanted = [stem for stem in images if _CAMOUFLAGED in stem]
        if not wanted:
            raise DataError(f"The list of camouflaged images {names} is missing.")
    for found, where, end in ((images, "Image", ".jpg"), (masks, "GT_Object", ".png")):
        missing = next((stem for stem in wanted if stem not in found), None)
        if missing is not None:
            raise DataError(f"{part / where / (missing + end)} is missing. Copy it there.")
    records = []
    for stem in wanted:
        source = GreyMasks(part / "GT_Object", ((ONE_OBJECT, masks[stem].name),), "bright")
        records.append(ImageRecord(folder.name, stem, images[stem], source, "cod10k"))
    return Listing(tuple(records), Skipped(excluded_images=len(images) - len(records)))


COD10K = Layout(
    name="cod10k",
    expects="Test/Image/NAME.jpg with Test/GT_Object/NAME.png, and Info/CAM_test.txt",
    splits=("test", "train"),
    fits=lambda folder: any(_has(folder / part, ("Image", "GT_Object")) for part in ("Test", "Train")),
    list_images=_list_cod10k,
)


def _mvtec_categories(folder: Path) -> list[Path]:
    form = ("test", "ground_truth")
    return [folder] if _has(folder, form) else [child for child in sorted(folder.iterdir()) if _has(child, form)]


def _list_mvtec(folder: Path, _split: str) -> Listing:
    records = []
    excluded = orphans = 0
    for category in _mvtec_categories(folder):
        for defect in sorted(child for child in (category / "test").iterdir() if child.is_dir()):
            if defect.name == "good":
                continue
            images = list_files(defect, _PNG)
            if (category.name, defect.name) in MVTEC_LEFT_OUT:
                excluded += len(images)
                continue
            masks = category / "ground_truth" / defect.name
            for image in images:
                mask = masks / f"{image.stem}_mask.png"
                if not mask.is_file():
                    raise DataError(f"{image} has no mask: {mask} is missing. Copy it there or remove the image.")
                name = f"{category.name}/{defect.name}/{image.stem}"
                source = GreyMasks(masks, ((ONE_OBJECT, mask.name),), "bright")
                records.append(ImageRecord(folder.name, name, image, source, "mvtec"))
            orphans += (len(list_files(masks, _PNG)) if masks.is_dir() else 0) - len(images)
    return Listing(tuple(records), Skipped(masks_without_image=orphans, excluded_images=excluded))


MVTEC = Layout(
    name="mvtec",
    expects="CATEGORY/test/DEFECT/NAME.png with CATEGORY/ground_truth/DEFECT/NAME_mask.png",
    splits=("test",),
    fits=lambda folder: bool(_mvtec_categories(folder)),
    list_images=_list_mvtec,
)

_THIN = "thin_object_detection"
_CASCADE = ("fss_all", "DUTS-TR", "DUTS-TE", "ecssd", "MSRA_10K")
_HQSEG_PARTS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "val": (
        ("DIS-VD", "DIS5K/DIS-VD/im", ("DIS5K/DIS-VD/gt",)),
        ("ThinObject5K-TE", f"{_THIN}/ThinObject5K/images_test", (f"{_THIN}/ThinObject5K/masks_test",)),
        ("COIFT", f"{_THIN}/COIFT/images", (f"{_THIN}/COIFT/masks",)),
        ("HRSOD", f"{_THIN}/HRSOD/images", (f"{_THIN}/HRSOD/masks_max255", f"{_THIN}/HRSOD/masks")),
    ),
    "train": (
        ("DIS-TR", "DIS5K/DIS-TR/im", ("DIS5K/DIS-TR/gt",)),
        ("ThinObject5K-TR", f"{_THIN}/ThinObject5K/images_train", (f"{_THIN}/ThinObject5K/masks_train",)),
        *((name, f"cascade_psp/{name}", (f"cascade_psp/{name}",)) for name in _CASCADE),
    ),
}
"""By split: name of a part, its folder of images, and the folders in which its masks may lie."""


def _list_hqseg(folder: Path, split: str) -> Listing:
    listings = []
    for name, images, masks in _HQSEG_PARTS[split]:
        mask_folder = next((folder / place for place in masks if (folder / place).is_dir()), None)
        if mask_folder is None or not (folder / images).is_dir():
            missing = folder / (images if mask_folder is not None else masks[0])
            raise DataError(f"{name} of HQSeg-44K ({split}) is missing: there is no folder {missing}.")
        records, files = list_files(folder / images, _JPG), list_files(mask_folder, _PNG)
        listings.append(_pair_by_name(folder.name, "hqseg", records, files, "any", prefix=f"{name}/"))
    skipped = sum((listing.skipped for listing in listings), Skipped())
    return Listing(tuple(record for listing in listings for record in listing.records), skipped)


HQSEG = Layout(
    name="hqseg",
    expects="DIS5K, thin_object_detection and, for training, cascade_psp, as HQ-SAM publishes them",
    splits=("val", "train"),
    fits=lambda folder: (folder / "DIS5K").is_dir() or (folder / _THIN).is_dir(),
    list_images=_list_hqseg,
)
