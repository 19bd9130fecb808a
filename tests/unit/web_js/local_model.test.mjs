import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { fetchFile } from "../../../samref/web/static/local/download.js";
import { encoderInput, letterbox, shrunk, unpackPixels } from "../../../samref/web/static/local/frame.js";
import { enlarged, maskOf, roughMaskOf } from "../../../samref/web/static/local/mask_of.js";
import { createLocalModel, hasSimd } from "../../../samref/web/static/local/model.js";
import { canDraw, drawPrompts, roundHalfEven } from "../../../samref/web/static/local/prompt_maps.js";
import { weightsIn } from "../../../samref/web/static/local/weights.js";
import { decodeCounts, eachColumnRun } from "../../../samref/web/static/rle.js";

const { model, maps, masks, pixels, shrunk: small } = JSON.parse(
  readFileSync(new URL("local_fixtures.json", import.meta.url)),
);
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));

/** 0 and 1 of run lengths. */
const valuesOf = (counts) => counts.flatMap((count, i) => Array(count).fill(i % 2));

/** 0 and 1 of a mask over its whole image, column by column. */
function whole(mask, { width, height }) {
  const values = new Uint8Array(width * height);
  if (!mask) return values;
  const end = (cell, limit) => Math.min(cell * mask.scale, limit);
  eachColumnRun(mask, (column, first, stop) => {
    for (let x = mask.x + column * mask.scale; x < mask.x + end(column + 1, mask.width); x++) {
      values.fill(1, x * height + mask.y + first * mask.scale, x * height + mask.y + end(stop, mask.height));
    }
  });
  return values;
}

for (const [number, { width, height, prompts, counts }] of maps.entries()) {
  test(`${prompts[0].type} ${number} in ${width} x ${height}: the cells are those that Python draws`, () => {
    const frame = letterbox({ width, height }, model);
    const drawn = drawPrompts(prompts, frame, model);
    const cells = (frame.padded.width * frame.padded.height) / model.map_stride ** 2;
    assert.equal(drawn.length, 5 * cells);
    assert.deepEqual(Array.from(drawn.subarray(0, 4 * cells)), valuesOf(decodeCounts(counts)));
    assert.ok(drawn.subarray(4 * cells).every((value) => value === 0));
  });
}

for (const { width, height, logits, counts } of masks) {
  test(`the mask of ${width} x ${height} pixels is Python's`, () => {
    const image = { width, height };
    const frame = letterbox(image, model);
    const low = { width: frame.padded.width / 4, height: frame.padded.height / 4 };
    const mask = maskOf(new Float32Array(bytes(logits).buffer), low, frame);
    const [ours, theirs] = [whole(mask, image), valuesOf(decodeCounts(counts))];
    const differing = theirs.reduce((sum, value, i) => sum + (value !== ours[i]), 0);
    assert.ok(theirs.includes(1));
    assert.ok(differing <= theirs.length * 1e-4, `${differing} pixels`); // sums of 32 bits in another order
    assert.equal(
      mask.counts.reduce((sum, count) => sum + count, 0),
      mask.columns * mask.rows,
    );
  });
}

test("a mask without a pixel is none, and one of every pixel is all of the image", () => {
  const image = { width: 61, height: 33 };
  const frame = letterbox(image, model);
  const low = { width: frame.padded.width / 4, height: frame.padded.height / 4 };
  const filled = (value) => new Float32Array(low.width * low.height).fill(value);
  assert.equal(maskOf(filled(-1), low, frame), null);
  const { x, y, width, height, counts } = maskOf(filled(1), low, frame);
  assert.deepEqual([x, y, width, height, counts], [0, 0, 61, 33, [0, 61 * 33]]);
});

test("a rough mask is the mask, in coarser cells", () => {
  const image = { width: 451, height: 300 };
  const frame = letterbox(image, model);
  const low = { width: frame.padded.width / 4, height: frame.padded.height / 4 };
  const logits = new Float32Array(low.width * low.height).map(
    (_, i) => 6 - Math.hypot((i % low.width) - 11, Math.floor(i / low.width) - 8),
  );
  const [fine, rough] = [
    whole(maskOf(logits, low, frame), image),
    whole(roughMaskOf(logits, low, frame, 4, 3), image),
  ];
  const count = (values) => values.reduce((sum, value) => sum + value, 0);
  assert.ok(count(fine) > 1000);
  assert.ok(count(fine.map((value, i) => value ^ rough[i])) < 0.1 * count(fine));
});

