"""Readers of the field's data sets in the directory layouts in which they are published.

>>> from samref.evaluation.readers import pictures_of
>>> for picture in pictures_of(Path("datasets/SBD"), "auto", "train"):  # doctest: +SKIP
...     labelled = picture.load()  # rgb uint8 (H, W, 3), masks, ids, ignore
...     labels = labelled.label_map()  # uint8 (H, W): 0 background, 1..254 objects, 255 ignored

Each layout is described where it is read; :data:`LAYOUTS` has them by name.
"""

from __future__ import annotations

from samref.evaluation.readers.catalogue import LAYOUTS, layout_of, list_data_sets, pictures_of
from samref.evaluation.readers.layout import Layout, Listing
from samref.evaluation.readers.pictures import LabelledPicture, MaskSource, ObjectMask, Picture, Skipped

__all__ = [
    "LAYOUTS",
    "LabelledPicture",
    "Layout",
    "Listing",
    "MaskSource",
    "ObjectMask",
    "Picture",
    "Skipped",
    "layout_of",
    "list_data_sets",
    "pictures_of",
]
