/** What the page says of a job in bulk. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { reviewed, sentenceOf } from "../../../samref/web/static/bulk.js";

const told = { phase: "paused", boxes: 10, boxes_done: 4, masks: 4, images: 3, images_done: 1, seconds_left: null };

test("each phase says what is to do", () => {
  assert.match(sentenceOf({ ...told, phase: "none", boxes: 0, boxes_done: 0 }), /^No boxes yet/);
  assert.equal(sentenceOf(told), "To do: 6 boxes in 2 images.");
  assert.equal(sentenceOf({ ...told, phase: "running", seconds_left: 61 }), "4 of 10 boxes done, about 61 s left.");
  assert.equal(sentenceOf({ ...told, phase: "running", seconds_left: 240 }), "4 of 10 boxes done, about 4 min left.");
  assert.match(sentenceOf({ ...told, phase: "waiting", boxes_done: 9 }), /^1 box waits?/);
  assert.equal(sentenceOf({ ...told, phase: "done", boxes_done: 10, masks: 10 }), "Done: 10 masks.");
  assert.equal(sentenceOf({ ...told, phase: "done" }), "Done: 4 masks; 6 boxes could not be done.");
});

test("looked at is one attribute beside the others", () => {
  const before = [["truncated", "yes"], ["reviewed", "no"]];
  assert.deepEqual(reviewed(before), [["truncated", "yes"], ["reviewed", "yes"]]);
  assert.deepEqual(reviewed(), [["reviewed", "yes"]]);
});
