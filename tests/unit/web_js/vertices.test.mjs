import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Region, both, minus, polygonRegion, regionOf, toMask, union } from "../../../samref/web/static/raster.js";
import { readMask } from "../../../samref/web/static/rle.js";
import {
  addHandle,
  changeOf,
  contoursOf,
  countHandles,
  handleAt,
  lineAt,
  moveHandle,
  ringsOf,
  snapped,
  withTolerance,
} from "../../../samref/web/static/vertices.js";

const fixtures = JSON.parse(readFileSync(new URL("rle_fixtures.json", import.meta.url)));
const SIZE = [300, 200];

function seeded(seed) {
  let state = seed;
  return () => (state = (state * 1664525 + 1013904223) % 2 ** 32) / 2 ** 32;
}

const sorted = (region) => [...region.columns].sort(([a], [b]) => a - b);
const fill = (rings) => polygonRegion(rings.map(({ points }) => points ?? rings), ...SIZE, "evenodd"); // prettier-ignore

/** A blob with a hole and a part of its own. */
function blob() {
  const ring = (cx, cy, r, wobble) =>
    Array.from({ length: 60 }, (_, i) => {
      const angle = (i / 60) * 2 * Math.PI;
      const radius = r + wobble * Math.sin(5 * angle);
      return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle)];
    });
  return polygonRegion([ring(110, 100, 70, 9), ring(110, 100, 30, 4), ring(240, 60, 25, 3)], ...SIZE, "evenodd");
}

for (const { name, rows, columns, counts } of fixtures) {
  test(`${name}: the contours, filled again, are the mask`, () => {
    const mask = readMask({ box: [20, 30, columns, rows], counts });
    const again = polygonRegion(contoursOf(mask), 300, 1000, "evenodd");
    assert.deepEqual(sorted(again), sorted(regionOf(mask, 300, 1000)));
  });
}

test("contours of noise are closed lines of right angles that fill to the noise", () => {
  const random = seeded(9);
  const region = new Region(...SIZE);
  for (let x = 10; x < 60; x++) for (let y = 10; y < 60; y++) if (random() < 0.5) region.add(x, y, y + 1);
  const loops = contoursOf(toMask(region));
  assert.deepEqual(sorted(polygonRegion(loops, ...SIZE, "evenodd")), sorted(region));
  for (const loop of loops) {
    loop.forEach(([x, y], i) => {
      const [nx, ny] = loop[(i + 1) % loop.length];
      assert.ok((x === nx) !== (y === ny));
    });
  }
});

test("parts and holes are rings, and a coarser tolerance has fewer handles but the same pixels", () => {
  const mask = toMask(blob());
  const fine = ringsOf(mask, 0.5);
  const coarse = withTolerance(fine, 6);
  assert.equal(fine.length, 3);
  assert.ok(countHandles(coarse) < countHandles(fine) / 3, `${countHandles(coarse)} of ${countHandles(fine)}`);
  assert.ok(coarse.every(({ handles }) => handles.length >= 3));
  assert.deepEqual(sorted(fill(coarse)), sorted(regionOf(mask, ...SIZE)));
});

test("moving a handle changes pixels beside its two sides only, and rings and mask stay one", () => {
  const random = seeded(21);
  let region = blob();
  let rings = ringsOf(toMask(region), 2);
  for (let round = 0; round < 40; round++) {
    const at = Math.floor(random() * rings.length);
    const handle = Math.floor(random() * rings[at].handles.length);
    const count = rings[at].handles.length;
    const point = (i) => rings[at].points[rings[at].handles[(i + count) % count]];
    const to = [point(handle)[0] + random() * 30 - 15, point(handle)[1] + random() * 30 - 15];
    const drawnIn = [point(handle - 1), point(handle), point(handle + 1), to];
    const reach = 3; // the tolerance, and a pixel for stairs
    const xs = drawnIn.map(([x]) => x);
    const ys = drawnIn.map(([, y]) => y);
    const moved = moveHandle(rings[at], handle, to);
    const { ring } = moved;
    const { added, removed } = changeOf(toMask(region), moved, ...SIZE);
    const changed = union(added, removed);
    for (const [x, runs] of changed.columns) {
      assert.ok(x >= Math.min(...xs) - reach && x < Math.max(...xs) + reach);
      assert.ok(runs[0] >= Math.min(...ys) - reach && runs.at(-1) <= Math.max(...ys) + reach);
    }
    assert.equal(both(added, region).isEmpty, true);
    assert.equal(minus(removed, region).isEmpty, true);
    region = minus(union(region, added), removed);
    rings = rings.with(at, ring);
    assert.equal(ring.handles.length, count);
    assert.deepEqual(sorted(fill(rings)), sorted(region), `round ${round}`);
  }
});

