/** How prompts look on the overlay: dots with their sign, boxes, strokes, polygons. Draws, knows nothing else. */

import { CROSS, handleOf } from "./prompt_edit.js";
import { imageToDevice } from "./view.js";

const OBJECT = "#12b76a";
const NOT_OBJECT = "#f04438";
const DOT_RADIUS = 5;
const SMALLEST_DOT = 1.75;
const SIGN_RADIUS = 3.5; // a smaller dot has no room for its sign

/**
 * Draw one prompt. `pending`: not answered yet; `beat` 0..1 moves its feedback; `size` 0..1: marks on a tiny object are
 * smaller, so that it is seen beside them.
 */
export function drawPrompt(context, view, prompt, { pending = false, beat = 0, size = 1 } = {}) {
  const colour = prompt.positive === false ? NOT_OBJECT : OBJECT;
  context.save();
  context.lineJoin = context.lineCap = "round";
  if (prompt.type === "click") drawDot(context, view, prompt, colour, pending, beat, size);
  else if (prompt.type === "box") drawBox(context, view, prompt, pending, beat);
  else if (prompt.type === "scribble") drawStroke(context, view, prompt, colour, pending);
  else if (prompt.type === "polygon") drawPolygon(context, view, prompt, colour, { closed: true, pending, beat });
  context.restore();
}

/** Draw the shape being made: a pressed dot, a rubber box, a stroke under way, an open polygon with its next side. */
export function drawShape(context, view, shape, pointer) {
  context.save();
  context.lineJoin = context.lineCap = "round";
  const colour = shape.positive === false ? NOT_OBJECT : OBJECT;
  if (shape.type === "click") drawDot(context, view, shape, colour, true, 0, 1);
  else if (shape.type === "box") drawBox(context, view, shape, true, 0);
  else if (shape.type === "scribble") drawStroke(context, view, shape, colour, true);
  else drawPolygon(context, view, shape, colour, { closed: false, pending: !shape.exact, beat: 0, pointer });
  context.restore();
}

/** The little x by which one prompt is taken away. */
export function drawCross(context, view, prompt) {
  const unit = view.pixelRatio;
  const [x, y] = imageToDevice(view, ...handleOf(prompt));
  const [cx, cy] = [x + CROSS.dx * unit, y + CROSS.dy * unit];
  const arm = 3 * unit;
  context.save();
  circle(context, cx, cy, CROSS.radius * unit);
  context.fillStyle = "rgba(16, 20, 27, 0.9)";
  context.fill();
  context.lineWidth = 1.25 * unit;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath();
  context.moveTo(cx - arm, cy - arm);
  context.lineTo(cx + arm, cy + arm);
  context.moveTo(cx + arm, cy - arm);
  context.lineTo(cx - arm, cy + arm);
  context.lineWidth = 1.75 * unit;
  context.stroke();
  context.restore();
}

/** The keyboard's pointer: lines over the whole stage that leave its pixel free. */
export function drawCursor(context, view, [x, y]) {
  const unit = view.pixelRatio;
  const [cx, cy] = imageToDevice(view, x + 0.5, y + 0.5);
  const gap = Math.max(7 * unit, view.scale / 2 + 2 * unit);
  context.save();
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, cy, cx - gap, cy],
    [cx + gap, cy, view.deviceWidth, cy],
    [cx, 0, cx, cy - gap],
    [cx, cy + gap, cx, view.deviceHeight],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  for (const [colour, width] of [
    ["rgba(0, 0, 0, 0.65)", 3],
    ["#fff", 1.25],
  ]) {
    context.lineWidth = width * unit;
    context.strokeStyle = colour;
    context.stroke();
  }
  context.restore();
}

