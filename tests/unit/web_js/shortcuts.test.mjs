import assert from "node:assert/strict";
import { test } from "node:test";

import { SHORTCUTS, findReleased, findShortcut, labelsOf } from "../../../samref/web/static/shortcuts.js";

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
