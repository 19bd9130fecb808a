/**
 * From pointer events to prompts and pixels: a state machine without a screen. Pure: events in, gesture and actions out.
 *
 *   const { gesture, actions } = step(gesture, event, context)
 *
 * event    {type: "down"|"move"|"up"|"cancel", id, pointerType: "mouse"|"pen"|"touch"|"keyboard", button, alt, space,
 *           time: ms, pressure: 0..1 of a pen that feels it, else null,
 *           device: [x, y], pixel: [x, y] (image pixel shown there), position: [x, y] (between pixels),
 *           trail: [{pixel, position, pressure}, …] passed since the last event (fast strokes)}
 * context  {tool, positive, brushWidth, imageWidth, imageHeight, scale: device pixels per image pixel,
 *           pixelRatio: device pixels per CSS pixel, prompt: what the Hand grabs here (see prompt_edit.js), or null}
 * gesture  a frozen value: what fingers are down, what shape is being drawn. `preview(gesture)` says what to draw.
 * actions  {do: "prompt", prompt} · {do: "pan", dx, dy} · {do: "pinch", factor, at, dx, dy} ·
 *          {do: "select", pixel} · {do: "hint", text} ·
 *          {do: "stroke", points: [[x, y, radius], …], erase, begins} · {do: "strokeEnd"} ·
 *          {do: "fill", points, positive, how: "lasso"|"polygon"} ·
 *          {do: "vertex", phase: "down"|"move"|"up", event} · {do: "movePrompt", grabbed, from, to, moved}
 *
 * Tools    "click", "box", "scribble" and "polygon" ask the model; "brush", "eraser" and "lasso" set pixels; "vertices"
 *          moves the corners of an outline; "hand" moves the image and the draft's prompts.
 *
 * Mouse and pen: left button says "object", right button (pen: barrel button or eraser) or Alt says "not the object",
 * the middle button or the space bar pans. Touch: one finger is the tool, two fingers pan and zoom. A click counts when
 * it is lifted: it may still become a drag, and a drag with the Point tool is a box.
 */

import { simplify } from "./polyline.js";

/** A drag shorter than this many CSS pixels is a click. */
const SLOP = 4;

/** The same for a finger. */
const TOUCH_SLOP = 12;

/** With the Point tool a drag that ends within so many times that distance was a click by a shaky hand. */
const SHAKY = 2;

/** A box with a side shorter than this many image pixels, or CSS pixels, was not meant. */
const SMALLEST_BOX = 3;
const SMALLEST_DRAG = 6;

/** A click this near (CSS pixels) to a polygon's first corner closes it. */
export const CLOSE_DISTANCE = 10;

/** A second click at the same place within this time closes a polygon; ms. */
const DOUBLE_MS = 400;

/** A stroke is thinned until it has at most this many points. */
const MAX_STROKE_POINTS = 500;

/** The thinnest brush, in image pixels. */
const LEAST_RADIUS = 0.5;

export const IDLE = Object.freeze({ mode: "idle", pointers: Object.freeze({}), polygon: null });

/** One event: the gesture after it and what is to be done. */
export function step(gesture, event, context) {
  switch (event.type) {
    case "down":
      return pointerDown(gesture, event, context);
    case "move":
      return pointerMove(gesture, event, context);
    case "up":
      return pointerUp(gesture, event, context);
    case "cancel":
      return { gesture: freeze({ ...lifted(gesture, event.id), polygon: keptPolygon(gesture) }), actions: [] };
    default:
      throw new Error(`no such pointer event: ${event.type}`);
  }
}

/** The shape being drawn: `{type: "click"|"box"|"scribble"|"polygon", …}` in the image frame, or null. */
export function preview(gesture) {
  if (gesture.mode === "tap") return { type: "click", x: gesture.at[0], y: gesture.at[1], positive: gesture.positive };
  if (gesture.mode === "box")
    return { type: "box", ...boxBetween(gesture.from, gesture.to), positive: gesture.positive };
  if (gesture.mode === "scribble") {
    return { type: "scribble", points: gesture.points, positive: gesture.positive, width: gesture.width };
  }
  if (gesture.polygon) return { type: "polygon", ...gesture.polygon };
  return null;
}

