"""The classes of a project: what kind of thing an object is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from samref.errors import LabelError

MAX_CLASSES = 254
"""Classes a project may have: their numbers fit an 8-bit index mask beside 0 (background) and 255 (ignore)."""

MAX_NAME = 80
"""Characters in the name of a class or an author."""

PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#fabed4", "#469990",
    "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#000075", "#ffe119", "#a9a9a9",
)  # fmt: skip
"""Colours given to new classes in turn; neighbours are easy to tell apart."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class LabelClass:
    """What kind of thing an object is. ``id`` is 1 to 254 and is the pixel value in class index masks."""

    id: int
    name: str
    colour: str

    def __post_init__(self) -> None:
        if type(self.id) is not int or not 1 <= self.id <= MAX_CLASSES:
            raise LabelError(f"The number of a class must be 1 to {MAX_CLASSES}.")
        if not self.name or self.name != tidy_name(self.name) or len(self.name) > MAX_NAME:
            raise LabelError(f"The name of a class must have 1 to {MAX_NAME} characters, without line breaks.")
        if not _COLOUR.fullmatch(self.colour):
            raise LabelError(f"{self.colour[:40]!r} is no colour; write it as #rrggbb, for example {PALETTE[0]}.")


def default_classes() -> tuple[LabelClass, ...]:
    """The classes of a project nobody has set up yet."""
    return (LabelClass(1, "object", PALETTE[0]),)


def find_class(classes: Sequence[LabelClass], class_id: int) -> LabelClass:
    """The class of that number."""
    for label_class in classes:
        if label_class.id == class_id:
            return label_class
    raise LabelError(f"There is no class number {class_id}. Choose one of the classes of this project.")


def class_named(classes: Sequence[LabelClass], name: str) -> LabelClass | None:
    """The class of that name, capital letters and surrounding blanks aside."""
    wanted = tidy_name(name).casefold()
    return next((c for c in classes if c.name.casefold() == wanted), None)


def new_class(classes: Sequence[LabelClass], name: str, colour: str | None = None) -> LabelClass:
    """A class that can be added to ``classes``: next number, and next colour of the palette unless one is given.

    Raises:
        LabelError: the name is taken, empty or too long, the colour is none, or there are too many classes.
    """
    taken = {c.id for c in classes}
    if len(taken) >= MAX_CLASSES:
        raise LabelError(f"A project can have {MAX_CLASSES} classes; remove one that is not used first.")
    number = max(taken, default=0) + 1
    if number > MAX_CLASSES:
        number = next(n for n in range(1, MAX_CLASSES + 1) if n not in taken)
    if colour is None:
        used = {c.colour for c in classes}
        colour = next((c for c in PALETTE if c not in used), PALETTE[(number - 1) % len(PALETTE)])
    label_class = LabelClass(number, tidy_name(name), colour.lower())
    _check_name_is_free(classes, label_class)
    return label_class


def add_class(classes: Sequence[LabelClass], label_class: LabelClass) -> tuple[LabelClass, ...]:
    """The classes and one more."""
    if any(c.id == label_class.id for c in classes):
        raise LabelError(f"There is a class number {label_class.id} already.")
    _check_name_is_free(classes, label_class)
    return (*classes, label_class)


def change_class(classes: Sequence[LabelClass], label_class: LabelClass) -> tuple[LabelClass, ...]:
    """The classes with the one of that number replaced."""
    find_class(classes, label_class.id)
    _check_name_is_free(classes, label_class)
    return tuple(label_class if c.id == label_class.id else c for c in classes)


def remove_class(classes: Sequence[LabelClass], class_id: int, used: int) -> tuple[LabelClass, ...]:
    """The classes without one that no annotation uses; ``used`` is how many have it."""
    label_class = find_class(classes, class_id)
    if used:
        objects = "one object" if used == 1 else f"{used} objects"
        raise LabelError(f"The class {label_class.name!r} is used by {objects}. Give them another class first.")
    if len(classes) == 1:
        raise LabelError("A project needs at least one class; add another one before removing this.")
    return tuple(c for c in classes if c.id != class_id)


def _check_name_is_free(classes: Sequence[LabelClass], label_class: LabelClass) -> None:
    same = class_named(classes, label_class.name)
    if same is not None and same.id != label_class.id:
        raise LabelError(f"There is a class {same.name!r} already.")


def tidy_name(name: str) -> str:
    """A name in one Unicode form, on one line, without surrounding blanks."""
    name = unicodedata.normalize("NFC", name)
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name).split())
