"""What people do at random: every verb that changes a workspace, and files in and out."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samref.core.masks import Rle
from tests.attack import images
from tests.attack.client import Answer, Person, RefusedError, taken
from tests.attack.model import UNKNOWN, Act, Image, Snapshot, World, adopt, after, differences, differs

__all__ = ["Labeller"]

WIDTH, HEIGHT = 160, 120
MOST_IMAGES = 3
MOST_ANNOTATIONS = 12
MOST_CLASSES = 8
EXPORTS = ("coco-polygon", "coco-rle", "zip")


@dataclass
class Labeller:
    """A person who acts at random, and the model of what the workspace should hold.

    Attributes:
        person: speaks to the server.
        rng: decides.
        world: the workspace after all that was acknowledged.
        pending: the act that is under way.
        is_acknowledged: whether the server has said that it was done.
        wrong: what was not as it should be.
        wanted: a verb to do as soon as it is possible.
        on_begin: told of each act before it is sent.
        done: how many acts of each kind were acknowledged.
    """

    person: Person
    rng: random.Random
    world: World
    pending: Act | None = None
    is_acknowledged: bool = False
    is_streaming: bool = False
    wrong: list[str] = field(default_factory=list)
    wanted: str | None = None
    on_begin: Callable[[Act], None] = lambda _: None
    done: dict[str, int] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=lambda: {"masks": 0, "annotations": 0, "images": 0})
    _photos: list[bytes] = field(default_factory=list)
    _snapshot: Snapshot | None = None
    _named: int = 0

    @classmethod
    def new(cls, url: str, rng: random.Random) -> Labeller:
        """Somebody with a new workspace and two images in it."""
        person = Person(url)
        workspace = person.hello()["workspace"]
        labeller = cls(person, rng, World(workspace["classes"]))
        labeller._photos = [images.photo(rng, WIDTH, HEIGHT) for _ in range(MOST_IMAGES)]
        labeller._photos[-1] = images.with_ballast(labeller._photos[-1], rng.randbytes(3_000_000))
        for number in (0, 1):
            labeller.do(labeller._upload(number))
        return labeller

    # ---- acting

    def act(self) -> None:
        """Do something, wait until it is wholly done, and compare."""
        self.do(self._choice())

    def do(self, act: Act) -> None:
        """Do it; what breaks the connection leaves it pending."""
        self.pending, self.is_acknowledged, self.is_streaming = act, False, False
        expected = after(self.world, act)
        self.on_begin(act)
        try:
            self._perform(act, expected)
        except RefusedError as refused:
            self.wrong.append(f"{act.verb} was refused: {refused}")
        self.done[act.verb] = self.done.get(act.verb, 0) + 1
        self.world = expected
        self.pending = None

    def _perform(self, act: Act, expected: World) -> None:
        match act.verb:
            case "upload":
                answer = taken(self.person.upload(act.values["data"], act.values["name"]))
                self.is_acknowledged = True
                self._equal("digest of the upload", act.digest, answer["digest"])
                self._look(expected, answer["digest"])
            case "import" | "import_again":
                taken(self.person.bring(act.values["coco"]))
                self.is_acknowledged = True
                touched = act.values.get("annotations") or {
                    d: p for d, p in act.values["snapshot"].images.items() if p.annotations
                }
                for digest in touched:
                    self._look(expected, digest)
                self._compare_lists(expected, self.person.hello())
            case "export":
                self._export(act)
            case _:
                self._verb(act, expected)

    def _verb(self, act: Act, expected: World) -> None:
        image = None if act.digest is None else expected.images[act.digest]
        answer: Answer = {}
        for answer in self.person.ask(act.verb, act.digest, **act.values):
            if answer["kind"] != "view":
                told = answer.get("error") or answer.get("bye") or {}
                raise RefusedError(str(told.get("code")), str(told.get("message")))
            self.is_acknowledged = self.is_streaming = True
            view = answer.get("view")
            if image is not None and view is not None and view["draft"]["stage"] == "coarse":
                image.steps[-1 if act.verb == "prompt" else image.cursor - 1].coarse = view["draft"]["mask"]
        if not answer.get("final"):
            self.wrong.append(f"{act.verb} got no final answer")
        elif image is not None:
            self._compare(image, answer["view"], act.verb)
        self._compare_lists(expected, answer)

    def _export(self, act: Act) -> None:
        kind = act.values["format"]
        response = self.person.export(kind)
        if response.status_code != 200:
            raise RefusedError(str(response.status_code), response.text)
        if kind == "coco-rle":
            world = copy.deepcopy(self.world)
            self._snapshot = Snapshot(response.content, world.classes, world.images)
        self.is_acknowledged = True

    # ---- comparing

    def recover(self) -> str:
        """After a restart: everything acknowledged is there, the pending act is there wholly or not at all.

        Returns:
            What became of the pending act: "nothing was pending", "acknowledged", "applied" or "not applied".
        """
        person = Person(str(self.person.http.base_url), self.person.token)  # the page is loaded anew
        self.person.close()
        self.person = person
        act, self.pending = self.pending, None
        hello = person.hello()
        views = {image["digest"]: person.open(image["digest"])["view"] for image in hello["workspace"]["images"]}
        candidates = {"nothing was pending": self.world}
        if act is not None:
            done = after(self.world, act)
            if self.is_acknowledged:
                candidates = {"acknowledged": done}
            elif act.verb in ("export", "look"):
                candidates = {"not applied": self.world}
            else:
                candidates = {"not applied": self.world, "applied": done}
        found = {name: self._all_differences(world, hello, views) for name, world in candidates.items()}
        for name, wrong in found.items():
            if not wrong:
                self.world = candidates[name]
                self._take_over(views)
                return name
        what = "nothing" if act is None else f"{act.verb} ({'' if self.is_acknowledged else 'not '}acknowledged)"
        self.wrong.append(f"after the kill, with {what} pending: {found}")
        return "wrong"

    def _all_differences(self, world: World, hello: Answer, views: dict[str, Any]) -> list[str]:
        wrong = self._list_differences(world, hello)
        if set(views) == set(world.images):
            for digest, image in world.images.items():
                wrong += [f"{image.file_name}: {line}" for line in differences(image, views[digest])]
        return wrong

    def _take_over(self, views: dict[str, Any]) -> None:
        for digest, image in self.world.images.items():
            self.compared["images"] += 1
            self.compared["annotations"] += len(image.annotations)
            self.compared["masks"] += image.mask is not None and image.mask is not UNKNOWN
            adopt(image, views[digest])

    def _look(self, expected: World, digest: str) -> None:
        view = self.person.open(digest)["view"]
        self._compare(expected.images[digest], view, "open")

    def _compare(self, image: Image, view: Any, what: str) -> None:
        wrong = differences(image, view)
        if wrong:
            self.wrong.append(f"after {what}: {wrong}")
        else:
            adopt(image, view)

    def _compare_lists(self, expected: World, answer: Answer) -> None:
        wrong = self._list_differences(expected, answer)
        if wrong:
            self.wrong.append(f"lists: {wrong}")
        elif "workspace" in answer:
            expected.classes = answer["workspace"]["classes"]

    def _list_differences(self, world: World, answer: Answer) -> list[str]:
        if "workspace" not in answer:
            return []
        shown = answer["workspace"]
        wrong = []
        if differs(world.classes, shown["classes"]):
            wrong.append(f"classes {world.classes} became {shown['classes']}")
        counts = {digest: len(image.annotations) for digest, image in world.images.items()}
        seen = {image["digest"]: image["annotations"] for image in shown["images"]}
        if counts != seen:
            wrong.append(f"images and their numbers of annotations {counts} became {seen}")
        return wrong

    def _equal(self, what: str, expected: Any, seen: Any) -> None:
        if expected != seen:
            self.wrong.append(f"{what}: {expected!r} became {seen!r}")

    # ---- choosing

    def _choice(self) -> Act:
        """Something that is possible now."""
        digest = self.rng.choice(sorted(self.world.images))
        image = self.world.images[digest]
        acts = list(self._on_drawing(digest, image)) + list(self._on_annotations(digest, image))
        acts += list(self._on_workspace(digest))
        chosen = [make() for _, make in acts]
        for act in chosen:
            if act.verb == self.wanted:
                return act
        return self.rng.choices(chosen, [weight for weight, _ in acts])[0]

    def _on_drawing(self, digest: str, image: Image) -> Iterator[tuple[float, Callable[[], Act]]]:
        if len(image.steps) < 12:
            yield 10, lambda: Act("prompt", digest, {"prompts": self._prompts()})
            yield 4, lambda: Act("paint", digest, self._stroke())
        if image.past:
            yield 3, lambda: Act("undo", digest)
        if image.future:
            yield 3, lambda: Act("redo", digest)
        if image.is_drawing or image.steps:
            yield 1, lambda: Act("clear", digest)
        mask = image.mask
        has_room = image.editing is not None or len(image.annotations) < MOST_ANNOTATIONS
        if image.is_drawing and isinstance(mask, dict) and mask["box"][2] and has_room:
            yield 5, lambda: Act("commit", digest, {"class_id": self._some_class()})

    def _on_annotations(self, digest: str, image: Image) -> Iterator[tuple[float, Callable[[], Act]]]:
        if not image.annotations:
            return
        chosen = self.rng.choice(image.annotations)
        others = [c["id"] for c in self.world.classes if c["id"] != chosen["class_id"]]
        if not image.is_drawing:
            yield 3, lambda: Act("edit", digest, {"id": chosen["id"]})
        yield 2, lambda: Act("delete", digest, {"id": chosen["id"]})
        yield 2, lambda: Act("set_visible", digest, {"id": chosen["id"], "visible": not chosen["visible"]})
        if len(image.annotations) > 1:
            ids = [a["id"] for a in self.rng.sample(image.annotations, 2)]
            yield 1, lambda: Act("merge", digest, {"ids": ids})
        if others:
            yield 2, lambda: Act("reclass", digest, {"id": chosen["id"], "class_id": self.rng.choice(others)})

    def _on_workspace(self, digest: str) -> Iterator[tuple[float, Callable[[], Act]]]:
        used = {a["class_id"] for p in self.world.images.values() for a in p.annotations}
        unused = [c["id"] for c in self.world.classes if c["id"] not in used]
        if len(self.world.classes) < MOST_CLASSES:
            yield 1, lambda: Act("add_class", None, {"name": self._name()})
            yield 1, lambda: Act("add_class", digest, {"name": self._name(), "colour": self._colour()})
        yield 1, lambda: Act("change_class", digest, {"class_id": self._some_class(), "name": self._name()})
        yield 1, lambda: Act("change_class", None, {"class_id": self._some_class(), "colour": self._colour()})
        if unused and len(self.world.classes) > 1:
            yield 2, lambda: Act("remove_class", None, {"class_id": self.rng.choice(unused)})
        yield 1, lambda: self._upload(self.rng.randrange(len(self._photos)))
        yield 1.5, lambda: Act("export", None, {"format": self.rng.choice(EXPORTS)})
        fullest = max(len(image.annotations) for image in self.world.images.values())
        if fullest < MOST_ANNOTATIONS and len(self.world.classes) < MOST_CLASSES:
            yield 1.5, self._import
            snapshot = self._snapshot
            if snapshot is not None and any(image.annotations for image in snapshot.images.values()):
                yield 1.5, lambda: Act("import_again", None, {"coco": snapshot.coco, "snapshot": snapshot})

    def _upload(self, number: int) -> Act:
        data = self._photos[number]
        values = {"data": data, "name": f"photo {number}.png"}
        return Act("upload", hashlib.sha256(data).hexdigest(), values)

    def _import(self) -> Act:
        """A file of another program about one or two images: rectangles as polygons and as run lengths."""
        digests = self.rng.sample(sorted(self.world.images), self.rng.randint(1, min(2, len(self.world.images))))
        categories = [self.rng.choice(self.world.classes)["name"], self._name()]
        images: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        by_digest: dict[str, list[dict[str, Any]]] = {}
        for image_id, digest in enumerate(digests, start=1):
            name = self.world.images[digest].file_name
            images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
            for _ in range(self.rng.randint(1, 2)):
                x, y = self.rng.randrange(WIDTH - 40), self.rng.randrange(HEIGHT - 40)
                width, height = self.rng.randint(2, 40), self.rng.randint(2, 40)
                category = self.rng.randrange(2)
                entry = {
                    "id": len(entries) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": self._segmentation(x, y, width, height),
                }
                entries.append(entry)
                mask = {"box": [x, y, width, height], "counts": _full(width, height), "scale": 1}
                by_digest.setdefault(digest, []).append({"class": categories[category], "mask": mask})
        coco = {
            "images": images,
            "categories": [{"id": number, "name": name} for number, name in enumerate(categories)],
            "annotations": entries,
        }
        values = {"coco": json.dumps(coco).encode(), "categories": categories, "annotations": by_digest}
        return Act("import", None, values)

    def _segmentation(self, x: int, y: int, width: int, height: int) -> Any:
        if self.rng.random() < 0.5:
            return [[x, y, x + width, y, x + width, y + height, x, y + height]]
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
        mask[y : y + height, x : x + width] = True
        return Rle.from_mask(mask).to_coco()

    def _stroke(self) -> dict[str, Any]:
        """A rectangle that is added, and perhaps another one beside it that is removed."""
        x, y = self.rng.randrange(WIDTH - 40), self.rng.randrange(HEIGHT - 40)
        added = {"box": [x, y, 20, 30], "counts": _full(20, 30)}
        removed = {"box": [x + 20, y, 20, 30], "counts": _full(20, 30)} if self.rng.random() < 0.5 else None
        return {"added": added, "removed": removed, "how": "brush"}

    def _prompts(self) -> list[dict[str, Any]]:
        is_single = self.wanted != "prompt" and self.rng.random() < 0.7
        return [self._prompt() for _ in range(1 if is_single else self.rng.randint(2, 5))]

    def _prompt(self) -> dict[str, Any]:
        x, y = self.rng.randrange(10, WIDTH - 50), self.rng.randrange(10, HEIGHT - 50)
        positive = self.rng.random() < 0.75
        kind = self.rng.random()
        if kind < 0.6:
            return {"type": "click", "x": x, "y": y, "positive": positive}
        if kind < 0.75:
            right, below = x + self.rng.randint(5, 45), y + self.rng.randint(5, 45)
            return {"type": "box", "x0": x, "y0": y, "x1": right, "y1": below}
        points = [[x + self.rng.randrange(40), y + self.rng.randrange(40)] for _ in range(self.rng.randint(2, 9))]
        if kind < 0.9:
            return {"type": "scribble", "points": points, "positive": positive, "width": 5}
        corners = [[x, y], [x + 30, y + self.rng.randrange(10)], [x + self.rng.randrange(10), y + 30]]
        return {"type": "polygon", "points": corners, "positive": positive}

    def _some_class(self) -> int:
        number: int = self.rng.choice(self.world.classes)["id"]
        return number

    def _name(self) -> str:
        self._named += 1
        return f"class {self._named}"

    def _colour(self) -> str:
        return f"#{self.rng.randrange(1 << 24):06x}"


def _full(width: int, height: int) -> str:
    return Rle.from_mask(np.ones((height, width), dtype=np.bool_)).counts


def total(labellers: Sequence[Labeller]) -> dict[str, int]:
    """How many acts of each kind were acknowledged."""
    kinds = sorted({kind for labeller in labellers for kind in labeller.done})
    return {kind: sum(labeller.done.get(kind, 0) for labeller in labellers) for kind in kinds}
