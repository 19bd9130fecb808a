import assert from "node:assert/strict";
import { test } from "node:test";

import { sentencesOf } from "../../../samref/web/static/keeping.js";
import { pauseAfter, wordsOf } from "../../../samref/web/static/saved.js";

const timeOf = (seconds) => `t${seconds}`;
const FINE = { up_to: 5, is_behind: false, problem: null };

test("the time that is shown is the one the server gave, and trouble says what would be lost", () => {
  assert.deepEqual([wordsOf(FINE, timeOf).state, wordsOf(FINE, timeOf).text], ["saved", "Saved up to t5"]);
  const trouble = wordsOf({ up_to: 5, is_behind: true, problem: "It is slow." }, timeOf);
  assert.equal(trouble.state, "trouble");
  assert.match(trouble.text, /until t5 only/);
  assert.match(trouble.title, /after t5 would not survive.*It is slow\./);
  assert.equal(wordsOf({ up_to: null, is_behind: true, problem: null }, timeOf).text, "Not saved yet");
  assert.equal(wordsOf({ up_to: null, is_behind: true, problem: "No token." }, timeOf).title, "No token.");
});

test("it is asked again only while something is not saved", () => {
  assert.equal(pauseAfter(FINE, 3), null);
  const pauses = [0, 1, 2, 9].map((asked) => pauseAfter({ ...FINE, is_behind: true }, asked));
  assert.deepEqual(pauses, [1000, 2000, 4000, 4000]);
  assert.equal(pauseAfter({ ...FINE, is_behind: true, problem: "It is slow." }, 0), 10000);
});

test("where the work is kept says what a restart leaves of it", () => {
  const said = (saved) => sentencesOf({ folder: null, demo_days: 0, saved }).join(" ");
  assert.doesNotMatch(said(null), /copied/);
  assert.match(said({ ...FINE, fetched_at: null }), /copied to a place that outlives this machine/);
  assert.match(said({ ...FINE, fetched_at: 1, is_partial: true }), /began anew with the labels as they were .* could not/s);
  assert.match(said({ ...FINE, fetched_at: 1, is_partial: false }), /began anew with the labels as they were/);
  assert.match(said({ up_to: null, is_behind: true, problem: "No token." }), /No token\./);
});
