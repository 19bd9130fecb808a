import assert from "node:assert/strict";
import { test } from "node:test";

import { createWire, readLines } from "../../../samref/web/static/wire.js";

const BASE = "http://127.0.0.1:7860/";

/** A stream that brings these pieces of text one after another. */
const streamOf = (...pieces) => new Blob(pieces).stream();

/** A wire whose server says `respond(message)`; notes what came out of it in order. */
function setUp(respond) {
  const heard = [];
  const asked = [];
  const wire = createWire(
    BASE,
    { onText: (text) => heard.push(JSON.parse(text)), onLost: (seq) => heard.push(`lost ${seq}`) },
    async (address, { body, headers }) => {
      asked.push({ address: address.href, message: JSON.parse(body), type: headers["Content-Type"] });
      return respond(JSON.parse(body));
    },
  );
  return { wire, heard, asked };
}

test("lines come out whole, however the bytes were cut", async () => {
  const text = '{"a":"é"}\n\n{"b":2}\n{"unfinished"';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const lines = [];
    const pieces = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
    const stream = new ReadableStream({
      start(controller) {
        pieces.forEach((piece) => controller.enqueue(piece));
        controller.close();
      },
    });
    await readLines(stream, (line) => lines.push(line));
    assert.deepEqual(lines, ['{"a":"é"}', '{"b":2}']);
  }
});

test("each request is one POST, and every answer of it is heard in order", async () => {
  const { wire, heard, asked } = setUp(() => new Response(streamOf('{"seq":1,"n":1}\n', '{"seq":1,"n":2}\n')));
  await wire.post({ seq: 1, verb: "prompt" });
  assert.deepEqual(heard, [{ seq: 1, n: 1 }, { seq: 1, n: 2 }, "lost 1"]);
  assert.equal(asked[0].address, `${BASE}samref/send`);
  assert.equal(asked[0].type, "application/json", "a foreign page would have to ask before it may send this");
});

test("all requests of one page load carry the same name, another page load another", async () => {
  const first = setUp(() => new Response(""));
  const second = setUp(() => new Response(""));
  for (const seq of [1, 2]) await first.wire.post({ seq });
  await second.wire.post({ seq: 1 });
  const names = [...first.asked, ...second.asked].map(({ message }) => message.tab);
  assert.match(names[0], /^[0-9a-f]{32}$/);
  assert.equal(names[0], names[1]);
  assert.notEqual(names[0], names[2]);
});

test("a refusal is heard as an error with its sentence", async () => {
  const { wire, heard } = setUp(() => Response.json({ error: { code: "busy", message: "Later." } }, { status: 503 }));
  await wire.post({ v: 1, seq: 4 });
  assert.deepEqual(heard[0], {
    v: 1,
    seq: 4,
    kind: "error",
    final: true,
    error: { code: "busy", message: "Later." },
  });
});

test("a network that breaks, a proxy without a server and an answer cut off are losses", async () => {
  const failing = [
    () => Promise.reject(new TypeError("network")),
    () => new Response("<h1>Bad gateway</h1>", { status: 502 }),
    () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(new TextEncoder().encode('{"seq":1}\n{"se')),
          pull: (controller) => controller.error(new TypeError("cut off")),
        }),
      ),
  ];
  for (const respond of failing) {
    const { wire, heard } = setUp(respond);
    await wire.post({ seq: 1 });
    assert.equal(heard.at(-1), "lost 1");
    assert.ok(heard.length <= 2);
  }
});
