"""What a person at the page does: masks, drafts, annotations, classes, tabs, exports, imports, and mistakes."""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.golden.answers import Cases, digest
from tests.golden.checkout import Checkout, Tab

PHOTOS = 60
CLICKS = 5
MOST_PIXELS = 4_000_000
UNTRAINED = ("tiny-random", "sam-random", "sam-ref-random", "segnext-random", "focsam-random")
EXPORTS = ("coco-polygon", "coco-rle", "png-class", "png-instance", "zip")
NOWHERE = "0" * 64


@dataclass(frozen=True)
class Photo:
    """An image of the development data with the ids of its objects."""

    name: str
    path: Path
    ids: NDArray[np.uint8]

    def clicks(self) -> list[tuple[float, float, bool]]:
        """On one object, now and then beside it; always the same ones."""
        rng = random.Random(zlib.crc32(self.name.encode()))
        chosen = rng.choice([number for number in np.unique(self.ids).tolist() if number not in (0, 255)])
        inside, outside = np.argwhere(self.ids == chosen), np.argwhere((self.ids != chosen) & (self.ids != 255))
        found: list[tuple[float, float, bool]] = []
        for number in range(CLICKS):
            positive = number == 0 or len(outside) == 0 or rng.random() < 0.5
            y, x = rng.choice((inside if positive else outside).tolist())
            found.append((x + 0.25 if number == 2 else x, y, positive))
        return found

    def inside(self, count: int) -> list[tuple[float, float]]:
        """Points on objects, each on another one where there are so many."""
        rng = random.Random(zlib.crc32(self.name.encode()) + 1)
        ids = [number for number in np.unique(self.ids).tolist() if number not in (0, 255)]
        spots = [rng.choice(np.argwhere(self.ids == ids[n % len(ids)]).tolist()) for n in range(count)]
        return [(x, y) for y, x in spots]


def photos(data: Path, count: int = PHOTOS) -> list[Photo]:
    """Spread over the data sets: the first of each, then the second of each, and so on."""
    sets = [sorted((folder / "images").glob("*.jpg")) for folder in sorted(data.iterdir()) if folder.is_dir()]
    found: list[Photo] = []
    for rank in range(max(map(len, sets))):
        for paths in sets:
            if rank >= len(paths) or len(found) == count:
                continue
            path = paths[rank]
            ids = np.asarray(Image.open(path.parents[1] / "masks" / f"{path.stem}.png"))
            if ids.size <= MOST_PIXELS:
                found.append(Photo(f"{path.parents[1].name}-{path.name}", path, ids))
    return found


def label(checkout: Checkout, data: Path) -> Cases:
    """Sixty photos clicked, some of them labelled in every way, then exported and imported elsewhere."""
    cases: Cases = {}
    chosen = photos(data)
    with checkout.serving(checkout.scratch / "labelling") as url:
        tab = Tab(url, checkout.canon(), "tab-1")
        cases["classes/hello"] = tab.hello()
        for name, colour in (("cat", "#00ff00"), ("a dog", None), ("Ünused", "#123456")):
            cases[f"classes/add {name}"] = tab.send("add_class", name=name, colour=colour)
        for number, photo in enumerate(chosen):
            image = tab.add(photo.path)
            cases[f"masks/{photo.name} open"] = tab.send("open", image)
            for count, click in enumerate(photo.clicks(), start=1):
                cases[f"masks/{photo.name} click {count}"] = tab.click(image, *click)
            tour = _TOURS[number % len(_TOURS)]
            cases.update({f"{tour.__name__[1:]}/{photo.name} {key}": value for key, value in tour(tab, image, photo)})
        cases.update(_classes(tab, image))
        cases.update(_tabs(tab, url, image))
        cases.update(_large(tab, url))
        cases.update(_exports(tab, url, [photo.path for photo in chosen[:12]]))
    return cases


Steps = Sequence[tuple[str, Any]]


def _accepted(tab: Tab, image: str, photo: Photo) -> Steps:
    return [
        ("commit", tab.send("commit", image, class_id=1 + len(photo.name) % 3, author="Ann")),
        ("sync", tab.send("sync", image)),
    ]


