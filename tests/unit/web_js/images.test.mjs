import assert from "node:assert/strict";
import { test } from "node:test";

import { createImageList, neighbourOf, nextToDo, stateOf } from "../../../samref/web/static/image_list.js";
import { folderFiles, isImageName, plainFiles } from "../../../samref/web/static/intake.js";
import { INITIAL, mergeAnswer } from "../../../samref/web/static/state.js";
import { createTransport } from "../../../samref/web/static/transport.js";
import { remarkOn, summaryOf } from "../../../samref/web/static/uploads.js";
import { layoutOf, tilesInSight } from "../../../samref/web/static/windowed.js";

const IMAGES = [
  { digest: "a", file_name: "x/10.png", annotations: 0 },
  { digest: "b", file_name: "x/9.png", annotations: 3, mark: "done" },
  { digest: "c", file_name: "y/1.png", annotations: 1, draft: true },
  { digest: "d", file_name: "y/2.png", annotations: 0, removed: true },
  { digest: "e", file_name: "y/3.png", annotations: 0, mark: "flagged", draft: true },
];
const stateWith = (rest = {}) => ({ ...INITIAL, opening: null, workspace: { images: IMAGES }, ...rest });
const shownBy = (rest) =>
  createImageList()(stateWith(rest))
    .shown.map((one) => one.digest)
    .join("");

test("an image has one state, a removed one that of being removed", () => {
  assert.deepEqual(IMAGES.map(stateOf), ["todo", "done", "draft", "removed", "flagged"]);
});

test("filters, search and orders", () => {
  assert.equal(shownBy({}), "abce");
  assert.equal(shownBy({ imageFilter: "todo" }), "ac");
  assert.equal(shownBy({ imageFilter: "draft" }), "ce");
  assert.equal(shownBy({ imageFilter: "done" }), "b");
  assert.equal(shownBy({ imageFilter: "flagged" }), "e");
  assert.equal(shownBy({ imageFilter: "removed" }), "d");
  assert.equal(shownBy({ imageSearch: " Y/ " }), "ce");
  assert.equal(shownBy({ imageSort: "name" }), "bace", "9 comes before 10");
  assert.equal(shownBy({ imageSort: "objects" }), "bcae");
  assert.equal(shownBy({ imageSort: "state" }), "caeb");
});

test("counts are of all images, and the open one is found among those shown", () => {
  const found = createImageList()(stateWith({ image: { digest: "c" }, imageFilter: "todo" }));
  assert.deepEqual(found.counts, { all: 4, todo: 2, draft: 2, done: 1, flagged: 1, removed: 1 });
  assert.equal(found.open, 1);
});

test("what the page knows of the open image is newer than the list", () => {
  const of = createImageList();
  const annotations = { revision: 7, list: [{}, {}] };
  const state = stateWith({ image: { digest: "a" }, annotations, draft: { ...INITIAL.draft, count: 1 } });
  const { shown } = of(state);
  assert.deepEqual(shown[0], { ...IMAGES[0], annotations: 2, draft: true });
  assert.equal(of({ ...state, other: 1 }).shown, shown, "nothing is computed twice");
});

test("neighbours are those shown, also of an image that is not shown any more", () => {
  const all = createImageList()(stateWith({ image: { digest: "b" } }));
  assert.equal(neighbourOf(all, "b", 1).digest, "c");
  const first = createImageList()(stateWith({ image: { digest: "a" } }));
  assert.equal(neighbourOf(first, "a", -1), null);
  const todo = createImageList()(stateWith({ image: { digest: "b" }, imageFilter: "todo" }));
  assert.equal(neighbourOf(todo, "b", 1).digest, "c");
  assert.equal(neighbourOf(todo, "b", -1).digest, "a");
  assert.equal(neighbourOf(todo, "unknown", 1), null);
});

test("the next image to do is the next one without a mark, from the start again after the last", () => {
  const all = createImageList()(stateWith({}));
  assert.equal(nextToDo(all, "a").digest, "c");
  assert.equal(nextToDo(all, "e").digest, "a");
  const one = createImageList()(stateWith({ workspace: { images: IMAGES.slice(0, 2) } }));
  assert.equal(nextToDo(one, "a"), null);
});

test("changes of a workspace are merged, a whole one takes its place", () => {
  const full = { token: "t", revision: 4, since: 0, classes: [1], models: ["m"], images: IMAGES };
  const known = mergeAnswer(INITIAL, { kind: "view", workspace: full }, { verb: "hello" });
  const marked = { ...IMAGES[0], mark: "done" };
  const added = { digest: "f", file_name: "f.png", annotations: 0 };
  const change = { token: "t", revision: 6, since: 4, classes: [1, 2], images: [added, marked] };
  const { workspace } = mergeAnswer(known, { kind: "view", workspace: change }, { verb: "sync" });
  assert.deepEqual(workspace.images, [marked, ...IMAGES.slice(1), added]);
  assert.deepEqual([workspace.models, workspace.classes, workspace.revision], [["m"], [1, 2], 6]);
  const nothing = { ...change, revision: 7, images: [] };
  assert.equal(mergeAnswer({ ...known, workspace }, { workspace: nothing }, {}).workspace.images, workspace.images);
});

