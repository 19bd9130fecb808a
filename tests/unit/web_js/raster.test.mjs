import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Region,
  both,
  minus,
  polygonRegion,
  regionOf,
  strokeRegion,
  toMask,
  toWire,
  union,
} from "../../../samref/web/static/raster.js";
import { area, containsPixel, decodeCounts, encodeCounts, readMask } from "../../../samref/web/static/rle.js";

/** Numbers that are the same in every run. */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

const everyPixel = (width, height) =>
  Array.from({ length: width * height }, (_, i) => [i % width, Math.floor(i / width)]);

/** Distance of a point from a brush way, by stepping along it: independent of tangents. */
function depthInBrush(x, y, [ax, ay, ar], [bx, by, br]) {
  let deepest = -Infinity;
  for (let i = 0; i <= 2000; i++) {
    const t = i / 2000;
    deepest = Math.max(deepest, ar + t * (br - ar) - Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)));
  }
  return deepest;
}

/** How often the ring goes around a point, by the angles under which its corners are seen. */
function turnsAround(ring, x, y) {
  let sum = 0;
  for (let i = 0; i < ring.length; i++) {
    const [ax, ay] = [ring[i][0] - x, ring[i][1] - y];
    const [bx, by] = [ring[(i + 1) % ring.length][0] - x, ring[(i + 1) % ring.length][1] - y];
    sum += Math.atan2(ax * by - ay * bx, ax * bx + ay * by);
  }
  return Math.round(sum / (2 * Math.PI));
}

test("a single press of the brush is a disc of the pixels whose middles are in it", () => {
  const shape = (diameter) => strokeRegion([[10, 10, diameter / 2]], 21, 21).area;
  assert.deepEqual([1, 3, 5, 7].map(shape), [1, 9, 21, 37]);
});

test("a stroke has the pixels within its radius, also when the pen presses harder on the way", () => {
  const random = seeded(7);
  for (let round = 0; round < 30; round++) {
    const point = () => [Math.floor(random() * 50) - 5, Math.floor(random() * 40) - 5, 0.5 + random() * 9];
    const [a, b] = [point(), point()];
    const region = strokeRegion([a, b], 40, 30);
    for (const [x, y] of everyPixel(40, 30)) {
      const depth = depthInBrush(x, y, a, b);
      if (Math.abs(depth) < 0.01) continue; // on the edge, where stepping is too coarse to say
      assert.equal(region.has(x, y), depth > 0, `${x}, ${y} of ${a} to ${b}`);
    }
  }
});

test("a stroke outside the image gives nothing", () => {
  assert.equal(
    strokeRegion(
      [
        [-50, 5, 10],
        [-30, 500, 10],
      ],
      40,
      30,
    ).isEmpty,
    true,
  );
  assert.equal(toWire(strokeRegion([[5, 45, 10]], 40, 30)), null);
});

test("a polygon has the pixels whose middles it goes around, and crossing itself leaves no gap", () => {
  const random = seeded(3);
  for (let round = 0; round < 40; round++) {
    const ring = Array.from({ length: 3 + Math.floor(random() * 9) }, () => [random() * 60 - 8, random() * 50 - 8]);
    const filled = polygonRegion([ring], 44, 34);
    const odd = polygonRegion([ring], 44, 34, "evenodd");
    for (const [x, y] of everyPixel(44, 34)) {
      const turns = turnsAround(ring, x + 0.5, y + 0.5);
      assert.equal(filled.has(x, y), turns !== 0, `${x}, ${y}, round ${round}`);
      assert.equal(odd.has(x, y), turns % 2 !== 0, `${x}, ${y}, round ${round}`);
    }
  }
});

test("corners between pixels give exactly those pixels", () => {
  const region = polygonRegion([[[2, 3], [7, 3], [7, 5], [2, 5]]], 20, 20); // prettier-ignore
  assert.equal(region.area, 10);
  assert.ok(region.has(2, 3) && region.has(6, 4) && !region.has(7, 4) && !region.has(2, 5));
});

