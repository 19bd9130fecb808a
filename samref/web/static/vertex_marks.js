/** How an outline's handles look on the overlay. Draws, knows nothing else. */

import { imageToDevice } from "./view.js";

const SIDE = 7; // CSS pixels of a handle

/**
 * Draw the handles: `rings` as in vertices.js; `chosen` and `hovered` {ring, handle} or null; `held` {points} the three
 * corners of a handle that is being pulled, or null.
 */
export function drawVertices(context, view, { rings, chosen, hovered, held }) {
  const unit = view.pixelRatio;
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  if (held) {
    context.beginPath();
    held.points.forEach((point, i) => context[i ? "lineTo" : "moveTo"](...imageToDevice(view, ...point)));
    for (const [colour, width] of [
      ["rgba(0, 0, 0, 0.6)", 3.5],
      ["#fff", 1.75],
    ]) {
      context.lineWidth = width * unit;
      context.strokeStyle = colour;
      context.stroke();
    }
  }
  // one path for all: thousands of handles are two strokes of the pen
  const squares = new Path2D();
  const half = (SIDE * unit) / 2;
  for (const { points, handles } of rings) {
    for (const number of handles) {
      const [x, y] = imageToDevice(view, ...points[number]);
      if (x < -half || y < -half || x > view.deviceWidth + half || y > view.deviceHeight + half) continue;
      squares.rect(Math.round(x - half), Math.round(y - half), SIDE * unit, SIDE * unit);
    }
  }
  context.lineWidth = 1.25 * unit;
  context.fillStyle = "#fff";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.fill(squares);
  context.stroke(squares);
  for (const [mark, colour] of [
    [hovered, "#ffd166"],
    [chosen, "#2f6fed"],
  ]) {
    const ring = mark && rings[mark.ring];
    if (!ring || ring.handles[mark.handle] === undefined) continue;
    const place = held && mark === chosen ? held.points[1] : ring.points[ring.handles[mark.handle]];
    drawOne(context, imageToDevice(view, ...place), (SIDE + 3) * unit, colour, unit);
  }
  context.restore();
}

function drawOne(context, [x, y], side, colour, unit) {
  context.beginPath();
  context.rect(Math.round(x - side / 2), Math.round(y - side / 2), side, side);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = "#fff";
  context.stroke();
}
