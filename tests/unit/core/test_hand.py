"""Pixels set by hand, and clean-ups of masks."""

from __future__ import annotations

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.hand import CleanUp, HandWork, check_hand_work, clean_up
from samref.core.masks import Mask, Rle
from samref.errors import PromptError


def drawn(*rows: str) -> Rle:
    return Rle.from_mask(np.array([[cell == "#" for cell in row] for row in rows]))


def shown(mask: Rle | None) -> list[str]:
    assert mask is not None
    return ["".join("#" if cell else "." for cell in row) for row in mask.to_mask()]


def disk(radius: int, size: int, middle: tuple[int, int]) -> Mask:
    y, x = np.mgrid[:size, :size]
    inside: Mask = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2
    return inside


def test_what_was_set_last_counts() -> None:
    known = HandWork(added=drawn("##..")).then(HandWork(removed=drawn(".##.")))
    assert shown(known.added) == ["#..."]
    assert shown(known.removed) == [".##."]
    again = known.then(HandWork(added=drawn("..##")))
    assert shown(again.added) == ["#.##"]
    assert shown(again.removed) == [".#.."]


def test_known_pixels_lie_over_any_answer() -> None:
    known = HandWork(added=drawn("#..."), removed=drawn("...#"))
    assert shown(known.over(drawn(".###"))) == ["###."]
    assert shown(known.over(None)) == ["#..."]
    assert HandWork(removed=drawn("#...")).over(None) is None


def test_the_difference_between_two_masks_turns_one_into_the_other() -> None:
    before, after = drawn("##.", ".#."), drawn(".##", "...")
    assert HandWork.between(before, after).over(before) == after
    assert HandWork.between(after, after).is_empty
    assert HandWork.between(None, after).over(None) == after


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (HandWork(), "no pixel"),
        (HandWork(drawn("...")), "no pixel"),
        (HandWork(drawn("##")), "another size"),
        (HandWork(drawn("##."), drawn(".##")), "the same pixel"),
    ],
)
def test_a_stroke_that_says_nothing_or_two_things_is_refused(work: HandWork, sentence: str) -> None:
    with pytest.raises(PromptError, match=sentence):
        check_hand_work(work, ImageSize(1, 3))


def test_holes_up_to_a_size_are_filled_and_bays_stay() -> None:
    mask = drawn("#######", "#.#...#", "###...#", "#..#.##", "#######", "###.###")
    assert shown(clean_up(mask, "fill_holes", 2)) == ["#######", "###...#", "###...#", "####.##", "#######", "###.###"]
    assert shown(clean_up(mask, "fill_holes", 0)) == ["#######"] * 5 + ["###.###"]


def test_a_hole_at_the_border_of_the_image_is_open() -> None:
    assert shown(clean_up(drawn("#.#", "###"), "fill_holes", 0)) == ["#.#", "###"]


def test_islands_below_a_size_go_and_without_one_all_but_the_largest() -> None:
    mask = drawn("##..#", "#..#.", ".....", "..##.")
    assert shown(clean_up(mask, "drop_islands", 3)) == ["##...", "#....", ".....", "....."]
    assert shown(clean_up(mask, "drop_islands", 2)) == shown(mask)
    assert shown(clean_up(mask, "drop_islands", 0)) == ["##...", "#....", ".....", "....."]


def test_growing_and_shrinking_move_the_outline_and_leave_it_at_the_border() -> None:
    mask = drawn("##....", "##....", "......", "......")
    assert shown(clean_up(mask, "grow", 1)) == ["###...", "###...", "##....", "......"]
    assert shown(clean_up(mask, "shrink", 1)) == ["#.....", "......", "......", "......"]
    inside = Rle.from_mask(disk(9, 40, (20, 20)))
    assert clean_up(clean_up(inside, "grow", 3), "shrink", 3).intersection(inside) == inside


def test_smoothing_takes_what_is_fine_and_keeps_what_is_large() -> None:
    smooth = disk(15, 60, (30, 30))
    rough = smooth.copy()
    rough[30, 45:52] = True  # a hair
    rough[28:30, 44] = False  # a notch
    result = clean_up(Rle.from_mask(rough), "smooth", 3).to_mask()
    assert not result[30, 48:].any()
    assert np.count_nonzero(result ^ smooth) < 0.03 * np.count_nonzero(smooth)


@pytest.mark.parametrize(("how", "amount"), [("grow", 0), ("shrink", 101), ("smooth", 0), ("fill_holes", -1)])
def test_amounts_that_cannot_be_used_are_refused(how: CleanUp, amount: int) -> None:
    with pytest.raises(PromptError):
        clean_up(drawn("#."), how, amount)


@pytest.mark.parametrize("how", ["fill_holes", "drop_islands", "smooth", "grow", "shrink"])
def test_an_empty_mask_stays_empty(how: CleanUp) -> None:
    assert clean_up(drawn("...", "..."), how, 2).area == 0
