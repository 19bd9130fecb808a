"""A data folder with work half done: left by one checkout, opened and worked on by another."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.golden.answers import Cases
from tests.golden.checkout import Checkout, Tab
from tests.golden.labelling import EXPORTS, UNTRAINED, Photo, photos

TAR = "folder.tar"
TOKENS = "tokens.json"


def leave_work(checkout: Checkout, data: Path, goldens: Path) -> None:
    """Work in two workspaces, kill the server, and keep its data folder with the tokens that open it."""
    folder = checkout.scratch / "left"
    chosen = photos(data, 2 * len(_DRAFTS) + 1)
    with checkout.serving(folder, is_killed=True) as url:
        tab, other = Tab(url, checkout.canon(), "left-1"), Tab(url, checkout.canon(), "left-2")
        tab.hello()
        other.hello()
        tab.send("add_class", name="plant", colour="#00aa00")
        tab.send("add_class", name="Käfer")
        tab.send("add_class", name="never used")
        for number, photo in enumerate(chosen[:-1]):
            image = tab.add(photo.path)
            tab.send("open", image)
            _DRAFTS[number % len(_DRAFTS)](tab, image, photo)
        tab.add(chosen[-1].path)  # and never opened
        image = other.add(chosen[0].path)
        other.send("open", image)
        other.click(image, *chosen[0].clicks()[0])
        other.send("commit", image, class_id=1, author="Bob")
        other.bring(tab.export_bytes("coco-rle").content)
        other.send("open_example", name=other.workspace["examples"][0]["name"])
    for name, photo in zip(UNTRAINED, chosen, strict=False):  # with a model that only its own server offers
        with checkout.serving(folder, name, is_killed=True) as url:
            again = Tab(url, other.canon, name, other.token)
            again.hello()
            image = again.add(photo.path)
            again.send("open", image)
            again.send("use_model", image, name=name)
            _undone(again, image, photo)
            again.send("commit", image, class_id=1)
            _drawn(again, image, photo)
    with tarfile.open(goldens / TAR, "w") as tar:
        tar.add(folder, "data")
    (goldens / TOKENS).write_text(json.dumps([tab.token, other.token]))


def _undone(tab: Tab, image: str, photo: Photo) -> None:
    for click in photo.clicks():
        tab.click(image, *click)
    tab.send("undo", image)
    tab.send("undo", image)


def _drawn(tab: Tab, image: str, photo: Photo) -> None:
    height, width = photo.ids.shape
    x, y, _ = photo.clicks()[0]
    box = {"type": "box", "x0": x / 2, "y0": y / 2, "x1": (x + width) / 2, "y1": (y + height) / 2}
    stroke = {"type": "scribble", "points": [[x, y], [width / 2, height / 3]], "positive": True, "width": 4}
    outline = {"type": "polygon", "points": [[0, 0], [0, y / 2], [x / 2, 0]], "positive": False}
    tab.send("prompt", image, prompts=[box])
    tab.send("prompt", image, prompts=[stroke, outline])


def _editing(tab: Tab, image: str, photo: Photo) -> None:
    for class_id, spot in enumerate(photo.inside(2), start=1):
        tab.click(image, *spot)
        tab.send("commit", image, class_id=class_id, author="Ann")
    tab.send("edit", image, id=tab.order[image][0])
    tab.click(image, *photo.clicks()[3])
    tab.click(image, *photo.clicks()[4])
    tab.send("undo", image)


def _annotated(tab: Tab, image: str, photo: Photo) -> None:
    for spot in photo.inside(3):
        tab.click(image, *spot)
        tab.send("commit", image, class_id=1)
    tab.send("set_visible", image, id=tab.order[image][0], visible=False)
    tab.send("reclass", image, id=tab.order[image][1], class_id=3)
    tab.send("delete", image, id=tab.order[image][-1])
    tab.click(image, *photo.clicks()[0])
    tab.click(image, *photo.clicks()[1])


_DRAFTS: tuple[Callable[[Tab, str, Photo], None], ...] = (_undone, _drawn, _editing, _annotated)


def unpacked(goldens: Path, target: Path) -> Path:
    """A fresh copy of the folder that was left."""
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(goldens / TAR) as tar:
        tar.extractall(target, filter="data")
    return target / "data"


def go_on(checkout: Checkout, goldens: Path) -> Cases:
    """Open every image of the folder by its old tokens, look at all of it, and finish what was begun."""
    cases: Cases = {}
    folder = unpacked(goldens, checkout.scratch / "kept")
    tokens: list[str] = json.loads((goldens / TOKENS).read_text())
    for turn in ("opened", "opened again"):
        with checkout.serving(folder) as url:
            for number, token in enumerate(tokens, start=1):
                tab = Tab(url, checkout.canon(), f"back-{number}", token)
                found = _looked_at(tab) if turn == "opened again" else {**_looked_at(tab), **_finished(tab)}
                cases.update({f"{turn}/workspace {number}: {name}": value for name, value in found.items()})
    return cases


def _looked_at(tab: Tab) -> dict[str, Any]:
    found: dict[str, Any] = {"hello": tab.hello()}
    for entry in tab.workspace["images"]:
        found[f"{entry['file_name']} opened"] = tab.send("open", entry["digest"])
        found[f"{entry['file_name']} PNG"] = tab.export("png-instance", entry["digest"])
    return {**found, **{kind: tab.export(kind) for kind in EXPORTS}}


def _finished(tab: Tab) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in tab.workspace["images"]:
        image, name = entry["digest"], entry["file_name"]
        for number, verb in enumerate(("redo", "undo", "undo", "redo", "redo")):
            found[f"{name} {verb} {number}"] = tab.send(verb, image)
        found[f"{name} click"] = tab.click(image, entry["width"] // 2, entry["height"] // 2)
        if entry["width"] % 2:  # the others stay unfinished
            found[f"{name} commit"] = tab.send("commit", image, class_id=1)
        if tab.order[image]:
            found[f"{name} edit"] = tab.send("edit", image, id=tab.order[image][-1])
    return {**found, **{f"{kind} at the end": tab.export(kind) for kind in EXPORTS}}
