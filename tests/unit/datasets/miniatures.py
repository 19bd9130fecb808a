"""Miniature copies of the published data sets: real folders, real file formats, images of 24 x 32 pixels.

Every image shows the same two things: a square (pixels 2..11 of rows and columns, 100 pixels) and a bar (rows 16..19,
columns 4..23, 80 pixels). Where a format can say so, the top row is ignored.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32
SQUARE, BAR = 100, 80


def numbers(*, ignored: bool = True) -> NDArray[np.uint8]:
    """1 the square, 2 the bar, 255 the top row."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    ids[2:12, 2:12] = 1
    ids[16:20, 4:24] = 2
    if ignored:
        ids[0] = 255
    return ids


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    return path


def grey(path: Path, values: NDArray[np.uint8], mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).convert(mode).save(path)
    return path


def palette(path: Path, values: NDArray[np.uint8]) -> Path:
    """A palette PNG as PASCAL's tools write it: index 255 is (224, 224, 192)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    indices = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours[255] = (224, 224, 192)
    image = Image.fromarray(values, mode="P")
    image.putpalette(colours.ravel().tolist())
    image.save(path)
    return path


def lines(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def write_grabcut(root: Path) -> None:
    """Bitmaps and JPEGs mixed, masks of 0, 128 and 255 as bitmaps."""
    trimap = np.where(numbers() == 1, 255, np.where(numbers() == 255, 128, 0)).astype(np.uint8)
    for name in ("banana1.bmp", "sheep.jpg"):
        photo(root / "data_GT" / name)
        grey(root / "boundary_GT" / f"{Path(name).stem}.bmp", trimap)


def write_berkeley(root: Path) -> None:
    """One image with one object, one with two; masks in colour, as OpenCV reads any."""
    for name, masks in {"113016": ["113016"], "388016": ["388016#001", "388016#002"]}.items():
        photo(root / "images" / f"{name}.jpg")
        for number, mask in enumerate(masks, start=1):
            value = 1 if "#" in mask else 255
            plain = (numbers() == number).astype(np.uint8) * np.uint8(value)
            grey(root / "masks" / f"{mask}.png", plain, "L" if "#" in mask else "RGB")


def write_davis(root: Path) -> None:
    """Frames whose mask has a colour per object: DAVIS asks for all of them at once."""
    for name in ("bear_00001", "dance-twirl_00017"):
        photo(root / "img" / f"{name}.jpg")
        palette(root / "gt" / f"{name}.png", numbers(ignored=False))


def write_focuscut(root: Path) -> None:
    """``img/NAME.jpg``, ``gt/NAME#001.png`` with 1 and 255."""
    for name in ("a", "b"):
        photo(root / "img" / f"{name}.jpg")
        grey(root / "gt" / f"{name}#001.png", np.where(numbers() == 2, 0, numbers()).astype(np.uint8))
    lines(root / "list" / "val.txt", "a", "b")


def write_sbd(root: Path, *, val: tuple[str, ...] = ("2008_000002", "2008_000007")) -> None:
    """``GTinst`` as a MATLAB struct with the fields of the original."""
    from scipy.io import savemat

    base = root / "benchmark_RELEASE" / "dataset"
    for name in (*val, "2008_000099"):
        photo(base / "img" / f"{name}.jpg")
        (base / "inst").mkdir(exist_ok=True)
        struct = {
            "Segmentation": numbers(ignored=False),
            "Boundaries": np.zeros((2, 1), dtype=object),
            "Categories": np.array([[9], [15]], dtype=np.uint8),
        }
        savemat(base / "inst" / f"{name}.mat", {"GTinst": struct}, do_compression=True)
    lines(base / "val.txt", *val)
    lines(base / "train.txt", "2008_000099")


