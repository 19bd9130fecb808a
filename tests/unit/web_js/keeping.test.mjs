import assert from "node:assert/strict";
import { test } from "node:test";

import { keyIn, sentencesOf, uploadsLine } from "../../../samref/web/static/keeping.js";

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

test("what happens with uploads is one true line", () => {
  assert.equal(uploadsLine({ folder: "/data", demo_days: 0 }), "Your images stay on this machine, in /data.");
  const here = "Your images and labels are kept on this server";
  assert.equal(uploadsLine({ demo_days: 0 }), `${here} and nothing is removed by itself.`);
  const unused = "7 days pass without anybody using your workspace";
  assert.equal(uploadsLine({ demo_days: 7 }), `${here} until ${unused}.`);
  assert.equal(uploadsLine({ demo_days: 7, forgets: true }), `${here} until it starts anew or ${unused}.`);
  const copied = uploadsLine({ folder: "/data", demo_days: 1, saved: { up_to: 5 } });
  assert.equal(copied.includes("stay on this machine"), false, "copies leave it");
  assert.match(copied, /copied to a place that outlives it, until 1 day pass/);
  const failed = uploadsLine({ demo_days: 0, saved: { up_to: null, problem: "The copy cannot be written." } });
  assert.equal(failed, `${here} and nothing is removed by itself. The copy cannot be written.`);
  assert.match(uploadsLine({ read_only: "The disk is full." }), /^The disk is full\. Your images/);
});
