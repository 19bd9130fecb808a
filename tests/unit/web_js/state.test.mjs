import assert from "node:assert/strict";
import { test } from "node:test";

import {
  INITIAL,
  PHASES,
  closeImage,
  createStore,
  mergeAnswer,
  parseColour,
  phaseOf,
  shownAhead,
} from "../../../samref/web/static/state.js";

const DOT = { type: "click", x: 1, y: 2, positive: true };
const PIXEL = { box: [3, 4, 1, 1], counts: "01", scale: 1 };
const CAT = { digest: "cat", file_name: "cat.jpg", width: 10, height: 8 };
const QUIET = { offline: false, opening: null, uploading: 0, answeredFully: true, unanswered: null };

const draftOf = (rest = {}) => ({
  count: 0,
  prompts: [],
  mask: null,
  coarse: null,
  score: null,
  stage: null,
  editing: null,
  ...rest,
});
const viewOf = (rest = {}) => ({
  revision: 1,
  phase: "ready",
  image: CAT,
  model: "tiny",
  model_note: "",
  draft: draftOf(),
  ...rest,
});
const answer = (view, kind = "view") => ({ v: 1, seq: 1, kind, final: true, view });
const OPEN = { verb: "open", args: {}, first: true };
const CLICK = { verb: "prompt", args: { prompts: [DOT] }, first: true };

/** What an accepted click's answer says: a count, no prompts. */
const clicked = (count, rest = {}) => {
  const { prompts: _left, ...draft } = draftOf({ count, mask: PIXEL, stage: "coarse", ...rest });
  return viewOf({ revision: 2, phase: "coarse", draft });
};

test("answers to a prompt add the prompts that were sent, once", () => {
  let state = mergeAnswer(INITIAL, answer(viewOf()), OPEN);
  state = mergeAnswer(state, answer(clicked(1)), CLICK);
  assert.deepEqual(state.draft.prompts, [DOT]);
  state = mergeAnswer(state, answer(clicked(1, { stage: "refined" })), { ...CLICK, first: false });
  assert.deepEqual(state.draft.prompts, [DOT]);
  assert.equal(state.disagrees, false);
  assert.equal(state.draft.stage, "refined");
});

test("a draft that another tab made longer is noticed", () => {
  const state = mergeAnswer(mergeAnswer(INITIAL, answer(viewOf()), OPEN), answer(clicked(3)), CLICK);
  assert.equal(state.disagrees, true);
});

test("a refused prompt leaves the draft as the server says it is", () => {
  const before = mergeAnswer(INITIAL, answer(viewOf()), OPEN);
  const state = mergeAnswer(before, answer(viewOf(), "error"), CLICK);
  assert.deepEqual(state.draft.prompts, []);
});

test("annotations are merged by what changed and by their order", () => {
  const one = (id, rest = {}) => ({ id, class_id: 1, mask: PIXEL, visible: true, ...rest });
  const withList = (revision, order, changed) => answer(viewOf({ annotations: { revision, order, changed } }));
  let state = mergeAnswer(INITIAL, withList(1, ["a", "b"], [one("a"), one("b")]), OPEN);
  const kept = state.annotations.list[1];
  state = mergeAnswer(state, withList(2, ["b", "c"], [one("c", { visible: false })]), OPEN);
  assert.deepEqual(
    state.annotations.list.map(({ id, visible }) => [id, visible]),
    [
      ["b", true],
      ["c", false],
    ],
  );
  assert.equal(state.annotations.list[0], kept, "what did not change is the same object, so its outline stays made");
  state = mergeAnswer(state, answer(viewOf()), OPEN);
  assert.equal(state.annotations.revision, 2, "a view without annotations leaves them");
});

test("another image starts without the first one's objects and prompts", () => {
  let state = mergeAnswer(INITIAL, answer(clicked(1)), CLICK);
  state = mergeAnswer(state, answer(viewOf({ image: { ...CAT, digest: "dog" } })), OPEN);
  assert.deepEqual([state.draft.prompts, state.annotations.list, state.annotations.revision], [[], [], 0]);
});

test("the image stays the same object while its digest does, so nothing is fetched again", () => {
  const first = mergeAnswer(INITIAL, answer(viewOf()), OPEN);
  const second = mergeAnswer(first, answer(viewOf({ image: { ...CAT } })), OPEN);
  assert.equal(second.image, first.image);
});

test("an answer without a view changes nothing", () => {
  assert.equal(mergeAnswer(INITIAL, { v: 1, seq: 1, kind: "view", final: true }, OPEN), INITIAL);
});

