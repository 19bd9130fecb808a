/** A list of which only the rows in sight exist: a thousand rows cost as much as twenty. */

import { h } from "./dom.js";

/** Rows made beyond each edge of what is seen, so that scrolling shows no gaps. */
const SPARE = 6;

/** Which rows exist: [first, end) of `count` rows of `height` pixels in a box scrolled by `top`. */
export function rowsInView(top, room, height, count, spare = SPARE) {
  const first = Math.max(0, Math.floor(top / height) - spare);
  const end = Math.min(count, Math.ceil((top + room) / height) + spare);
  return [Math.min(first, end), end];
}

/** The scroll position that shows row `index` whole, moving as little as possible from `top`. */
export function scrollTo(index, top, room, height) {
  const from = index * height;
  if (from < top) return from;
  if (from + height > top + room) return Math.max(0, Math.min(from, from + height - room));
  return top;
}

/**
 * Rows of equal height inside `box`, which scrolls.
 *
 * `create()` makes a row, `{element, update(item, index)}`, to be used for one item after another.
 * Gives `{show(items), reveal(index), redraw()}`.
 */
export function createVirtualList(box, list, rowHeight, create) {
  const space = h("div", { class: "samref-space", "aria-hidden": "true" });
  box.append(space);
  list.classList.add("samref-window");
  let items = [];
  let rows = []; // those that exist, from item `first` on
  let first = 0;
  let asked = false;

  function place() {
    asked = false;
    const height = rowHeight();
    const [from, end] = rowsInView(box.scrollTop, box.clientHeight, height, items.length);
    move(from, end);
    list.style.transform = `translateY(${from * height}px)`;
  }

  /** Let rows exist for [from, end): those that leave are used for those that come. */
  function move(from, end) {
    const byItem = new Map(rows.map((row, i) => [first + i, row]));
    const spare = [...byItem].filter(([index]) => index < from || index >= end).map(([, row]) => row);
    const next = [];
    for (let index = from; index < end; index++) next.push(byItem.get(index) ?? spare.pop() ?? create());
    for (const row of spare) row.element.remove();
    let cursor = list.firstElementChild;
    next.forEach((row, i) => {
      row.update(items[from + i], from + i);
      if (row.element === cursor) cursor = cursor.nextElementSibling;
      else list.insertBefore(row.element, cursor);
    });
    rows = next;
    first = from;
  }

  function schedule() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(place);
  }

  box.addEventListener("scroll", schedule, { passive: true });
  new ResizeObserver(schedule).observe(box);

  return {
    show(next) {
      items = next;
      space.style.height = `${items.length * rowHeight()}px`;
      place();
    },
    /** Scroll as little as needed to see the row. */
    reveal(index) {
      const top = scrollTo(index, box.scrollTop, box.clientHeight, rowHeight());
      if (top !== box.scrollTop) box.scrollTop = top;
      place();
    },
    /** The row that shows item `index`, if it exists. */
    rowAt: (index) => rows[index - first]?.element ?? null,
  };
}
