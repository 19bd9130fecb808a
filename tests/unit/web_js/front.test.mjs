import assert from "node:assert/strict";
import { test } from "node:test";

import { clickWhenOpen } from "../../../samref/web/static/first_click.js";
import { moved, pixelAt } from "../../../samref/web/static/hero.js";
import { LOCAL_LINES, serverLines } from "../../../samref/web/static/scripting.js";
import { createStore } from "../../../samref/web/static/state.js";

const BOX = { left: 100, top: 50, width: 256, height: 128 };

test("a click on the shown image is the pixel under it, at its edges too", () => {
  const at = (clientX, clientY) => pixelAt(BOX, { clientX, clientY }, 512, 256);
  assert.deepEqual(at(100, 50), [0, 0]);
  assert.deepEqual(at(228, 114), [256, 128]);
  assert.deepEqual(at(355.9, 177.9), [511, 255]);
  assert.deepEqual(at(356, 178), [511, 255]);
  assert.deepEqual(at(99, 49), [0, 0]);
});

test("the slider goes by arrows, pages and ends, and leaves other keys alone", () => {
  assert.equal(moved(50, "ArrowRight"), 52);
  assert.equal(moved(50, "ArrowDown"), 48);
  assert.equal(moved(95, "PageUp"), 100);
  assert.equal(moved(5, "PageDown"), 0);
  assert.equal(moved(50, "Home"), 0);
  assert.equal(moved(50, "End"), 100);
  for (const key of [" ", "Enter", "Tab", "a"]) assert.equal(moved(50, key), null);
});

function opened(...states) {
  const store = createStore({ image: null, opening: { digest: null } });
  const sent = [];
  clickWhenOpen({ store, send: (...what) => sent.push(what) }, "cat.jpg", 3, 4);
  for (const state of states) store.set(state);
  return sent;
}

test("a click made before its image was open is sent once, when the image is there", () => {
  const cat = { digest: "c", file_name: "cat.jpg" };
  const click = ["c", { type: "click", x: 3, y: 4, positive: true }];
  assert.deepEqual(opened({ offline: true }), []);
  assert.deepEqual(opened({ offline: true }, { opening: null, image: cat }, { revision: 1 }), [click]);
});

test("a click is not sent to another image, nor to none", () => {
  const dog = { digest: "d", file_name: "dog.jpg" };
  const cat = { digest: "c", file_name: "cat.jpg" };
  assert.deepEqual(opened({ opening: null, image: dog }, { image: cat }), []);
  assert.deepEqual(opened({ opening: null }, { image: cat }), []);
});

test("an address becomes a string of Python, whatever is in it", () => {
  assert.match(serverLines("https://me-samref.hf.space/"), /Client\("https:\/\/me-samref\.hf\.space\/"\)/);
  assert.match(serverLines('http://x/"\\'), /Client\("http:\/\/x\/\\"\\\\"\)/);
  assert.match(LOCAL_LINES, /^import samref\n/);
});