test("a handle added on a line changes nothing until it is moved; one taken away leaves a straight side", () => {
  const region = blob();
  const [ring, ...rest] = ringsOf(toMask(region), 3);
  for (let segment = 0; segment < ring.points.length; segment += 7) {
    const [a, b] = [ring.points[segment], ring.points[(segment + 1) % ring.points.length]];
    const at = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const grown = addHandle(ring, segment, at);
    assert.deepEqual(grown.ring.points[grown.ring.handles[grown.handle]], at);
    assert.deepEqual([...grown.ring.handles].sort((p, q) => p - q), grown.ring.handles); // prettier-ignore
    assert.deepEqual(sorted(fill([grown.ring, ...rest])), sorted(region));
  }
  const less = moveHandle(ring, 4, null);
  assert.equal(less.ring.handles.length, ring.handles.length - 1);
  const { added, removed } = changeOf(toMask(region), less, ...SIZE);
  assert.deepEqual(sorted(fill([less.ring, ...rest])), sorted(minus(union(region, added), removed)));
});

test("the last three handles go together: the whole ring changes sides", () => {
  const square = [[10, 10], [20, 10], [20, 20]]; // prettier-ignore
  const { ring, swept } = moveHandle({ points: square, handles: [0, 1, 2] }, 1, null);
  assert.equal(ring, null);
  assert.deepEqual(swept, square);
});

test("where only a preview is known, nothing of the old line is left beside the new one", () => {
  const exact = polygonRegion([[[41, 31], [139, 33], [137, 121], [43, 119]]], ...SIZE); // prettier-ignore
  const preview = { ...toMask(exact), x: 40, y: 30, width: 100, height: 92, columns: 25, rows: 23, scale: 4 };
  preview.counts = [0, 25 * 23];
  const [ring] = ringsOf(preview, 2);
  const handle = ring.handles.findIndex((i) => ring.points[i][0] === 140 && ring.points[i][1] === 30);
  const { added, removed } = changeOf(preview, moveHandle(ring, handle, [100, 70]), ...SIZE);
  const after = minus(union(exact, added), removed);
  const [diagonal, top] = [70, 30]; // beyond the new sides, from (40, 30) to (100, 70) and on to (140, 122)
  for (let x = 102; x < 140; x++)
    for (let y = top; y < diagonal; y++) assert.equal(after.has(x, y), false, `${x} ${y}`);
  assert.ok(after.has(60, 60) && after.has(50, 118));
});

test("handles and lines are found within reach, the nearest first", () => {
  const rings = [{ points: [[10, 10], [50, 10], [50, 50], [10, 50]], handles: [0, 1, 2, 3] }]; // prettier-ignore
  assert.deepEqual(handleAt(rings, [48, 12], 5), { ring: 0, handle: 1 });
  assert.equal(handleAt(rings, [30, 12], 5), null);
  assert.deepEqual(lineAt(rings, [30, 12], 5), { ring: 0, segment: 0, at: [30, 10] });
  assert.deepEqual(lineAt(rings, [9, 30], 5), { ring: 0, segment: 3, at: [10, 30] });
  assert.equal(lineAt(rings, [30, 30], 5), null);
});

test("a corner is drawn to the border and to other outlines, and else left where it is", () => {
  const other = toMask(polygonRegion([[[100, 50], [150, 50], [150, 90], [100, 90]]], ...SIZE)); // prettier-ignore
  assert.deepEqual(snapped([97, 70.5], [other], 6, ...SIZE), [100, 70.5]);
  assert.deepEqual(snapped([3, 198], [other], 6, ...SIZE), [0, 200]);
  assert.deepEqual(snapped([80, 70], [other], 6, ...SIZE), [80, 70]);
});

test("two thousand handles at twelve megapixels are found and moved without delay", () => {
  const ring = Array.from({ length: 40_000 }, (_, i) => {
    const angle = (i / 40_000) * 2 * Math.PI;
    const radius = 1200 + 12 * Math.sin(angle * 1000);
    return [2000 + radius * Math.cos(angle) * 1.4, 1500 + radius * Math.sin(angle)];
  });
  const mask = toMask(polygonRegion([ring], 4000, 3000));
  /** The quickest of a few, for a machine that is busy with other things. */
  const quickest = (act) => {
    let least = Infinity;
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      act();
      least = Math.min(least, performance.now() - began);
    }
    return least;
  };
  const rings = ringsOf(mask, 4);
  const built = quickest(() => ringsOf(mask, 4));
  const found = quickest(() => [handleAt(rings, [2000, 300], 9), lineAt(rings, [2000, 300], 9)]);
  const moved = quickest(() => changeOf(mask, moveHandle(rings[0], 7, [2500, 700]), 4000, 3000));
  const count = countHandles(rings);
  console.log(
    `${count} handles on ${rings[0].points.length} points: built in ${built.toFixed(0)} ms, ` +
      `found in ${found.toFixed(1)} ms, moved in ${moved.toFixed(0)} ms`,
  );
  assert.ok(count >= 1900, String(count));
  assert.ok(found < 33 && moved < 150, `${found} ${moved}`);
});
