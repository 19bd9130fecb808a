"""Cuts the small recordings of the repository from the whole ones: ``python -m tests.parity.make_fixtures FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from tests.parity.recordings import FIXTURES, load

WHOLE = (
    "clicks_next.npz",
    "clicks_sequences.npz",
    "clicks_sequences_metrics.json",
    "focsam_boxes.npz",
    "focsam_clicks.npz",
    "keys_focsam_block_dim64.json",
    "keys_focsam_refiner.json",
    "keys_sam_small.json",
    "keys_segnext_small_sax1.json",
    "keys_segnext_small_sax2.json",
    "losses.npz",
    "segnext_prompt_maps.npz",
    "weights_check.json",
)

THINNED = {"focsam_flow.npz": ("low_logits_s2", "coarse_logits_s2")}
"""Arrays of which every second element along the last two axes is kept; tests take the step from the shape."""


def make_fixtures(source: Path) -> None:
    """Write the small recordings, cut from those in ``source``."""
    FIXTURES.mkdir(exist_ok=True)
    for name in WHOLE:
        shutil.copyfile(source / name, FIXTURES / name)
    for name, keys in THINNED.items():
        arrays = load(source / name)
        arrays.update({key: arrays[key][..., ::2, ::2] for key in keys})
        np.savez_compressed(FIXTURES / name, **arrays)  # type: ignore[arg-type]  # its stubs take a name for a flag


if __name__ == "__main__":
    make_fixtures(Path(sys.argv[1]))