test("pixels are unpacked as they were packed", () => {
  const { width, height, planes } = unpackPixels(bytes(pixels.packed).buffer);
  assert.deepEqual([width, height], [17, 11]);
  assert.deepEqual(planes, bytes(pixels.planes));
});

test("pixels that arrived cut off are refused", () => {
  for (const end of [0, 3, 4, 100, bytes(pixels.packed).length - 1]) {
    assert.throws(() => unpackPixels(bytes(pixels.packed).slice(0, end).buffer), /cut off/);
  }
});

test("an image is padded with the middle grey", () => {
  const frame = letterbox({ width: 170, height: 110 }, { side: 17, multiple: 16 });
  assert.deepEqual(frame.resized, { width: 17, height: 11 });
  const input = encoderInput({ width: 17, height: 11, planes: bytes(pixels.planes) }, frame);
  assert.equal(input.length, 3 * 32 * 16);
  assert.equal(input[0], Math.fround(Math.fround(bytes(pixels.planes)[0] / 127.5) - 1));
  assert.deepEqual([input[17], input[31], input[11 * 32]], [0, 0, 0]);
  assert.throws(() => encoderInput({ width: 16, height: 11, planes: new Uint8Array(528) }, frame), /17 x 11/);
});

test("an image is made smaller as torch does it, to a shade", () => {
  const made = shrunk({ width: 64, height: 45, planes: bytes(small.planes) }, { width: 40, height: 28 });
  const expected = bytes(small.to);
  assert.equal(made.planes.length, expected.length);
  assert.ok(expected.every((value, i) => Math.abs(value - made.planes[i]) <= 1));
});

test("a half is rounded to the even number", () => {
  assert.deepEqual([-1.5, -0.5, 0.5, 1.5, 2.5, 2.4, 2.6].map(roundHalfEven), [-2, 0, 0, 2, 2, 2, 3]);
});

test("values keep their place when they are enlarged", () => {
  const made = enlarged(Float32Array.of(0, 1), { width: 2, height: 1 }, { width: 4, height: 1 });
  assert.deepEqual(Array.from(made), [0, 0.25, 0.75, 1]);
});

test("scribbles are left to the server", () => {
  assert.ok(canDraw([{ type: "click" }, { type: "box" }, { type: "polygon" }]));
  assert.ok(!canDraw([{ type: "click" }, { type: "scribble" }]));
});

