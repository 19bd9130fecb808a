import assert from "node:assert/strict";
import { test } from "node:test";

import * as Tools from "../../../samref/web/static/tools.js";

const CONTEXT = {
  tool: "click",
  positive: true,
  brushWidth: 11,
  imageWidth: 100,
  imageHeight: 80,
  scale: 2,
  pixelRatio: 1,
};

/** A pointer event at an image position, on a view of two display dots per image pixel. */
const at = (type, x, y, rest = {}) => ({
  type,
  id: 1,
  pointerType: "mouse",
  button: 0,
  alt: false,
  space: false,
  device: [x * 2, y * 2],
  pixel: [Math.floor(x), Math.floor(y)],
  position: [x, y],
  trail: [],
  time: 0,
  pressure: null,
  ...rest,
});

/** Play events; returns the gesture and all actions. */
function play(events, context = {}, gesture = Tools.IDLE) {
  const all = [];
  for (const event of events) {
    const next = Tools.step(gesture, event, { ...CONTEXT, ...context });
    gesture = next.gesture;
    all.push(...next.actions);
  }
  return { gesture, actions: all, prompts: all.filter((a) => a.do === "prompt").map((a) => a.prompt) };
}

/** A press and a release at one place. */
const press = (x, y, rest = {}) => [at("down", x, y, rest), at("up", x, y, rest)];

test("a left click says object on the pixel that was pressed, and shows it before it is let go", () => {
  const pressed = play([at("down", 12.9, 7.2)]);
  assert.deepEqual(Tools.preview(pressed.gesture), { type: "click", x: 12, y: 7, positive: true });
  const { prompts } = play([at("up", 13.1, 7.2)], {}, pressed.gesture);
  assert.deepEqual(prompts, [{ type: "click", x: 12, y: 7, positive: true }]);
});

test("a right click, Alt and a pen's eraser say not the object", () => {
  for (const rest of [{ button: 2 }, { alt: true }, { button: 5, pointerType: "pen" }]) {
    assert.equal(play(press(5, 5, rest)).prompts[0].positive, false);
  }
});

test("in remove mode a left click says not the object and a right click still does", () => {
  for (const button of [0, 2])
    assert.equal(play(press(5, 5, { button }), { positive: false }).prompts[0].positive, false);
});

test("a click beside the image does nothing", () => {
  for (const [x, y] of [
    [-1, 5],
    [5, -0.1],
    [100, 5],
    [5, 80],
  ])
    assert.deepEqual(play(press(x, y)).actions, []);
});

test("the middle button and the space bar pan with every tool", () => {
  for (const tool of ["click", "box", "scribble", "polygon", "brush", "eraser", "lasso", "vertices", "hand"]) {
    for (const rest of [{ button: 1 }, { space: true }]) {
      const { actions } = play([at("down", 10, 10, rest), at("move", 12, 15, rest), at("up", 12, 15, rest)], { tool });
      assert.deepEqual(actions, [{ do: "pan", dx: 4, dy: 10 }], tool);
    }
  }
});

test("a box holds both corner pixels whole, whatever the direction of the drag", () => {
  for (const [from, to] of [
    [
      [10, 10],
      [20.5, 30.5],
    ],
    [
      [20.5, 30.5],
      [10, 10],
    ],
  ]) {
    const { prompts } = play([at("down", ...from), at("move", 15, 15), at("up", ...to)], { tool: "box" });
    assert.deepEqual(prompts, [{ type: "box", x0: 10, y0: 10, x1: 21, y1: 31 }]);
  }
});

test("a box dragged over the border ends at the border", () => {
  const { prompts } = play([at("down", 90, 70), at("up", 300, 300)], { tool: "box" });
  assert.deepEqual(prompts, [{ type: "box", x0: 90, y0: 70, x1: 100, y1: 80 }]);
});

test("a box without a drag is a hint, not a prompt", () => {
  const { actions } = play([at("down", 10, 10), at("up", 10.5, 10)], { tool: "box" });
  assert.deepEqual(
    actions.map((a) => a.do),
    ["hint"],
  );
});

