/**
 * Tiles in a grid, or in one row, of which only those in sight exist: five thousand cost as much as fifty.
 *
 * The list is one stop of the Tab key; arrows, Home and End go through it.
 */

import { setAttribute } from "./dom.js";

/** Rows (or tiles of the one row) made beyond each edge of what is seen. */
const SPARE = 2;

/** The order among the tiles is mended when nothing has moved for so long. */
const SETTLED_MS = 120;

/** Where tiles go: {columns, stepX, stepY, width, total} for `count` tiles in a room of `room` pixels; pure. */
export function layoutOf({ axis, least, height, gap }, room, count) {
  if (axis === "x") return { columns: count, stepX: least + gap, stepY: 0, width: least, total: count * (least + gap) };
  const columns = Math.max(1, Math.floor((room + gap) / (least + gap)));
  const width = (room - gap * (columns - 1)) / columns;
  const stepY = height(width) + gap;
  return { columns, stepX: width + gap, stepY, width, total: Math.ceil(count / columns) * stepY };
}

/** Which tiles exist, [first, end), when `from` to `from + seen` of the list is in sight; pure. */
export function tilesInSight({ columns, stepX, stepY }, axis, from, seen, count) {
  const [step, each] = axis === "x" ? [stepX, 1] : [stepY, columns];
  const first = Math.min(count, Math.max(0, Math.floor(from / step) - SPARE) * each);
  const end = Math.min(count, (Math.max(0, Math.ceil((from + seen) / step)) + SPARE) * each);
  return [first, Math.max(first, end)];
}

/**
 * @param {object} parts
 * @param {HTMLElement} parts.scroller what scrolls
 * @param {HTMLElement} parts.list an empty `ul` in it
 * @param {object} parts.shape {axis: "x" | "y", least: a tile's least width, height(width), gap}, in pixels
 * @param {(item) => string} parts.keyOf
 * @param {() => object} parts.create gives {element: an `li`, focus: what takes the focus, update(item), leave()}; a
 *   tile is used for one item after another
 */
export function createWindowed({ scroller, list, shape, keyOf, create }) {
  const isRow = shape.axis === "x";
  let items = [];
  let tiles = new Map(); // by key
  const spare = []; // tiles that left, to be used again
  let layout = layoutOf(shape, 0, 0);
  let asked = false;
  let settling = null;
  let stop = 0; // the item that Tab comes to

  function render() {
    asked = false;
    if (list.offsetParent === null) return; // not on the page now
    layout = layoutOf(shape, list.clientWidth, items.length);
    list.style[isRow ? "width" : "height"] = `${Math.max(0, layout.total)}px`;
    const [first, end] = inSight();
    const wanted = new Set();
    for (let i = first; i < end; i++) wanted.add(i);
    stop = Math.min(stop, Math.max(0, items.length - 1));
    if (items.length) wanted.add(stop); // what has the focus, or may get it, is always there
    const indices = [...wanted].sort((a, b) => a - b);
    const keys = new Set(indices.map((index) => keyOf(items[index])));
    for (const [key, tile] of tiles) {
      if (keys.has(key)) continue;
      tile.leave();
      spare.push(tile);
    }
    const next = new Map();
    for (const index of indices) {
      const item = items[index];
      const tile = tiles.get(keyOf(item)) ?? spare.pop() ?? create();
      place(tile, item, index);
      next.set(keyOf(item), tile);
    }
    for (const { element } of spare) element.remove();
    for (const { element } of next.values()) if (!element.parentNode) list.append(element);
    tiles = next;
    clearTimeout(settling);
    settling = setTimeout(order, SETTLED_MS);
  }

  /** Put the tiles in order for those who hear the page; where they are seen does not depend on it. */
  function order() {
    let cursor = list.firstElementChild;
    for (const { element } of tiles.values()) {
      if (element === cursor) cursor = cursor.nextElementSibling;
      else if (element !== document.activeElement?.closest("li")) list.insertBefore(element, cursor);
    }
  }

  function place(tile, item, index) {
    const { columns, stepX, stepY, width } = layout;
    const height = stepY - shape.gap;
    const moved = `translate(${(index % columns) * stepX}px, ${Math.floor(index / columns) * stepY}px)`;
    if (tile.element.style.transform !== moved) tile.element.style.transform = moved;
    if (!isRow && tile.width !== width) {
      tile.width = width;
      tile.element.style.width = `${width}px`;
      tile.element.style.height = `${height}px`;
    }
    setAttribute(tile.element, "aria-posinset", index + 1);
    setAttribute(tile.element, "aria-setsize", items.length);
    setAttribute(tile.focus, "tabindex", index === stop ? 0 : -1);
    tile.element.dataset.index = index;
    tile.update(item);
  }

  /** How far the list is scrolled out at the start of the scroller's room, and how long that room is. */
  function seen() {
    if (isRow) return [scroller.scrollLeft, scroller.clientWidth];
    return [scroller.getBoundingClientRect().top - list.getBoundingClientRect().top, scroller.clientHeight];
  }

  const inSight = () => tilesInSight(layout, shape.axis, ...seen(), items.length);

  function schedule() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(render);
  }

  /** Scroll as little as needed to see a tile. */
  function reveal(index) {
    if (list.offsetParent === null || index < 0) return;
    const step = isRow ? layout.stepX : layout.stepY;
    if (!step) return;
    const begin = (isRow ? index : Math.floor(index / layout.columns)) * step;
    const [from, room] = seen();
    const by = begin < from ? begin - from : Math.max(0, begin + step - (from + room));
    if (by !== 0) scroller[isRow ? "scrollLeft" : "scrollTop"] += by;
    schedule();
  }

  function onKeyDown(event) {
    const at = Number(event.target.closest?.("li")?.dataset.index ?? -1);
    const across = isRow ? 0 : layout.columns;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
    const ends = { Home: 0, End: items.length - 1 };
    const to = event.key in ends ? ends[event.key] : at + (steps[event.key] || NaN);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey || !(to >= 0 && to < items.length)) return;
    event.preventDefault();
    stop = to;
    reveal(to);
    render();
    tiles.get(keyOf(items[to]))?.focus.focus({ preventScroll: true });
  }

  list.addEventListener("keydown", onKeyDown);
  list.addEventListener("focusin", (event) => (stop = Number(event.target.closest("li")?.dataset.index ?? stop)));
  scroller.addEventListener("scroll", schedule, { passive: true });
  new ResizeObserver(schedule).observe(scroller);

  return {
    /** Show these items; `at` is the one that Tab comes to, where it is known. */
    show(next, at = -1) {
      items = next;
      if (at >= 0 && !list.contains(document.activeElement)) stop = at;
      render();
    },
    reveal,
  };
}