def _history(tab: Tab, image: str, photo: Photo) -> Steps:
    steps = [(f"{verb} {n}", tab.send(verb, image)) for n, verb in enumerate(("undo", "undo", "undo", "redo", "undo"))]
    x, y, _ = photo.clicks()[0]
    steps += [("another way", tab.click(image, x, y)), ("redo in vain", tab.send("redo", image))]
    steps += [("commit", tab.send("commit", image, class_id=2)), ("undo in vain", tab.send("undo", image))]
    steps += [
        ("second", tab.click(image, *photo.inside(2)[1])),
        ("commit second", tab.send("commit", image, class_id=1)),
    ]
    first, second = tab.order[image][0], tab.order[image][-1]
    steps += [("edit", tab.send("edit", image, id=first)), ("edit click", tab.click(image, x, y, positive=False))]
    steps += [("edit undo", tab.send("undo", image)), ("edit redo", tab.send("redo", image))]
    steps += [("edit twice", tab.send("edit", image, id=second)), ("replace", tab.send("commit", image, class_id=3))]
    steps += [("edit anew", tab.send("edit", image, id=second)), ("leave", tab.send("clear", image))]
    steps += [("hide", tab.send("set_visible", image, id=second, visible=False))]
    steps += [("reclass", tab.send("reclass", image, id=second, class_id=2))]
    steps += [("delete", tab.send("delete", image, id=tab.order[image][0]))]
    steps += [("edit hidden", tab.send("edit", image, id=second)), ("edit end", tab.send("undo", image))]
    return [*steps, ("drop", tab.send("clear", image))]


def _shapes(tab: Tab, image: str, photo: Photo) -> Steps:
    height, width = photo.ids.shape
    x, y, _ = photo.clicks()[0]
    box = {"type": "box", "x0": x / 2, "y0": y / 2, "x1": (x + width) / 2, "y1": (y + height) / 2}
    way = [[x, y], [(x + width / 2) / 2, (y + height / 2) / 2], [width / 2, height / 2]]
    corners = [[x / 2, y / 2], [x / 2, (y + height) / 2], [(x + width) / 2, (y + height) / 2.01]]
    scribble = {"type": "scribble", "points": way, "positive": True, "width": 7}
    beside = {"type": "scribble", "points": [[0, 0], [width / 3, 1], [width - 1, 0]], "positive": False, "width": 3}
    polygon = {"type": "polygon", "points": corners, "positive": True}
    hole = {"type": "polygon", "points": [[0, 0], [0, height / 4], [width / 4, 0]], "positive": False}
    steps = [("clear", tab.send("clear", image))]
    for name, prompts in {
        "box": [box],
        "scribble": [scribble],
        "polygon": [polygon],
        "box and click": [box, {"type": "click", "x": x, "y": y, "positive": True}],
        "all": [box, scribble, beside, polygon, hole],
    }.items():
        steps += [(name, tab.send("prompt", image, prompts=prompts)), (f"{name} sync", tab.send("sync", image))]
        steps += [(f"{name} and beside", tab.send("prompt", image, prompts=[beside]))]
        ending = "commit" if name in ("box", "all") else "clear"
        steps += [(f"{name} {ending}", tab.send(ending, image, **({"class_id": 1} if ending == "commit" else {})))]
    return [*steps, ("left", tab.send("prompt", image, prompts=[polygon])), ("left undone", tab.send("undo", image))]


def _unfinished(tab: Tab, image: str, photo: Photo) -> Steps:
    return [("undo", tab.send("undo", image)), ("left", tab.send("sync", image))]


_TOURS = (_accepted, _history, _shapes, _unfinished)


def change_models(checkout: Checkout, data: Path) -> Cases:
    """Every model that needs no weights, each offered by a server of its own beside the default one."""
    cases: Cases = {}
    for name in UNTRAINED:
        with checkout.serving(checkout.scratch / f"served-{name}", name) as url:
            tab = Tab(url, checkout.canon(), name)
            cases[f"models/{name} hello"] = tab.hello()
            for photo in photos(data, 4)[1:]:
                image = tab.add(photo.path)
                steps = [("open", tab.send("open", image)), *_with_model(tab, image, photo, name)]
                cases.update({f"models/{name} {photo.name} {key}": value for key, value in steps})
            cases[f"models/{name} exported"] = tab.export("zip")
    return cases


