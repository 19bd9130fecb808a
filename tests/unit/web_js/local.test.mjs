import assert from "node:assert/strict";
import { test } from "node:test";

import { agrees, differingPixels } from "../../../samref/web/static/local/agreement.js";
import { sentenceOf, whyNot } from "../../../samref/web/static/local/conditions.js";
import { createHover } from "../../../samref/web/static/local/hover.js";
import { createAnswers, foreseen } from "../../../samref/web/static/local/steps.js";

const click = (x, positive = true) => ({ type: "click", x, y: 0, positive });
const prompt = (...prompts) => ({ verb: "prompt", args: { prompts } });
const draftOf = (prompts, bases) => ({ prompts, bases, count: prompts.length });

/** A mask of rows of text: "#" is the object. */
function maskOf(rows, x = 0, y = 0) {
  const [height, width] = [rows.length, rows[0].length];
  const counts = [0];
  let last = false;
  for (let column = 0; column < width; column++) {
    for (const row of rows) {
      const is = row[column] === "#";
      if (is === last) counts[counts.length - 1] += 1;
      else counts.push(1);
      last = is;
    }
  }
  return { x, y, width, height, columns: width, rows: height, scale: 1, counts };
}

// ---- steps

test("prompts that leave together start from the one before the first of them", () => {
  const draft = draftOf([click(1), click(2)], [0, 1]);
  assert.deepEqual(foreseen(draft, [], false), { prompts: draft.prompts, bases: [0, 1] });
  const flying = foreseen(draft, [prompt(click(3)), prompt(click(4)), prompt(click(5))], true);
  assert.deepEqual(flying.bases, [0, 1, 2, 3, 3]);
  assert.deepEqual(
    flying.prompts.map(({ x }) => x),
    [1, 2, 3, 4, 5],
  );
  assert.deepEqual(foreseen(draft, [prompt(click(3)), prompt(click(4))], false).bases, [0, 1, 2, 2]);
});

test("a draft that more than prompts decides is foreseen by nobody", () => {
  assert.equal(foreseen(draftOf([click(1)], null), [prompt(click(2))], true), null);
  for (const verb of ["undo", "paint", "commit", "clear", "replace_prompt", "next_candidate", "edit", "travel"]) {
    assert.equal(foreseen(draftOf([], []), [prompt(click(1)), { verb, args: {} }], true), null, verb);
  }
  assert.notEqual(foreseen(draftOf([], []), [{ verb: "prefetch", args: {} }, prompt(click(1))], false), null);
});

function fakeModel() {
  const asked = [];
  return {
    asked,
    async coarse({ digest, prompts, previous }) {
      asked.push([digest, prompts.map(({ x }) => x), previous]);
      return { mask: null, memory: `after ${prompts.at(-1).x}`, seconds: 0 };
    },
  };
}

test("an answer goes on from the memory of the step that the server names, and none is computed twice", async () => {
  const model = fakeModel();
  const answers = createAnswers(model);
  const steps = { prompts: [click(1), click(2), click(3), click(4)], bases: [0, 1, 1, 3] };
  assert.equal(answers.missing("cat", steps), 3);
  await answers.ask("cat", steps);
  assert.deepEqual(model.asked, [
    ["cat", [1], null],
    ["cat", [1, 2, 3], "after 1"],
    ["cat", [1, 2, 3, 4], "after 3"],
  ]);
  await answers.ask("cat", { prompts: steps.prompts.slice(0, 3), bases: [0, 1, 1] });
  assert.equal(model.asked.length, 3);
  assert.equal(answers.missing("dog", steps), 3);
  assert.equal(answers.known("cat", { prompts: steps.prompts, bases: [0, 1, 2, 3] }), null, "another basis");
});

test("prompts of the server and of the page are the same whatever the order of their fields", async () => {
  const model = fakeModel();
  const answers = createAnswers(model);
  await answers.ask("cat", { prompts: [click(1)], bases: [0] });
  const same = { positive: true, y: 0, x: 1, type: "click" };
  assert.notEqual(answers.known("cat", { prompts: [same], bases: [0] }), null);
});

// ---- agreement

test("masks are compared pixel by pixel, wherever their boxes lie", () => {
  const one = maskOf([".##", "###"], 4, 7);
  assert.equal(differingPixels(one, one), 0);
  assert.equal(differingPixels(one, maskOf(["##", "##"], 5, 7)), 1);
  assert.equal(differingPixels(one, null), 5);
  assert.equal(differingPixels(null, null), 0);
  assert.equal(differingPixels(maskOf(["#"], 0, 0), maskOf(["#"], 0, 1)), 2);
  assert.equal(differingPixels(maskOf(["#", ".", "#"]), maskOf(["#", "#", "#"])), 1);
});

test("masks agree when nearly all that one of them has, both have", () => {
  const square = (side, missing) =>
    maskOf(Array.from({ length: side }, (_, row) => (row < missing ? "." : "#").repeat(side)));
  assert.ok(agrees(square(10, 2), square(10, 0)));
  assert.ok(agrees(square(10, 0), square(10, 2)));
  assert.ok(!agrees(square(10, 3), square(10, 0)));
  assert.ok(!agrees(null, square(10, 0)));
  assert.ok(agrees(null, null));
});