test("a scribble keeps fast points between events, its sign and its width, and stays in the image", () => {
  const events = [
    at("down", 10, 10, { button: 2 }),
    at("move", 30, 20, { button: 2, trail: [{ pixel: [15, 18] }] }),
    at("up", 130, 20, { button: 2 }),
  ];
  const { prompts } = play(events, { tool: "scribble", brushWidth: 7 });
  assert.deepEqual(prompts, [
    {
      type: "scribble",
      points: [
        [10, 10],
        [15, 18],
        [30, 20],
        [99, 20],
      ],
      positive: false,
      width: 7,
    },
  ]);
});

test("a long stroke is thinned to points that stay on it", () => {
  const stroke = Array.from({ length: 20_000 }, (_, i) => [i, Math.round(400 * Math.sin(i / 40))]);
  const kept = Tools.thin(stroke);
  assert.ok(kept.length <= 500 && kept.length > 2);
  assert.deepEqual(kept[0], stroke[0]);
  assert.deepEqual(kept.at(-1), stroke.at(-1));
  assert.deepEqual(
    Tools.thin([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
    ]),
    [
      [0, 0],
      [3, 0],
    ],
  );
});

test("a polygon grows by clicks and closes at its first corner", () => {
  const clicks = [
    [10, 10],
    [30, 10.123],
    [30, 30],
    [12, 12],
  ].flatMap(([x, y]) => [at("down", x, y), at("up", x, y)]);
  const { prompts, gesture } = play(clicks, { tool: "polygon" });
  assert.deepEqual(prompts, [
    {
      type: "polygon",
      points: [
        [10, 10],
        [30, 10.12],
        [30, 30],
      ],
      positive: true,
    },
  ]);
  assert.equal(Tools.isDrawing(gesture), false);
});

test("Enter closes a polygon of three corners, Backspace takes one back, Esc forgets it", () => {
  const open = play(
    [
      [10, 10],
      [30, 10],
      [30, 30],
    ].flatMap(([x, y]) => [at("down", x, y), at("up", x, y)]),
    { tool: "polygon" },
  ).gesture;
  assert.equal(Tools.finishPolygon(open).actions[0].prompt.points.length, 3);
  const shorter = Tools.dropCorner(open);
  assert.equal(Tools.finishPolygon(shorter).actions[0].do, "hint");
  assert.equal(Tools.preview(shorter).points.length, 2);
  assert.equal(Tools.isDrawing(Tools.abandon(open)), false);
  assert.equal(Tools.dropCorner(Tools.dropCorner(shorter)).polygon, null);
});

test("a finger clicks when it is lifted", () => {
  const touch = { pointerType: "touch" };
  const down = play([at("down", 10, 10, touch)]);
  assert.deepEqual(down.actions, []);
  assert.deepEqual(play([at("up", 10.5, 10, touch)], {}, down.gesture).prompts, [
    { type: "click", x: 10, y: 10, positive: true },
  ]);
});

test("a drag with the Point tool is a box, by mouse and by finger; a short one stays a click", () => {
  for (const pointerType of ["mouse", "pen", "touch"]) {
    const rest = { pointerType };
    const { prompts } = play([at("down", 10, 10, rest), at("move", 30, 20, rest), at("up", 40.5, 30.5, rest)]);
    assert.deepEqual(prompts, [{ type: "box", x0: 10, y0: 10, x1: 41, y1: 31 }], pointerType);
    const short = play([at("down", 10, 10, rest), at("move", 11.5, 10, rest), at("up", 11.5, 10, rest)]);
    assert.deepEqual(short.prompts, [{ type: "click", x: 10, y: 10, positive: true }], pointerType);
    const shaky = play([at("down", 10, 10, rest), at("move", 13, 10, rest), at("up", 13, 10, rest)]);
    assert.deepEqual(shaky.prompts, [{ type: "click", x: 10, y: 10, positive: true }], pointerType);
  }
});

test("a box too thin to hold an object is a hint, not a prompt", () => {
  for (const [tool, x, y] of [
    ["box", 11.5, 40],
    ["box", 40, 12.2],
    ["click", 11.5, 40],
  ]) {
    const { actions } = play([at("down", 10, 10), at("move", 20, 40), at("up", x, y)], { tool });
    assert.deepEqual(
      actions.map((a) => a.do),
      ["hint"],
    );
  }
});

