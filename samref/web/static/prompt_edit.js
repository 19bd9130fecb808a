/** Taking hold of one prompt of the draft: which one is under the pointer, and where it goes. Pure. */

import { distanceToSegment } from "./polyline.js";
import { cornersOf } from "./tools.js";

/** So near (CSS pixels) is on it. */
const REACH = 9;

/** Where the little x stands from a prompt's handle, in CSS pixels, and how large it is. */
export const CROSS = Object.freeze({ dx: 13, dy: -13, radius: 8 });

/**
 * The newest prompt at an image position: {index, part}, or null. `part` is "cross", "body", or the number of a box's
 * or polygon's corner. `unit` is image pixels per CSS pixel; the cross is there only for the prompt `marked`.
 */
export function grabAt(prompts, [x, y], unit, marked = null) {
  if (marked !== null && prompts[marked]) {
    const [hx, hy] = handleOf(prompts[marked]);
    if (Math.hypot(x - hx - CROSS.dx * unit, y - hy - CROSS.dy * unit) <= CROSS.radius * unit) {
      return { index: marked, part: "cross" };
    }
  }
  const reach = REACH * unit;
  for (let index = prompts.length - 1; index >= 0; index--) {
    const part = partAt(prompts[index], x, y, reach);
    if (part !== null) return { index, part };
  }
  return null;
}

function partAt(prompt, x, y, reach) {
  if (prompt.type === "click") return Math.hypot(x - prompt.x - 0.5, y - prompt.y - 0.5) <= reach ? "body" : null;
  if (prompt.type === "scribble") {
    const middles = prompt.points.map(([px, py]) => [px + 0.5, py + 0.5]);
    return isNear(middles, false, x, y, Math.max(reach, prompt.width / 2)) ? "body" : null;
  }
  const corners = prompt.type === "box" ? cornersOf(prompt) : prompt.points;
  const corner = corners.findIndex(([cx, cy]) => Math.hypot(x - cx, y - cy) <= reach);
  if (corner >= 0) return corner;
  return isNear(corners, true, x, y, reach) ? "body" : null;
}

function isNear(points, closed, x, y, reach) {
  const count = closed ? points.length : Math.max(1, points.length - 1);
  for (let i = 0; i < count; i++) {
    if (distanceToSegment(x, y, ...points[i], ...points[(i + 1) % points.length]) <= reach) return true;
  }
  return false;
}

/** The place of a prompt by which its cross hangs: a dot, a box's or polygon's upper right, a stroke's end. */
export function handleOf(prompt) {
  if (prompt.type === "click") return [prompt.x + 0.5, prompt.y + 0.5];
  if (prompt.type === "scribble") return prompt.points[prompt.points.length - 1].map((along) => along + 0.5);
  if (prompt.type === "box") return [prompt.x1, prompt.y0];
  return prompt.points.reduce((best, point) => (point[0] - point[1] > best[0] - best[1] ? point : best));
}

/** The prompt after its `part` was dragged by (dx, dy) image pixels; it stays in the image. */
export function movedPrompt(prompt, part, dx, dy, width, height) {
  if (prompt.type === "click") {
    return {
      ...prompt,
      x: clamp(prompt.x + Math.round(dx), 0, width - 1),
      y: clamp(prompt.y + Math.round(dy), 0, height - 1),
    };
  }
  if (prompt.type === "scribble") {
    const [mx, my] = keptInside(prompt.points, Math.round(dx), Math.round(dy), width - 1, height - 1);
    return { ...prompt, points: prompt.points.map(([x, y]) => [x + mx, y + my]) };
  }
  if (prompt.type === "box") return movedBox(prompt, part, Math.round(dx), Math.round(dy), width, height);
  if (part === "body") {
    const [mx, my] = keptInside(prompt.points, dx, dy, width, height);
    return { ...prompt, points: prompt.points.map(([x, y]) => [hundredths(x + mx), hundredths(y + my)]) };
  }
  const points = prompt.points.map(([x, y], i) =>
    i === part ? [hundredths(clamp(x + dx, 0, width)), hundredths(clamp(y + dy, 0, height))] : [x, y],
  );
  return { ...prompt, points };
}

function movedBox(box, part, dx, dy, width, height) {
  const corners = cornersOf(box);
  if (part === "body") {
    const [mx, my] = keptInside(corners, dx, dy, width, height);
    return { ...box, x0: box.x0 + mx, y0: box.y0 + my, x1: box.x1 + mx, y1: box.y1 + my };
  }
  const [x, y] = [clamp(corners[part][0] + dx, 0, width), clamp(corners[part][1] + dy, 0, height)];
  const [ox, oy] = corners[(part + 2) % 4];
  if (x === ox || y === oy) return box; // no box is left
  return { ...box, x0: Math.min(x, ox), y0: Math.min(y, oy), x1: Math.max(x, ox), y1: Math.max(y, oy) };
}

/** The part of (dx, dy) by which all points stay within 0 … width and 0 … height. */
function keptInside(points, dx, dy, width, height) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return [clamp(dx, -Math.min(...xs), width - Math.max(...xs)), clamp(dy, -Math.min(...ys), height - Math.max(...ys))];
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), Math.max(least, most));
const hundredths = (value) => Math.round(value * 100) / 100;
