/**
 * The outline of a mask as rings with handles: closed lines between pixels that can be pulled at a few points. Pure.
 *
 * A ring is {points, handles}: `points` are all corners of the line, exactly along the pixels where nobody touched it;
 * `handles` are the numbers of those points that can be taken hold of, in order. Parts of an object and its holes are
 * rings alike. Filled by the even-odd rule the rings give the mask.
 *
 * Moving a handle makes its two sides straight, and nothing else. The pixels that change are those between the old
 * line and the new one, so a side that was not touched cannot lose a pixel.
 */

import { eachColumnRun } from "./rle.js";
import { both, minus, polygonRegion, regionOf, strokeRegion, toMask, union } from "./raster.js";
import { alongSegment, distanceToSegment, keptPoints } from "./polyline.js";

/** A ring keeps at least this many handles. */
const LEAST = 3;

/** The rings of a mask, with handles so that straight lines between them stay within `tolerance` pixels of it. */
export function ringsOf(mask, tolerance) {
  return contoursOf(mask).map((points) => ({ points, handles: handlesOf(points, tolerance) }));
}

/** The same rings with other handles: no pixel changes. */
export const withTolerance = (rings, tolerance) =>
  rings.map(({ points }) => ({ points, handles: handlesOf(points, tolerance) }));

export const countHandles = (rings) => rings.reduce((sum, { handles }) => sum + handles.length, 0);

/** A mask at the image's own resolution. */
const fullSize = (mask) => (mask.scale === 1 ? mask : toMask(regionOf(mask, WIDE, WIDE)));

/** Closed lines along the sides of a mask's pixels, the object at their right hand; straight pieces merged. */
export function contoursOf(mask) {
  if (!mask) return [];
  const next = sidesOf(fullSize(mask));
  const loops = [];
  for (const [start, ways] of next) {
    while (ways.length) loops.push(walk(next, start));
  }
  return loops;
}

const WIDE = 2 ** 17; // larger than any image's side

/** For each corner of the pixel sides, where the sides that begin there lead: key -> [key, …]. */
function sidesOf(mask) {
  const next = new Map();
  const lead = (x0, y0, x1, y1) => {
    const from = y0 * WIDE + x0;
    const to = y1 * WIDE + x1;
    const ways = next.get(from);
    if (ways) ways.push(to);
    else next.set(from, [to]);
  };
  let before = [];
  let column = -1;
  let runs = [];
  const closeColumn = (at) => {
    const x = mask.x + at;
    for (let i = 0; i < runs.length; i += 2) {
      lead(x, mask.y + runs[i], x + 1, mask.y + runs[i]);
      lead(x + 1, mask.y + runs[i + 1], x, mask.y + runs[i + 1]);
    }
    const ends = [...before, ...runs].sort((p, q) => p - q);
    for (let i = 0; i + 1 < ends.length; i += 2) {
      if (ends[i] === ends[i + 1]) continue;
      const [top, foot] = [mask.y + ends[i], mask.y + ends[i + 1]];
      if (isIn(runs, ends[i])) lead(x, foot, x, top);
      else lead(x, top, x, foot);
    }
    before = runs;
    runs = [];
  };
  eachColumnRun(mask, (at, first, end) => {
    while (column < at) {
      if (column >= 0) closeColumn(column);
      column += 1;
    }
    if (runs.length && runs[runs.length - 1] === first) runs[runs.length - 1] = end;
    else runs.push(first, end);
  });
  if (column >= 0) {
    closeColumn(column);
    closeColumn(column + 1);
  }
  return next;
}

function isIn(runs, row) {
  for (let i = 0; i < runs.length; i += 2) if (row >= runs[i] && row < runs[i + 1]) return true;
  return false;
}

/** One loop from a corner on; where two pixels touch by a corner only, the line stays with its own pixel. */
function walk(next, start) {
  const points = [];
  let at = start;
  let from = null;
  do {
    const ways = next.get(at);
    const pick = ways.length === 1 || from === null ? 0 : ways.findIndex((to) => turnsRight(from, at, to));
    const [to] = ways.splice(Math.max(pick, 0), 1);
    const [x, y] = [at % WIDE, Math.floor(at / WIDE)];
    if (from === null || !isStraight(from, at, to)) points.push([x, y]);
    from = at;
    at = to;
  } while (at !== start);
  // the first corner lies on a straight piece when the loop began in the middle of one
  const [a, b, c] = [points[points.length - 1], points[0], points[1]];
  if ((b[0] - a[0]) * (c[1] - b[1]) === (b[1] - a[1]) * (c[0] - b[0])) points.shift();
  return points;
}

function cross(from, at, to) {
  const ax = (at % WIDE) - (from % WIDE);
  const ay = Math.floor(at / WIDE) - Math.floor(from / WIDE);
  const bx = (to % WIDE) - (at % WIDE);
  const by = Math.floor(to / WIDE) - Math.floor(at / WIDE);
  return ax * by - ay * bx;
}
const turnsRight = (from, at, to) => cross(from, at, to) > 0; // y grows downwards
const isStraight = (from, at, to) => cross(from, at, to) === 0;

function handlesOf(points, tolerance) {
  if (points.length <= LEAST) return points.map((_, i) => i);
  let far = 0;
  const reach = ([x, y]) => Math.hypot(x - points[0][0], y - points[0][1]);
  for (let i = 1; i < points.length; i++) if (reach(points[i]) > reach(points[far])) far = i;
  const halves = [points.slice(0, far + 1), [...points.slice(far), points[0]]];
  for (let allowed = tolerance; ; allowed /= 2) {
    const keep = [...keptPoints(halves[0], allowed), ...keptPoints(halves[1], allowed).slice(1, -1)];
    const handles = [];
    keep.forEach((kept, i) => kept && handles.push(i));
    if (handles.length >= LEAST || allowed < 0.1) return handles;
  }
}