test("a box in remove mode says with its corners what does not belong to the object", () => {
  const polygon = {
    type: "polygon",
    points: [
      [10, 10],
      [31, 10],
      [31, 31],
      [10, 31],
    ],
    positive: false,
  };
  for (const tool of ["box", "click"]) {
    const left = play([at("down", 10, 10), at("move", 20, 20), at("up", 30, 30)], { tool, positive: false });
    assert.deepEqual(left.prompts, [polygon]);
    const button = { button: 2 };
    const right = play([at("down", 10, 10, button), at("move", 20, 20, button), at("up", 30, 30, button)], { tool });
    assert.deepEqual(right.prompts, [polygon]);
  }
});

test("the brush says where it goes, pixel by pixel, wider where a pen presses harder", () => {
  const pen = (type, x, y, pressure, rest = {}) => at(type, x, y, { pointerType: "pen", pressure, ...rest });
  const { actions, prompts } = play(
    [
      pen("down", 10, 10, 0.5),
      pen("move", 14, 10, 1, { trail: [{ pixel: [12, 10], pressure: 0.75 }] }),
      pen("move", 14.4, 10, 1),
      pen("up", 14.4, 10, 0),
    ],
    { tool: "brush", brushWidth: 8 },
  );
  assert.deepEqual(prompts, []);
  assert.deepEqual(actions, [
    { do: "stroke", points: [[10, 10, 2]], erase: false, begins: true },
    {
      do: "stroke",
      points: [
        [12, 10, 3],
        [14, 10, 4],
      ],
      erase: false,
      begins: false,
    },
    { do: "strokeEnd" },
  ]);
});

test("the eraser, Remove, the right button, Alt and a pen's eraser end erase", () => {
  const erases = (rest, context) => play([at("down", 5, 5, rest)], { tool: "brush", ...context }).actions[0].erase;
  assert.equal(erases({}, {}), false);
  assert.equal(erases({}, { tool: "eraser" }), true);
  assert.equal(erases({}, { positive: false }), true);
  for (const rest of [{ button: 2 }, { alt: true }, { button: 5, pointerType: "pen" }])
    assert.equal(erases(rest, {}), true);
});

test("a second finger ends the brush without keeping its stroke", () => {
  const first = { pointerType: "touch", id: 1 };
  const second = { pointerType: "touch", id: 2 };
  const { gesture, actions } = play([at("down", 10, 10, first), at("down", 40, 20, second)], { tool: "brush" });
  assert.equal(gesture.mode, "pinch");
  assert.equal(
    actions.some((a) => a.do === "strokeEnd"),
    false,
  );
});

const CORNERS = [
  [10, 10],
  [30, 10],
  [30, 30],
];

test("the lasso's polygon sets pixels where the polygon tool asks the model", () => {
  const clicks = [...CORNERS, [10, 11]].flatMap(([x, y], i) => press(x, y, { time: i * 1000 }));
  assert.deepEqual(play(clicks, { tool: "lasso", positive: false }).actions, [
    { do: "fill", points: CORNERS, positive: false, how: "polygon" },
  ]);
  assert.deepEqual(
    play(clicks, { tool: "polygon" }).prompts.map((p) => p.type),
    ["polygon"],
  );
});

test("a free drag closes where it is let go, also outside the image", () => {
  const events = [at("down", 10, 10), at("move", 130, 10), at("move", 130, 30), at("up", 12, 30)];
  assert.deepEqual(play(events, { tool: "lasso" }).actions, [
    {
      do: "fill",
      points: [
        [10, 10],
        [130, 10],
        [130, 30],
      ],
      positive: true,
      how: "lasso",
    },
  ]);
  const [prompt] = play(events, { tool: "polygon" }).prompts;
  assert.ok(prompt.points.every(([x]) => x <= 100));
});

test("a free piece of a polygon with corners leaves it open", () => {
  const events = [...press(10, 10), at("down", 20, 10), at("move", 30, 10), at("move", 30, 20), at("up", 30, 20)];
  const { gesture, actions } = play(events, { tool: "lasso" });
  assert.deepEqual(actions, []);
  assert.equal(Tools.preview(gesture).points.length, 4);
});