def write_pascalvoc(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("2007_000033", "2007_000042", "2007_000061"):
        photo(base / "JPEGImages" / f"{name}.jpg")
        palette(base / "SegmentationObject" / f"{name}.png", numbers())
    photo(base / "JPEGImages" / "2008_999999.jpg")  # most images of VOC have no mask
    lines(base / "ImageSets" / "Segmentation" / "val.txt", "2007_000033", "2007_000042")
    lines(base / "ImageSets" / "Segmentation" / "train.txt", "2007_000061")


def write_cod10k(root: Path, *, info: bool = True) -> None:
    """One camouflaged image and one that is not, whose mask is black."""
    plain = (numbers() == 1).astype(np.uint8) * np.uint8(255)
    animal, other = "COD10K-CAM-1-Aquatic-1-BatFish-1", "COD10K-NonCAM-5-Background-1-1"
    for name, mask in ((animal, plain), (other, plain * 0)):
        photo(root / "Test" / "Image" / f"{name}.jpg")
        grey(root / "Test" / "GT_Object" / f"{name}.png", mask, "P" if mask.any() else "L")
    if info:
        lines(root / "Info" / "CAM_test.txt", f"{animal}.jpg 1")


def write_mvtec(root: Path) -> None:
    plain = (numbers() == 2).astype(np.uint8) * np.uint8(255)
    defects = {"bottle": ["broken_large", "contamination"], "transistor": ["cut_lead", "misplaced", "bent_lead"]}
    for category, names in defects.items():
        photo(root / category / "train" / "good" / "000.png")
        photo(root / category / "test" / "good" / "000.png")
        for defect in names:
            photo(root / category / "test" / defect / "000.png")
            grey(root / category / "ground_truth" / defect / "000_mask.png", plain)
    lines(root / "readme.txt", "MVTec AD")


def write_hqseg(root: Path) -> None:
    """One image in each part; masks with a soft rim, which counts as object."""
    soft = (numbers() == 1).astype(np.uint8) * np.uint8(255)
    soft[2, 2:12] = 40
    thin = "thin_object_detection"
    for images, masks in {
        "DIS5K/DIS-VD/im": "DIS5K/DIS-VD/gt",
        f"{thin}/ThinObject5K/images_test": f"{thin}/ThinObject5K/masks_test",
        f"{thin}/COIFT/images": f"{thin}/COIFT/masks",
        f"{thin}/HRSOD/images": f"{thin}/HRSOD/masks_max255",
        "DIS5K/DIS-TR/im": "DIS5K/DIS-TR/gt",
        f"{thin}/ThinObject5K/images_train": f"{thin}/ThinObject5K/masks_train",
        **{f"cascade_psp/{name}": f"cascade_psp/{name}" for name in ("fss_all", "DUTS-TR", "DUTS-TE", "ecssd")},
        "cascade_psp/MSRA_10K": "cascade_psp/MSRA_10K",
    }.items():
        photo(root / images / "1.jpg")
        grey(root / masks / "1.png", soft)


def coco_content(**changes: Any) -> dict[str, Any]:
    """Three images: two objects and a crowd; an uncompressed object; none."""
    ids = numbers(ignored=False)
    crowd = coco_mask.encode(np.asfortranarray(numbers() == 255, dtype=np.uint8))
    bar = np.asfortranarray(ids == 2)
    runs = np.diff(np.flatnonzero(np.diff(bar.ravel(order="F"), prepend=2, append=2))).tolist()
    square = [2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]
    content = {
        "info": {},
        "licenses": [],
        "categories": [{"id": 1, "name": "thing"}],
        "images": [
            {"id": n, "file_name": f"00000000{n:04}.jpg", "height": HEIGHT, "width": WIDTH} for n in (139, 285, 632)
        ],
        "annotations": [
            {"id": 11, "image_id": 139, "category_id": 1, "iscrowd": 0, "segmentation": [square]},
            {"id": 12, "image_id": 139, "category_id": 1, "iscrowd": 0,
             "segmentation": [[4.0, 16.0, 24.0, 16.0, 24.0, 20.0, 4.0, 20.0], [1.0, 1.0, 2.0, 2.0]]},
            {"id": 13, "image_id": 139, "category_id": 1, "iscrowd": 1,
             "segmentation": {"size": [HEIGHT, WIDTH], "counts": crowd["counts"].decode("ascii")}},
            {"id": 21, "image_id": 285, "category_id": 1, "iscrowd": 0,
             "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}},
        ],
    }  # fmt: skip
    return {**content, **changes}


def write_coco(root: Path, **changes: Any) -> None:
    content = coco_content(**changes)
    for image in content["images"]:
        photo(root / "val2017" / image["file_name"])
    path = root / "annotations" / "instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_panoptic(root: Path, part: str = "val2017", **changes: Any) -> None:
    """Two images: a thing and a crowd of stuff with ids beyond a byte; stuff alone. The top row is VOID, id 0."""
    ids = {1: 3, 2: 5 + 256 * 7 + 65_536 * 9, 255: 0}
    content: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"00000000{n:04}.jpg", "height": HEIGHT, "width": WIDTH} for n in (139, 285)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}, {"id": 184, "name": "tree", "isthing": 0}],
    }
    for image, shown in zip(content["images"], ((1, 2), (2,)), strict=True):
        photo(root / part / image["file_name"])
        png = image["file_name"].replace(".jpg", ".png")
        colours = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        for number in (*shown, 255):
            colours[numbers() == number] = [(ids[number] >> shift) % 256 for shift in (0, 8, 16)]
        path = root / "annotations" / f"panoptic_{part}" / png
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(path)
        segments = [{"id": ids[number], "category_id": 1, "iscrowd": int(number == 2)} for number in shown]
        content["annotations"].append({"image_id": image["id"], "file_name": png, "segments_info": segments})
    content |= changes
    (root / "annotations" / f"panoptic_{part}.json").write_text(json.dumps(content), encoding="utf-8")