/** The positions of a ring's handles. */
export const handlePoints = ({ points, handles }) => handles.map((i) => points[i]);

/** The handle within `reach` of a position: {ring, handle}, or null. */
export function handleAt(rings, [x, y], reach) {
  let best = null;
  let least = reach;
  rings.forEach(({ points, handles }, ring) => {
    for (let handle = 0; handle < handles.length; handle++) {
      const [px, py] = points[handles[handle]];
      const away = Math.hypot(px - x, py - y);
      if (away <= least) {
        least = away;
        best = { ring, handle };
      }
    }
  });
  return best;
}

/** The place on a line within `reach` of a position: {ring, segment: number of the point before it, at: [x, y]}. */
export function lineAt(rings, [x, y], reach) {
  let best = null;
  let least = reach;
  rings.forEach(({ points }, ring) => {
    for (let i = 0; i < points.length; i++) {
      const a = points[i];
      const b = points[i + 1 < points.length ? i + 1 : 0];
      const ax = a[0];
      const ay = a[1];
      const bx = b[0];
      const by = b[1];
      // most of thousands of sides are far away: look no closer
      if (ax - x > least && bx - x > least) continue;
      if (x - ax > least && x - bx > least) continue;
      if (ay - y > least && by - y > least) continue;
      if (y - ay > least && y - by > least) continue;
      const away = distanceToSegment(x, y, ax, ay, bx, by);
      if (away > least) continue;
      least = away;
      const along = alongSegment(x, y, ax, ay, bx, by);
      best = { ring, segment: i, at: [ax + along * (bx - ax), ay + along * (by - ay)] };
    }
  });
  return best;
}

/** A ring with one more handle, on its line: no pixel changes. Gives {ring, handle}. */
export function addHandle({ points, handles }, segment, at) {
  const grown = [...points.slice(0, segment + 1), at, ...points.slice(segment + 1)];
  const shifted = handles.map((i) => (i > segment ? i + 1 : i));
  const handle = shifted.findIndex((i) => i > segment + 1);
  const where = handle < 0 ? shifted.length : handle;
  return { ring: { points: grown, handles: shifted.toSpliced(where, 0, segment + 1) }, handle: where };
}

/**
 * A handle put at another place, its two sides straight; `to` null takes the handle away. Gives {ring, swept, touched}:
 * the new ring (null when too little of it is left), the loop around the pixels that change sides, and the line that
 * was left.
 */
export function moveHandle({ points, handles }, handle, to) {
  const count = handles.length;
  if (to === null && count <= LEAST) return { ring: null, swept: points, touched: [...points, points[0]] };
  const previous = handles[(handle + count - 1) % count];
  const following = handles[(handle + 1) % count];
  const old = pieceOf(points, previous, following);
  const rest = pieceOf(points, following, previous); // the untouched line, both ends included
  const untouched = new Map(rest.map((_, i) => [(following + i) % points.length, i]));
  const kept = handles.filter((_, i) => i !== handle).map((i) => untouched.get(i));
  kept.sort((p, q) => p - q);
  const grown = to === null ? rest : [...rest, to];
  if (to !== null) kept.push(rest.length);
  return { ring: { points: grown, handles: kept }, swept: to === null ? old : [...old, to], touched: old };
}

/** Points number `from` to `to`, both included, around the end if need be. */
function pieceOf(points, from, to) {
  return from < to ? points.slice(from, to + 1) : [...points.slice(from), ...points.slice(0, to + 1)];
}

/**
 * Pixels that come and go when a line moved: {added, removed} regions of a mask in an image of that size. `touched` is
 * the line that was left: where only a preview is known, the true mask may end beside it, within one cell.
 */
export function changeOf(mask, { swept, touched }, width, height) {
  const between = polygonRegion([swept], width, height, "evenodd");
  const old = regionOf(mask, width, height);
  const added = minus(between, old);
  const removed = both(between, old);
  if (mask.scale === 1) return { added, removed };
  const fringe = strokeRegion(
    touched.map(([x, y]) => [x - 0.5, y - 0.5, mask.scale]), // brush positions are middles of pixels
    width,
    height,
  );
  const all = union(between, fringe);
  const shape = minus(union(old, added), removed);
  return { added: both(all, shape), removed: minus(all, shape) };
}

/** A position drawn to the image's border, or to another outline, within `reach`; unchanged when there is none. */
export function snapped([x, y], others, reach, width, height) {
  let best = [x, y];
  let least = reach;
  for (const mask of others) {
    if (x < mask.x - reach || y < mask.y - reach) continue;
    if (x > mask.x + mask.width + reach || y > mask.y + mask.height + reach) continue;
    const hit = lineAt(outlineRings(mask), [x, y], least);
    if (!hit) continue;
    best = hit.at;
    least = Math.hypot(x - hit.at[0], y - hit.at[1]);
  }
  if (best[0] !== x || best[1] !== y) return best;
  const toBorder = (value, most) => (value <= reach ? 0 : most - value <= reach ? most : value);
  return [toBorder(x, width), toBorder(y, height)];
}

const outlines = new WeakMap();

function outlineRings(mask) {
  if (!outlines.has(mask))
    outlines.set(
      mask,
      contoursOf(mask).map((points) => ({ points })),
    );
  return outlines.get(mask);
}
