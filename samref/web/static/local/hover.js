/**
 * The mask that a click would begin with, shown under a pointer that has not clicked yet. It is asked of the model in
 * this browser alone and written down nowhere. One question at a time, and only the newest place is asked about.
 */

import { afterFrame } from "../latency.js";

/** Who wants little motion sees a mask when the pointer has rested for so long. */
const REST_MS = 250;

const KEPT = 50;

/**
 * @param {object} parts {overlay, layer: see hover_layer.js, view(): of the image, pixelAt(clientX, clientY),
 *   isFree(): whether a click here would begin an object, ask(x, y): {mask} | null, colour(), onError(error),
 *   isCalm(): whether little motion is wanted, clock: {setTimeout, clearTimeout} for tests}
 */
export function createHover({
  overlay,
  layer,
  view,
  pixelAt,
  isFree,
  ask,
  colour,
  onError,
  isCalm = () => globalThis.matchMedia("(prefers-reduced-motion: reduce)").matches,
  clock = globalThis,
}) {
  let pointer = null; // {pixel, at, clientX, clientY} of the last move, null while it is elsewhere or does something
  let asked = null; // the place that is being asked about
  let shown = null; // {pixel, mask}
  let resting = null;
  const waits = [];

  overlay.addEventListener("pointermove", (event) => {
    const isFine = event.pointerType === "mouse" || event.pointerType === "pen";
    if (!isFine || event.buttons !== 0 || event.ctrlKey || event.metaKey || !isFree()) return hide();
    const pixel = pixelAt(event.clientX, event.clientY);
    if (!pixel) return hide();
    const moved = pointer === null || !isSame(pointer.pixel, pixel);
    pointer = { pixel, at: event.timeStamp };
    if (!moved) return;
    if (!isCalm()) return void pump();
    clear();
    resting = clock.setTimeout(pump, REST_MS);
  });
  for (const kind of ["pointerleave", "pointercancel"]) overlay.addEventListener(kind, () => hide());

  async function pump() {
    if (asked !== null) return;
    while (pointer !== null && !(shown && isSame(shown.pixel, pointer.pixel))) {
      asked = pointer;
      const seen = view();
      let answer = null;
      try {
        answer = await ask(...asked.pixel);
      } catch (error) {
        asked = null;
        hide();
        return onError(error);
      }
      const { pixel, at } = asked;
      asked = null;
      if (pointer === null) return;
      if (!isFree()) return hide();
      if (view() !== seen) continue;
      if (answer !== null) show(pixel, answer.mask, at);
      else if (isSame(pointer.pixel, pixel)) return; // something else went first
    }
  }

  function show(pixel, mask, at) {
    shown = { pixel, mask };
    if (mask === null) return layer.hide();
    layer.show(mask, colour(), view());
    afterFrame(() => {
      waits.push(performance.now() - at);
      if (waits.length > KEPT) waits.shift();
    });
  }

  function clear() {
    if (resting !== null) clock.clearTimeout(resting);
    resting = null;
    shown = null;
    layer.hide();
  }

  /** Nothing is shown until the pointer moves again. */
  function hide() {
    pointer = null;
    clear();
  }

  return {
    hide,
    /** The mask that is shown for that pixel; null where none is. */
    maskAt: (x, y) => (shown && layer.isShown() && isSame(shown.pixel, [x, y]) ? shown.mask : null),
    /** From the pointer's last moves to their masks on the screen, in milliseconds, oldest first. */
    waits: () => [...waits],
    isShown: () => layer.isShown(),
  };
}

const isSame = ([ax, ay], [bx, by]) => ax === bx && ay === by;
