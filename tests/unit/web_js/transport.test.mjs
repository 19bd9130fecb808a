import assert from "node:assert/strict";
import { test } from "node:test";

import { SILENCE_MS, createTransport } from "../../../samref/web/static/transport.js";

/** A transport with a wire that records, a clock that stands still and a page that notes what it painted. */
function setUp({ image = "cat", onAnswer } = {}) {
  const sent = [];
  const lost = [];
  const painted = [];
  const silent = [];
  const timers = new Map();
  let time = 0;
  let revision = 0;
  let nextTimer = 1;
  const clock = {
    now: () => time,
    setTimeout: (callback, ms) => (timers.set(nextTimer, { callback, at: time + ms }), nextTimer++),
    clearTimeout: (id) => timers.delete(id),
  };
  const transport = createTransport({
    post: (message) => sent.push(message),
    context: () => ({ token: "t", image, revision, known: { annotations: 4, workspace: 2 } }),
    onAnswer: (answer, request) => {
      painted.push(answer);
      if (answer.view) revision = answer.view.revision;
      onAnswer?.(answer, request);
    },
    onSilence: (request) => silent.push(request),
    onLost: (request) => lost.push(request),
    clock,
  });
  const answer = (seq, rest = {}) =>
    transport.receive(JSON.stringify({ v: 1, seq, kind: "view", final: false, ...rest }));
  const pass = (ms) => {
    time += ms;
    for (const [id, timer] of [...timers]) if (timer.at <= time && timers.delete(id)) timer.callback();
  };
  const click = (x) =>
    transport.send("prompt", { prompts: [{ type: "click", x, y: 0, positive: true }] }, { image, meta: x });
  return {
    transport,
    sent,
    lost,
    painted,
    silent,
    answer,
    pass,
    click,
    xs: (message) => message.prompts.map(({ x }) => x),
  };
}

test("one request is in flight until its first answer", () => {
  const { sent, click, answer } = setUp();
  click(1);
  click(2);
  assert.equal(sent.length, 1);
  answer(1, { view: { revision: 5 } });
  assert.equal(sent.length, 2);
  assert.equal(sent[1].revision, 5, "a request carries the revision known when it leaves");
});

test("ten quick clicks become two requests that hold all ten in order", () => {
  const { sent, click, answer, xs } = setUp();
  for (let x = 0; x < 10; x++) click(x);
  answer(1);
  assert.deepEqual(sent.map(xs), [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]);
  assert.deepEqual(
    sent.map(({ seq }) => seq),
    [1, 2],
  );
});

test("stale answers are dropped: once a newer click has left, the older one's refined mask never paints", () => {
  const { painted, click, answer, transport } = setUp();
  click(1);
  answer(1, { stage: "coarse" });
  click(2);
  assert.equal(answer(1, { stage: "refined", final: true }), false);
  answer(2, { stage: "coarse" });
  answer(2, { stage: "refined", final: true });
  assert.deepEqual(
    painted.map((a) => `${a.seq} ${a.stage}`),
    ["1 coarse", "2 coarse", "2 refined"],
  );
  assert.equal(transport.stats().stale, 1);
  assert.equal(transport.isBusy(), false);
});

test("with ten clicks and answers in any order, the last painted answer is the newest request's", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = generator(seed);
    const { sent, painted, click, answer, xs } = setUp();
    const onTheWay = [];
    let clicks = 0;
    let seen = 0;
    while (clicks < 10 || onTheWay.length || seen < sent.length) {
      while (seen < sent.length) {
        const { seq } = sent[seen++];
        onTheWay.push({ seq, final: false }, { seq, final: true });
      }
      if (clicks < 10 && random() < 0.5) click(clicks++);
      else if (onTheWay.length) {
        // answers of one request arrive in order, those of different requests in any
        const seqs = [...new Set(onTheWay.map(({ seq }) => seq))];
        const seq = seqs[Math.floor(random() * seqs.length)];
        const [next] = onTheWay.splice(
          onTheWay.findIndex((a) => a.seq === seq),
          1,
        );
        answer(next.seq, { final: next.final });
      }
    }
    assert.deepEqual(sent.flatMap(xs), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "every click is sent once, in order");
    const order = painted.map(({ seq }) => seq);
    assert.deepEqual(
      order,
      [...order].sort((a, b) => a - b),
      "nothing older is painted after something newer",
    );
    assert.deepEqual([painted.at(-1).seq, painted.at(-1).final], [sent.at(-1).seq, true]);
  }
});

test("an undo between clicks keeps its place and is not joined", () => {
  const { sent, click, answer, transport } = setUp();
  click(1);
  click(2);
  transport.send("undo");
  click(3);
  for (let seq = 1; seq <= 4; seq++) answer(seq, { final: true });
  assert.deepEqual(
    sent.map(({ verb }) => verb),
    ["prompt", "prompt", "undo", "prompt"],
  );
});

