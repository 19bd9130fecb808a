/** How prompts look on the overlay: dots with their sign, boxes, strokes, polygons. Draws, knows nothing else. */

import { imageToDevice } from "./view.js";

const OBJECT = "#12b76a";
const NOT_OBJECT = "#f04438";
const DOT_RADIUS = 5;

/** Draw one prompt. `pending`: not answered yet; `beat` 0..1 moves its feedback. */
export function drawPrompt(context, view, prompt, { pending = false, beat = 0 } = {}) {
  const colour = prompt.positive === false ? NOT_OBJECT : OBJECT;
  context.save();
  context.lineJoin = context.lineCap = "round";
  if (prompt.type === "click") drawDot(context, view, prompt, colour, pending, beat);
  else if (prompt.type === "box") drawBox(context, view, prompt, pending, beat);
  else if (prompt.type === "scribble") drawStroke(context, view, prompt, colour, pending);
  else if (prompt.type === "polygon") drawPolygon(context, view, prompt, colour, { closed: true, pending, beat });
  context.restore();
}

/** Draw the shape being made: a rubber box, a stroke under way, an open polygon with its next side. */
export function drawShape(context, view, shape, pointer) {
  context.save();
  context.lineJoin = context.lineCap = "round";
  const colour = shape.positive === false ? NOT_OBJECT : OBJECT;
  if (shape.type === "box") drawBox(context, view, shape, true, 0);
  else if (shape.type === "scribble") drawStroke(context, view, shape, colour, true);
  else drawPolygon(context, view, shape, colour, { closed: false, pending: true, beat: 0, pointer });
  context.restore();
}

function drawDot(context, view, { x, y, positive }, colour, pending, beat) {
  const unit = view.pixelRatio;
  const [cx, cy] = imageToDevice(view, x + 0.5, y + 0.5);
  if (pending) {
    circle(context, cx, cy, (DOT_RADIUS + 3 + 9 * beat) * unit);
    context.globalAlpha = 1 - beat * 0.85;
    context.lineWidth = 2 * unit;
    context.strokeStyle = colour;
    context.stroke();
    context.globalAlpha = 1;
  }
  circle(context, cx, cy, (DOT_RADIUS + 1.5) * unit);
  context.fillStyle = "rgba(255, 255, 255, 0.95)";
  context.shadowColor = "rgba(0, 0, 0, 0.55)";
  context.shadowBlur = 3 * unit;
  context.fill();
  context.shadowBlur = 0;
  circle(context, cx, cy, DOT_RADIUS * unit);
  context.fillStyle = colour;
  context.fill();
  // the sign, for those who cannot tell the colours apart
  const arm = 2.4 * unit;
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

function drawBox(context, view, { x0, y0, x1, y1 }, pending, beat) {
  const [left, top] = imageToDevice(view, x0, y0);
  const [right, bottom] = imageToDevice(view, x1, y1);
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  twoToned(context, view, OBJECT, pending, beat);
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

function drawPolygon(context, view, { points }, colour, { closed, pending, beat, pointer }) {
  const corners = points.map(([x, y]) => imageToDevice(view, x, y));
  context.beginPath();
  context.moveTo(...corners[0]);
  for (const corner of corners.slice(1)) context.lineTo(...corner);
  if (closed) context.closePath();
  else if (pointer) context.lineTo(...pointer);
  twoToned(context, view, colour, pending, beat);
  if (closed) return;
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
