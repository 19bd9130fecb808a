/**
 * Pixels made by hand: strokes of a round brush and filled polygons, as vertical runs of image pixels. Pure.
 *
 * What belongs to a shape is decided by the middles of pixels, (x + 0.5, y + 0.5):
 *   a stroke   holds every pixel whose middle is no farther from the brush's way than its radius there; brush positions
 *              are middles of pixels, given as the pixel [x, y, radius]
 *   a polygon  holds every pixel whose middle is inside it. "nonzero": whatever the line goes around, so that a loop
 *              that crosses itself has no gaps; "evenodd": what it goes around an odd number of times. A middle exactly
 *              on a side belongs when the inside lies to its right or below.
 *
 * No array is as large as the image: a region keeps runs by column, a polygon is filled a strip of columns at a time.
 */

import { eachColumnRun, encodeCounts } from "./rle.js";

/** A polygon is filled in strips of about so many pixels. */
const STRIP_PIXELS = 1 << 20;

/** A middle this near (pixels) outside the brush still counts: sums of fractions fall a hair short. */
const HAIR = 1e-9;

/** Pixels of an image of `width` x `height`: for each column its runs, sorted, flat, ends excluded, never touching. */
export class Region {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.columns = new Map();
  }

  /** Add the pixels `first` to `end` (excluded) of column `x`; what lies outside the image is left out. */
  add(x, first, end) {
    const from = Math.max(first, 0);
    const to = Math.min(end, this.height);
    if (from >= to || x < 0 || x >= this.width) return;
    const runs = this.columns.get(x);
    this.columns.set(x, runs ? joined(runs, [from, to], (a, b) => a || b) : [from, to]);
  }

  get isEmpty() {
    return this.columns.size === 0;
  }

  get area() {
    let sum = 0;
    for (const runs of this.columns.values()) for (let i = 0; i < runs.length; i += 2) sum += runs[i + 1] - runs[i];
    return sum;
  }

  has(x, y) {
    const runs = this.columns.get(x) ?? [];
    for (let i = 0; i < runs.length; i += 2) if (y >= runs[i] && y < runs[i + 1]) return true;
    return false;
  }
}

/** The region of a mask as `rle.js` reads it; null is an empty region, a preview's cells are whole squares. */
export function regionOf(mask, width, height) {
  const region = new Region(width, height);
  if (!mask) return region;
  const { scale } = mask;
  const right = mask.x + mask.width;
  const foot = mask.y + mask.height;
  eachColumnRun(mask, (column, first, end) => {
    const top = mask.y + first * scale;
    const stop = Math.min(mask.y + end * scale, foot);
    for (let x = mask.x + column * scale, next = x + scale; x < Math.min(next, right); x++) {
      const runs = region.columns.get(x);
      if (!runs) region.columns.set(x, [top, stop]);
      else if (runs[runs.length - 1] === top) runs[runs.length - 1] = stop;
      else runs.push(top, stop);
    }
  });
  return region;
}

export const union = (a, b) => combine(a, b, (inA, inB) => inA || inB);
export const minus = (a, b) => combine(a, b, (inA, inB) => inA && !inB);
export const both = (a, b) => combine(a, b, (inA, inB) => inA && inB);

function combine(a, b, keep) {
  const region = new Region(a.width, a.height);
  for (const x of new Set([...a.columns.keys(), ...b.columns.keys()])) {
    const runs = joined(a.columns.get(x) ?? [], b.columns.get(x) ?? [], keep);
    if (runs.length) region.columns.set(x, runs);
  }
  return region;
}

/** Runs of one column where `keep(in a, in b)` says true. */
export function joined(a, b, keep) {
  const runs = [];
  let i = 0;
  let j = 0;
  let open = false;
  while (i < a.length || j < b.length) {
    const at = Math.min(a[i] ?? Infinity, b[j] ?? Infinity);
    if (a[i] === at) i += 1;
    if (b[j] === at) j += 1;
    const kept = keep(i % 2 === 1, j % 2 === 1);
    if (kept !== open) {
      runs.push(at);
      open = kept;
    }
  }
  return runs;
}

/** The region as a mask of `rle.js`, in the smallest box that holds it; null when it is empty. */
export function toMask(region) {
  if (region.isEmpty) return null;
  const xs = [...region.columns.keys()].sort((p, q) => p - q);
  let top = Infinity;
  let foot = 0;
  for (const runs of region.columns.values()) {
    top = Math.min(top, runs[0]);
    foot = Math.max(foot, runs[runs.length - 1]);
  }
  const rows = foot - top;
  const columns = xs[xs.length - 1] - xs[0] + 1;
  const counts = [];
  let end = 0; // of the last object run
  for (const x of xs) {
    const start = (x - xs[0]) * rows - top;
    const runs = region.columns.get(x);
    for (let i = 0; i < runs.length; i += 2) {
      const from = start + runs[i];
      const to = start + runs[i + 1];
      if (counts.length > 0 && from === end) counts[counts.length - 1] += to - from;
      else counts.push(from - end, to - from);
      end = to;
    }
  }
  if (end < columns * rows) counts.push(columns * rows - end);
  return { x: xs[0], y: top, width: columns, height: rows, columns, rows, scale: 1, counts };
}

/** The region as it is sent, `{box: [x, y, width, height], counts}`; null when it is empty. */
export function toWire(region) {
  const mask = toMask(region);
  return mask && { box: [mask.x, mask.y, mask.width, mask.height], counts: encodeCounts(mask.counts) };
}

/**
 * Call `visit(x, first, end)` for every column of the straight brush way from `a` to `b` ([x, y, radius] each, the
 * radius changing evenly): the pixels between two discs and in them. Columns outside 0 … `width` are left out.
 */
