import assert from "node:assert/strict";
import { test } from "node:test";

import { ownsKey } from "../../../samref/web/static/keyboard.js";
import {
  SHORTCUTS,
  findReleased,
  findShortcut,
  labelOf,
  labelsOf,
  useKeys,
} from "../../../samref/web/static/shortcuts.js";

const key = (name, rest = {}) => ({
  key: name,
  ctrlKey: false,
  metaKey: false,
  shiftKey: false,
  altKey: false,
  ...rest,
});
const action = (event) => findShortcut(event)?.action ?? null;

test("no two shortcuts share a key", () => {
  const all = SHORTCUTS.flatMap(({ keys }) => keys);
  assert.equal(new Set(all).size, all.length);
});

test("every shortcut can be printed", () => {
  for (const shortcut of SHORTCUTS) {
    assert.ok(shortcut.text && shortcut.group);
    assert.ok(labelsOf(shortcut).every((label) => label.trim().length > 0));
  }
});

test("the keys of the issue do what it says", () => {
  assert.equal(action(key("Enter")), "accept");
  assert.equal(action(key("z", { ctrlKey: true })), "undo");
  assert.equal(action(key("z", { metaKey: true })), "undo");
  assert.equal(action(key("y", { ctrlKey: true })), "redo");
  assert.equal(action(key("Z", { ctrlKey: true, shiftKey: true })), "redo");
  assert.equal(action(key("Escape")), "clear");
  assert.equal(action(key("Delete")), "delete");
  assert.equal(action(key("7")), "class");
  assert.equal(action(key("?", { shiftKey: true })), "help");
  assert.equal(action(key("F", { shiftKey: true })), "fit");
});

test("keys with Alt or while a word is being composed belong to somebody else", () => {
  assert.equal(action(key("b", { altKey: true })), null);
  assert.equal(action(key("b", { isComposing: true })), null);
  assert.equal(action(key("b", { ctrlKey: true })), null);
  assert.equal(action({}), null);
});

test("a held key is let go whatever else is held by then", () => {
  assert.equal(findReleased(key("H", { shiftKey: true, ctrlKey: true })).action, "hide");
  assert.equal(findReleased(key("b")), null);
});

test("Shift makes another key of a letter, and of no other letter's key", () => {
  assert.equal(action(key("R", { shiftKey: true })), "turn:left");
  assert.equal(action(key("r")), "turn:right");
  assert.equal(action(key("F", { shiftKey: true })), "fit");
});

test("somebody's own key acts and is printed; the one that came with the page no longer does", () => {
  useKeys({ accept: ["shift+a"] });
  assert.equal(action(key("A", { shiftKey: true })), "accept");
  assert.equal(action(key("Enter")), null);
  assert.equal(labelOf("accept"), "Shift + A");
  useKeys({});
  assert.equal(action(key("Enter")), "accept");
  assert.equal(labelOf("accept"), "Enter");
});

test("a key taken from another shortcut leaves that one without it", () => {
  useKeys({ outline: ["f"] });
  assert.equal(action(key("f")), "outline");
  assert.deepEqual(labelsOf(SHORTCUTS.find((one) => one.action === "fit")), []);
  useKeys({});
});

test("fixed keys stay, and damaged settings are left out", () => {
  useKeys({ clear: ["w"], fit: "w", nonsense: ["w"], outline: ["escape", 7, ""] });
  assert.equal(action(key("Escape")), "clear");
  assert.equal(action(key("w")), null);
  assert.equal(action(key("f")), "fit");
  useKeys(null);
});

test("a held key of one's own is let go again", () => {
  useKeys({ hide: ["j"] });
  assert.equal(findReleased(key("J", { shiftKey: true })).action, "hide");
  assert.equal(findReleased(key("h")), null);
  useKeys({});
});

test("a list keeps the keys that move in it and open it, a slider those that move it", () => {
  const element = (tagName, type) => ({ tagName, type, closest: () => null });
  for (const owned of ["ArrowDown", "Enter", " ", "Home"]) assert.ok(ownsKey(element("SELECT"), owned));
  for (const free of ["p", "Escape", "1"]) assert.ok(!ownsKey(element("SELECT"), free));
  assert.ok(ownsKey(element("INPUT", "range"), "ArrowLeft") && !ownsKey(element("INPUT", "range"), "Enter"));
  assert.ok(ownsKey(element("INPUT", "checkbox"), " ") && !ownsKey(element("INPUT", "checkbox"), "ArrowLeft"));
});