test("middles on a side belong to the shape at their right or below, so neighbours share no pixel", () => {
  const left = polygonRegion([[[1.5, 1.5], [4.5, 1.5], [4.5, 4.5], [1.5, 4.5]]], 10, 10); // prettier-ignore
  const right = polygonRegion([[[4.5, 1.5], [7.5, 1.5], [7.5, 4.5], [4.5, 4.5]]], 10, 10); // prettier-ignore
  assert.equal(both(left, right).isEmpty, true);
  assert.equal(union(left, right).area, left.area + right.area);
  assert.ok(left.has(1, 1) && !left.has(4, 2) && right.has(4, 2));
});

test("wide images are filled in strips without seams", () => {
  const region = polygonRegion([[[0, 0], [6000, 0], [6000, 900], [0, 900]]], 6000, 900); // prettier-ignore
  assert.equal(region.area, 6000 * 900);
  assert.equal(toMask(region).counts.join(), `0,${6000 * 900}`);
});

test("regions are joined, cut and met pixel by pixel", () => {
  const random = seeded(11);
  for (let round = 0; round < 20; round++) {
    const make = () => strokeRegion([[random() * 20, random() * 20, random() * 6 + 1]], 20, 20);
    const [a, b] = [make(), make()];
    for (const [x, y] of everyPixel(20, 20)) {
      assert.equal(union(a, b).has(x, y), a.has(x, y) || b.has(x, y));
      assert.equal(minus(a, b).has(x, y), a.has(x, y) && !b.has(x, y));
      assert.equal(both(a, b).has(x, y), a.has(x, y) && b.has(x, y));
    }
  }
});

test("runs added in any order are sorted, joined and cut at the border", () => {
  const region = new Region(5, 10);
  region.add(1, 6, 8);
  region.add(1, -3, 2);
  region.add(1, 2, 4);
  region.add(1, 7, 20);
  region.add(9, 0, 5);
  assert.deepEqual([...region.columns], [[1, [0, 4, 6, 10]]]);
});

test("what is sent is read back as the same pixels", () => {
  const random = seeded(5);
  for (let round = 0; round < 30; round++) {
    const ring = Array.from({ length: 7 }, () => [random() * 300, random() * 200]);
    const region = polygonRegion([ring], 280, 190, "evenodd");
    const wire = toWire(region);
    const mask = readMask(wire);
    assert.equal(area(mask), region.area);
    assert.deepEqual(mask.counts, toMask(region).counts);
    for (const [x, y] of everyPixel(280, 190).filter((_, i) => i % 97 === 0)) {
      assert.equal(containsPixel(mask, x, y), region.has(x, y));
    }
    assert.deepEqual([...regionOf(mask, 280, 190).columns].sort(), [...region.columns].sort());
  }
});

test("run lengths of any size survive the trip", () => {
  for (const counts of [[], [0], [15], [16], [31, 32], [0, 1, 2, 3, 1000000, 4, 0, 99999999], [5, 4, 3, 2, 1]]) {
    assert.deepEqual(decodeCounts(encodeCounts(counts)), counts);
  }
});

test("a lasso of ten times the points takes ten times as long at most, on twelve megapixels", () => {
  const ring = (count) =>
    Array.from({ length: count }, (_, i) => {
      const angle = (i / count) * 2 * Math.PI;
      const radius = 1300 + 100 * Math.sin(angle * 300) + (i % 7);
      return [2000 + radius * Math.cos(angle) * 1.4, 1500 + radius * Math.sin(angle)];
    });
  const timed = (count) => {
    const points = ring(count);
    const began = performance.now();
    const wire = toWire(polygonRegion([points], 4000, 3000));
    assert.ok(area(readMask(wire)) > 4_000_000);
    return performance.now() - began;
  };
  timed(1_000); // warm
  const [few, many] = [Math.min(timed(10_000), timed(10_000)), Math.min(timed(100_000), timed(100_000))];
  assert.ok(many < 10 * few + 50, `${few} ms, then ${many} ms`);
});