test("prompts of different images are not joined and an image's numbers stay its own", () => {
  const { sent, answer, transport } = setUp({ image: "cat" });
  transport.send("open", {}, { image: "dog" });
  assert.equal(sent[0].image, "dog");
  assert.equal(sent[0].revision, 0);
  assert.deepEqual(sent[0].known, { annotations: 0, workspace: 2 });
  const prompts = [{ type: "click", x: 1, y: 1, positive: true }];
  transport.send("prompt", { prompts }, { image: "dog" });
  transport.send("prompt", { prompts }, { image: "cat" });
  answer(1);
  assert.equal(sent[1].prompts.length, 1);
});

test("unanswered prompts are known until their first answer, so that their dots can be drawn", () => {
  const { transport, click, answer } = setUp();
  const xs = () => transport.unansweredPrompts().map(({ x }) => x);
  click(1);
  click(2);
  assert.deepEqual(xs(), [1, 2]);
  answer(1);
  assert.deepEqual(xs(), [2]);
  answer(2);
  assert.deepEqual(xs(), []);
});

test("what waits behind a refused request is not sent", () => {
  const { sent, click, answer, transport } = setUp();
  click(1);
  click(2);
  answer(1, { kind: "error", final: true, error: { code: "stale", message: "…" } });
  assert.equal(sent.length, 1);
  assert.deepEqual(transport.unansweredPrompts(), []);
});

test("a request without an answer is noticed, and asking again is safe", () => {
  const { sent, silent, click, pass, answer, transport, painted } = setUp();
  click(1);
  pass(SILENCE_MS - 1);
  assert.equal(silent.length, 0);
  pass(1);
  assert.deepEqual(
    silent.map(({ verb }) => verb),
    ["prompt"],
  );
  transport.resync();
  assert.deepEqual(
    sent.map(({ verb }) => verb),
    ["prompt", "sync"],
  );
  assert.equal(answer(1), false, "a late answer to the lost request is stale");
  answer(2, { final: true });
  assert.equal(painted.length, 1);
});

for (const [revision, arrived] of [
  [0, false],
  [1, true],
]) {
  test(`a click that the lost connection ${arrived ? "still delivered is not sent twice" : "swallowed is sent again, in its place"}`, () => {
    const { sent, click, pass, answer, transport, xs } = setUp();
    click(1);
    click(2);
    pass(SILENCE_MS);
    transport.resync({ again: true });
    assert.deepEqual(
      transport.unansweredPrompts().map(({ x }) => x),
      [1, 2],
      "its dot stays",
    );
    answer(2, { final: true, view: { revision, image: { digest: "cat" } } });
    assert.deepEqual(
      sent.map(({ verb }) => verb),
      ["prompt", "sync", "prompt"],
    );
    assert.deepEqual(xs(sent[2]), arrived ? [2] : [1, 2]);
  });
}

test("a second waiting question is one too many", () => {
  const { sent, click, transport, answer } = setUp();
  click(1);
  transport.send("sync");
  transport.send("sync");
  answer(1, { final: true });
  answer(2, { final: true });
  assert.deepEqual(
    sent.map(({ verb }) => verb),
    ["prompt", "sync"],
  );
});

test("a broken connection is told at once, but only of a request that still waits for an answer", () => {
  const { lost, sent, click, answer, transport } = setUp();
  click(1);
  transport.lose(1);
  assert.deepEqual(
    lost.map(({ verb }) => verb),
    ["prompt"],
  );
  answer(1);
  click(2);
  assert.equal(sent.length, 2);
  transport.lose(1); // overtaken
  answer(2, { final: true });
  transport.lose(2); // the stream of an answered request ends like any other
  assert.equal(lost.length, 1);
});

test("nothing breaks over an empty value or an answer nobody asked for", () => {
  const { transport, painted } = setUp();
  assert.equal(transport.receive(""), false);
  assert.equal(transport.receive(JSON.stringify({ v: 1, seq: 9, kind: "view" })), false);
  assert.equal(painted.length, 0);
});

test("of joined prompts the newest says who makes the coarse mask", () => {
  const { transport, sent, answer } = setUp();
  const click = (x, rest) =>
    transport.send("prompt", { prompts: [{ type: "click", x, y: 0, positive: true }], ...rest }, { image: "cat" });
  click(1, { coarse: "mine" });
  click(2, {});
  click(3, { coarse: "mine" });
  answer(1);
  click(4, { coarse: "mine" });
  click(5, {});
  answer(2);
  assert.deepEqual(
    sent.map(({ prompts, coarse }) => [prompts.map(({ x }) => x), coarse]),
    [
      [[1], "mine"],
      [[2, 3], "mine"],
      [[4, 5], undefined],
    ],
  );
});

/** Seeded numbers in [0, 1), so that a failure can be seen again. */
function generator(seed) {
  let state = seed * 7919;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

test("what has no answer yet can be kept over a reload, oldest first, questions left out", () => {
  const { transport, click, answer } = setUp();
  click(1);
  click(2);
  transport.send("sync");
  transport.send("commit", { class_id: 1 }, { image: "cat" });
  assert.deepEqual(
    transport.unsent().map(({ verb, image, args }) => [verb, image, args.prompts?.length ?? args.class_id]),
    [
      ["prompt", "cat", 1],
      ["prompt", "cat", 1],
      ["commit", "cat", 1],
    ],
  );
  answer(1);
  assert.deepEqual(
    transport.unsent().map(({ verb }) => verb),
    ["prompt", "commit"],
  );
});
