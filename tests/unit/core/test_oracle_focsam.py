from __future__ import annotations

import numpy as np
import pytest

from samref.core.masks import Mask
from samref.core.oracle import Annotator, ClickRule, FocsamAnnotator, build_annotator, focsam_candidates, next_click
from samref.core.prompts import Click
from samref.errors import DataError

SHAPE = (20, 30)


def square(y0: int, x0: int, side: int) -> Mask:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


NOTHING = square(0, 0, 0)


def annotator(gt: Mask, seed: int = 0, spread: float = 1.0) -> FocsamAnnotator:
    return FocsamAnnotator(gt, np.random.default_rng(seed), spread)


def test_the_rules_go_by_their_names() -> None:
    gt = square(4, 10, 7)
    for rule in ("ritm", "focsam"):
        assert build_annotator(rule, gt).click(NOTHING) == Click(13, 7, True)
    assert isinstance(build_annotator("ritm", gt), Annotator)
    assert isinstance(build_annotator("focsam", gt), FocsamAnnotator)
    with pytest.raises(DataError, match="ritm, focsam"):
        build_annotator("random", gt)  # type: ignore[arg-type]


def test_a_perfect_mask_gets_no_click() -> None:
    gt = square(4, 10, 7)
    assert annotator(gt).click(gt) is None


def test_equals_are_drawn_among_and_the_seed_names_the_draw() -> None:
    gt = square(4, 10, 8)  # four pixels are deepest
    clicks = {annotator(gt, seed).click(NOTHING) for seed in range(40)}
    assert clicks == {Click(x, y, True) for x in (13, 14) for y in (7, 8)}
    assert annotator(gt, 3).click(NOTHING) == annotator(gt, 3).click(NOTHING)


def test_a_clicked_pixel_pushes_the_next_click_away() -> None:
    gt = square(4, 10, 9)
    person, exact = annotator(gt), Annotator(gt)
    assert person.click(NOTHING) == exact.click(NOTHING) == Click(14, 8, True)
    second, beside = person.click(NOTHING), exact.click(NOTHING)
    assert second is not None
    assert max(abs(beside.x - 14), abs(beside.y - 8)) == 1
    assert max(abs(second.x - 14), abs(second.y - 8)) > 1


def test_a_spread_widens_later_clicks_only() -> None:
    gt = square(2, 5, 15)
    wide = focsam_candidates(NOTHING, gt, spread=1.7).pixels
    assert wide.sum() > focsam_candidates(NOTHING, gt, spread=1.0).pixels.sum() == 1
    firsts = {annotator(gt, seed, spread=1.7).click(NOTHING) for seed in range(10)}
    assert firsts == {Click(12, 9, True)}
    seen = square(9, 12, 1)
    narrow, wide = (focsam_candidates(NOTHING, gt, seen, spread).pixels for spread in (1.0, 1.7))
    seconds = []
    for seed in range(20):
        person = annotator(gt, seed, spread=1.7)
        person.click(NOTHING)
        seconds.append(person.click(NOTHING))
    places = [(int(click.y), int(click.x)) for click in seconds if click is not None]
    assert len(places) == 20
    assert all(wide[place] for place in places)
    assert not all(narrow[place] for place in places)


def test_ignored_pixels_are_background_to_it() -> None:
    gt, ignore = square(2, 2, 3), square(8, 12, 9)
    assert next_click(ignore, gt, ignore) != Click(16, 12, False)
    assert build_annotator("focsam", gt, ignore).click(ignore) == Click(16, 12, False)


@pytest.mark.parametrize("rule", ["ritm", "focsam"])
def test_clicking_leaves_the_mask_and_the_object_as_they_were(rule: ClickRule) -> None:
    pred, gt = square(1, 1, 4), square(3, 3, 9)
    before = pred.copy(), gt.copy()
    person = build_annotator(rule, gt)
    for _ in range(3):
        person.click(pred)
    assert np.array_equal(pred, before[0])
    assert np.array_equal(gt, before[1])