export function eachBrushRun([ax, ay, ar], [bx, by, br], width, visit) {
  const sides = tangents(ax, ay, ar, bx, by, br);
  const from = Math.max(0, Math.ceil(Math.min(ax - ar, bx - br) - HAIR));
  const to = Math.min(width - 1, Math.floor(Math.max(ax + ar, bx + br) + HAIR));
  for (let x = from; x <= to; x++) {
    let top = Infinity;
    let foot = -Infinity;
    const reach = (y) => {
      top = Math.min(top, y);
      foot = Math.max(foot, y);
    };
    for (const [cx, cy, r] of [
      [ax, ay, ar],
      [bx, by, br],
    ]) {
      const square = r * r - (x - cx) * (x - cx);
      if (square < -HAIR) continue;
      const half = Math.sqrt(Math.max(square, 0));
      reach(cy - half);
      reach(cy + half);
    }
    for (const [x0, y0, x1, y1] of sides) {
      if (x < Math.min(x0, x1) || x > Math.max(x0, x1) || x0 === x1) continue;
      reach(y0 + ((x - x0) * (y1 - y0)) / (x1 - x0));
    }
    const first = Math.ceil(top - HAIR);
    const end = Math.floor(foot + HAIR) + 1;
    if (first < end) visit(x, first, end);
  }
}

/** The two straight sides of the shape around two discs; none when one disc holds the other. */
function tangents(ax, ay, ar, bx, by, br) {
  const length = Math.hypot(bx - ax, by - ay);
  if (length <= Math.abs(ar - br)) return [];
  const [ux, uy] = [(bx - ax) / length, (by - ay) / length];
  const lean = (ar - br) / length;
  const across = Math.sqrt(1 - lean * lean);
  return [across, -across].map((side) => {
    const [nx, ny] = [ux * lean - uy * side, uy * lean + ux * side];
    return [ax + nx * ar, ay + ny * ar, bx + nx * br, by + ny * br];
  });
}

/** The region of a whole stroke: its points [x, y, radius]. */
export function strokeRegion(points, width, height) {
  const region = new Region(width, height);
  points.forEach((point, i) => eachBrushRun(points[Math.max(0, i - 1)], point, width, (...run) => region.add(...run)));
  return region;
}

/** The region of polygons: each ring is a list of corners [x, y] between pixels, closed by itself. */
export function polygonRegion(rings, width, height, rule = "nonzero") {
  const region = new Region(width, height);
  const edges = edgesOf(rings);
  let [left, right, top, foot] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < edges.length; i += 4) {
    left = Math.min(left, edges[i], edges[i + 2]);
    right = Math.max(right, edges[i], edges[i + 2]);
    top = Math.min(top, edges[i + 1], edges[i + 3]);
    foot = Math.max(foot, edges[i + 1], edges[i + 3]);
  }
  left = Math.max(0, Math.floor(left));
  right = Math.min(width, Math.ceil(right));
  top = Math.max(0, Math.floor(top));
  foot = Math.min(height, Math.ceil(foot));
  if (left >= right || top >= foot) return region;
  const rows = foot - top;
  const wide = Math.max(1, Math.floor(STRIP_PIXELS / (rows + 1)));
  const turns = new Int32Array(Math.min(wide, right - left) * (rows + 1));
  const inside = rule === "evenodd" ? (turn) => turn & 1 : (turn) => turn;
  for (let x = left; x < right; x += wide) {
    const columns = Math.min(wide, right - x);
    turns.fill(0);
    markTurns(turns, edges, x, columns, top, rows);
    for (let column = 0; column < columns; column++) {
      const runs = runsOf(turns.subarray(column * (rows + 1), column * (rows + 1) + rows), top, inside);
      if (runs.length) region.columns.set(x + column, runs);
    }
  }
  return region;
}

function edgesOf(rings) {
  const edges = new Float64Array(4 * rings.reduce((sum, ring) => sum + ring.length, 0));
  let at = 0;
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i++) {
      const next = ring[i + 1 < ring.length ? i + 1 : 0];
      edges[at++] = ring[i][0];
      edges[at++] = ring[i][1];
      edges[at++] = next[0];
      edges[at++] = next[1];
    }
  }
  return edges;
}

/** At the first row below each crossing of an edge with the middle line of a column, count the edge's direction. */
function markTurns(turns, edges, left, columns, top, rows) {
  for (let i = 0; i < edges.length; i += 4) {
    const [ax, ay, bx, by] = [edges[i], edges[i + 1], edges[i + 2], edges[i + 3]];
    if (ax === bx) continue;
    const direction = ax < bx ? 1 : -1;
    const from = Math.max(left, Math.ceil(Math.min(ax, bx) - 0.5));
    const to = Math.min(left + columns, Math.ceil(Math.max(ax, bx) - 0.5));
    const slope = (by - ay) / (bx - ax);
    for (let x = from; x < to; x++) {
      const row = Math.ceil(ay + (x + 0.5 - ax) * slope - 0.5) - top;
      turns[(x - left) * (rows + 1) + Math.min(Math.max(row, 0), rows)] += direction;
    }
  }
}

function runsOf(turns, top, inside) {
  const runs = [];
  let turn = 0;
  let open = false;
  for (let row = 0; row < turns.length; row++) {
    if (turns[row] === 0) continue;
    turn += turns[row];
    if (Boolean(inside(turn)) === open) continue;
    open = !open;
    runs.push(top + row);
  }
  if (open) runs.push(top + turns.length);
  return runs;
}
