"""Generated images: bright shapes on noise, one of them with an ignored band."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``coco_shapes`` and ``lvis_shapes``: images and numbered masks, 2 objects each, 3 images each."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for name in ("coco_shapes", "lvis_shapes"):
        (folder / name / "images").mkdir(parents=True)
        (folder / name / "masks").mkdir()
        for index in range(3):
            image = rng.integers(0, 80, (96, 128, 3), dtype=np.uint8)
            mask = np.zeros((96, 128), dtype=np.uint8)
            cv2.circle(mask, (36, 40 + 5 * index), 24, 1, -1)
            cv2.rectangle(mask, (76, 20), (112, 70 + 5 * index), 2, -1)
            image[mask > 0] += 150
            if index == 0:
                mask[:, 60:64] = 255
            cv2.imwrite(str(folder / name / "images" / f"{index}.png"), image)
            cv2.imwrite(str(folder / name / "masks" / f"{index}.png"), mask)
    return folder
