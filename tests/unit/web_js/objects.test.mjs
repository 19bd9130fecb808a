import assert from "node:assert/strict";
import { test } from "node:test";

import { findClasses } from "../../../samref/web/static/class_search.js";
import { PALETTE, createInstanceColours } from "../../../samref/web/static/object_colours.js";
import { objectToSelect, objectsAt } from "../../../samref/web/static/object_scene.js";
import { showing, zoomedTo } from "../../../samref/web/static/object_view.js";
import {
  namesOf,
  neighbourOf,
  rowsOf,
  selectAfter,
  selectionOf,
} from "../../../samref/web/static/objects.js";
import { createView, imageToDevice } from "../../../samref/web/static/view.js";
import { rowsInView, scrollTo } from "../../../samref/web/static/virtual_list.js";

const CLASSES = [
  { id: 1, name: "cup", colour: "#ff0000" },
  { id: 7, name: "Spoon", colour: "#00ff00" },
];

/** A filled box. */
const boxOf = (x, y, width, height) => ({
  x,
  y,
  width,
  height,
  columns: width,
  rows: height,
  scale: 1,
  counts: [0, width * height],
});
const objectOf = (id, class_id, rest = {}) => ({
  id,
  class_id,
  mask: boxOf(0, 0, 4, 4),
  visible: true,
  locked: false,
  area: 16,
  score: 0.5,
  model: "tiny",
  note: "",
  attributes: [],
  ...rest,
});
const stateOf = (list, rest = {}) => ({
  annotations: { revision: 1, list },
  workspace: { classes: CLASSES },
  draft: { editing: null },
  selected: null,
  selection: [],
  hiddenClasses: [],
  listText: "",
  listClass: null,
  listOrder: "drawn",
  ...rest,
});
const FOUR = [objectOf("a", 1), objectOf("b", 7), objectOf("c", 1), objectOf("d", 7)];
const ids = (rows) => rows.map((one) => one.id).join("");

test("objects are numbered within their class", () => {
  assert.deepEqual([...namesOf(stateOf(FOUR)).values()], ["cup 1", "Spoon 1", "cup 2", "Spoon 2"]);
});

test("the list is searched by name, note and attribute, and by class", () => {
  assert.equal(ids(rowsOf(stateOf(FOUR, { listText: " SPOON " }))), "bd");
  assert.equal(ids(rowsOf(stateOf(FOUR, { listClass: 1 }))), "ac");
  assert.equal(ids(rowsOf(stateOf(FOUR, { listClass: 99 }))), "abcd", "a class that is gone hides nothing");
  const told = [objectOf("a", 1, { note: "Broken handle" }), objectOf("b", 1, { attributes: [["colour", "blue"]] })];
  assert.equal(ids(rowsOf(stateOf(told, { listText: "handle" }))), "a");
  assert.equal(ids(rowsOf(stateOf(told, { listText: "blue" }))), "b");
});

test("the list is sorted by class, area and score; what has no score comes last", () => {
  const list = [
    objectOf("a", 7, { area: 5, score: null }),
    objectOf("b", 1, { area: 9, score: 0.9 }),
    objectOf("c", 7, { area: 7, score: 0.2 }),
  ];
  assert.equal(ids(rowsOf(stateOf(list, { listOrder: "class" }))), "bac");
  assert.equal(ids(rowsOf(stateOf(list, { listOrder: "area" }))), "bca");
  assert.equal(ids(rowsOf(stateOf(list, { listOrder: "score" }))), "cba");
});

test("a selection is one object, a toggled set or a range of the rows shown", () => {
  let state = stateOf(FOUR);
  const select = (id, how) => (state = { ...state, ...selectAfter(state, id, how) });
  select("b", "only");
  assert.deepEqual(selectionOf(state), ["b"]);
  select("d", "range");
  assert.deepEqual([...selectionOf(state)].sort(), ["b", "c", "d"]);
  assert.equal(state.selected, "d");
  select("a", "range");
  assert.deepEqual([...selectionOf(state)].sort(), ["a", "b"], "a range begins where the selection began");
  select("b", "toggle");
  assert.deepEqual(selectionOf(state), ["a"]);
  select("c", "toggle");
  assert.deepEqual(selectionOf(state), ["a", "c"]);
  select(null, "toggle");
  assert.deepEqual(selectionOf(state), ["a", "c"], "a click on nothing keeps a set that is being made");
  select(null, "only");
  assert.deepEqual(selectionOf(state), []);
});