/** Close the unfinished polygon (Enter, a double click, its first corner, the end of a free drag). */
export function finishPolygon(gesture) {
  const { polygon } = gesture;
  if (!polygon) return { gesture, actions: [] };
  const { points, positive, exact, free } = polygon;
  if (points.length < 3) {
    return { gesture, actions: [{ do: "hint", text: "A polygon needs at least three corners." }] };
  }
  const action = exact
    ? { do: "fill", points, positive, how: free ? "lasso" : "polygon" }
    : { do: "prompt", prompt: { type: "polygon", points: thin(points), positive } };
  return { gesture: freeze({ ...gesture, polygon: null }), actions: [action] };
}

/** Take back the unfinished polygon's last corner (Backspace). */
export function dropCorner(gesture) {
  if (!gesture.polygon) return gesture;
  const points = gesture.polygon.points.slice(0, -1);
  return freeze({ ...gesture, polygon: points.length ? { ...gesture.polygon, points } : null });
}

/** Forget whatever is being drawn (Esc, another tool, another image); fingers stay known. */
export function abandon(gesture) {
  const mode = Object.keys(gesture.pointers).length ? "spent" : "idle";
  return freeze({ mode, pointers: gesture.pointers, polygon: null });
}

/** Whether something unfinished is on the canvas. */
export function isDrawing(gesture) {
  return gesture.mode === "brush" || gesture.mode === "prompt" || preview(gesture) !== null;
}

function pointerDown(gesture, event, context) {
  const pointers = { ...gesture.pointers, [event.id]: event.device };
  const count = Object.keys(pointers).length;
  if (count === 2 && event.pointerType === "touch") {
    return { gesture: freeze({ mode: "pinch", pointers, polygon: keptPolygon(gesture) }), actions: [] };
  }
  if (count > 1) return { gesture: freeze({ ...gesture, pointers }), actions: [] };

  const started = { pointers, polygon: gesture.polygon, start: event.device, button: event.button };
  const begin = (rest, actions = []) => ({ gesture: freeze({ ...started, ...rest }), actions });

  if (event.button === 1 || event.space) return begin({ mode: "pan", last: event.device });
  const positive = context.positive && !isNegative(event);
  const at = inside(event.pixel, context);
  switch (context.tool) {
    case "hand":
      if (event.button === 0 && context.prompt) {
        return begin({ mode: "prompt", grabbed: context.prompt, from: event.position, moved: false });
      }
      return begin({ mode: "pan", last: event.device, selects: event.button === 0 });
    case "click":
      if (!isInside(event.pixel, context)) return begin({ mode: "spent" });
      return begin({ mode: "tap", positive, at });
    case "box":
      return begin({ mode: "box", from: at, to: at, positive });
    case "scribble":
      return begin({ mode: "scribble", points: [at], positive, width: context.brushWidth });
    case "brush":
    case "eraser": {
      const erase = context.tool === "eraser" || !positive;
      const stroke = { do: "stroke", points: [brushPoint(event, context)], erase, begins: true };
      return begin({ mode: "brush", last: event.pixel, erase }, [stroke]);
    }
    case "polygon":
    case "lasso":
      return begin({ mode: "corner", positive, at: event.position, time: event.time });
    case "vertices":
      return begin({ mode: "vertex" }, [{ do: "vertex", phase: "down", event }]);
    default:
      throw new Error(`no such tool: ${context.tool}`);
  }
}

function pointerMove(gesture, event, context) {
  if (!(event.id in gesture.pointers)) return { gesture, actions: [] };
  const pointers = { ...gesture.pointers, [event.id]: event.device };
  const moved = (rest, actions = []) => ({ gesture: freeze({ ...gesture, pointers, ...rest }), actions });
  const passed = [...(event.trail ?? []), event];
  const far = () => distance(event.device, gesture.start) > slopOf(event, context);

  switch (gesture.mode) {
    case "pan": {
      const [dx, dy] = difference(event.device, gesture.last);
      return moved({ last: event.device }, [{ do: "pan", dx, dy }]);
    }
    case "pinch":
      return moved({}, [pinchAction(gesture.pointers, pointers)]);
    case "tap":
      return moved(far() ? { mode: "box", from: gesture.at, to: inside(event.pixel, context), tapped: true } : {});
    case "box":
      return moved({ to: inside(event.pixel, context) });
    case "scribble":
      return moved({ points: extend(gesture.points, passed, context) });
    case "brush":
      return moved({ last: event.pixel }, brushTo(gesture, passed, context));
    case "corner": {
      if (!far()) return moved({});
      const polygon = polygonOf(gesture, context);
      return moved({
        mode: "free",
        closes: gesture.polygon === null,
        polygon: withFree(polygon, [gesture, ...passed], context),
      });
    }
    case "free":
      return moved({ polygon: withFree(gesture.polygon, passed, context) });
    case "vertex":
      return moved({}, [{ do: "vertex", phase: "move", event }]);
    case "prompt": {
      const go = gesture.moved || far();
      return moved({ moved: go }, go ? [promptAction("drag", gesture, event, go)] : []);
    }
    default:
      return moved({});
  }
}