def _with_model(tab: Tab, image: str, photo: Photo, name: str) -> Steps:
    box = {"type": "box", "x0": 1, "y0": 2, "x1": photo.ids.shape[1] / 2, "y1": photo.ids.shape[0] / 2}
    stroke = {"type": "scribble", "points": photo.inside(3), "positive": True, "width": 5}
    steps = [(f"click {n}", tab.click(image, *click)) for n, click in enumerate(photo.clicks())]
    steps += [("undo", tab.send("undo", image)), ("commit", tab.send("commit", image, class_id=1))]
    steps += [("box", tab.send("prompt", image, prompts=[box])), ("box click", tab.click(image, *photo.inside(1)[0]))]
    steps += [("scribble", tab.send("prompt", image, prompts=[stroke])), ("sync", tab.send("sync", image))]
    steps += [("to tiny", tab.send("use_model", image, name="tiny")), ("click", tab.click(image, *photo.clicks()[1]))]
    steps += [("back", tab.send("use_model", image, name=name)), ("undo tiny's", tab.send("undo", image))]
    steps += [("keep", tab.send("commit", image, class_id=1)), ("no redo", tab.send("redo", image))]
    first = (tab.order[image] or ["none"])[0]
    return [*steps, ("edit", tab.send("edit", image, id=first)), ("more", tab.click(image, *photo.inside(2)[1]))]


def _classes(tab: Tab, image: str) -> Cases:
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "rename": ("change_class", {"class_id": 2, "name": "kitten"}),
        "recolour": ("change_class", {"class_id": 2, "colour": "#0000ff"}),
        "both": ("change_class", {"class_id": 1, "name": "thing", "colour": "#abcdef"}),
        "remove unused": ("remove_class", {"class_id": 4}),
        "remove used": ("remove_class", {"class_id": 1}),
        "add again": ("add_class", {"name": "Ünused"}),
        "remove again": ("remove_class", {"class_id": 4}),
    }
    cases = {f"classes/{name}": tab.send(verb, image, **values) for name, (verb, values) in asked.items()}
    return {**cases, "classes/end": tab.send("sync", image), "classes/prefetch": tab.send("prefetch", digest=image)}


def _tabs(tab: Tab, url: str, image: str) -> Cases:
    other = Tab(url, tab.canon, "tab-2", tab.token)
    cases = {"tabs/hello": other.hello(), "tabs/open": other.send("open", image), "tabs/click": tab.click(image, 5, 5)}
    stale: dict[str, dict[str, Any]] = {
        "prompt": {"prompts": [{"type": "click", "x": 3, "y": 3, "positive": True}]},
        "undo": {},
        "clear": {},
    }
    for verb, values in {**stale, "commit": {"class_id": 1}, "use_model": {"name": "tiny"}}.items():
        cases[f"tabs/stale {verb}"] = other.send(verb, image, **values)
        cases[f"tabs/again {verb}"] = other.send(verb, image, **values)
        cases[f"tabs/first goes on after {verb}"] = tab.click(image, 9, 7)
        cases[f"tabs/first looks after {verb}"] = tab.send("sync", image)
        cases[f"tabs/first clicks after {verb}"] = tab.click(image, 9, 7)
    cases["tabs/old number"] = tab.raw({**tab.payload("undo", image), "seq": 1})
    return cases


