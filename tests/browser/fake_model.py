"""A model in the browser that answers with discs, to see what the page does with one; see ``static/local/model.js``."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import BrowserContext, Route

from samref import __version__

__all__ = ["FAKE", "RADIUS", "offer_model"]

RADIUS = 40
"""Of the disc that stands for a mask, in image pixels; every further click makes it 10 larger."""

ABOUT = "samref/static/fake/about.json"

FAKE = """
const orders = globalThis.localModel ?? {};
const wait = (ms) => new Promise((done) => setTimeout(done, ms ?? 0));

function disc(x, y, radius, { width, height }) {
  const [left, top] = [Math.max(0, x - radius), Math.max(0, y - radius)];
  const [right, bottom] = [Math.min(width, x + radius + 1), Math.min(height, y + radius + 1)];
  const counts = [];
  let is = false;
  let run = 0;
  for (let column = left; column < right; column++) {
    for (let row = top; row < bottom; row++) {
      const now = (column - x) ** 2 + (row - y) ** 2 <= radius ** 2;
      if (now === is) run += 1;
      else [is, run] = [now, (counts.push(run), 1)];
    }
  }
  counts.push(run);
  const [columns, rows] = [right - left, bottom - top];
  return { x: left, y: top, width: columns, height: rows, columns, rows, scale: 1, counts };
}

export const hasSimd = () => globalThis.localModelSimd !== false;
export const canAnswer = (prompts) => prompts.length > 0 && prompts.every(({ type }) => type === "click");

export function createLocalModel({ about }) {
  const sizes = new Map();
  const calls = (globalThis.localModelCalls = []);
  return {
    async load() {
      calls.push(["load", about]);
      await wait(orders.loadMs);
      if (orders.loadError) throw new Error(orders.loadError);
      return { engine: "fake", threads: 1, seconds: 0 };
    },
    async open(digest, pixels, size) {
      calls.push(["open", digest, pixels.byteLength]);
      sizes.set(digest, size);
      return { seconds: 0 };
    },
    async coarse({ digest, prompts, previous }) {
      calls.push(["coarse", prompts.length, previous]);
      await wait(orders.coarseMs);
      if (orders.coarseError) throw new Error(orders.coarseError);
      const { x, y } = prompts.at(-1);
      const mask = disc(x, y, RADIUS + 10 * (prompts.length - 1), sizes.get(digest));
      return { mask, memory: prompts.length, seconds: 0 };
    },
    async hover(digest, x, y) {
      calls.push(["hover", x, y]);
      await wait(orders.hoverMs);
      return { mask: disc(x, y, RADIUS, sizes.get(digest)), seconds: 0 };
    },
    close() {
      calls.push(["close"]);
    },
  };
}
""".replace("RADIUS", str(RADIUS))


def offer_model(context: BrowserContext, *, trusted: bool = False, **orders: Any) -> None:
    """Let the page find that model.

    Args:
        context: that is to find it.
        trusted: its masks have been compared with the server's before.
        orders: ``loadMs``, ``loadError``, ``coarseMs``, ``coarseError``, ``hoverMs``.
    """

    def with_offer(route: Route) -> None:
        if '"verb":"hello"' not in (route.request.post_data or ""):
            return route.fallback()
        answer = route.fetch()
        said = json.loads(answer.text())
        said["workspace"]["local"] = {"model": "tiny", "about": ABOUT}
        return route.fulfill(response=answer, body=json.dumps(said) + "\n")

    context.route("**/samref/send", with_offer)
    context.route("**/samref/images/*?framed=1", lambda route: route.fulfill(body=b"pixels"))
    context.route("**/local/model.js", lambda route: route.fulfill(content_type="text/javascript", body=FAKE))
    context.add_init_script(f"globalThis.localModel = {json.dumps(orders)}")
    if trusted:
        key = f"'{__version__}|fake|' + navigator.userAgent"
        context.add_init_script(f"if (location.protocol === 'http:') localStorage.setItem('samref.localTrust', {key})")
