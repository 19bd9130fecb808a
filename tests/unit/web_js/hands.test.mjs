import assert from "node:assert/strict";
import { test } from "node:test";

import { createPendingMask } from "../../../samref/web/static/hand_layer.js";
import { CROSS, grabAt, handleOf, movedPrompt } from "../../../samref/web/static/prompt_edit.js";
import { strokeRegion, toMask, toWire } from "../../../samref/web/static/raster.js";
import { area, containsPixel } from "../../../samref/web/static/rle.js";

const SIZE = [60, 50];
const CLICK = { type: "click", x: 20, y: 10, positive: true };
const BOX = { type: "box", x0: 10, y0: 5, x1: 30, y1: 25 };
const SCRIBBLE = { type: "scribble", points: [[5, 5], [15, 5]], positive: true, width: 3 }; // prettier-ignore
const POLYGON = { type: "polygon", points: [[40, 10], [55, 12], [50, 30]], positive: false }; // prettier-ignore

test("a prompt is taken hold of at its dot, its sides, its corners or its stroke, the newest first", () => {
  assert.deepEqual(grabAt([CLICK], [20.5, 10.5], 0.2), { index: 0, part: "body" });
  assert.equal(grabAt([CLICK], [25, 10.5], 0.2), null);
  assert.deepEqual(grabAt([BOX], [10, 15], 0.2), { index: 0, part: "body" });
  assert.deepEqual(grabAt([BOX], [29.5, 24.5], 0.2), { index: 0, part: 2 });
  assert.equal(grabAt([BOX], [20, 15], 0.2), null, "the inside of a box belongs to the image");
  assert.deepEqual(grabAt([SCRIBBLE], [10, 6], 0.1), { index: 0, part: "body" });
  assert.deepEqual(grabAt([POLYGON], [55, 12], 0.1), { index: 0, part: 1 });
  assert.deepEqual(grabAt([POLYGON], [47.5, 11], 0.1), { index: 0, part: "body" });
  assert.deepEqual(grabAt([CLICK, { ...CLICK }], [20.5, 10.5], 0.2), { index: 1, part: "body" });
});

test("the cross is there only for the prompt that is marked", () => {
  const unit = 0.1;
  for (const prompt of [CLICK, BOX, SCRIBBLE, POLYGON]) {
    const [x, y] = handleOf(prompt);
    const cross = [x + CROSS.dx * unit, y + CROSS.dy * unit];
    assert.deepEqual(grabAt([prompt], cross, unit, 0), { index: 0, part: "cross" }, prompt.type);
    assert.notDeepEqual(grabAt([prompt], cross, unit, null), { index: 0, part: "cross" });
  }
});

test("prompts move by whole pixels and stay in the image with their shape", () => {
  assert.deepEqual(movedPrompt(CLICK, "body", 3.4, -100, ...SIZE), { ...CLICK, x: 23, y: 0 });
  assert.deepEqual(movedPrompt(BOX, "body", 100, 1, ...SIZE), { type: "box", x0: 40, y0: 6, x1: 60, y1: 26 });
  const stroke = movedPrompt(SCRIBBLE, "body", -9, 2, ...SIZE);
  assert.deepEqual(stroke.points, [[0, 7], [10, 7]]); // prettier-ignore
  const polygon = movedPrompt(POLYGON, "body", 20, 1.5, ...SIZE);
  assert.deepEqual(polygon.points, [[45, 11.5], [60, 13.5], [55, 31.5]]); // prettier-ignore
});

test("a corner moves alone, and a box pulled through itself is still a box", () => {
  assert.deepEqual(movedPrompt(BOX, 2, 5, 5, ...SIZE), { ...BOX, x1: 35, y1: 30 });
  assert.deepEqual(movedPrompt(BOX, 2, -25, -25, ...SIZE), { ...BOX, x0: 5, y0: 0, x1: 10, y1: 5 });
  assert.deepEqual(movedPrompt(BOX, 2, -20, 3, ...SIZE), BOX, "a box without width is none");
  assert.deepEqual(movedPrompt(POLYGON, 2, 100, 0, ...SIZE).points[2], [60, 30]);
});

const disk = (x, y, radius) => strokeRegion([[x, y, radius]], ...SIZE);

test("what a hand did is in the mask at once, in order, and made once", () => {
  const pending = createPendingMask();
  const base = toMask(disk(20, 20, 8));
  const paint = { added: toWire(disk(35, 20, 5)), removed: null };
  const erase = { added: null, removed: toWire(disk(35, 20, 2)) };
  assert.equal(pending(base, [], ...SIZE), base);
  const one = pending(base, [paint], ...SIZE);
  assert.equal(pending(base, [paint], ...SIZE), one);
  assert.ok(containsPixel(one, 35, 20) && containsPixel(one, 20, 20));
  const two = pending(base, [paint, erase], ...SIZE);
  assert.ok(!containsPixel(two, 35, 20) && containsPixel(two, 39, 20));
  assert.equal(area(one) - area(two), disk(35, 20, 2).area);
});

test("an answer that says the same keeps the mask that is painted, another one takes its place", () => {
  const pending = createPendingMask();
  const base = toMask(disk(20, 20, 8));
  const paint = { added: toWire(disk(35, 20, 5)), removed: null };
  const shown = pending(base, [paint], ...SIZE);
  const answer = { ...shown, counts: [...shown.counts] };
  assert.equal(pending(answer, [], ...SIZE), shown);
  const other = toMask(disk(10, 10, 3));
  assert.equal(pending(other, [], ...SIZE), other);
});

test("a draft may be made by hand alone, and erased to nothing", () => {
  const pending = createPendingMask();
  const dab = toWire(disk(35, 20, 5));
  assert.equal(area(pending(null, [{ added: dab, removed: null }], ...SIZE)), disk(35, 20, 5).area);
  const gone = [
    { added: dab, removed: null },
    { added: null, removed: dab },
  ];
  assert.equal(pending(null, gone, ...SIZE), null);
});
