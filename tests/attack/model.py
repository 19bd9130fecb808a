"""What a workspace should hold: a plain model of the log, kept by the client and compared with the server's.

An image is modelled as the page sees it: steps of the draft with the masks that were shown for them, and annotations
as they were last shown. Where only the server can know a value (an id it makes, a mask it computes), ``UNKNOWN`` stands
until it was seen once; from then on it must stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

__all__ = ["UNKNOWN", "Act", "Image", "Snapshot", "Step", "World", "adopt", "after", "differences", "differs"]


class _Unknown:
    def __repr__(self) -> str:
        return "?"

    def __deepcopy__(self, memo: object) -> _Unknown:
        return self


UNKNOWN: Final = _Unknown()
"""Equal to everything."""

Wire: TypeAlias = dict[str, Any]
"""A JSON object of an answer."""

Moment: TypeAlias = tuple[Any, ...]
"""What of an image undo brings back."""

ANNOTATION_KEYS = (
    "id",
    "class_id",
    "mask",
    "score",
    "visible",
    "area",
    "clicks",
    "seconds",
    "model",
    "note",
    "attributes",
    "locked",
)


@dataclass
class Step:
    """One prompt of a draft (None: a stroke by hand), and the final mask shown for it."""

    prompt: Wire | None
    mask: Any = UNKNOWN
    coarse: Any = UNKNOWN


@dataclass
class Image:
    """One image of a workspace."""

    file_name: str
    revision: int = 1
    steps: list[Step] = field(default_factory=list)
    cursor: int = 0
    start: Wire | None = None
    editing: str | None = None
    annotations: list[Wire] = field(default_factory=list)
    said: dict[str, tuple[Wire | None, list[Wire]]] = field(default_factory=dict)
    """Rough mask and prompts of each annotation by its id: what its draft begins with when it is edited."""
    committed: tuple[Wire | None, list[Wire]] | None = None
    """The same of the annotation that was made last, while its id is not known."""
    past: list[Moment] = field(default_factory=list)
    """What can be undone to, oldest first."""
    future: list[Moment] = field(default_factory=list)
    """What can be done again, the next one last."""

    @property
    def is_drawing(self) -> bool:
        return self.cursor > 0 or self.start is not None

    @property
    def prompts(self) -> list[Wire]:
        """What was said of the draft."""
        return [step.prompt for step in self.steps[: self.cursor] if step.prompt is not None]

    @property
    def mask(self) -> Any:
        """What is shown of the draft."""
        return self.steps[self.cursor - 1].mask if self.cursor else self.start

    def moment(self) -> Moment:
        """What undo brings back."""
        annotations = [dict(annotation) for annotation in self.annotations]
        return list(self.steps), self.cursor, self.start, self.editing, annotations, dict(self.said)

    def become(self, moment: Moment) -> None:
        """What it was at another moment."""
        self.steps, self.cursor, self.start, self.editing, self.annotations, self.said = moment

    def annotation(self, annotation_id: str) -> Wire:
        return next(a for a in self.annotations if a["id"] == annotation_id)

    def end_draft(self) -> None:
        self.steps, self.cursor, self.start, self.editing = [], 0, None, None

    def put(self, annotation: Wire) -> None:
        """In the place of the one with its id, or on top."""
        for place, old in enumerate(self.annotations):
            if old["id"] == annotation["id"]:
                self.annotations[place] = annotation
                return
        self.annotations.append(annotation)


@dataclass
class Snapshot:
    """An export with what it was made from."""

    coco: bytes
    classes: list[Wire]
    images: dict[str, Image]


@dataclass
class World:
    """A workspace."""

    classes: list[Wire]
    images: dict[str, Image] = field(default_factory=dict)

    def class_named(self, name: str) -> Wire | None:
        return next((c for c in self.classes if c["name"].casefold() == name.casefold()), None)

    def add_class(self, name: str, colour: Any = UNKNOWN) -> Wire:
        number = max(c["id"] for c in self.classes) + 1
        self.classes.append({"id": number, "name": name, "colour": colour})
        return self.classes[-1]


@dataclass(frozen=True)
class Act:
    """One thing a person does; ``values`` are the arguments of the verb, or what is in a file."""

    verb: str
    digest: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def after(world: World, act: Act) -> World:
    """The workspace after an act that was wholly done; ``world`` stays as it is."""
    world = copy.deepcopy(world)
    values = act.values
    match act.verb:
        case "upload":
            world.images.setdefault(str(act.digest), Image(values["name"]))
        case "add_class":
            world.add_class(values["name"], values.get("colour", UNKNOWN))
        case "change_class":
            changed = next(c for c in world.classes if c["id"] == values["class_id"])
            changed.update({key: values[key] for key in ("name", "colour") if key in values})
        case "remove_class":
            world.classes = [c for c in world.classes if c["id"] != values["class_id"]]
        case "import":
            _import(world, values["categories"], values["annotations"])
        case "import_again":
            _import_again(world, values["snapshot"])
        case "export" | "look":
            pass
        case _:
            assert act.digest is not None
            _change(world.images[act.digest], act)
    return world


def _change(image: Image, act: Act) -> None:
    """One verb of an image's session."""
    values = act.values
    image.revision += len(values["prompts"]) if act.verb == "prompt" else 1
    if act.verb in ("undo", "redo"):
        back, forth = (image.past, image.future) if act.verb == "undo" else (image.future, image.past)
        forth.append(image.moment())
        image.become(back.pop())
    else:
        image.past.append(image.moment())
        image.future = []
        _act(image, act)


