"""The sets on which clicks are hard: camouflaged animals, defects of manufacture, fine structures.

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

Source: papers.md §3.6 and §4.3; FocSAM's loaders for the first two. HQSeg: SegNext's loader, for which every pixel that
is not black is object (HQ-SAM's own evaluation takes those above 128).
"""

from __future__ import annotations

from pathlib import Path

from samref.datasets.classic import ONE_OBJECT, pair_by_name
from samref.datasets.layout import Layout, Listing, list_files, read_names
from samref.datasets.mask_files import GreyMasks
from samref.datasets.records import ImageRecord, Skipped
from samref.errors import DataError

__all__ = ["COD10K", "HQSEG", "MVTEC"]

MVTEC_LEFT_OUT = frozenset({("transistor", "cut_lead"), ("transistor", "misplaced")})

_JPG, _PNG = frozenset({".jpg"}), frozenset({".png"})

_CAMOUFLAGED = "-CAM-"
"""In the names of COD10K's camouflaged images; the others have ``-NonCAM-``."""

_HQSEG_PARTS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "val": (
        ("DIS-VD", "DIS5K/DIS-VD/im", ("DIS5K/DIS-VD/gt",)),
        (
            "ThinObject5K-TE",
            "thin_object_detection/ThinObject5K/images_test",
            ("thin_object_detection/ThinObject5K/masks_test",),
        ),
        ("COIFT", "thin_object_detection/COIFT/images", ("thin_object_detection/COIFT/masks",)),
        (
            "HRSOD",
            "thin_object_detection/HRSOD/images",
            ("thin_object_detection/HRSOD/masks_max255", "thin_object_detection/HRSOD/masks"),
        ),
    ),
    "train": (
        ("DIS-TR", "DIS5K/DIS-TR/im", ("DIS5K/DIS-TR/gt",)),
        (
            "ThinObject5K-TR",
            "thin_object_detection/ThinObject5K/images_train",
            ("thin_object_detection/ThinObject5K/masks_train",),
        ),
        *(
            (name, f"cascade_psp/{name}", (f"cascade_psp/{name}",))
            for name in ("fss_all", "DUTS-TR", "DUTS-TE", "ecssd", "MSRA_10K")
        ),
    ),
}


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
    records = tuple(
        ImageRecord(folder.name, stem, images[stem], GreyMasks(((ONE_OBJECT, masks[stem]),), "bright"), "cod10k")
        for stem in wanted
    )
    return Listing(records, Skipped(excluded_images=len(images) - len(records)))


def _is_mvtec_category(folder: Path) -> bool:
    return (folder / "test").is_dir() and (folder / "ground_truth").is_dir()


def _mvtec_categories(folder: Path) -> list[Path]:
    if _is_mvtec_category(folder):
        return [folder]
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and _is_mvtec_category(child)]


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
                source = GreyMasks(((ONE_OBJECT, mask),), "bright")
                records.append(ImageRecord(folder.name, name, image, source, "mvtec"))
            orphans += (len(list_files(masks, _PNG)) if masks.is_dir() else 0) - len(images)
    return Listing(tuple(records), Skipped(masks_without_image=orphans, excluded_images=excluded))


def _list_hqseg(folder: Path, split: str) -> Listing:
    listings = []
    for name, images, masks in _HQSEG_PARTS[split]:
        mask_folder = next((folder / place for place in masks if (folder / place).is_dir()), None)
        if mask_folder is None or not (folder / images).is_dir():
            missing = folder / (images if mask_folder is not None else masks[0])
            raise DataError(f"{name} of HQSeg-44K ({split}) is missing: there is no folder {missing}.")
        records, files = list_files(folder / images, _JPG), list_files(mask_folder, _PNG)
        listings.append(pair_by_name(folder.name, "hqseg", records, files, "any", prefix=f"{name}/"))
    skipped = sum((listing.skipped for listing in listings), Skipped())
    return Listing(tuple(record for listing in listings for record in listing.records), skipped)


COD10K = Layout(
    name="cod10k",
    expects="Test/Image/NAME.jpg with Test/GT_Object/NAME.png, and Info/CAM_test.txt",
    splits=("test", "train"),
    fits=lambda folder: any(
        (folder / part / "Image").is_dir() and (folder / part / "GT_Object").is_dir() for part in ("Test", "Train")
    ),
    list_images=_list_cod10k,
)

MVTEC = Layout(
    name="mvtec",
    expects="CATEGORY/test/DEFECT/NAME.png with CATEGORY/ground_truth/DEFECT/NAME_mask.png",
    splits=("test",),
    fits=lambda folder: bool(_mvtec_categories(folder)),
    list_images=_list_mvtec,
)

HQSEG = Layout(
    name="hqseg",
    expects="DIS5K, thin_object_detection and, for training, cascade_psp, as HQ-SAM publishes them",
    splits=("val", "train"),
    fits=lambda folder: (folder / "DIS5K").is_dir() or (folder / "thin_object_detection").is_dir(),
    list_images=_list_hqseg,
)
