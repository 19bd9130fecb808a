import assert from "node:assert/strict";
import { test } from "node:test";

import { PLAIN, adjustmentOf, isPlain, tonesOf } from "../../../samref/web/static/adjust.js";
import { nameOf, newsOf } from "../../../samref/web/static/announcer.js";
import { withKey } from "../../../samref/web/static/key_hints.js";
import { INITIAL } from "../../../samref/web/static/state.js";

const at = (tones, part) => tones[Math.round(part * (tones.length - 1))];

test("the plain adjustment shows every tone as it is", () => {
  tonesOf(PLAIN).forEach((tone, i, all) => assert.ok(Math.abs(tone - i / (all.length - 1)) < 1e-9));
});

test("brightness, contrast and gamma do what they are called, within black and white", () => {
  assert.ok(at(tonesOf({ ...PLAIN, brightness: 30 }), 0.5) > 0.79);
  const steep = tonesOf({ ...PLAIN, contrast: 60 });
  assert.ok(at(steep, 0.25) < 0.2 && at(steep, 0.75) > 0.8 && Math.abs(at(steep, 0.5) - 0.5) < 1e-9);
  const lifted = tonesOf({ ...PLAIN, gamma: 2 });
  assert.ok(Math.abs(at(lifted, 0.25) - 0.5) < 1e-9 && lifted[0] < 1e-9 && lifted.at(-1) > 1 - 1e-9);
  for (const tones of [tonesOf({ brightness: 100, contrast: 100, gamma: 5 }), steep, lifted]) {
    assert.ok(tones.every((tone, i) => tone >= 0 && tone <= 1 && (i === 0 || tone >= tones[i - 1])));
  }
});

test("an adjustment from anywhere is brought within its limits", () => {
  assert.deepEqual(adjustmentOf({ brightness: 900, contrast: "x", gamma: 0 }), { brightness: 100, contrast: 0, gamma: 0.2 });
  assert.ok(isPlain(adjustmentOf(null)));
});

const mask = (pixels) => ({ x: 0, y: 0, width: 10, height: 10, columns: 10, rows: 10, scale: 1, counts: [0, pixels, 100 - pixels] });
const image = { digest: "d", file_name: "cup.png", width: 20, height: 20 };
const workspace = { classes: [{ id: 1, name: "cup" }, { id: 2, name: "spoon" }] };
const open = { ...INITIAL, workspace, image, offline: false, answeredFully: true };
const objects = (...classes) => ({ revision: classes.length, list: classes.map((class_id, i) => ({ id: `o${i}`, class_id })) });
const texts = (now, before) => newsOf(now, before).map(({ text }) => text);

test("a settled mask is told with its share of the image and its score, a coarse one is not told", () => {
  const draft = { ...open.draft, mask: mask(48), score: 0.918 };
  assert.deepEqual(texts({ ...open, draft }, open), ["Mask: 12 % of the image, score 0.92."]);
  assert.deepEqual(texts({ ...open, draft, answeredFully: false }, open), []);
  assert.deepEqual(texts(open, { ...open, draft }), ["No mask."]);
});

test("accepted and deleted objects are told by class and number", () => {
  const two = { ...open, annotations: objects(1, 2) };
  const three = { ...open, annotations: objects(1, 2, 1) };
  assert.deepEqual(texts(three, { ...two, draft: { ...open.draft, mask: mask(48) } }), ["Accepted cup 2."]);
  assert.deepEqual(texts(two, three), ["cup 2 is gone."]);
  assert.deepEqual(texts(three, two), ["cup 2 is there again."]);
  assert.equal(nameOf(three, "o1"), "spoon 1");
});

test("an opened image and a lost and found server are told, and nothing where nothing changed", () => {
  assert.deepEqual(texts(open, { ...open, image: null }), ["cup.png, 20 by 20 pixels, 0 objects."]);
  assert.equal(texts({ ...open, offline: true }, open).length, 1);
  assert.equal(texts(open, { ...open, offline: true }).length, 1);
  assert.deepEqual(texts(open, open), []);
});

test("a tooltip names the key that is set", () => {
  assert.equal(withKey("Point (P)", "Q"), "Point (Q)");
  assert.equal(withKey("Point (Q)", ""), "Point");
  assert.equal(withKey("Undo", "Ctrl + Z"), "Undo (Ctrl + Z)");
  assert.equal(withKey("Add to the object (X switches)", "Y"), "Add to the object (Y switches)");
});
