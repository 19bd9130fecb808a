"""FocSAM's annotator against the clicks of the authors' code (every ``focsam_clicks*.npz``)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from samref.core.masks import mask_iou
from samref.core.oracle import focsam_candidates
from tests.parity.recordings import Arrays, cases, files, load, require


def recorded_clicks() -> list[Any]:
    """(file, case, spread) of every recorded draw."""
    found: list[Any] = []
    for path in files("focsam_clicks*.npz"):
        with np.load(path) as file:
            draws = [re.fullmatch(r"mode_k([\d.]+)_(\d+)", key) for key in file.files]
        found += [(path.stem, int(draw[2]), draw[1]) for draw in draws if draw]
    skip = pytest.mark.skip("no recording focsam_clicks*.npz (set SAMREF_PARITY)")
    return found or [pytest.param("", 0, "", marks=skip)]


@pytest.fixture(scope="module")
def click_files() -> dict[str, tuple[Arrays, Arrays]]:
    return {
        path.stem: (load(path), load(require(path.name.replace("focsam_clicks", "clicks_next"))))
        for path in files("focsam_clicks*.npz")
    }


@pytest.mark.parametrize(("name", "case", "spread"), recorded_clicks())
def test_clicks_are_drawn_from_the_pixels_of_the_reference(
    click_files: dict[str, tuple[Arrays, Arrays]], name: str, case: int, spread: str
) -> None:
    expected, states = click_files[name]
    gt = states[f"gt_{case}"] == 1
    found = focsam_candidates(states[f"pred_{case}"] > 0, gt, states[f"seen_{case}"] > 0, float(spread))
    assert (-1 if found.positive is None else int(found.positive)) == int(expected[f"mode_k{spread}_{case}"])
    np.testing.assert_array_equal(np.packbits(found.pixels), expected[f"candidates_k{spread}_{case}"])


@pytest.mark.parametrize("name", cases("focsam_clicks*"))
def test_iou_without_ignored_pixels_is_that_of_the_reference(
    click_files: dict[str, tuple[Arrays, Arrays]], name: str
) -> None:
    expected, states = click_files[name]
    ious = expected["iou_object_vs_rest"]
    compared = 0
    for case, iou in enumerate(ious):
        pred, gt = states[f"pred_{case}"] > 0, states[f"gt_{case}"] == 1
        if np.isfinite(iou) and pred.any() and gt.any():  # FocSAM says 0 where one is empty, we say what 0/0 is
            assert mask_iou(pred, gt) == pytest.approx(float(iou), abs=1e-6), case
            compared += 1
    assert compared
