/**
 * From pointer events to prompts: a state machine without a screen. Pure: events in, gesture and actions out.
 *
 *   const { gesture, actions } = step(gesture, event, context)
 *
 * event    {type: "down"|"move"|"up"|"cancel", id, pointerType: "mouse"|"pen"|"touch", button, alt, space,
 *           device: [x, y], pixel: [x, y] (image pixel shown there), position: [x, y] (between pixels),
 *           trail: [[x, y], …] image pixels passed since the last event (fast strokes)}
 * context  {tool: "click"|"box"|"scribble"|"polygon"|"hand", positive, brushWidth, imageWidth, imageHeight,
 *           scale: device pixels per image pixel, pixelRatio: device pixels per CSS pixel}
 * gesture  a frozen value: what fingers are down, what shape is being drawn. `preview(gesture)` says what to draw.
 * actions  {do: "prompt", prompt} · {do: "pan", dx, dy} · {do: "pinch", factor, at, dx, dy} ·
 *          {do: "select", pixel} · {do: "hint", text}
 *
 * Mouse and pen: left button says "object", right button (pen: barrel button or eraser) or Alt says "not the object",
 * the middle button or the space bar pans. Touch: one finger is the tool, two fingers pan and zoom; a finger's click
 * counts when it is lifted, because a second finger may still come.
 */

/** A drag shorter than this many CSS pixels is a click. */
const SLOP = 4;

/** The same for a finger. */
const TOUCH_SLOP = 12;

/** A click this near (CSS pixels) to a polygon's first corner closes it. */
export const CLOSE_DISTANCE = 10;

/** A stroke is thinned until it has at most this many points. */
const MAX_STROKE_POINTS = 500;

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
      return { gesture: lifted(gesture, event.id), actions: [] };
    default:
      throw new Error(`no such pointer event: ${event.type}`);
  }
}

/** The shape being drawn: `{type: "box"|"scribble"|"polygon", …}` in the image frame, or null. */
export function preview(gesture) {
  if (gesture.mode === "box") return { type: "box", ...boxBetween(gesture.from, gesture.to) };
  if (gesture.mode === "scribble") {
    return { type: "scribble", points: gesture.points, positive: gesture.positive, width: gesture.width };
  }
  if (gesture.polygon) return { type: "polygon", ...gesture.polygon };
  return null;
}

/** Close the unfinished polygon (Enter). */
export function finishPolygon(gesture) {
  const { polygon } = gesture;
  if (!polygon) return { gesture, actions: [] };
  if (polygon.points.length < 3) {
    return { gesture, actions: [{ do: "hint", text: "A polygon needs at least three corners." }] };
  }
  const prompt = { type: "polygon", points: polygon.points, positive: polygon.positive };
  return { gesture: freeze({ ...gesture, polygon: null }), actions: [{ do: "prompt", prompt }] };
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
  return preview(gesture) !== null;
}

function pointerDown(gesture, event, context) {
  const pointers = { ...gesture.pointers, [event.id]: event.device };
  const count = Object.keys(pointers).length;
  if (count === 2 && event.pointerType === "touch") {
    return { gesture: freeze({ mode: "pinch", pointers, polygon: gesture.polygon }), actions: [] };
  }
  if (count > 1) return { gesture: freeze({ ...gesture, pointers }), actions: [] };

  const started = { pointers, polygon: gesture.polygon, start: event.device, button: event.button };
  const begin = (rest, actions = []) => ({ gesture: freeze({ ...started, ...rest }), actions });

  if (event.button === 1 || event.space) return begin({ mode: "pan", last: event.device });
  const positive = context.positive && !isNegative(event);
  switch (context.tool) {
    case "hand":
      return begin({ mode: "pan", last: event.device, selects: event.button === 0 });
    case "click":
      if (event.pointerType === "touch") return begin({ mode: "tap", positive });
      return begin({ mode: "spent" }, clickAt(event, positive, context));
    case "box":
      if (event.button !== 0) return begin({ mode: "spent" });
      return begin({ mode: "box", from: inside(event.pixel, context), to: inside(event.pixel, context) });
    case "scribble": {
      const points = [inside(event.pixel, context)];
      return begin({ mode: "scribble", points, positive, width: context.brushWidth });
    }
    case "polygon":
      if (event.pointerType === "touch") return begin({ mode: "tap", positive });
      return addCorner(freeze({ ...started, mode: "spent" }), event, positive, context);
    default:
      throw new Error(`no such tool: ${context.tool}`);
  }
}

function pointerMove(gesture, event, context) {
  if (!(event.id in gesture.pointers)) return { gesture, actions: [] };
  const pointers = { ...gesture.pointers, [event.id]: event.device };
  const moved = (rest, actions = []) => ({ gesture: freeze({ ...gesture, pointers, ...rest }), actions });

  switch (gesture.mode) {
    case "pan": {
      const [dx, dy] = difference(event.device, gesture.last);
      return moved({ last: event.device }, [{ do: "pan", dx, dy }]);
    }
    case "pinch":
      return moved({}, [pinchAction(gesture.pointers, pointers)]);
    case "tap": {
      const far = distance(event.device, gesture.start) > TOUCH_SLOP * context.pixelRatio;
      return moved(far ? { mode: "spent" } : {});
    }
    case "box":
      return moved({ to: inside(event.pixel, context) });
    case "scribble":
      return moved({ points: extend(gesture.points, [...(event.trail ?? []), event.pixel], context) });
    default:
      return moved({});
  }
}