test("a mark behind a refused click is sent all the same, and again after a lost connection", () => {
  const sent = [];
  const transport = createTransport({
    post: (message) => sent.push(message),
    context: () => ({ token: "t", image: "a", revision: 1, known: { annotations: 0 } }),
    onAnswer: () => {},
    clock: { now: () => 0, setTimeout: () => 0, clearTimeout: () => {} },
  });
  transport.send("prompt", { prompts: [{}] });
  transport.send("undo");
  transport.send("mark_image", { digests: ["a"], mark: "done" }, { image: null });
  transport.receive(JSON.stringify({ seq: 1, kind: "error", final: true }));
  assert.equal(sent.at(-1).verb, "mark_image");
  transport.resync({ again: true });
  assert.equal(sent.at(-1).verb, "sync");
  transport.receive(JSON.stringify({ seq: 3, kind: "view", final: true }));
  assert.equal(sent.at(-1).verb, "mark_image");
});

test("tiles in sight: a few more than are seen, never more than there are", () => {
  const grid = layoutOf({ axis: "y", least: 100, height: () => 90, gap: 10 }, 430, 1000);
  assert.deepEqual([grid.columns, grid.width, grid.stepY, grid.total], [4, 100, 100, 25_000]);
  assert.deepEqual(tilesInSight(grid, "y", 1000, 300, 1000), [32, 60]);
  assert.deepEqual(tilesInSight(grid, "y", -200, 300, 1000), [0, 12]);
  assert.deepEqual(tilesInSight(grid, "y", 24_800, 300, 998), [984, 998]);
  assert.deepEqual(tilesInSight(grid, "y", -900, 300, 1000), [0, 8], "far above the list");
  assert.deepEqual(tilesInSight(grid, "y", 2000, 300, 3), [3, 3], "far below a short list: none, and none that are not there");
  const row = layoutOf({ axis: "x", least: 76, gap: 8 }, 500, 5000);
  assert.deepEqual([row.total, tilesInSight(row, "x", 840, 500, 5000)], [420_000, [8, 18]]);
  assert.equal(layoutOf({ axis: "y", least: 100, height: () => 90, gap: 10 }, 40, 5).columns, 1, "narrower than a tile");
});

test("the summary counts every file of a batch", () => {
  const sum = (rest) => summaryOf({ total: 60, opened: 60, known: 0, refused: 0, cancelled: false, ...rest });
  assert.equal(sum({}), "60 of 60 images opened.");
  assert.equal(sum({ opened: 52, refused: 8 }), "52 of 60 images opened, 8 refused.");
  assert.equal(sum({ opened: 50, known: 1, refused: 9 }), "50 of 60 images opened, 1 was here already, 9 refused.");
  assert.equal(sum({ opened: 17, cancelled: true }), "17 of 60 images opened, 43 not uploaded, as you asked.");
  assert.equal(sum({ opened: 0, known: 60 }), "All 60 images were here already.");
});

test("what is worth a remark", () => {
  const stored = (file_name, outcome) => ({ digest: "z", file_name, outcome });
  assert.equal(remarkOn("new.png", stored("new.png", "new"), IMAGES), null);
  assert.match(remarkOn("copy.png", stored("x/9.png", "known"), IMAGES), /^copy.png is the same image as x\/9.png; it/);
  assert.match(remarkOn("x/9.png", stored("x/9.png", "known"), IMAGES), /^x\/9.png is here already/);
  assert.match(remarkOn("a.png", stored("a.png", "restored"), IMAGES), /it is back/);
  assert.match(remarkOn("x/9.png", stored("x/9.png", "new"), IMAGES), /two images called 9.png/);
  assert.equal(remarkOn("y/2.png", stored("y/2.png", "new"), IMAGES), null, "its namesake is removed");
});

test("of a folder the images are taken in order of their paths, hidden files are not mentioned", () => {
  const file = (path) => ({ name: path.split("/").pop(), webkitRelativePath: path });
  const names = ["t/10.png", "t/9.JPG", "t/.DS_Store", "t/notes.txt", "t/.git/x.txt", "t/.hidden.png"];
  const found = folderFiles(names.map(file));
  assert.deepEqual(
    found.files.map((one) => one.name),
    ["t/9.JPG", "t/10.png"],
  );
  assert.deepEqual(found.others, ["t/notes.txt"]);
  assert.ok(isImageName("a.tiff") && !isImageName("a.svg") && !isImageName(".a.png"));
  assert.deepEqual(plainFiles([{ name: "" }])[0].name, "pasted.png");
});
