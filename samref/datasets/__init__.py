"""Images with known objects, read from whatever a folder holds: for evaluation and for training alike.

>>> from samref.datasets import images_of
>>> for record in images_of(Path("datasets/SBD"), "auto", "train"):  # doctest: +SKIP
...     image = record.read_image()  # DecodedImage: rgb uint8 (H, W, 3), size, digest
...     for one in record.read_objects(image):  # ObjectMask: key, gt bool (H, W), ignore bool (H, W) or None
...         ...
...     labels = record.load().label_map()  # uint8 (H, W): 0 background, 1..254 objects, 255 ignored

Public data sets, our own ``images/`` and ``masks/`` folders and the folder of a labelling server are entries of one
table, :data:`LAYOUTS`; each is described where it is read. Listing decodes nothing; :func:`find_images` looks at every
mask once, to know how many objects can be measured.
"""

from __future__ import annotations

from samref.datasets.catalogue import (
    AUTO,
    LAYOUTS,
    find_images,
    images_of,
    layout_of,
    list_data_sets,
    sample_objects,
)
from samref.datasets.records import (
    IGNORE_ID,
    ImageRecord,
    KeptMasks,
    LabelledImage,
    Layout,
    Listing,
    MaskSource,
    ObjectMask,
    Skipped,
)

__all__ = [
    "AUTO",
    "IGNORE_ID",
    "LAYOUTS",
    "ImageRecord",
    "KeptMasks",
    "LabelledImage",
    "Layout",
    "Listing",
    "MaskSource",
    "ObjectMask",
    "Skipped",
    "find_images",
    "images_of",
    "layout_of",
    "list_data_sets",
    "sample_objects",
]