function pointerUp(gesture, event, context) {
  if (!(event.id in gesture.pointers)) return { gesture, actions: [] };
  const next = lifted(gesture, event.id);
  const slop = (event.pointerType === "touch" ? TOUCH_SLOP : SLOP) * context.pixelRatio;
  switch (gesture.mode) {
    case "pan": {
      const still = gesture.selects && distance(event.device, gesture.start) <= slop;
      return { gesture: next, actions: still ? [{ do: "select", pixel: event.pixel }] : [] };
    }
    case "tap":
      if (context.tool === "polygon") return addCorner(next, event, gesture.positive, context);
      return { gesture: next, actions: clickAt(event, gesture.positive, context) };
    case "box": {
      if (distance(event.device, gesture.start) <= slop) {
        return {
          gesture: next,
          actions: [{ do: "hint", text: "Drag from one corner of the object to the opposite one." }],
        };
      }
      const box = boxBetween(gesture.from, inside(event.pixel, context));
      return { gesture: next, actions: [{ do: "prompt", prompt: { type: "box", ...box } }] };
    }
    case "scribble": {
      const points = thin(extend(gesture.points, [event.pixel], context));
      const prompt = { type: "scribble", points, positive: gesture.positive, width: gesture.width };
      return { gesture: next, actions: [{ do: "prompt", prompt }] };
    }
    default:
      return { gesture: next, actions: [] };
  }
}

/** After a finger or button went up: a pinch that lost a finger is spent until all are lifted. */
function lifted(gesture, id) {
  const { [id]: _gone, ...pointers } = gesture.pointers;
  const left = Object.keys(pointers).length;
  const mode = left === 0 ? "idle" : gesture.mode === "pinch" && left > 1 ? "pinch" : "spent";
  return freeze({ mode, pointers, polygon: gesture.polygon });
}

function clickAt(event, positive, context) {
  const [x, y] = event.pixel;
  const hit = x >= 0 && y >= 0 && x < context.imageWidth && y < context.imageHeight;
  return hit ? [{ do: "prompt", prompt: { type: "click", x, y, positive } }] : [];
}

function addCorner(gesture, event, positive, context) {
  const polygon = gesture.polygon ?? { points: [], positive };
  if (polygon.points.length >= 3) {
    const away = distance(event.position, polygon.points[0]) * context.scale;
    if (away <= CLOSE_DISTANCE * context.pixelRatio) return finishPolygon(gesture);
  }
  const [x, y] = event.position;
  const corner = [
    hundredths(Math.min(Math.max(x, 0), context.imageWidth)),
    hundredths(Math.min(Math.max(y, 0), context.imageHeight)),
  ];
  const last = polygon.points[polygon.points.length - 1];
  if (last && last[0] === corner[0] && last[1] === corner[1]) return { gesture, actions: [] };
  const points = [...polygon.points, corner];
  return { gesture: freeze({ ...gesture, polygon: { points, positive: polygon.positive } }), actions: [] };
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
function extend(points, pixels, context) {
  const next = [...points];
  for (const pixel of pixels) {
    const [x, y] = inside(pixel, context);
    const [lastX, lastY] = next[next.length - 1];
    if (x !== lastX || y !== lastY) next.push([x, y]);
  }
  return next;
}

/** A stroke with fewer points that stays within `tolerance` pixels of it (Ramer, Douglas and Peucker). */
export function thin(points, limit = MAX_STROKE_POINTS) {
  let tolerance = 0.5;
  let kept = simplify(points, tolerance);
  while (kept.length > limit) {
    tolerance *= 2;
    kept = simplify(points, tolerance);
  }
  return kept;
}

function simplify(points, tolerance) {
  if (points.length < 3) return points;
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const spans = [[0, points.length - 1]];
  while (spans.length) {
    const [first, last] = spans.pop();
    let worst = tolerance;
    let at = -1;
    for (let i = first + 1; i < last; i++) {
      const away = distanceToSegment(points[i], points[first], points[last]);
      if (away > worst) [worst, at] = [away, i];
    }
    if (at >= 0) {
      keep[at] = 1;
      spans.push([first, at], [at, last]);
    }
  }
  return points.filter((_, i) => keep[i]);
}

function distanceToSegment([x, y], [ax, ay], [bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
  return Math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay));
}

const inside = ([x, y], { imageWidth, imageHeight }) => [
  Math.min(Math.max(x, 0), imageWidth - 1),
  Math.min(Math.max(y, 0), imageHeight - 1),
];
const freeze = (gesture) => Object.freeze(gesture);
const hundredths = (value) => Math.round(value * 100) / 100;
const difference = ([ax, ay], [bx, by]) => [ax - bx, ay - by];
const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
const middle = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