test("what was deleted is not selected, and whoever selects one object ends a set", () => {
  const state = stateOf(FOUR, { selected: "a", selection: ["a", "gone"] });
  assert.deepEqual(selectionOf(state), ["a"]);
  assert.deepEqual(selectionOf({ ...state, selected: "c" }), ["c"]);
  assert.deepEqual(selectionOf({ ...state, selected: "gone" }), []);
});

test("next and previous walk the rows shown, round the ends", () => {
  const state = stateOf(FOUR, { listClass: 7 });
  assert.equal(neighbourOf(state, 1), "b");
  assert.equal(neighbourOf({ ...state, selected: "d" }, 1), "b");
  assert.equal(neighbourOf({ ...state, selected: "b" }, -1), "d");
  assert.equal(neighbourOf(stateOf([]), 1), null);
});

test("a click finds the topmost object that is shown and not locked, then the one below", () => {
  const list = [objectOf("low", 1), objectOf("locked", 7, { locked: true }), objectOf("top", 1)];
  assert.equal(ids(objectsAt(stateOf(list), 1, 1)), "toplockedlow");
  assert.equal(objectToSelect(stateOf(list), 1, 1), "top");
  assert.equal(objectToSelect(stateOf(list, { selected: "top" }), 1, 1), "low");
  assert.equal(objectToSelect(stateOf(list, { hiddenClasses: [1] }), 1, 1), null);
  assert.equal(objectToSelect(stateOf(list), 50, 1), null);
});

test("the rows that exist cover what is seen, and no more than twelve others", () => {
  assert.deepEqual(rowsInView(0, 300, 30, 1000), [0, 16]);
  assert.deepEqual(rowsInView(15_000, 300, 30, 1000), [494, 516]);
  assert.deepEqual(rowsInView(29_700, 300, 30, 1000), [984, 1000]);
  assert.deepEqual(rowsInView(5000, 300, 30, 3), [3, 3], "scrolled beyond the end of a list that was cut");
  assert.deepEqual(rowsInView(0, 300, 30, 0), [0, 0]);
});

test("a row is brought into sight with the least movement", () => {
  assert.equal(scrollTo(5, 0, 300, 30), 0);
  assert.equal(scrollTo(10, 0, 300, 30), 30);
  assert.equal(scrollTo(2, 600, 300, 30), 60);
  assert.equal(scrollTo(3, 0, 20, 30), 90, "a box lower than a row shows its top");
});

test("objects near each other get different colours, each keeps its own", () => {
  const colours = createInstanceColours();
  const crowd = Array.from({ length: 30 }, (_, i) => objectOf(`o${i}`, 1, { mask: boxOf(i, 0, 40, 40) }));
  const first = colours(crowd);
  assert.equal(new Set(first.values()).size, 30);
  const later = colours([objectOf("new", 1), ...crowd.slice(5)]);
  for (const one of crowd.slice(5)) assert.equal(later.get(one.id), first.get(one.id));
  assert.equal(new Set(PALETTE.map(String)).size, PALETTE.length);
  const many = Array.from({ length: 100 }, (_, i) => objectOf(`m${i}`, 1));
  assert.equal(createInstanceColours()(many).size, 100, "more than there are colours");
});

test("an object out of sight is brought into view, one in sight moves nothing", () => {
  const view = zoomedTo(
    createView({ deviceWidth: 800, deviceHeight: 600, imageWidth: 1000, imageHeight: 1000 }),
    boxOf(500, 500, 20, 20),
  );
  assert.ok(view.scale > 10);
  const [x, y] = imageToDevice(view, 510, 510);
  assert.ok(Math.abs(x - 400) <= 1 && Math.abs(y - 300) <= 1);
  assert.equal(showing(view, boxOf(505, 505, 5, 5)), view);
  const moved = showing(view, boxOf(560, 500, 10, 10));
  assert.equal(moved.scale, view.scale);
  assert.ok(imageToDevice(moved, 570, 510)[0] <= 800);
  assert.ok(showing(view, boxOf(0, 0, 900, 900)).scale < view.scale);
});

test("classes are found by their words, beginnings and recent ones first", () => {
  const classes = ["tea cup", "cup", "saucer", "cupboard"].map((name, id) => ({ id, name }));
  const names = (text, recent = []) => findClasses(classes, text, recent).map((one) => one.name);
  assert.deepEqual(names("CUP"), ["cup", "cupboard", "tea cup"]);
  assert.deepEqual(names("cup", [3]), ["cupboard", "cup", "tea cup"]);
  assert.deepEqual(names("cup te"), ["tea cup"]);
  assert.deepEqual(names("", [2, 0]), ["saucer", "tea cup", "cup", "cupboard"]);
  assert.deepEqual(names("<b>"), []);
});