def _large(tab: Tab, url: str) -> Cases:
    """The bundled examples, and files of many kinds: one so large that its masks are sent as previews."""
    cases: Cases = {}
    for example in tab.workspace["examples"]:
        name = example["name"]
        cases[f"files/example {name}"] = tab.send("open_example", name=name)
        for query in ("", "?thumb=1"):
            cases[f"files/example {name}{query}"] = tab.get(f"samref/examples/{name}{query}")
    content = tab.http.get(f"samref/examples/{name}").content
    image = Image.open(io.BytesIO(content)).convert("RGB")
    rotated = Image.Exif()
    rotated[0x0112] = 6
    files = {
        "large.png": _file(image.resize((2300, 1700), Image.Resampling.NEAREST)),
        "turned.jpg": _file(image, "JPEG", exif=rotated, quality=90),
        "grey.png": _file(image.convert("L")),
        "deep.png": _file(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)),
        "clear.png": _file(image.convert("RGBA").resize((64, 31))),
        "palette.gif": _file(image.convert("P"), "GIF"),
        "print.tif": _file(image.convert("CMYK"), "TIFF"),
        "web.webp": _file(image, "WEBP", lossless=True),
        "ümlaut / name.bmp": _file(image, "BMP"),
        "thin.png": _file(image.resize((700, 3))),
        "": _file(image.resize((40, 40))),
    }
    for name, data in files.items():
        uploaded = tab.upload(data, name)
        cases[f"files/{name}"] = uploaded
        found = uploaded["body"].get("digest", NOWHERE)
        cases[f"files/{name} open"] = tab.send("open", found)
        middle = (uploaded["body"].get("width", 0) // 2, uploaded["body"].get("height", 0) // 2)
        cases[f"files/{name} click"] = tab.click(found, *middle)
        cases[f"files/{name} box"] = tab.send(
            "prompt", found, prompts=[{"type": "box", "x0": 0, "y0": 0, "x1": middle[0], "y1": middle[1]}]
        )
        cases[f"files/{name} copy"] = tab.get(f"samref/images/{found}")
        cases[f"files/{name} thumb"] = tab.get(f"samref/images/{found}?thumb=1")
        if name == "large.png":  # and with a mask so ragged that it is sent as a preview
            cases[f"files/{name} commit"] = tab.send("commit", found, class_id=1)
            cases[f"files/{name} ragged"] = tab.bring(_ragged(name, 2300, 1700))
            cases[f"files/{name} seen"] = tab.send("sync", found)
            cases[f"files/{name} edit"] = tab.send("edit", found, id=tab.order[found][-1])
    return cases


def _ragged(name: str, width: int, height: int) -> bytes:
    rng, counts = random.Random(0), [0]
    while sum(counts) < width * height:
        counts += [rng.randrange(5, 60) for _ in range(2000)]
    while sum(counts) > width * height:
        counts.pop()
    counts.append(width * height - sum(counts))
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [height, width], "counts": counts}}
    image = {"id": 1, "file_name": name, "width": width, "height": height}
    content = {"images": [image], "categories": [{"id": 1, "name": "ragged"}], "annotations": [entry]}
    return json.dumps(content).encode()


def _file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _exports(tab: Tab, url: str, paths: Sequence[Path]) -> Cases:
    cases: Cases = {f"exports/{kind}": tab.export(kind) for kind in EXPORTS}
    images = [entry["digest"] for entry in tab.workspace["images"]]
    for number, image in enumerate(images[:12]):
        cases.update({f"exports/{kind} of image {number}": tab.export(kind, image) for kind in EXPORTS})
    for kind in ("coco-rle", "coco-polygon"):
        coco = tab.export_bytes(kind).content
        other = Tab(url, tab.canon, f"import-{kind}")
        other.hello()
        others = [other.add(path) for path in paths]
        for turn in ("once", "twice"):
            cases[f"imports/{kind} {turn}"] = other.bring(coco)
            cases[f"imports/{kind} {turn}, list"] = other.send("sync")
            for number, image in enumerate(others):
                cases[f"imports/{kind} {turn}, image {number}"] = other.send("open", image)
        cases[f"imports/{kind} exported"] = other.export("coco-rle")
        own = [identifier for image in others for identifier in other.order[image]]
        if own:
            found = next(image for image in others if other.order[image])
            cases[f"imports/{kind} edit"] = other.send("edit", found, id=own[0])
            cases[f"imports/{kind} edit click"] = other.click(found, 4, 4, positive=False)
            cases[f"imports/{kind} edit commit"] = other.send("commit", found, class_id=1)
    cases.update({f"imports/{name}": other.bring(text) for name, text in _foreign(other).items()})
    return {**cases, "imports/end": other.send("hello"), "imports/end exported": other.export("coco-rle")}