function drawDot(context, view, { x, y, positive }, colour, pending, beat, size) {
  const unit = view.pixelRatio;
  const radius = Math.max(SMALLEST_DOT, DOT_RADIUS * size);
  const [cx, cy] = imageToDevice(view, x + 0.5, y + 0.5);
  if (pending) {
    circle(context, cx, cy, (radius + 3 + 9 * beat) * unit);
    context.globalAlpha = 1 - beat * 0.85;
    context.lineWidth = 2 * unit;
    context.strokeStyle = colour;
    context.stroke();
    context.globalAlpha = 1;
  }
  circle(context, cx, cy, (radius + Math.max(0.75, 1.5 * size)) * unit);
  context.fillStyle = "rgba(255, 255, 255, 0.95)";
  context.shadowColor = "rgba(0, 0, 0, 0.55)";
  context.shadowBlur = 3 * unit;
  context.fill();
  context.shadowBlur = 0;
  circle(context, cx, cy, radius * unit);
  context.fillStyle = colour;
  context.fill();
  if (radius < SIGN_RADIUS) return;
  // the sign, for those who cannot tell the colours apart
  const arm = radius * 0.48 * unit;
  context.beginPath();
  context.moveTo(cx - arm, cy);
  context.lineTo(cx + arm, cy);
  if (positive !== false) {
    context.moveTo(cx, cy - arm);
    context.lineTo(cx, cy + arm);
  }
  context.lineWidth = 1.4 * unit;
  context.strokeStyle = "#fff";
  context.stroke();
}

function drawBox(context, view, { x0, y0, x1, y1, positive }, pending, beat) {
  const [left, top] = imageToDevice(view, x0, y0);
  const [right, bottom] = imageToDevice(view, x1, y1);
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  twoToned(context, view, positive === false ? NOT_OBJECT : OBJECT, pending, beat);
}

function drawStroke(context, view, { points, width }, colour, pending) {
  const [first, ...rest] = points.map(([x, y]) => imageToDevice(view, x + 0.5, y + 0.5));
  context.beginPath();
  context.moveTo(...first);
  for (const point of rest) context.lineTo(...point);
  if (rest.length === 0) context.lineTo(first[0] + 0.01, first[1]);
  context.globalAlpha = pending ? 0.55 : 0.28;
  context.strokeStyle = colour;
  context.lineWidth = Math.max(width * view.scale, 2 * view.pixelRatio);
  context.stroke();
  context.globalAlpha = 1;
  context.lineWidth = 1.5 * view.pixelRatio;
  context.stroke();
}

function drawPolygon(context, view, { points, free }, colour, { closed, pending, beat, pointer }) {
  const corners = points.map(([x, y]) => imageToDevice(view, x, y));
  context.beginPath();
  context.moveTo(...corners[0]);
  for (const corner of corners.slice(1)) context.lineTo(...corner);
  if (closed) context.closePath();
  else if (pointer) context.lineTo(...pointer);
  twoToned(context, view, colour, pending, beat);
  if (closed) return;
  if (free) corners.length = 1; // a free line has hundreds of corners; the first one closes it
  corners.forEach(([x, y], i) => {
    circle(context, x, y, (i === 0 ? 5 : 3) * view.pixelRatio);
    context.fillStyle = "#fff";
    context.fill();
    context.lineWidth = 1.5 * view.pixelRatio;
    context.strokeStyle = colour;
    context.stroke();
  });
}

/** A line that is seen on any ground: dark underneath, colour on top, dashed and marching while it waits. */
function twoToned(context, view, colour, pending, beat) {
  const unit = view.pixelRatio;
  context.lineWidth = 3.5 * unit;
  context.strokeStyle = "rgba(0, 0, 0, 0.55)";
  context.stroke();
  if (pending) {
    context.setLineDash([6 * unit, 4 * unit]);
    context.lineDashOffset = -10 * unit * beat;
    context.lineCap = "butt";
  }
  context.lineWidth = 2 * unit;
  context.strokeStyle = colour;
  context.stroke();
  context.setLineDash([]);
}

function circle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}
