/** Whether two masks are of the same shape, but for two machines' arithmetic. Pure. */

import { area, eachColumnRun } from "../rle.js";

/**
 * A server that computes with 16 bits draws the border of a vague object elsewhere: of 36 clicks the worst IoU with 32
 * bits was 0.88. A browser that computes wrongly is far below.
 */
const LEAST_IOU = 0.8;

/** Whether a mask made here may stand for the server's; both as `rle.js` reads them, at the same scale. */
export function agrees(mine, theirs) {
  const both = area(mine) + area(theirs);
  const differing = differingPixels(mine, theirs);
  return both === 0 || (both - differing) / (both + differing) >= LEAST_IOU;
}

/** In how many of their own cells two masks of one scale differ; null is a mask without a pixel. */
export function differingPixels(one, other) {
  const runs = [...edgesOf(one), ...edgesOf(other)];
  runs.sort((a, b) => a.column - b.column || a.at - b.at);
  let differing = 0;
  let inside = 0; // how many of the two have what lies between this edge and the one before
  let before = null;
  for (const { column, at, way } of runs) {
    if (before && inside === 1 && before.column === column) differing += at - before.at;
    inside += way;
    before = { column, at };
  }
  return differing;
}

/** The upper and lower ends of a mask's vertical runs, in image pixels divided by its scale. */
function edgesOf(mask) {
  if (!mask) return [];
  const [left, top] = [mask.x / mask.scale, mask.y / mask.scale];
  const edges = [];
  eachColumnRun(mask, (column, first, end) => {
    edges.push({ column: left + column, at: top + first, way: 1 }, { column: left + column, at: top + end, way: -1 });
  });
  return edges;
}
