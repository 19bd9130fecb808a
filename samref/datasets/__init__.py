"""Readers of the field's data sets in the directory layouts in which they are published.

>>> from samref.datasets import images_of
>>> for image in images_of(Path("datasets/SBD"), "auto", "train"):  # doctest: +SKIP
...     labelled = image.load()  # rgb uint8 (H, W, 3), masks, ids, ignore
...     labels = labelled.label_map()  # uint8 (H, W): 0 background, 1..254 objects, 255 ignored

Each layout is described where it is read; :data:`LAYOUTS` has them by name.
"""

from __future__ import annotations

from samref.datasets.catalogue import LAYOUTS, images_of, layout_of, list_data_sets
from samref.datasets.layout import Layout, Listing
from samref.datasets.records import ImageRecord, LabelledImage, MaskSource, ObjectMask, Skipped

__all__ = [
    "LAYOUTS",
    "ImageRecord",
    "LabelledImage",
    "Layout",
    "Listing",
    "MaskSource",
    "ObjectMask",
    "Skipped",
    "images_of",
    "layout_of",
    "list_data_sets",
]
