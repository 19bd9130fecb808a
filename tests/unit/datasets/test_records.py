"""One map of numbers from any number of objects that may overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samref.core.masks import Mask
from samref.datasets import KeptMasks, LabelledImage, ObjectMask


def region(*rows: int, size: int = 20) -> Mask:
    mask: Mask = np.zeros((size, size), dtype=np.bool_)
    mask[rows[0] : rows[1]] = True
    return mask


def record(*masks: Mask, ignore: Mask | None = None) -> LabelledImage:
    rgb = np.zeros((*masks[0].shape, 3), dtype=np.uint8)
    return LabelledImage(rgb, masks, tuple(str(n) for n in range(len(masks))), ignore)


def test_numbers_follow_the_order_and_the_smaller_object_lies_on_top() -> None:
    labels = record(region(5, 7), region(0, 15), ignore=region(18, 20)).label_map()
    assert labels.dtype == np.uint8
    assert labels[:, 0].tolist() == [2] * 5 + [1] * 2 + [2] * 8 + [0] * 3 + [255] * 2


def test_an_object_is_seen_where_it_is_ignored_for_others() -> None:
    assert (record(region(0, 20), ignore=region(0, 5)).label_map() == 1).all()


def test_of_more_objects_than_a_byte_can_number_the_smallest_are_ignored() -> None:
    masks = []
    for index in range(300):
        mask: Mask = np.zeros((20, 600), dtype=np.bool_)
        mask[: 2 if index < 254 else 1, 2 * index : 2 * index + 2] = True
        masks.append(mask)
    labels = record(*masks).label_map()
    assert sorted(np.unique(labels).tolist()) == list(range(256))
    assert labels[0, 0] == 1
    assert labels[0, 2 * 253] == 254
    assert labels[0, 2 * 254] == 255


def test_kept_masks_give_back_the_very_same_objects() -> None:
    ignore = region(3, 4)
    objects = [
        ObjectMask("a", region(0, 3), ignore),
        ObjectMask("b", region(5, 9), ignore),
        ObjectMask("c", region(9, 10), None),
    ]
    back = KeptMasks.of(Path("masks.png"), objects).read()
    assert [one.key for one in back] == ["a", "b", "c"]
    assert all(np.array_equal(one.gt, two.gt) for one, two in zip(objects, back, strict=True))
    assert back[0].ignore is not None
    assert np.array_equal(back[0].ignore, ignore)
    assert back[1].ignore is back[0].ignore
    assert back[2].ignore is None
