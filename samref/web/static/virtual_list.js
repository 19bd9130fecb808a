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
 * Gives `{show(items), refresh(), reveal(index)}`.
 */
export function createVirtualList(box, list, rowHeight, create) {
  const space = h("div", { class: "samref-space", "aria-hidden": "true" });
  box.append(space);
  list.classList.add("samref-window");
  let items = [];
  let rows = []; // those that exist, from item `first` on
  let first = 0;
  let asked = false;

  /** Make the rows in sight; those that stay are updated only when something changed. */
  function place({ changed = false } = {}) {
    asked = false;
    const height = rowHeight();
    const [from, end] = rowsInView(box.scrollTop, box.clientHeight, height, items.length);
    if (!changed && from === first && end === first + rows.length) return;
    move(from, end, changed);
    list.style.transform = `translateY(${from * height}px)`;
  }

  /** Let rows exist for [from, end): those that leave are used for those that come. */
  function move(from, end, changed) {
    const stays = (index) => index >= from && index < end;
    const spare = rows.filter((_, i) => !stays(first + i));
    const next = [];
    for (let index = from; index < end; index++) {
      const kept = rows[index - first];
      const row = kept ?? spare.pop() ?? create();
      if (!kept || changed) row.update(items[index], index);
      next.push(row);
    }
    for (const row of spare) row.element.remove();
    if (from < first) arrangeFromStart(next);
    else arrangeFromEnd(next);
    rows = next;
    first = from;
  }

  /** Put the elements in order; rows that scrolled in at the top are the only ones that move. */
  function arrangeFromStart(next) {
    let cursor = list.firstElementChild;
    for (const { element } of next) {
      if (element === cursor) cursor = cursor.nextElementSibling;
      else list.insertBefore(element, cursor);
    }
  }

  /** The same for rows that scrolled in at the foot. */
  function arrangeFromEnd(next) {
    let cursor = null;
    for (const { element } of next.toReversed()) {
      if (element.parentElement !== list || element.nextElementSibling !== cursor) list.insertBefore(element, cursor);
      cursor = element;
    }
  }

  function schedule() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => place());
  }

  box.addEventListener("scroll", schedule, { passive: true });
  new ResizeObserver(schedule).observe(box);

  return {
    show(next) {
      items = next;
      space.style.height = `${items.length * rowHeight()}px`;
      place({ changed: true });
    },
    /** The same items look different: update their rows, without measuring anything. */
    refresh() {
      rows.forEach((row, i) => row.update(items[first + i], first + i));
    },
    /** Scroll as little as needed to see the row. */
    reveal(index) {
      const top = scrollTo(index, box.scrollTop, box.clientHeight, rowHeight());
      if (top !== box.scrollTop) box.scrollTop = top;
      place();
    },
  };
}