function pointerUp(gesture, event, context) {
  if (!(event.id in gesture.pointers)) return { gesture, actions: [] };
  const next = lifted(gesture, event.id);
  const done = (...actions) => ({ gesture: next, actions });
  switch (gesture.mode) {
    case "pan": {
      const still = gesture.selects && distance(event.device, gesture.start) <= slopOf(event, context);
      return still ? done({ do: "select", pixel: event.pixel }) : done();
    }
    case "tap": {
      return done(clickAction(gesture.at, gesture.positive));
    }
    case "box":
      return { gesture: next, actions: [boxAction(gesture, event, context)] };
    case "scribble": {
      const points = thin(extend(gesture.points, [event], context));
      return done({
        do: "prompt",
        prompt: { type: "scribble", points, positive: gesture.positive, width: gesture.width },
      });
    }
    case "brush":
      return done(...brushTo(gesture, [event], context), { do: "strokeEnd" });
    case "corner":
      return addCorner(next, gesture, event, context);
    case "free":
      return gesture.closes ? finishFree(next) : done();
    case "vertex":
      return done({ do: "vertex", phase: "up", event });
    case "prompt":
      return done(promptAction("drop", gesture, event, gesture.moved));
    default:
      return done();
  }
}

/** After a finger or button went up: a pinch that lost a finger is spent until all are lifted. */
function lifted(gesture, id) {
  const { [id]: _gone, ...pointers } = gesture.pointers;
  const left = Object.keys(pointers).length;
  const mode = left === 0 ? "idle" : gesture.mode === "pinch" && left > 1 ? "pinch" : "spent";
  return freeze({ mode, pointers, polygon: gesture.polygon });
}

/** A second finger takes back the free loop that the first had begun. */
const keptPolygon = ({ mode, closes, polygon }) => (mode === "free" && closes ? null : polygon);

/** A box says where the object is; in remove mode its corners say, as a polygon, what does not belong to it. */
function boxAction(gesture, event, context) {
  const box = boxBetween(gesture.from, inside(event.pixel, context));
  const [wide, high] = difference(event.device, gesture.start).map((along) => Math.abs(along) / context.pixelRatio);
  const gone = distance(event.device, gesture.start);
  if (gesture.tapped && gone <= SHAKY * slopOf(event, context)) return clickAction(gesture.from, gesture.positive);
  if (gone <= slopOf(event, context)) {
    return { do: "hint", text: "Drag from one corner of the object to the opposite one." };
  }
  const least = Math.min(box.x1 - box.x0, box.y1 - box.y0);
  if (least < SMALLEST_BOX || Math.min(wide, high) < SMALLEST_DRAG) {
    return { do: "hint", text: "That box is too thin to hold an object. Zoom in, or click on the object." };
  }
  if (gesture.positive) return { do: "prompt", prompt: { type: "box", ...box } };
  return { do: "prompt", prompt: { type: "polygon", points: cornersOf(box), positive: false } };
}

const clickAction = ([x, y], positive) => ({ do: "prompt", prompt: { type: "click", x, y, positive } });

export const cornersOf = ({ x0, y0, x1, y1 }) => [
  [x0, y0],
  [x1, y0],
  [x1, y1],
  [x0, y1],
];

const promptAction = (phase, { grabbed, from }, { position }, moved) => ({
  do: "movePrompt",
  phase,
  grabbed,
  from,
  to: position,
  moved,
});

/** A point of the brush: a pen that feels pressure draws thinner where it presses less. */
function brushPoint({ pixel: [x, y], pressure }, { brushWidth }) {
  const radius = pressure === null || pressure === undefined ? brushWidth / 2 : (brushWidth / 2) * pressure;
  return [x, y, Math.max(LEAST_RADIUS, radius)];
}

function brushTo(gesture, passed, context) {
  const points = [];
  let last = gesture.last;
  for (const sample of passed) {
    if (sample.pixel[0] === last[0] && sample.pixel[1] === last[1]) continue;
    last = sample.pixel;
    points.push(brushPoint(sample, context));
  }
  return points.length ? [{ do: "stroke", points, erase: gesture.erase, begins: false }] : [];
}