const safetensors = (head, length) => {
  const text = new TextEncoder().encode(typeof head === "string" ? head : JSON.stringify(head));
  const file = new Uint8Array(8 + text.length + length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file.fill(7, 8 + text.length);
};

test("weights are found by name, and damaged files of them refused", () => {
  const entry = { dtype: "F16", shape: [2], data_offsets: [0, 4] };
  const found = weightsIn(safetensors({ __metadata__: {}, "a.b": entry, c: entry }, 4), (name) => name !== "c");
  assert.deepEqual(found, [{ path: "a.b", data: Uint8Array.of(7, 7, 7, 7) }]);
  const all = () => true;
  for (const file of [
    new Uint8Array(3),
    safetensors("{", 0),
    safetensors({ a: entry }, 3),
    safetensors({ a: { ...entry, dtype: "F32" } }, 4),
    safetensors({ a: entry }, 4).slice(0, 12),
  ]) {
    assert.throws(() => weightsIn(file, all), /weights cannot be read/);
  }
});

const sha256 = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81"; // of 1, 2, 3
const serving = (body, options) => async () => new Response(body, options);

for (const [name, fetcher, said] of [
  ["a file cut off", serving(Uint8Array.of(1, 2)), /did not arrive whole/],
  ["a lost connection", () => Promise.reject(new TypeError("network")), /did not arrive whole/],
  ["a missing file", serving("", { status: 404 }), /did not arrive whole/],
  ["another file", serving(Uint8Array.of(1, 2, 4)), /arrived damaged/],
  ["a longer file", serving(Uint8Array.of(1, 2, 3, 4)), /arrived damaged/],
]) {
  test(`${name} is said`, async (t) => {
    t.mock.method(globalThis, "fetch", fetcher);
    await assert.rejects(fetchFile("https://here/", { size_bytes: 3, sha256 }), said);
  });
}

test("a file that is the one listed arrives", async (t) => {
  t.mock.method(globalThis, "fetch", serving(Uint8Array.of(1, 2, 3)));
  assert.deepEqual(await fetchFile("https://here/", { size_bytes: 3, sha256 }), Uint8Array.of(1, 2, 3));
});

/** A worker that answers when it is told to. */
function idleWorker() {
  const worker = {
    asked: [],
    ended: false,
    postMessage: (message) => worker.asked.push(message),
    terminate: () => (worker.ended = true),
    answer: (answer) => worker.onmessage({ data: { id: worker.asked.at(-1).id, ...answer } }),
  };
  return worker;
}

async function loaded() {
  const worker = idleWorker();
  const local = createLocalModel({ base: "https://here/", about: "about.json", makeWorker: () => worker });
  const loading = local.load();
  worker.answer({ engine: "wasm", threads: 1, seconds: 1 });
  assert.equal((await loading).engine, "wasm");
  return { worker, local };
}

const CLICK = [{ type: "click", x: 1, y: 2, positive: true }];

test("Node has SIMD", () => assert.ok(hasSimd()));

test("a browser without SIMD is told so", async (t) => {
  t.mock.method(WebAssembly, "validate", () => false);
  await assert.rejects(createLocalModel({ base: "https://here/", about: "a" }).load(), /lacks WebAssembly SIMD/);
});

test("of hovers the newest is answered, and a click goes before it", async () => {
  const { worker, local } = await loaded();
  const hovers = [1, 2, 3].map((x) => local.hover("d", x, 0));
  const click = local.coarse({ digest: "d", prompts: CLICK });
  worker.answer({ mask: "first" });
  assert.equal(worker.asked.at(-1).act, "coarse");
  worker.answer({ mask: "clicked", memory: null });
  assert.deepEqual([worker.asked.at(-1).act, worker.asked.at(-1).x], ["hover", 3]);
  worker.answer({ mask: "third" });
  assert.deepEqual(
    (await Promise.all(hovers)).map((answer) => answer?.mask ?? null),
    ["first", null, "third"],
  );
  assert.equal((await click).mask, "clicked");
});

test("what the model cannot answer is refused without asking it", async () => {
  const { worker, local } = await loaded();
  const asked = worker.asked.length;
  const scribble = [{ type: "scribble", points: [[1, 1]], positive: true }];
  await assert.rejects(local.coarse({ digest: "d", prompts: scribble }), /answered by the server/);
  assert.equal(worker.asked.length, asked);
});

test("closing refuses what was asked, and ends the thread", async () => {
  const { worker, local } = await loaded();
  const waiting = [local.coarse({ digest: "d", prompts: CLICK }), local.hover("d", 1, 1)];
  local.close();
  for (const answer of waiting) await assert.rejects(answer, /was closed/);
  assert.ok(worker.ended);
  await assert.rejects(local.coarse({ digest: "d", prompts: CLICK }), /was closed/);
});

test("a model that fails to load says why and ends its thread", async () => {
  const worker = idleWorker();
  const local = createLocalModel({ base: "https://here/", about: "a", makeWorker: () => worker });
  const loading = local.load();
  worker.answer({ error: "This device has too little memory for the model in the page." });
  await assert.rejects(loading, /too little memory/);
  assert.ok(worker.ended);
});

test("a thread that breaks refuses everything with a sentence", async () => {
  const { worker, local } = await loaded();
  const answer = local.coarse({ digest: "d", prompts: CLICK });
  worker.onerror({});
  await assert.rejects(answer, /does not let the model/);
});