test("a double click or a double tap closes a polygon at its last corner", () => {
  for (const pointerType of ["mouse", "touch"]) {
    for (const tool of ["polygon", "lasso"]) {
      const clicks = CORNERS.flatMap(([x, y], i) => press(x, y, { time: i * 1000, pointerType }));
      const { actions } = play([...clicks, ...press(30.4, 30, { time: 2200, pointerType })], { tool });
      assert.deepEqual((actions[0].prompt ?? actions[0]).points, CORNERS, `${pointerType} ${tool}`);
    }
  }
  const slow = play(
    [...CORNERS, [30.4, 30]].flatMap(([x, y], i) => press(x, y, { time: i * 1000 })),
    { tool: "lasso" },
  );
  assert.equal(Tools.preview(slow.gesture).points.length, 4);
});

test("the hand takes hold of a prompt, and a drag below the slop only chooses it", () => {
  const grabbed = { index: 2, part: "body" };
  const drag = play([at("down", 10, 10), at("move", 15, 12), at("up", 16, 12)], { tool: "hand", prompt: grabbed });
  assert.deepEqual(
    drag.actions.map(({ phase, moved }) => [phase, moved]),
    [
      ["drag", true],
      ["drop", true],
    ],
  );
  assert.deepEqual(drag.actions[1], {
    do: "movePrompt",
    phase: "drop",
    grabbed,
    from: [10, 10],
    to: [16, 12],
    moved: true,
  });
  const [chosen] = play(press(10, 10), { tool: "hand", prompt: grabbed }).actions;
  assert.equal(chosen.moved, false);
});

test("a second finger takes back what the first began, pans and pinches, and leaves no prompt behind", () => {
  const first = { pointerType: "touch", id: 1 };
  const second = { pointerType: "touch", id: 2 };
  for (const tool of ["click", "box", "scribble", "polygon", "lasso"]) {
    const { actions, gesture } = play(
      [
        at("down", 10, 10, first),
        at("move", 20, 20, first),
        at("down", 40, 20, second),
        at("move", 60, 20, second),
        at("up", 60, 20, second),
        at("move", 5, 5, first),
        at("up", 5, 5, first),
      ],
      { tool },
    );
    assert.deepEqual(actions, [{ do: "pinch", factor: 2, at: [80, 40], dx: 20, dy: 0 }], tool);
    assert.equal(gesture.mode, "idle");
    assert.equal(Tools.isDrawing(gesture), false);
  }
});

test("a pinch leaves an unfinished polygon alone", () => {
  const open = play([at("down", 10, 10), at("up", 10, 10)], { tool: "polygon" }).gesture;
  const first = { pointerType: "touch", id: 1 };
  const second = { pointerType: "touch", id: 2 };
  const events = [
    at("down", 10, 10, first),
    at("down", 40, 20, second),
    at("up", 40, 20, second),
    at("up", 10, 10, first),
  ];
  const { gesture, prompts } = play(events, { tool: "polygon" }, open);
  assert.deepEqual(prompts, []);
  assert.equal(gesture.polygon.points.length, 1);
});

test("a cancelled pointer draws nothing", () => {
  for (const tool of ["box", "scribble"]) {
    const { prompts, gesture } = play([at("down", 10, 10), at("move", 30, 30), at("cancel", 30, 30)], { tool });
    assert.deepEqual(prompts, []);
    assert.equal(gesture.mode, "idle");
  }
});

test("the hand pans and, without a drag, selects", () => {
  assert.deepEqual(play([at("down", 10, 10), at("up", 10, 10)], { tool: "hand" }).actions, [
    { do: "select", pixel: [10, 10] },
  ]);
  const kinds = play([at("down", 10, 10), at("move", 30, 10), at("up", 30, 10)], { tool: "hand" }).actions.map(
    (a) => a.do,
  );
  assert.deepEqual(kinds, ["pan"]);
});

test("a stray move or lift of an unknown pointer changes nothing", () => {
  const { gesture, actions } = play([at("move", 5, 5), at("up", 5, 5)]);
  assert.equal(gesture, Tools.IDLE);
  assert.deepEqual(actions, []);
});
