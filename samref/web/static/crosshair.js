/** Two lines through the pointer, over the whole stage: to see where a box will begin. */

import { h } from "./dom.js";

/** Gives `update(on)`. */
export function createCrosshair(stage, overlay) {
  const lines = ["samref-crosshair-across", "samref-crosshair-down"].map((name) =>
    h("div", { class: `samref-crosshair ${name}`, hidden: true, "aria-hidden": "true" }),
  );
  stage.append(...lines);
  let wanted = false;

  function show(event) {
    const on = wanted && event?.pointerType !== "touch" && event !== null;
    for (const line of lines) line.hidden = !on;
    if (!on) return;
    const { left, top } = stage.getBoundingClientRect();
    lines[0].style.transform = `translateY(${Math.floor(event.clientY - top)}px)`;
    lines[1].style.transform = `translateX(${Math.floor(event.clientX - left)}px)`;
  }

  overlay.addEventListener("pointermove", show);
  overlay.addEventListener("pointerleave", () => show(null));

  return (on) => {
    if (on === wanted) return;
    wanted = on;
    if (!on) show(null);
  };
}