test("each phase has words and follows from what is known", () => {
  const ready = mergeAnswer(INITIAL, answer(viewOf()), OPEN);
  const coarse = mergeAnswer(ready, answer(clicked(1)), CLICK);
  const cases = [
    [INITIAL, {}, "empty"],
    [INITIAL, { opening: CAT }, "opening"],
    [INITIAL, { uploading: 1 }, "opening"],
    [{ ...ready, serverPhase: "preparing" }, {}, "preparing"],
    [{ ...ready, serverPhase: "preparing" }, { unanswered: "prompt" }, "preparing"],
    [ready, {}, "ready"],
    [ready, { unanswered: "prompt" }, "coarse"],
    [coarse, { answeredFully: false }, "refining"],
    [coarse, { answeredFully: true }, "done"], // a model without a refiner
    [{ ...coarse, serverPhase: "refined" }, {}, "done"],
    [coarse, { offline: true }, "offline"],
  ];
  for (const [state, rest, expected] of cases) {
    const phase = phaseOf(state, { ...QUIET, ...rest });
    assert.equal(phase, expected);
    assert.equal(PHASES[phase].length, 2);
  }
});

test("closing an image keeps the workspace", () => {
  const workspace = { classes: [], images: [] };
  const closed = closeImage({ ...mergeAnswer(INITIAL, answer(viewOf()), OPEN), workspace });
  assert.deepEqual([closed.image, closed.workspace], [null, workspace]);
});

test("colours are read as numbers, and nonsense is a colour too", () => {
  assert.deepEqual(parseColour("#E6194b"), [230, 25, 75]);
  assert.equal(parseColour("url(javascript:1)").length, 3);
});

test("listeners of the store hear what was and what is", () => {
  const store = createStore({ a: 1, b: 2 });
  const heard = [];
  const stop = store.subscribe((now, before) => heard.push([before.a, now.a, now.b]));
  store.set({ a: 5 });
  stop();
  store.set({ a: 6 });
  assert.deepEqual(heard, [[1, 5, 2]]);
});

// ---- masks made in this browser

const OTHER = { type: "click", x: 5, y: 5, positive: false };
const MINE = { verb: "prompt", args: { prompts: [DOT], coarse: "mine" }, first: true };
const recorded = (count) => clicked(count, { mask: null, stage: null, bases: Array(count).fill(0) });
const opened = () => ({ ...mergeAnswer(INITIAL, answer(viewOf({ draft: draftOf({ bases: [] }) })), OPEN) });

test("a mask made in this browser is shown until the server has one of the same prompts", () => {
  let state = { ...opened(), ahead: { prompts: [DOT], mask: "mine" } };
  assert.equal(shownAhead(state, [DOT]).mask, "mine");
  assert.equal(shownAhead(state, []), null, "the prompt did not leave");
  assert.equal(shownAhead(state, [OTHER]), null);
  state = mergeAnswer(state, answer({ ...recorded(1), phase: "preparing" }), MINE);
  assert.equal(state.serverPhase, "coarse", "its coarse mask is the page's");
  assert.equal(shownAhead(state, []).mask, "mine");
  assert.equal(shownAhead(state, [OTHER]).mask, "mine");
  state = mergeAnswer(state, answer(clicked(1, { stage: "refined" })), { ...MINE, first: false });
  assert.equal(state.ahead, null);
});

test("a mask of two clicks outlives the refined mask of the first, and none a newer one of the server", () => {
  let state = { ...opened(), ahead: { prompts: [DOT, OTHER], mask: "mine" } };
  state = mergeAnswer(state, answer(clicked(1, { stage: "refined" })), CLICK);
  assert.equal(shownAhead(state, [OTHER]).mask, "mine");
  const undone = mergeAnswer(state, answer(viewOf({ draft: draftOf() })), { verb: "undo", args: {}, first: true });
  assert.equal(shownAhead(undone, []), null);
  const more = { ...CLICK, args: { prompts: [OTHER] } };
  state = mergeAnswer(state, answer(clicked(2)), more);
  assert.equal(shownAhead(state, []), null, "the server's coarse mask of both");
});

test("what was shown stays while nothing but the recording of a prompt is known", () => {
  let state = mergeAnswer(opened(), answer(clicked(1, { stage: "refined" })), CLICK);
  const shown = state.draft.mask;
  state = mergeAnswer(state, answer(recorded(2)), { ...MINE, args: { prompts: [OTHER], coarse: "mine" } });
  assert.equal(state.draft.mask, shown);
  assert.deepEqual(state.draft.bases, [0, 0]);
  state = mergeAnswer(state, answer(viewOf({ draft: draftOf() })), { verb: "undo", args: {}, first: true });
  assert.equal(state.draft.mask, null);
});

test("a mask made in this browser counts as the coarse one", () => {
  const state = opened();
  assert.equal(phaseOf(state, { ...QUIET, unanswered: "prompt" }), "coarse");
  assert.equal(phaseOf(state, { ...QUIET, unanswered: "prompt", isAhead: true }), "refining");
});
