/**
 * Editing outlines by their handles: pull one, click on a line to add one, Alt + click or Delete takes one away. Works
 * on the draft when there is one, else on the selected object. Each change is sent as the pixels that come and go.
 */

import { sameMask } from "./hand_layer.js";
import { union, minus, regionOf, toMask, toWire } from "./raster.js";
import { drawVertices } from "./vertex_marks.js";
import {
  addHandle,
  changeOf,
  countHandles,
  handleAt,
  handlePoints,
  lineAt,
  moveHandle,
  ringsOf,
  snapped,
  withTolerance,
} from "./vertices.js";

/** So near (CSS pixels) is on a handle, on a line, at a border. */
const HANDLE_REACH = 10;
const LINE_REACH = 7;
const SNAP_REACH = 6;

/**
 * @param {object} parts {target(): what is edited, {id: null for the draft, mask, others: masks of the other objects} or
 *   null; tolerance(): px; imageSize(): [width, height]; onChange({id, added, removed}); onHint(text)}
 */
export function createVertexTool({ target, tolerance, imageSize, onChange, onHint }) {
  let rings = [];
  let shown = null; // {id, mask, tolerance} the rings were made for
  let chosen = null; // {ring, handle}
  let held = null; // {ring, handle, from, to}
  let hovered = null;

  /** Rings of what is edited now; those of an own change are kept when its answer comes. */
  function sync() {
    const now = target();
    if (!now?.mask) {
      forget();
      return null;
    }
    if (shown && shown.id === now.id && sameMask(shown.mask, now.mask)) {
      if (shown.tolerance !== tolerance()) {
        rings = withTolerance(rings, tolerance());
        chosen = hovered = held = null;
      }
      shown = { id: now.id, mask: now.mask, tolerance: tolerance() };
      return now;
    }
    forget();
    rings = ringsOf(now.mask, tolerance());
    shown = { id: now.id, mask: now.mask, tolerance: tolerance() };
    return now;
  }

  function forget() {
    rings = [];
    shown = chosen = held = hovered = null;
  }

  /** A press, move or lift of the tool; `unit` is image pixels per CSS pixel. Says whether it was on the outline. */
  function pointer(phase, event, unit) {
    const now = sync();
    if (!now) return false;
    if (phase === "down") press(event, unit);
    else if (phase === "move") pull(event, unit, now);
    else drop(now);
    return chosen !== null || held !== null;
  }

  function press({ position, alt, button }, unit) {
    const onHandle = handleAt(rings, position, HANDLE_REACH * unit);
    chosen = onHandle;
    held = null;
    if (onHandle && (alt || button === 2)) return remove();
    if (onHandle) {
      const from = handlePoints(rings[onHandle.ring])[onHandle.handle];
      held = { ...onHandle, from, to: from };
      return;
    }
    const onLine = alt || button !== 0 ? null : lineAt(rings, position, LINE_REACH * unit);
    if (!onLine) return;
    const { ring, handle } = addHandle(rings[onLine.ring], onLine.segment, onLine.at);
    rings = rings.with(onLine.ring, ring);
    chosen = { ring: onLine.ring, handle };
    held = { ...chosen, from: onLine.at, to: onLine.at };
  }

  function pull({ position, ctrl }, unit, { others }) {
    if (!held) return;
    const [width, height] = imageSize();
    const [x, y] = position;
    const inside = [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
    held.to = ctrl ? snapped(inside, others, SNAP_REACH * unit, width, height) : inside;
  }

  function drop(now) {
    if (!held) return;
    const { ring, handle, from, to } = held;
    held = null;
    if (to[0] === from[0] && to[1] === from[1]) return;
    change(now, ring, moveHandle(rings[ring], handle, to), to);
  }

  /** Take the chosen handle away; false when none is. */
  function remove() {
    const now = sync();
    if (!now || !chosen) return false;
    const { ring, handle } = chosen;
    chosen = held = null;
    change(now, ring, moveHandle(rings[ring], handle, null), null);
    return true;
  }

  function change(now, at, moved, to) {
    const { ring } = moved;
    const [width, height] = imageSize();
    const { added, removed } = changeOf(now.mask, moved, width, height);
    const region = minus(union(regionOf(now.mask, width, height), added), removed);
    if (region.isEmpty) return onHint("Nothing would be left of the object. Delete it instead.");
    rings = ring ? rings.with(at, ring) : rings.toSpliced(at, 1);
    chosen = to && ring ? { ring: at, handle: ring.handles.length - 1 } : null; // a moved handle is the last one
    if (added.isEmpty && removed.isEmpty) return;
    shown = { ...shown, mask: toMask(region) };
    onChange({ id: now.id, added: toWire(added), removed: toWire(removed) });
  }

  /** What lies under the pointer, for its look; says whether that changed. */
  function hover(position, unit) {
    if (!sync() || held) return false;
    const next = position ? handleAt(rings, position, HANDLE_REACH * unit) : null;
    const changed = next?.ring !== hovered?.ring || next?.handle !== hovered?.handle;
    hovered = next;
    return changed;
  }

  return {
    pointer,
    hover,
    remove,
    /** Let go of everything that is under way (another tool, a second finger, Esc). */
    abandon() {
      held = null;
    },
    /** Whether a press there would take hold of the outline. */
    isOver(position, unit) {
      if (!sync()) return false;
      return Boolean(handleAt(rings, position, HANDLE_REACH * unit) ?? lineAt(rings, position, LINE_REACH * unit));
    },
    count: () => (sync() ? countHandles(rings) : 0),
    draw(context, view) {
      if (!sync()) return;
      drawVertices(context, view, { rings, chosen, hovered, held: held && pulled(rings[held.ring], held) });
    },
  };
}

/** The two sides of a handle that is being pulled. */
function pulled(ring, { handle, to }) {
  const points = handlePoints(ring);
  const count = points.length;
  return { points: [points[(handle + count - 1) % count], to, points[(handle + 1) % count]] };
}