def write_coco_lvis(root: Path, part: str = "val", protocol: int = 4) -> None:
    """Two images: the square with a part of it, and the bar as stuff; the bar as a thing. A number is NumPy's."""

    def pack(layers: list[NDArray[np.uint8]], places: list[Any], name: str) -> None:
        files = []
        for layer in layers:
            file = io.BytesIO()
            Image.fromarray(layer).save(file, "PNG")
            files.append(np.frombuffer(file.getvalue(), dtype=np.uint8).reshape(-1, 1).copy())
        path = root / part / "masks" / f"{name}.pickle"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps((files, places), protocol=protocol))
        photo(root / part / "images" / f"{name}.jpg")

    ids = numbers(ignored=False)
    piece = np.zeros_like(ids)
    piece[3:5, 3:5] = 9
    pack([ids, piece], [(0, 1), (1, 9), (0, np.int64(2))], "000000000009")
    pack([ids * np.uint8(ids == 2)], [(0, 2)], "000000000025")
    node = {"children": [1], "parent": None, "node_level": 0}
    content = {
        "000000000025": {"num_instance_masks": 1, "hierarchy": {0: None}},
        "000000000009": {
            "num_instance_masks": 2,
            "hierarchy": {0: node, 1: {"children": [], "parent": 0, "node_level": 1}},
        },
    }
    (root / part / "hannotation.pickle").write_bytes(pickle.dumps(content, protocol=protocol))


def write_lvis(root: Path) -> None:
    """As COCO, but images are found by their address, in the folders of COCO's train and val parts."""
    content = coco_content()
    content["annotations"] = [one for one in content["annotations"] if not one.pop("iscrowd")]
    for image, part in zip(content["images"], ("train2017", "val2017", "val2017"), strict=True):
        name = image.pop("file_name")
        image["coco_url"] = f"http://images.cocodataset.org/{part}/{name}"
        photo(root / part / name)
    (root / "lvis_v1_val.json").write_text(json.dumps(content), encoding="utf-8")