def _act(image: Image, act: Act) -> None:  # noqa: C901 - one case for each verb
    """One verb that makes an entry of the history."""
    values = act.values
    match act.verb:
        case "prompt":
            for number, prompt in enumerate(values["prompts"]):
                if number:
                    image.past.append(image.moment())
                image.steps = [*image.steps, Step(prompt)]
                image.cursor = len(image.steps)
        case "paint":
            image.steps = [*image.steps, Step(None)]
            image.cursor = len(image.steps)
        case "merge":
            _merge(image, values["ids"])
        case "clear":
            image.end_draft()
        case "commit":
            made: Wire = dict.fromkeys(ANNOTATION_KEYS, UNKNOWN)
            made.update({"class_id": values["class_id"], "mask": image.mask, "visible": True})
            if image.editing is None:
                image.committed = _said(image)
            else:
                made["id"] = image.editing
                image.said[image.editing] = _said(image)
            image.put(made)
            image.end_draft()
        case "edit":
            _edit(image, values["id"])
        case "delete":
            image.annotations = [a for a in image.annotations if a["id"] != values["id"]]
            if image.editing == values["id"]:
                image.end_draft()
        case "set_visible":
            image.annotation(values["id"])["visible"] = values["visible"]
        case "reclass":
            image.annotation(values["id"])["class_id"] = values["class_id"]
        case _:
            raise AssertionError(f"the model knows no {act.verb}")


def _said(image: Image) -> tuple[Wire | None, list[Wire]]:
    return image.start, image.prompts


def _merge(image: Image, ids: Sequence[str]) -> None:
    """The first has all pixels; no prompts tell of them."""
    image.put(image.annotation(ids[0]) | dict.fromkeys(("mask", "score", "area", "clicks", "seconds"), UNKNOWN))
    image.annotations = [a for a in image.annotations if a["id"] not in ids[1:]]
    image.said.pop(ids[0], None)
    if image.editing in ids[1:]:
        image.end_draft()


def _edit(image: Image, annotation_id: str) -> None:
    annotation = image.annotation(annotation_id)
    start, prompts = image.said.get(annotation_id, (None, []))
    image.steps = [Step(prompt) for prompt in prompts]
    if prompts:
        image.steps[-1].mask = annotation["mask"]
        image.start = start
    else:
        image.start = annotation["mask"]
    image.cursor, image.editing = len(prompts), annotation_id


