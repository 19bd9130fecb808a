/**
 * The outline of a mask: the sides between object and background pixels, as straight segments. Pure.
 *
 * Segments lie *between* pixels, so that a stroke along them stays sharp at any zoom and shows exactly where the mask
 * ends. They are not linked into loops: a stroke does not need it, and specks and holes come for free.
 */

import { eachColumnRun } from "./rle.js";

/**
 * Segments [x0, y0, x1, y1, x0, y0, ...] in the image frame, sides of neighbouring pixels merged.
 *
 * A preview at half resolution is cut at the crop's right and bottom edge, where its last pixels stick out.
 */
export function outlineSegments(mask) {
  const segments = [];
  if (!mask) return segments;
  const toX = (column) => mask.x + Math.min(column * mask.scale, mask.width);
  const toY = (row) => mask.y + Math.min(row * mask.scale, mask.height);
  let open = new Map(); // row of a horizontal side -> column at which it began; ends of runs, one map for both kinds
  let previous = []; // runs of the column before, as flat [first, end, ...]
  let column = -1;

  const closeColumn = (runs, at) => {
    const sides = new Set(runs);
    const next = new Map();
    for (const row of sides) next.set(row, open.get(row) ?? at);
    for (const [row, from] of open) if (!sides.has(row)) segments.push(toX(from), toY(row), toX(at), toY(row));
    open = next;
    for (const [first, end] of differences(previous, runs)) segments.push(toX(at), toY(first), toX(at), toY(end));
    previous = runs;
  };

  let runs = [];
  eachColumnRun(mask, (at, first, end) => {
    while (column < at) {
      if (column >= 0) closeColumn(runs, column);
      column += 1;
      runs = [];
    }
    // two runs that touch (a run cut at the foot of a column never does) would leave a side inside the object
    if (runs.length && runs[runs.length - 1] === first) runs[runs.length - 1] = end;
    else runs.push(first, end);
  });
  if (column >= 0) {
    closeColumn(runs, column);
    closeColumn([], column + 1);
  }
  return segments;
}

/** Intervals [first, end) covered by exactly one of two sorted lists of flat runs. */
function differences(a, b) {
  const ends = [...a, ...b].sort((p, q) => p - q);
  const found = [];
  for (let i = 0; i + 1 < ends.length; i += 2) if (ends[i] < ends[i + 1]) found.push([ends[i], ends[i + 1]]);
  return found;
}