def _foreign(tab: Tab) -> dict[str, bytes]:
    """COCO files of other programs, most of them not as they should be."""
    first = tab.workspace["images"][0]
    image = {"id": 7, "file_name": first["file_name"], "width": first["width"], "height": first["height"]}
    square = {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [[2, 2, 20, 2, 20, 30, 2, 30]], "iscrowd": 0}
    good = {"images": [image], "categories": [{"id": 1, "name": "foreign"}], "annotations": [square]}
    flat = {"size": [first["height"], first["width"]], "counts": [first["height"] * first["width"] - 9, 9]}
    wrong: dict[str, Any] = {
        "good": good,
        "not an object": [],
        "no images": {"annotations": []},
        "other size": {**good, "images": [{**image, "width": 1}]},
        "unknown image": {**good, "images": [{**image, "file_name": "elsewhere.jpg"}]},
        "no category": {**good, "categories": []},
        "run lengths as list": {**good, "annotations": [{**square, "segmentation": flat, "iscrowd": 1}]},
        "odd polygon": {**good, "annotations": [{**square, "segmentation": [[1, 2, 3]]}]},
        "no segmentation": {**good, "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5]}]},
        "strange image id": {**good, "annotations": [{**square, "image_id": 8}]},
        "empty mask": {**good, "annotations": [{**square, "segmentation": []}]},
        "counts too long": {**good, "annotations": [{**square, "segmentation": {**flat, "counts": [1, 2]}}]},
    }
    return {**{name: json.dumps(value).encode() for name, value in wrong.items()}, "not JSON": b"{", "nothing": b""}


def refuse(checkout: Checkout, data: Path) -> Cases:
    """Requests of every verb and route that cannot be answered as they are."""
    cases: Cases = {}
    photo = photos(data, 3)[2]
    with checkout.serving(checkout.scratch / "refusing") as url:
        tab = Tab(url, checkout.canon(), "tab-1")
        tab.hello()
        image = tab.add(photo.path)
        tab.send("open", image)
        for turn in ("empty", "drawn"):
            for verb, tries in _bad_arguments(photo).items():
                for number, values in enumerate(tries):
                    asked = {"annotation": tab.order.get(image, [""])[:1], **values}
                    if asked.pop("real", False):
                        asked["id"] = (asked["annotation"] or [""])[0]
                    asked.pop("annotation")
                    target = asked.pop("on", image)
                    name = f"refusals/{turn}: {verb} {number}"
                    cases[name] = tab.send(verb, target, **asked)
            if turn == "empty":
                tab.click(image, *photo.clicks()[0])
                tab.send("commit", image, class_id=1)
                tab.click(image, *photo.clicks()[0])
        for name, change in _ENVELOPES.items():
            request: Any = {**tab.payload("sync", image), **change}
            cases[f"refusals/envelope: {name}"] = tab.raw({k: v for k, v in request.items() if v != "<none>"})
        for name, body in {"not JSON": b"{", "NaN": b'{"v": NaN}', "list": b"[]", "long": b" " * 2_200_000}.items():
            cases[f"refusals/body: {name}"] = tab.raw(body)
        cases.update(_bad_addresses(tab, url, image))
    return cases


def _bad_arguments(photo: Photo) -> dict[str, list[dict[str, Any]]]:
    height, width = photo.ids.shape
    click = {"type": "click", "x": 1, "y": 1, "positive": True}
    stroke = {"type": "scribble", "points": [[1, 1], [5, 5]], "positive": True, "width": 3}
    box = {"type": "box", "x0": 1, "y0": 1, "x1": 9, "y1": 9}
    outline = {"type": "polygon", "points": [[1, 1], [9, 1], [9, 9]], "positive": True}
    zigzag = [[0, 0], [width - 1, height - 1]] * 9000
    odd: list[Any] = [None, "x", [], [1], [{}], [{"type": "nope"}], [click] * 1001]
    wrong: tuple[tuple[dict[str, Any], tuple[dict[str, Any], ...]], ...] = (
        (click, ({"x": -1}, {"x": width}, {"y": height + 5}, {"x": "3"}, {"x": None}, {"positive": 3}, {"y": 1e300})),
        (box, ({"x1": 0}, {"x0": -1}, {"y1": height + 1}, {"x0": "a"}, {"x1": 1})),
        (
            stroke,
            ({"points": []}, {"points": [[1]]}, {"points": [[1, -1]]}, {"width": 0}, {"width": 1e9}, {"width": "w"}),
        ),
        (stroke, ({"points": zigzag}, {"points": zigzag * 2}, {"points": 3})),
        (outline, ({"points": [[1, 1], [2, 2]]}, {"points": [[1, 1], [2, 2], [width + 1, 3]]}, {"positive": None})),
    )
    for whole, changes in wrong:
        odd += [[{**whole, **change}] for change in changes]
    odd += [[click, {**click, "x": -1}], [{key: value for key, value in click.items() if key != "y"}]]
    odd += [[{**stroke, "points": zigzag[:13000]}] * 4]
    ids: list[dict[str, Any]] = [{}, {"id": 3}, {"id": "?"}, {"id": "unknown"}]
    here: list[dict[str, Any]] = [{"on": None}, {"on": NOWHERE}, {"on": "x"}]
    return {
        "open": here,
        "open_example": [{}, {"name": "nope.jpg"}, {"name": "../app.py"}, {"name": 3}],
        "sync": here[1:],
        "prompt": [*({"prompts": value} for value in odd), *({**where, "prompts": [click]} for where in here)],
        "undo": here,
        "redo": [{}, *here],
        "commit": [
            {},
            {"class_id": 1, "author": "n" * 81},
            {"class_id": 1, "author": 3},
            {"class_id": "1"},
            {"class_id": 99},
            {"class_id": -1},
            {"class_id": 1.5},
            *({**where, "class_id": 1} for where in here),
        ],
        "edit": [*ids, {"real": True}, *({**where, "id": "unknown"} for where in here)],
        "delete": [*ids, *({**where, "id": "unknown"} for where in here)],
        "set_visible": [*ids, {"id": "unknown", "visible": True}, {"id": "unknown", "visible": 1}],
        "reclass": [*ids, {"id": "unknown", "class_id": 1}, {"real": True, "class_id": 99}, {"real": True}],
        "use_model": [{}, {"name": "nope"}, {"name": "sam-vit-b"}, {"name": "segnext-b-sax2"}, {"name": "n" * 300}],
        "add_class": [{}, {"name": " "}, {"name": "object"}, {"name": "n" * 81}, {"name": "x", "colour": "red"}],
        "change_class": [
            {},
            {"class_id": 99, "name": "x"},
            {"class_id": 1, "name": ""},
            {"class_id": 1, "colour": "#1"},
        ],
        "remove_class": [{}, {"class_id": 99}, {"class_id": 1}, {"class_id": "a"}],
        "prefetch": [{}, {"digest": NOWHERE}, {"digest": "x"}],
        "nonsense": [{}],
        "v" * 50: [{}],
    }


_ENVELOPES: dict[str, dict[str, Any]] = {
    "other version": {"v": 2},
    "no version": {"v": "<none>"},
    "number 0": {"seq": 0},
    "number as text": {"seq": "9"},
    "no tab": {"tab": "<none>"},
    "odd tab": {"tab": "a b"},
    "unknown token": {"token": "x" * 43},
    "odd token": {"token": "?"},
    "no token": {"token": None},
    "hello with unknown token": {"verb": "hello", "token": "x" * 43},
    "known is a list": {"known": [1]},
    "known is odd": {"known": {"annotations": "many"}},
    "negative revision": {"revision": -1},
    "no verb": {"verb": "<none>"},
    "verb is a number": {"verb": 5},
    "no image": {"image": "<none>"},
}


def _bad_addresses(tab: Tab, url: str, image: str) -> Cases:
    nobody, stranger = Tab(url, tab.canon, "nobody"), Tab(url, tab.canon, "stranger", "y" * 43)
    cases: Cases = {}
    for name, who in {"owner": tab, "nobody": nobody, "stranger": stranger}.items():
        for address in (f"images/{image}", f"images/{NOWHERE}", "images/x", "examples/nope.jpg", "export", "nope"):
            cases[f"refusals/{name}: GET {address}"] = who.get(f"samref/{address}")
        for kind in (*EXPORTS, "nope"):
            cases[f"refusals/{name}: export {kind}"] = who.export(kind, NOWHERE)
        cases[f"refusals/{name}: upload"] = who.upload(b"no image", "a.png")
        cases[f"refusals/{name}: import"] = who.bring(b"[]")
    head = b"\x89PNG\r\n\x1a\n"
    for kind, data in {"nothing": b"", "a head": head, "half a file": _file(Image.new("RGB", (99, 99)))[:150]}.items():
        cases[f"refusals/upload {kind}"] = tab.upload(data, "b.png")
    cases["refusals/upload too wide"] = tab.upload(_file(Image.new("1", (65_600, 1))), "wide.png")
    cases["refusals/foreign host"] = _status(tab, {"Host": "example.org"})
    cases["refusals/foreign origin"] = _status(tab, {"Origin": "http://example.org"})
    for path in ("", "config", "gradio_api/info", "theme.css", "samref/send"):
        response = tab.http.get(path)
        cases[f"refusals/GET /{path}"] = [response.status_code, response.headers.get("content-type")]
    return {**cases, "refusals/digest of nothing": digest(b"")}


def _status(tab: Tab, headers: dict[str, str]) -> Any:
    response = tab.http.post("samref/send", json=tab.payload("sync"), headers=headers)
    return [response.status_code, response.text]
