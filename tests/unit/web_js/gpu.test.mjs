import assert from "node:assert/strict";
import { test } from "node:test";

import { prepareOnGpu } from "../../../samref/web/static/gpu.js";

const BASE = "http://127.0.0.1:7860/";
const GPU = { image: "ab", model: "sam-vit-h", function: 3 };
const ORIGIN = "https://huggingface.co";

/** A stream of events, cut where it hurts. */
const eventsOf = (...messages) => {
  const text = messages.map((message) => `data: ${JSON.stringify(message)}\n\n`).join("");
  return new Response(new Blob([text.slice(0, 30), text.slice(30)]).stream());
};

const completed = (output, success = true) => ({ msg: "process_completed", success, output });

/** A browser at `hostname`; the page around it answers as `parent(words, port)` says. */
function setUp({ hostname = "127.0.0.1", parent = null, join = () => new Response("{}"), events }) {
  const asked = [];
  const listeners = new Set();
  const window = {
    location: { hostname },
    addEventListener: (_, listener) => listeners.add(listener),
    removeEventListener: (_, listener) => listeners.delete(listener),
  };
  window.parent = parent
    ? {
        postMessage: (words, origin, [port] = []) => {
          assert.equal(origin, ORIGIN);
          parent({ words, port, say: (event) => listeners.forEach((listener) => listener(event)) });
        },
      }
    : window;
  const fetch = async (url, options) => {
    asked.push({ path: url.pathname, session: url.searchParams.get("session_hash"), ...options });
    return url.pathname.endsWith("join") ? join() : events();
  };
  return { asked, environment: { window, fetch }, listeners };
}

test("the image is asked for in Gradio's queue, and what came of it is told", async () => {
  const told = { done: true, message: "" };
  const events = () => eventsOf({ msg: "estimation" }, { msg: "process_starts" }, completed({ data: [told] }));
  const { asked, environment } = setUp({ events });
  assert.deepEqual(await prepareOnGpu({ base: BASE, token: "key", gpu: GPU, environment }), told);
  const [join, data] = asked;
  const body = JSON.parse(join.body);
  assert.deepEqual(body.data, ["key", "ab", "sam-vit-h"]);
  assert.equal(body.fn_index, 3);
  assert.equal(join.path, "/gradio_api/queue/join");
  assert.equal(data.session, body.session_hash);
  assert.deepEqual(Object.keys(join.headers), ["Content-Type"]);
});

test("whatever fails is a sentence, never silence", async () => {
  const failing = {
    "the queue is full": { join: () => new Response("{}", { status: 503 }) },
    "no connection": {
      join: () => {
        throw new TypeError("offline");
      },
    },
    "the stream breaks off": { events: () => eventsOf({ msg: "estimation" }) },
    "no stream": { events: () => new Response(null, { status: 404 }) },
  };
  for (const [what, parts] of Object.entries(failing)) {
    const { environment } = setUp({ events: () => eventsOf(completed({ data: [{ done: true, message: "" }] })), ...parts });
    const { done, message } = await prepareOnGpu({ base: BASE, token: "key", gpu: GPU, environment });
    assert.equal(done, false, what);
    assert.match(message, /^The GPU of Hugging Face could not be asked for\./, what);
  }
  const refused = { error: "This server does not know your workspace." };
  const { environment } = setUp({ events: () => eventsOf(completed(refused, false)) });
  const told = await prepareOnGpu({ base: BASE, token: "key", gpu: GPU, environment });
  assert.deepEqual(told, { done: false, message: refused.error });
});

test("on Hugging Face the page around this one says who the visitor is", async () => {
  const parent = ({ words, port, say }) => {
    if (words === "supports-zerogpu-headers") {
      say({ origin: "https://evil.example", data: words });
      say({ origin: ORIGIN, data: words });
    } else {
      assert.equal(words, "zerogpu-headers");
      port.postMessage({ "X-IP-Token": "who" });
      port.close();
    }
  };
  const events = () => eventsOf(completed({ data: [{ done: true, message: "" }] }));
  const { asked, environment, listeners } = setUp({ hostname: "ana-samref.hf.space", parent, events });
  await prepareOnGpu({ base: BASE, token: "key", gpu: GPU, environment });
  assert.equal(asked[0].headers["X-IP-Token"], "who");
  assert.equal(listeners.size, 0);
});

test("a page around this one that says nothing, or is another's, is not waited for long", async () => {
  const events = () => eventsOf(completed({ data: [{ done: true, message: "" }] }));
  const silent = setUp({ hostname: "ana-samref.hf.space", parent: () => {}, events });
  const other = setUp({ hostname: "label.example.org", parent: () => assert.fail("it is not asked"), events });
  for (const { environment, asked } of [silent, other]) {
    const { done } = await prepareOnGpu({ base: BASE, token: "key", gpu: GPU, environment });
    assert.equal(done, true);
    assert.deepEqual(Object.keys(asked[0].headers), ["Content-Type"]);
  }
});
