"""Click disks against the maps SegNext's code draws."""

from __future__ import annotations

import numpy as np

from samref.core.prompt_maps import draw_disk
from tests.parity.recordings import load, require

WIDTH = 128
RADIUS = 5.0


def test_disks_equal_segnexts_bit_for_bit() -> None:
    recorded = load(require("segnext_prompt_maps.npz"))
    lists = [name for name in recorded if name.startswith("points_")]
    assert lists
    for name in lists:
        points = recorded[name]
        expected = np.unpackbits(recorded[name.replace("points", "map")], axis=-1)[..., :WIDTH]
        half = len(points) // 2
        for sign, chunk in enumerate((points[:half], points[half:])):
            drawn = np.zeros(expected.shape[1:], dtype=np.uint8)
            for row, column, _ in chunk:
                if row >= 0 or column >= 0:  # padding has both coordinates negative
                    draw_disk(drawn, column, row, RADIUS)
            np.testing.assert_array_equal(drawn, expected[sign], err_msg=name)
