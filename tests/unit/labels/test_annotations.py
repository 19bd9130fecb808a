"""Classes and annotations as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from samref.core.geometry import ImageSize
from samref.errors import LabelError
from samref.labels.annotations import ImageRecord, Project, new_annotation_id, upsert
from samref.labels.classes import (
    MAX_CLASSES,
    PALETTE,
    LabelClass,
    add_class,
    change_class,
    class_named,
    default_classes,
    find_class,
    new_class,
    remove_class,
)

CAT, DOG = "c" * 64, "d" * 64


def test_a_new_project_has_one_class() -> None:
    assert default_classes() == (LabelClass(1, "object", "#e6194b"),)


def test_new_classes_get_the_next_number_and_a_colour_not_used_yet() -> None:
    classes = default_classes()
    for name in ("cat", "dog"):
        classes = (*classes, new_class(classes, name))
    assert [c.id for c in classes] == [1, 2, 3]
    assert [c.colour for c in classes] == list(PALETTE[:3])


def test_names_are_tidied_and_compared_without_regard_to_capitals() -> None:
    made = new_class((), "  traffic\n\tlight\u200b ")
    assert made.name == "traffic light"
    assert class_named((made,), "Traffic  Light") is made


def test_all_254_numbers_can_be_used_and_gaps_are_filled() -> None:
    classes = tuple(LabelClass(n, f"c{n}", "#000000") for n in range(1, MAX_CLASSES + 1))
    with pytest.raises(LabelError, match="254 classes"):
        new_class(classes, "one more")
    assert new_class(classes[:99] + classes[100:], "again").id == 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelClass(0, "x", "#000000"), "1 to 254"),
        (lambda: LabelClass(255, "x", "#000000"), "1 to 254"),
        (lambda: LabelClass(True, "x", "#000000"), "1 to 254"),
        (lambda: LabelClass(1, "", "#000000"), "1 to 80 characters"),
        (lambda: LabelClass(1, "x" * 81, "#000000"), "1 to 80 characters"),
        (lambda: LabelClass(1, "a\nb", "#000000"), "without line breaks"),
        (lambda: LabelClass(1, "x", "red"), "'red' is no colour"),
        (lambda: LabelClass(1, "x", "#0000000"), "is no colour"),
        (lambda: LabelClass(1, "x", "#00000\n"), "is no colour"),
        (lambda: new_class((), "x", "javascript:"), "is no colour"),
        (lambda: new_class(default_classes(), "OBJECT"), "a class 'object' already"),
        (lambda: find_class(default_classes(), 7), "no class number 7"),
        (lambda: ImageRecord("xyz", "a.jpg", ImageSize(1, 1)), "64 hexadecimal"),
        (lambda: ImageRecord(CAT, "", ImageSize(1, 1)), "1 to 400 characters"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "1 to 64 characters"),
        ({"score": float("nan")}, "finite"),
        ({"seconds": -1.0}, "not negative"),
        ({"clicks": -1}, "not negative"),
        ({"created_at": datetime(2026, 11, 21)}, "UTC"),  # noqa: DTZ001 - the point of the test
        ({"author": "x" * 81}, "80 characters"),
    ],
)
def test_an_annotation_that_cannot_be_is_refused(project: Project, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        replace(project.images[0].annotations[0], **changes)


def test_classes_are_added_changed_and_removed(project: Project) -> None:
    cow = LabelClass(3, "cow", "#4363d8")
    more = add_class(project.classes, cow)
    assert more == (*project.classes, cow)
    ox = replace(cow, name="ox")
    assert change_class(more, ox) == (*project.classes, ox)
    assert remove_class(more, 3, used=0) == project.classes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: add_class(c, LabelClass(2, "cow", "#4363d8")), "class number 2 already"),
        (lambda c: add_class(c, LabelClass(3, "Object", "#4363d8")), "a class 'object' already"),
        (lambda c: change_class(c, LabelClass(2, "object", "#4363d8")), "a class 'object' already"),
        (lambda c: change_class(c, LabelClass(9, "cow", "#4363d8")), "no class number 9"),
        (lambda c: remove_class(c, 9, used=0), "no class number 9"),
        (lambda c: remove_class(c, 1, used=2), "'object' is used by 2 objects"),
        (lambda c: remove_class(c[:1], 1, used=0), "at least one class"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    project: Project, change: Callable[[tuple[LabelClass, ...]], Any], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        change(project.classes)


def test_an_annotation_with_a_known_id_takes_the_old_ones_place_and_a_new_one_lies_on_top(project: Project) -> None:
    annotations = project.images[0].annotations
    better = replace(annotations[0], score=0.5)
    new = replace(annotations[0], id=new_annotation_id())
    assert upsert(annotations, new, better) == (better, *annotations[1:], new)


def test_times_of_other_zones_are_refused_rather_than_shifted(project: Project) -> None:
    assert project.images[0].annotations[0].created_at.tzinfo is UTC
