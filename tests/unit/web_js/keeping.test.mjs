import assert from "node:assert/strict";
import { test } from "node:test";

import { keyIn, sentencesOf } from "../../../samref/web/static/keeping.js";

const KEY = "ZmMw2Ugs8GiURSptMi17tFWMZSnYg8B0T6cMUpHRQnE";

test("a key is found alone, with blanks around it and in a link", () => {
  for (const text of [KEY, ` ${KEY}\n`, `#key=${KEY}`, `http://127.0.0.1:7860/#key=${KEY}`]) assert.equal(keyIn(text), KEY);
});

test("what is no key is not taken for one", () => {
  for (const text of ["", "short", `${KEY} ${KEY}`, `${KEY}?`, `<b>${KEY}</b>`, `#token=${KEY}`, "x".repeat(300)])
    assert.equal(keyIn(text), null);
});

test("what is said about keeping fits how the server keeps", () => {
  assert.match(sentencesOf({ folder: "/data", demo_days: 0 }).join(" "), /in \/data\..*Nothing is ever removed/);
  assert.match(sentencesOf({ folder: null, demo_days: 1 }).join(" "), /on the server.*nobody used for 1 day is removed/);
  assert.match(sentencesOf({ demo_days: 30, read_only: "The disk is full." })[0], /The disk is full/);
  assert.ok(sentencesOf(undefined).length > 0);
});
