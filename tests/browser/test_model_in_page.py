"""The embedded model run by the page itself: its masks are the server's, and what goes wrong says so."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Route

from samref.core.images import decode_image
from samref.core.masks import Mask
from samref.files import assets_folder
from tests.browser.conftest import NewPage
from tests.browser.labelling_page import HOOK
from tests.browser.offline import Offline

pytestmark = pytest.mark.browser

NAME = "coffee.jpg"
MOST_DIFFERENT = 0.005
"""Of the object's pixels."""

LOAD = """async (threads) => {
  const script = [...performance.getEntriesByType("resource")].find(({ name }) => name.endsWith("/main.js")).name;
  const { createLocalModel } = await import(new URL("local/model.js", script));
  window.model = createLocalModel({ base: document.baseURI, about: "samref/local/about.json", threads });
  return window.model.load().then((loaded) => loaded, (error) => ({ error: error.message }));
}"""

ASK = """async ({ digest, size, steps, at }) => {
  const script = [...performance.getEntriesByType("resource")].find(({ name }) => name.endsWith("/main.js")).name;
  const { createRoutes } = await import(new URL("routes.js", script));
  const routes = createRoutes(document.baseURI, () => HOOK.state().workspace.token);
  const opened = await window.model.open(digest, await routes.framedPixels(digest), size);
  const answers = [];
  let previous = null;
  for (const prompts of steps) {
    const answer = await window.model.coarse({ digest, prompts, previous });
    previous = answer.memory;
    answers.push({ mask: answer.mask, seconds: answer.seconds });
  }
  const hovers = [];
  for (let i = 0; i < 5; i++) hovers.push(window.model.hover(digest, at[0] + i, at[1]));
  return { opened, answers, hovers: await Promise.all(hovers) };
}""".replace("HOOK", HOOK)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_pages_masks_are_the_servers(new_page: NewPage, offline: Offline, threads: int) -> None:
    image = (assets_folder() / "examples" / NAME).read_bytes()
    page = new_page()
    page.open_example(NAME.removesuffix(".jpg"))
    digest, size = decode_image(image).digest, decode_image(image).size
    loaded = page.page.evaluate(LOAD, threads)
    assert (loaded.get("engine"), loaded.get("threads")) == ("wasm", threads), loaded
    clicks: list[dict[str, Any]] = [
        {"type": "click", "x": 300, "y": 200, "positive": True},
        {"type": "click", "x": 500, "y": 300, "positive": False},
        {"type": "box", "x0": 120, "y0": 80, "x1": 460, "y1": 320},
    ]
    steps = [clicks[: number + 1] for number in range(len(clicks))]
    wide = {"width": size.width, "height": size.height}
    told = page.page.evaluate(ASK, {"digest": digest, "size": wide, "steps": steps, "at": [300, 200]})
    for prompts, answer in zip(steps, told["answers"], strict=True):
        expected = offline.answer(image, prompts).coarse
        mask = whole(answer["mask"], size.height, size.width)
        assert (mask ^ expected).sum() <= MOST_DIFFERENT * expected.sum()
    first, *overtaken, last = told["hovers"]
    assert overtaken == [None] * 3  # one runs, the newest waits
    for hover in (first, last):
        hovered, expected = whole(hover["mask"], size.height, size.width), offline.answer(image, steps[0]).coarse
        assert (hovered & expected).sum() > 0.5 * (hovered | expected).sum()
    print(loaded, told["opened"], [a["seconds"] for a in told["answers"]], [h["seconds"] for h in (first, last)])
    page.page.evaluate("() => window.model.close()")


def whole(mask: dict[str, Any] | None, height: int, width: int) -> Mask:
    """A mask of the page over the whole image."""
    image = np.zeros((height, width), dtype=np.bool_)
    if mask is None:
        return image
    counts = mask["counts"]
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    cells = runs.reshape(mask["columns"], mask["rows"]).T.repeat(mask["scale"], 0).repeat(mask["scale"], 1)
    rows, columns = slice(mask["y"], mask["y"] + mask["height"]), slice(mask["x"], mask["x"] + mask["width"])
    image[rows, columns] = cells[: mask["height"], : mask["width"]]
    return image


def test_a_download_that_is_cut_off_is_said(new_page: NewPage) -> None:
    page = new_page()
    page.page.route("**/*.safetensors", lambda route: route.fulfill(status=200, body=b"cut off"))
    loaded = page.page.evaluate(LOAD, 1)
    assert loaded["error"].startswith("The model for the page did not arrive whole.")


def test_weights_of_another_model_are_said(new_page: NewPage) -> None:
    """The list names them, digest and all, but the graphs belong to others."""
    weights = (assets_folder() / "weights" / "tiny-refiner.safetensors").read_bytes()
    page = new_page()

    def another(route: Route) -> None:
        told = route.fetch().json()
        told["files"]["weights"] |= {"sha256": hashlib.sha256(weights).hexdigest(), "size_bytes": len(weights)}
        route.fulfill(json=told)

    page.page.route("**/about.json", another)
    page.page.route("**/*.safetensors", lambda route: route.fulfill(status=200, body=weights))
    assert "do not fit" in page.page.evaluate(LOAD, 1)["error"]
