"""The page's own model in Chromium: loading, encoding, coarse masks and hovers, with one thread and with two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

Record = Callable[[str, float, str], None]

ROUNDS = 40

MEASURE = f"""async ({{ threads, rounds }}) => {{
  const script = [...performance.getEntriesByType("resource")].find(({{ name }}) => name.endsWith("/main.js")).name;
  const {{ createLocalModel }} = await import(new URL("local/model.js", script));
  const {{ createRoutes }} = await import(new URL("routes.js", script));
  const {{ image, workspace }} = {HOOK}.state();
  const {{ digest, width, height }} = image;
  const pixels = await createRoutes(document.baseURI, () => workspace.token).framedPixels(digest);
  const model = createLocalModel({{ base: document.baseURI, about: "samref/local/about.json", threads }});
  const timed = async (work) => {{
    const began = performance.now();
    const made = await work();
    return [performance.now() - began, made];
  }};
  const [load, {{ threads: used }}] = await timed(() => model.load());
  const open = [];
  for (let i = 0; i < 5; i++) {{
    open.push((await timed(() => model.open(digest, pixels.slice(0), {{ width, height }})))[0]);
  }}
  const coarse = [];
  const hover = [];
  for (let i = 0; i < rounds; i++) {{
    const [x, y] = [(width * (i % 7 + 1)) >> 3, (height * (i % 5 + 1)) / 6 | 0];
    const prompts = [{{ type: "click", x, y, positive: true }}];
    coarse.push((await timed(() => model.coarse({{ digest, prompts, previous: null }})))[0]);
    hover.push((await timed(() => model.hover(digest, x, y)))[0]);
  }}
  model.close();
  return {{ used, load, open, coarse: coarse.slice(1), hover: hover.slice(1) }};
}}"""


def test_the_pages_own_model(tmp_path: Path, chromium: str, record: Record) -> None:
    server = Server(tmp_path)
    try:
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            for threads in (1, 2):
                page = LabellingPage(browser.new_page(), server).open().open_example("raccoon")
                told: dict[str, Any] = page.page.evaluate(MEASURE, {"threads": threads, "rounds": ROUNDS})
                assert told["used"] == threads
                record(f"{threads} thread: load from this machine", told["load"], "ms")
                for name in ("open", "coarse", "hover"):
                    for share in (50, 95):
                        record(f"{threads} thread: {name}, p{share}", percentile(told[name], share), "ms")
                # The network's share is none here: a hover may not cost as much as the mask of a click.
                assert percentile(told["hover"], 50) < percentile(told["coarse"], 50)
                page.page.close()
            browser.close()
    finally:
        server.stop()


def percentile(times: Sequence[float], share: float) -> float:
    return float(np.percentile(times, share))
