/** A handle under a list: drag it, or press the arrow keys, and the list gets taller or lower. */

import { h, setAttribute } from "./dom.js";

const STEP = 30;
const MOST = 2000;

/** Gives {element, update(height)}; a height of 0 leaves the list to the style sheet. */
export function createSizer(box, { least, label, onSize }) {
  let from = null; // {y, height} where a drag began
  let shown = null;
  const element = h("div", {
    class: "samref-sizer",
    role: "separator",
    tabindex: "0",
    "aria-orientation": "horizontal",
    "aria-label": label,
    title: "Drag to resize; double click for the usual height",
    on: { pointerdown: begin, pointermove: move, pointerup: end, pointercancel: end, dblclick: () => onSize(0), keydown: onKey },
  });

  function begin(event) {
    element.setPointerCapture(event.pointerId);
    from = { y: event.clientY, height: box.clientHeight };
  }
  function move(event) {
    if (from) resize(from.height + event.clientY - from.y);
  }
  function end() {
    from = null;
  }
  function onKey(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    resize(box.clientHeight + (event.key === "ArrowDown" ? STEP : -STEP));
  }
  const resize = (height) => onSize(Math.round(Math.min(Math.max(height, least), MOST)));

  return {
    element,
    update(height) {
      if (height === shown) return; // the box is not measured at every update of the page
      shown = height;
      const wanted = height > 0 ? `0 0 ${height}px` : "";
      if (box.style.flex !== wanted) box.style.flex = wanted;
      setAttribute(element, "aria-valuenow", String(height || box.clientHeight));
      setAttribute(element, "aria-valuemin", String(least));
      setAttribute(element, "aria-valuemax", String(MOST));
    },
  };
}
