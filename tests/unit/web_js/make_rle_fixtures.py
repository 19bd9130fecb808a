"""Write ``rle_fixtures.json``: masks as pycocotools encodes them, for the JavaScript reader to agree with.

Run ``python tests/unit/web_js/make_rle_fixtures.py`` after changing it; the file is committed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def fixture(name: str, mask: NDArray[np.bool_]) -> dict[str, object]:
    """One mask (rows, columns) with its counts string and its pixels as rows of 0 and 1."""
    counts = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")
    rows = ["".join("1" if value else "0" for value in row) for row in mask]
    return {"name": name, "rows": mask.shape[0], "columns": mask.shape[1], "counts": counts, "pixels": rows}


def main() -> None:
    rng = np.random.default_rng(2)
    yy, xx = np.mgrid[:40, :60]
    disk = (yy - 20) ** 2 + (xx - 31) ** 2 < 15**2
    ring = disk & ~((yy - 20) ** 2 + (xx - 31) ** 2 < 6**2)
    long_runs = np.zeros((900, 4), dtype=bool)
    long_runs[100:890, 1:3] = True
    cases = [
        fixture("empty", np.zeros((5, 7), dtype=bool)),
        fixture("full", np.ones((5, 7), dtype=bool)),
        fixture("one pixel", np.ones((1, 1), dtype=bool)),
        fixture("one row", np.array([[1, 0, 1, 1, 0]], dtype=bool)),
        fixture("one column", np.array([[0], [1], [1], [0], [1]], dtype=bool)),
        fixture("disk", disk),
        fixture("ring", ring),
        fixture("runs over several columns", long_runs),
        fixture("checkerboard", (yy + xx) % 2 == 0),
        *(fixture(f"noise {density}", rng.random((23, 31)) < density) for density in (0.02, 0.3, 0.7, 0.98)),
    ]
    path = Path(__file__).with_name("rle_fixtures.json")
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
