"""Projects as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import LabelError
from samref.labels.classes import MAX_CLASSES, PALETTE, class_named, find_class, new_class
from samref.labels.project import (
    ImageRecord,
    LabelClass,
    Project,
    add_class,
    add_image,
    change_class,
    default_classes,
    delete_annotation,
    find_image,
    new_annotation_id,
    remove_class,
    rename_class,
    upsert_annotation,
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
        (lambda: ImageRecord(CAT, "", ImageSize(1, 1)), "1 to 200 characters"),
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


def test_classes_are_added_renamed_and_removed(project: Project) -> None:
    more = add_class(project, LabelClass(3, "cow", "#4363d8"))
    renamed = rename_class(more, 3, " ox ")
    assert [c.name for c in renamed.classes] == ["object", "Größe", "ox"]
    assert remove_class(renamed, 3) == project
    recoloured = change_class(project, LabelClass(2, "Größe", "#000000"))
    assert recoloured.classes[1].colour == "#000000"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: add_class(p, LabelClass(2, "cow", "#4363d8")), "class number 2 already"),
        (lambda p: add_class(p, LabelClass(3, "Object", "#4363d8")), "a class 'object' already"),
        (lambda p: rename_class(p, 2, "object"), "a class 'object' already"),
        (lambda p: rename_class(p, 9, "cow"), "no class number 9"),
        (lambda p: rename_class(p, 2, " "), "1 to 80 characters"),
        (lambda p: remove_class(p, 9), "no class number 9"),
        (lambda p: remove_class(p, 1), "'object' is used by 2 objects"),
        (lambda p: remove_class(Project(p.classes[:1]), 1), "at least one class"),
        (lambda p: delete_annotation(p, CAT, "none"), "not there any more"),
        (lambda p: delete_annotation(p, "a" * 64, "solid"), "does not hold that image"),
        (
            lambda p: upsert_annotation(p, DOG, p.images[0].annotations[0]),
            "16 x 12 pixels, the image 'cat.jpg' 4 x 5",
        ),
        (lambda p: upsert_annotation(p, CAT, replace(p.images[0].annotations[0], class_id=9)), "no class number 9"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    project: Project, change: Callable[[Project], Project], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        change(project)


def test_an_annotation_with_a_known_id_takes_the_old_ones_place(project: Project) -> None:
    better = replace(project.images[0].annotations[0], mask=Rle.from_mask(np.ones((12, 16), dtype=np.bool_)))
    changed = find_image(upsert_annotation(project, CAT, better), CAT).annotations
    assert [a.id for a in changed] == ["solid", "ring", "parts"]
    assert changed[0].mask.area == 192


def test_an_annotation_with_a_new_id_lies_on_top(project: Project) -> None:
    new = replace(project.images[0].annotations[0], id=new_annotation_id())
    changed = upsert_annotation(project, CAT, new)
    assert find_image(changed, CAT).annotations[-1] == new
    assert delete_annotation(changed, CAT, new.id) == project


def test_a_image_with_a_known_digest_is_replaced(project: Project) -> None:
    bare = replace(project.images[0], annotations=())
    assert add_image(project, bare).images == (bare, project.images[1])
    other = ImageRecord("e" * 64, "e.png", ImageSize(1, 1))
    assert add_image(project, other).images == (*project.images, other)


def test_times_of_other_zones_are_refused_rather_than_shifted(project: Project) -> None:
    assert project.images[0].annotations[0].created_at.tzinfo is UTC