def _import(world: World, categories: Sequence[str], annotations: Mapping[str, Sequence[Wire]]) -> None:
    """A file of another program: names of classes, and annotations by image with the name of their class."""
    for name in categories:
        if world.class_named(name) is None:
            world.add_class(name)
    for digest, items in annotations.items():
        image = world.images[digest]
        image.revision += 1
        image.past.append(image.moment())
        image.future = []
        for item in items:
            found = world.class_named(item["class"])
            assert found is not None
            made: Wire = dict.fromkeys(ANNOTATION_KEYS, UNKNOWN)
            image.annotations.append(made | {"class_id": found["id"], "mask": item["mask"], "visible": True})


def _import_again(world: World, snapshot: Snapshot) -> None:
    """samref's own file: annotations return by their ids, as they were."""
    numbers = {}
    for old in snapshot.classes:
        numbers[old["id"]] = (world.class_named(old["name"]) or world.add_class(old["name"], old["colour"]))["id"]
    for digest, before in snapshot.images.items():
        if before.annotations:
            image = world.images[digest]
            image.revision += 1
            image.past.append(image.moment())
            image.future = []
            for annotation in before.annotations:
                image.put(annotation | {"class_id": numbers[annotation["class_id"]]})
                if annotation["id"] in before.said:
                    image.said[annotation["id"]] = before.said[annotation["id"]]
                else:
                    image.said.pop(annotation["id"], None)


# ---- comparing


def differs(expected: Any, seen: Any) -> bool:
    """Whether a value is not what it should be."""
    if expected is UNKNOWN:
        return False
    if isinstance(expected, dict) and isinstance(seen, dict):
        return set(expected) != set(seen) or any(differs(expected[key], seen[key]) for key in expected)
    if isinstance(expected, list) and isinstance(seen, list):
        return len(expected) != len(seen) or any(differs(e, s) for e, s in zip(expected, seen, strict=True))
    return bool(expected != seen)


def differences(image: Image, view: Wire) -> list[str]:
    """What the server shows of an image that should be otherwise; ``view`` is a final one that tells everything."""
    draft = view["draft"]
    step = image.steps[image.cursor - 1] if image.cursor else None
    pairs: dict[str, tuple[Any, Any]] = {
        "file name": (image.file_name, view["image"]["file_name"]),
        "revision": (image.revision, view["revision"]),
        "annotations": (image.annotations, _annotations(view)),
        "number of prompts": (len(image.prompts), draft["count"]),
        "edited annotation": (image.editing, draft["editing"]),
        "can undo": (bool(image.past), view["undo"] is not None),
        "can redo": (bool(image.future), view["redo"] is not None),
        "mask": (image.mask, draft["mask"]),
    }
    if "prompts" in draft:
        pairs["prompts"] = (image.prompts, draft["prompts"])
    # Beside a refined mask the coarse one is sent as a coarser preview sooner than alone.
    if step is not None and step.mask is UNKNOWN and _scale(step.coarse) == _scale(draft["coarse"]):
        pairs["coarse mask"] = (step.coarse, draft["coarse"])
    return [f"{name}: {e!r:.300} became {s!r:.300}" for name, (e, s) in pairs.items() if differs(e, s)]


def _scale(mask: Any) -> Any:
    return mask.get("scale") if isinstance(mask, dict) else mask


def adopt(image: Image, view: Wire) -> None:
    """Take over from a view that was found right what only the server could know."""
    seen = copy.deepcopy(_annotations(view))
    for old, new in zip(image.annotations, seen, strict=True):
        if old["id"] is UNKNOWN and image.committed is not None:
            image.said[new["id"]] = image.committed
    image.annotations, image.committed = seen, None
    if image.cursor:
        step = image.steps[image.cursor - 1]
        step.mask = view["draft"]["mask"]
        step.coarse = UNKNOWN


def _annotations(view: Wire) -> list[Wire]:
    annotations = view.get("annotations", {"order": [], "changed": []})
    by_id = {annotation["id"]: annotation for annotation in annotations["changed"]}
    return [by_id[annotation_id] for annotation_id in annotations["order"]]