// ---- conditions

test("each reason not to load the model has its sentence", () => {
  const fine = { wanted: true, offered: { model: "tiny" }, model: "tiny", connection: undefined, simd: true };
  assert.equal(whyNot(fine), null);
  const cases = {
    off: { wanted: false },
    offered: { offered: null },
    model: { model: "sam-vit-b" },
    saver: { connection: { saveData: true, effectiveType: "4g" } },
    slow: { connection: { saveData: false, effectiveType: "2g" } },
    simd: { simd: false },
  };
  const said = new Set();
  for (const [reason, change] of Object.entries(cases)) {
    assert.equal(whyNot({ ...fine, ...change }), reason);
    said.add(sentenceOf({ reason }));
  }
  for (const reason of ["failed", "image", "broken", "time", "differs"]) {
    said.add(sentenceOf({ reason, ms: 230, detail: "The download broke off." }));
  }
  for (const phase of ["loading", "preparing", "ready"]) said.add(sentenceOf({ phase, ms: 74 }));
  assert.equal(said.size, 14);
  for (const sentence of said) assert.match(sentence, /^[A-Z].*server.*\.$/);
});

// ---- hover

function hoverBench({ isCalm = false } = {}) {
  const target = new EventTarget();
  const questions = [];
  const timers = [];
  const bench = { free: true, drawn: null, view: {}, questions, timers };
  const layer = {
    show: (mask) => (bench.drawn = mask),
    hide: () => (bench.drawn = null),
    isShown: () => bench.drawn !== null,
  };
  bench.hover = createHover({
    overlay: target,
    layer,
    view: () => bench.view,
    pixelAt: (x, y) => (x < 0 ? null : [x, y]),
    isFree: () => bench.free,
    ask: (x, y) => new Promise((resolve, reject) => questions.push({ x, y, resolve, reject })),
    colour: () => [0, 0, 0],
    onError: (error) => (bench.error = error),
    isCalm: () => isCalm,
    clock: { setTimeout: (callback, ms) => timers.push({ callback, ms }), clearTimeout: (id) => (timers[id - 1].callback = () => {}) },
  });
  bench.move = (clientX, rest = {}) => {
    const event = { pointerType: "mouse", buttons: 0, clientX, clientY: 0, ctrlKey: false, metaKey: false, ...rest };
    target.dispatchEvent(Object.assign(new Event("pointermove"), event));
  };
  bench.leave = () => target.dispatchEvent(new Event("pointerleave"));
  bench.answer = async (mask) => {
    questions.at(-1).resolve(mask === null ? null : { mask });
    await new Promise((resolve) => setImmediate(resolve));
  };
  return bench;
}

test("one question at a time, and then the newest place", async () => {
  const bench = hoverBench();
  for (const x of [1, 2, 3]) bench.move(x);
  assert.deepEqual(bench.questions.map(({ x }) => x), [1]);
  await bench.answer("at 1");
  assert.equal(bench.drawn, "at 1");
  assert.deepEqual(bench.questions.map(({ x }) => x), [1, 3]);
  await bench.answer("at 3");
  assert.equal(bench.drawn, "at 3");
  bench.move(3);
  assert.equal(bench.questions.length, 2, "the pointer is still there");
  assert.equal(bench.hover.maskAt(3, 0), "at 3");
  assert.equal(bench.hover.maskAt(2, 0), null);
});

test("a mask goes with the pointer and does not come back after it", async () => {
  const bench = hoverBench();
  bench.move(1);
  await bench.answer("at 1");
  bench.move(2);
  bench.leave();
  assert.equal(bench.drawn, null);
  await bench.answer("at 2");
  assert.equal(bench.drawn, null);
  for (const rest of [{ buttons: 1 }, { pointerType: "touch" }, { ctrlKey: true }]) {
    bench.move(5, rest);
    assert.equal(bench.questions.length, 2);
  }
});

test("nothing is shown that was asked before the image moved, or where a click begins nothing", async () => {
  const bench = hoverBench();
  bench.move(1);
  bench.view = {};
  await bench.answer("of the old view");
  assert.equal(bench.drawn, null);
  assert.equal(bench.questions.length, 2, "asked again");
  bench.free = false;
  await bench.answer("too late");
  assert.equal(bench.drawn, null);
  assert.equal(bench.questions.length, 2);
});

test("a question that fails is told and leaves nothing behind", async () => {
  const bench = hoverBench();
  bench.move(1);
  bench.questions[0].reject(new Error("gone"));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.error.message, "gone");
  assert.equal(bench.drawn, null);
});

test("who wants little motion sees a mask only when the pointer rests", async () => {
  const bench = hoverBench({ isCalm: true });
  bench.move(1);
  bench.move(2);
  assert.equal(bench.questions.length, 0);
  for (const { callback } of bench.timers) callback();
  assert.deepEqual(bench.questions.map(({ x }) => x), [2]);
});
