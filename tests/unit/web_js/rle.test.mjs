import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { outlineSegments } from "../../../samref/web/static/outline.js";
import { area, coarser, containsPixel, decodeCounts, readMask, toPixels } from "../../../samref/web/static/rle.js";

const fixtures = JSON.parse(readFileSync(new URL("rle_fixtures.json", import.meta.url)));
/** Two columns of three pixels, all object: no background, then six. */
const ALL_OF_TWO_BY_THREE = "06";

const wireOf = ({ rows, columns, counts }, x = 0, y = 0, scale = 1) => ({
  box: [x, y, columns * scale, rows * scale],
  counts,
  scale,
});

for (const fixture of fixtures) {
  const { name, rows, columns, pixels } = fixture;
  const expected = (x, y) => pixels[y]?.[x] === "1";

  test(`${name}: the pixels are those that pycocotools encoded`, () => {
    const mask = readMask(wireOf(fixture));
    const bytes = toPixels(mask, [10, 200, 30]);
    assert.equal(bytes.length, rows * columns * 4);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const rgba = [...bytes.subarray((y * columns + x) * 4, (y * columns + x) * 4 + 4)];
        assert.deepEqual(rgba, expected(x, y) ? [10, 200, 30, 255] : [0, 0, 0, 0], `pixel ${x}, ${y}`);
        assert.equal(containsPixel(mask, x, y), expected(x, y), `pixel ${x}, ${y}`);
      }
    }
    assert.equal(area(mask), pixels.join("").replaceAll("0", "").length);
  });

  test(`${name}: the outline is every side between object and background, once`, () => {
    const sides = new Map();
    const add = (key) => sides.set(key, (sides.get(key) ?? 0) + 1);
    const segments = outlineSegments(readMask(wireOf(fixture, 100, 50)));
    for (let i = 0; i < segments.length; i += 4) {
      const [x0, y0, x1, y1] = segments.slice(i, i + 4);
      assert.ok(x0 === x1 || y0 === y1, "segments run along pixel sides");
      for (let x = x0; x < x1; x++) add(`horizontal ${x - 100} ${y0 - 50}`);
      for (let y = y0; y < y1; y++) add(`vertical ${x0 - 100} ${y - 50}`);
    }
    const wanted = new Map();
    for (let y = 0; y <= rows; y++) {
      for (let x = 0; x <= columns; x++) {
        if (x < columns && expected(x, y) !== expected(x, y - 1)) wanted.set(`horizontal ${x} ${y}`, 1);
        if (y < rows && expected(x, y) !== expected(x - 1, y)) wanted.set(`vertical ${x} ${y}`, 1);
      }
    }
    assert.deepEqual([...sides].sort(), [...wanted].sort());
  });
}

test("a crop lies at its box in the image", () => {
  const ring = fixtures.find(({ name }) => name === "ring");
  const mask = readMask(wireOf(ring, 300, 200));
  assert.equal(containsPixel(mask, 331, 220), false, "the hole");
  assert.equal(containsPixel(mask, 331 + 10, 220), true);
  assert.equal(containsPixel(mask, 31, 20), false, "outside the crop");
});

test("a preview at half resolution covers two by two image pixels a cell and stops at its box", () => {
  const mask = readMask({ box: [10, 20, 3, 5], counts: ALL_OF_TWO_BY_THREE, scale: 2 });
  assert.equal(mask.columns, 2);
  assert.equal(mask.rows, 3);
  for (const [x, y, inside] of [
    [10, 20, true],
    [12, 24, true],
    [13, 24, false],
    [12, 25, false],
    [9, 20, false],
  ]) {
    assert.equal(containsPixel(mask, x, y), inside, `pixel ${x}, ${y}`);
  }
  const xs = outlineSegments(mask).filter((_, i) => i % 2 === 0);
  const ys = outlineSegments(mask).filter((_, i) => i % 2 === 1);
  assert.deepEqual([Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)], [10, 13, 20, 25]);
});

for (const step of [2, 4, 8]) {
  test(`a mask made ${step} times coarser for a small view stays within one cell of itself`, () => {
    for (const fixture of fixtures.filter(({ name }) =>
      ["disk", "ring", "full", "runs over several columns"].includes(name),
    )) {
      const mask = readMask(wireOf(fixture));
      const small = coarser(mask, step);
      assert.equal(
        small.counts.reduce((sum, count) => sum + count, 0),
        small.columns * small.rows,
      );
      for (let y = 0; y < fixture.rows; y += 1) {
        for (let x = 0; x < fixture.columns - step; x += 1) {
          if (containsPixel(small, x, y) === containsPixel(mask, x, y)) continue;
          const near = [-step, 0, step].flatMap((dx) =>
            [-step, 0, step].map((dy) => containsPixel(mask, x + dx, y + dy)),
          );
          assert.ok(near.includes(true) && near.includes(false), `${fixture.name} ${x}, ${y} is far from the border`);
        }
      }
    }
  });
}

test("no mask and an empty mask have nothing to draw", () => {
  assert.equal(readMask(null), null);
  assert.equal(readMask({ box: [0, 0, 0, 0], counts: "", scale: 1 }), null);
  assert.deepEqual(outlineSegments(null), []);
  assert.equal(containsPixel(null, 0, 0), false);
});

test("a damaged mask is refused instead of painted", () => {
  const disk = fixtures.find(({ name }) => name === "disk");
  assert.throws(() => readMask({ ...wireOf(disk), counts: disk.counts.slice(0, -3) }));
  assert.throws(() => readMask({ ...wireOf(disk), box: [0, 0, 9, 9] }));
  assert.throws(() => decodeCounts("\u0001"));
});
