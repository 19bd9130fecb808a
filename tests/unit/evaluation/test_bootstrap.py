from __future__ import annotations

import math

import numpy as np
import pytest

from samref.errors import DataError
from samref.evaluation.bootstrap import measure_named, paired_difference, stage_differences
from samref.evaluation.noc import ClickCurve


def curve(name: str, *ious: float, dataset: str = "zoo") -> ClickCurve:
    return ClickCurve(f"{dataset}/{name}", dataset, ious, tuple(iou / 2 for iou in ious), 0.0, (0.0,) * len(ious))


def noisy(count: int, gain: float, seed: int = 0) -> tuple[list[ClickCurve], list[ClickCurve]]:
    """Objects of very different difficulty, each better by about ``gain`` the second time."""
    rng = np.random.default_rng(seed)
    hard = rng.uniform(0.2, 0.8, count)
    better = hard + rng.normal(gain, 0.05, count)
    first = [curve(f"{n}#1", float(iou)) for n, iou in enumerate(hard)]
    return first, [curve(f"{n}#1", float(iou)) for n, iou in enumerate(better)]


def test_measures_are_named_as_the_field_names_them() -> None:
    one = curve("a#1", 0.5, 0.86, 0.91)
    assert measure_named("NoC@85", 20)(one) == 2
    assert measure_named("NoC@95", 20)(one) == 20
    assert measure_named("IoU@2", 20)(one) == 0.86
    assert measure_named("BIoU@3", 20)(one) == 0.455
    for wrong in ("NoC", "Dice@1", "NoC@x", "IoU@0"):
        with pytest.raises(DataError, match="no measure"):
            measure_named(wrong, 20)


def test_pairing_makes_a_small_gain_sure_that_would_drown_between_objects() -> None:
    first, second = noisy(60, 0.05)
    paired = paired_difference(first, second, "IoU@1", max_clicks=20)
    assert paired.excludes_zero
    assert paired.low < 0.05 < paired.high
    assert paired.high - paired.low < 0.05
    assert paired.objects == 60


def test_the_interval_has_the_width_that_theory_gives() -> None:
    first, second = noisy(400, 0.0, seed=3)
    interval = paired_difference(first, second, "IoU@1", max_clicks=20, confidence=0.95)
    spread = np.std([two.ious[0] - one.ious[0] for one, two in zip(first, second, strict=True)]) / math.sqrt(400)
    assert (interval.high - interval.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.05)
    narrow = paired_difference(first, second, "IoU@1", max_clicks=20, confidence=0.5)
    assert narrow.high - narrow.low < (interval.high - interval.low) / 2


def test_the_same_seed_gives_the_same_interval_and_swapping_turns_its_sign() -> None:
    first, second = noisy(30, 0.02)
    one = paired_difference(first, second, "IoU@1", max_clicks=20, seed=4)
    assert one == paired_difference(first, second, "IoU@1", max_clicks=20, seed=4)
    assert one != paired_difference(first, second, "IoU@1", max_clicks=20, seed=5)
    back = paired_difference(second, first, "IoU@1", max_clicks=20, seed=4)
    assert (back.mean, back.low, back.high) == pytest.approx((-one.mean, -one.high, -one.low))


def test_data_sets_count_with_equal_weight() -> None:
    first = [curve(f"{n}#1", 0.5, dataset="large") for n in range(99)] + [curve("0#1", 0.5, dataset="small")]
    second = [curve(f"{n}#1", 0.5, dataset="large") for n in range(99)] + [curve("0#1", 0.7, dataset="small")]
    assert paired_difference(first, second, "IoU@1", max_clicks=20).mean == pytest.approx(0.1)
    more = [curve("1#1", 0.5, dataset="small")], [curve("1#1", 0.6, dataset="small")]
    assert paired_difference(first + more[0], second + more[1], "IoU@1", max_clicks=20).mean == pytest.approx(0.075)


def test_only_objects_that_both_have_labelled_and_that_have_a_number_are_compared() -> None:
    first = [curve("a#1", 0.5), curve("b#1", 0.5), curve("c#1", math.nan), curve("e#1", 0.5)]
    second = [curve("e#1", 0.6), curve("c#1", 0.9), curve("a#1", 0.6), curve("d#1", 0.9)]
    difference = paired_difference(first, second, "IoU@1", max_clicks=20)
    assert difference.objects == 2
    assert difference.mean == difference.low == difference.high == pytest.approx(0.1)


def test_one_object_has_no_interval() -> None:
    first, second = [curve("a#1", 0.5)], [curve("a#1", 0.9)]
    with pytest.raises(DataError, match="Fewer than two objects"):
        paired_difference(first, second, "IoU@1", max_clicks=20)
    with pytest.raises(DataError, match="Fewer than two objects"):
        paired_difference(first, [], "IoU@1", max_clicks=20)
    assert stage_differences({"coarse": first, "refined": second}, 20) == []


def test_data_sets_of_one_object_each_do_not_make_a_chance_result_sure() -> None:
    rng = np.random.default_rng(5)
    gains = rng.normal(0.0, 0.1, 28)
    first = [curve("0#1", 0.5, dataset=f"set{n}") for n in range(28)]
    second = [curve("0#1", 0.5 + float(gain), dataset=f"set{n}") for n, gain in enumerate(gains)]
    interval = paired_difference(first, second, "IoU@1", max_clicks=20)
    assert not interval.excludes_zero
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.std(gains, ddof=1) / math.sqrt(28), rel=0.1)


@pytest.mark.parametrize("objects", [2, 3, 8])
def test_small_data_sets_do_not_make_the_interval_too_narrow(objects: int) -> None:
    """With the truth known to be zero, about one interval in ten may miss it at 90 %."""
    rng = np.random.default_rng(objects)
    missed = 0
    for _ in range(200):
        gains = rng.normal(0.0, 0.1, (20, objects))
        first = [curve(f"{k}#1", 0.5, dataset=f"set{n}") for n in range(20) for k in range(objects)]
        second = [
            curve(f"{k}#1", 0.5 + float(gains[n, k]), dataset=f"set{n}") for n in range(20) for k in range(objects)
        ]
        missed += paired_difference(first, second, "IoU@1", max_clicks=20, confidence=0.9, resamples=300).excludes_zero
    assert 8 <= missed <= 35


def test_the_refiner_is_compared_only_where_both_stages_were_measured() -> None:
    coarse, refined = (
        [curve("a#1", 0.5, 0.7), curve("b#1", 0.6, 0.95)],
        [curve("a#1", 0.6, 0.9), curve("b#1", 0.9, 0.9)],
    )
    assert stage_differences({"refined": refined}, 20) == []
    found = {one.measure: one for one in stage_differences({"coarse": coarse, "refined": refined}, 2)}
    assert set(found) == {"NoC@85", "NoC@90", "IoU@1", "BIoU@1"}
    assert found["NoC@90"].mean == pytest.approx(-0.5)
    sentence = found["IoU@1"].to_sentence("refined", "coarse")
    assert sentence == "refined minus coarse, IoU@1: +0.2000 (95 % interval +0.0586 to +0.3414)"