function polygonOf(gesture, context) {
  return gesture.polygon ?? { points: [], positive: gesture.positive, exact: context.tool === "lasso", free: false };
}

/** A free piece: a corner for each display dot passed, so that a slow hand does not make a thousand of them. */
function withFree(polygon, passed, context) {
  const points = [...polygon.points];
  for (const { position, at } of passed) {
    const corner = cornerAt(position ?? at, polygon, context);
    const last = points[points.length - 1];
    if (!last || distance(corner, last) * context.scale >= 1) points.push(corner);
  }
  return { ...polygon, points, free: true };
}

/** A free loop closes where it is let go; a mere flick is nothing. */
function finishFree(gesture) {
  if (gesture.polygon.points.length < 3) return { gesture: freeze({ ...gesture, polygon: null }), actions: [] };
  return finishPolygon(gesture);
}

function addCorner(next, { at, positive, start, time }, event, context) {
  const polygon = polygonOf({ polygon: next.polygon, positive }, context);
  const { points } = polygon;
  const { corner: before } = polygon;
  const twice = before && time - before.time < DOUBLE_MS && distance(start, before.device) <= slopOf(event, context);
  if (twice) return finishPolygon(next);
  if (points.length >= 3) {
    const away = distance(at, points[0]) * context.scale;
    if (away <= CLOSE_DISTANCE * context.pixelRatio) return finishPolygon(next);
  }
  const corner = cornerAt(at, polygon, context);
  const previous = points[points.length - 1];
  if (previous && previous[0] === corner[0] && previous[1] === corner[1]) return { gesture: next, actions: [] };
  const grown = { ...polygon, points: [...points, corner], corner: { time, device: start } };
  return { gesture: freeze({ ...next, polygon: grown }), actions: [] };
}

/** A prompt's corners must lie in the image; exact pixels are cut at its border, and their lines keep their slope. */
function cornerAt([x, y], { exact }, context) {
  if (exact) return [hundredths(x), hundredths(y)];
  return [
    hundredths(Math.min(Math.max(x, 0), context.imageWidth)),
    hundredths(Math.min(Math.max(y, 0), context.imageHeight)),
  ];
}

/** The smallest box that holds both pixels whole. */
function boxBetween([ax, ay], [bx, by]) {
  return { x0: Math.min(ax, bx), y0: Math.min(ay, by), x1: Math.max(ax, bx) + 1, y1: Math.max(ay, by) + 1 };
}

function isNegative(event) {
  return event.alt || event.button === 2 || event.button === 5; // 5 is a pen's eraser
}

function pinchAction(before, after) {
  const [a, b] = Object.values(before);
  const [c, d] = Object.values(after);
  const from = middle(a, b);
  const to = middle(c, d);
  const [dx, dy] = difference(to, from);
  return { do: "pinch", factor: distance(c, d) / Math.max(distance(a, b), 1), at: to, dx, dy };
}

/** Points with those pixels added that are new; strokes over the border run along it. */
function extend(points, passed, context) {
  const next = [...points];
  for (const { pixel } of passed) {
    const [x, y] = inside(pixel, context);
    const [lastX, lastY] = next[next.length - 1];
    if (x !== lastX || y !== lastY) next.push([x, y]);
  }
  return next;
}

/** A stroke with fewer points that stays within `tolerance` pixels of it. */
export function thin(points, limit = MAX_STROKE_POINTS) {
  let tolerance = 0.5;
  let kept = simplify(points, tolerance);
  while (kept.length > limit) {
    tolerance *= 2;
    kept = simplify(points, tolerance);
  }
  return kept;
}

const isInside = ([x, y], { imageWidth, imageHeight }) => x >= 0 && y >= 0 && x < imageWidth && y < imageHeight;
const slopOf = ({ pointerType }, { pixelRatio }) => (pointerType === "touch" ? TOUCH_SLOP : SLOP) * pixelRatio;
const inside = ([x, y], { imageWidth, imageHeight }) => [
  Math.min(Math.max(x, 0), imageWidth - 1),
  Math.min(Math.max(y, 0), imageHeight - 1),
];
const freeze = (gesture) => Object.freeze(gesture);
const hundredths = (value) => Math.round(value * 100) / 100;
const difference = ([ax, ay], [bx, by]) => [ax - bx, ay - by];
const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
const middle = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
