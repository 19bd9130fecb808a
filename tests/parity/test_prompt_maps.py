"""Click disks against the maps SegNext's code draws (no recording, no test)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from samref.core.prompt_maps import draw_disk

FOLDER = Path(os.environ.get("SAMREF_PARITY", Path(__file__).resolve().parents[3] / "shared" / "parity"))
RECORDING = FOLDER / "segnext_prompt_maps.npz"
WIDTH = 128
RADIUS = 5.0


@pytest.mark.skipif(not RECORDING.is_file(), reason=f"no recorded prompt maps in {FOLDER}")
def test_disks_equal_segnexts_bit_for_bit() -> None:
    recorded = np.load(RECORDING)
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
