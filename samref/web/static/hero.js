/**
 * The finished result on the start page: an example with a coarse and a refined mask, and a slider between them. A click
 * on the image is the visitor's own first click. What it shows is loaded after the text of the page.
 */

import { h } from "./dom.js";
import { readMask, toPixels } from "./rle.js";

const COARSE = [255, 77, 109];
const REFINED = [32, 226, 168];
const FILL = 122; // of 255
const EDGE = 2; // image pixels

/** Where the slider rests, percent of the width: both masks of the visor are to be seen. */
const REST = 70;
const SWEEP_FROM = 100;
const SWEEP_MS = 1_400;
const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -20, PageUp: 20 };

/**
 * Fill `place`; resolves when the image is there to be seen.
 *
 * @param {object} parts {place: an element, masks: address of the JSON, image: address of the image, onClick(example, x, y):
 *   a click on image pixel (x, y), onOpen(example)}
 */
export async function showHero({ place, masks, image: source, onClick, onOpen }) {
  const image = h("img", { src: source, decoding: "async", draggable: "false" });
  const answer = await fetch(masks);
  if (!answer.ok) throw new Error(`the server has no finished result (${answer.status})`);
  const showcase = await answer.json();
  const { example, width, height, prompts } = showcase;
  image.width = width;
  image.height = height;
  image.alt = `A photo with a mask of ${showcase.what}: ragged at the left of the slider, clean at the right`;
  const coarse = paint(readMask(showcase.coarse), COARSE, width, height, "samref-hero-coarse");
  const refined = paint(readMask(showcase.refined), REFINED, width, height, "samref-hero-refined");
  const grip = h(
    "div",
    {
      class: "samref-hero-grip",
      role: "slider",
      tabindex: "0",
      "aria-label": "Coarse or refined mask",
      "aria-orientation": "horizontal",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    },
    h("span", { "aria-hidden": "true" }, "‹ ›"),
  );
  const dots = prompts.map(({ x, y }) =>
    h("span", {
      class: "samref-hero-dot",
      "aria-hidden": "true",
      style: `left: ${((x + 0.5) / width) * 100}%; top: ${((y + 0.5) / height) * 100}%`,
    }),
  );
  const frame = h(
    "div",
    { class: "samref-hero-frame", on: { click: onFrame } },
    image,
    coarse,
    refined,
    ...dots,
    h("span", { class: "samref-hero-tag samref-hero-tag-coarse", "aria-hidden": "true" }, "Coarse"),
    h("span", { class: "samref-hero-tag samref-hero-tag-refined", "aria-hidden": "true" }, "Refined"),
    h("span", { class: "samref-hero-call", "aria-hidden": "true" }, "Click anything"),
    grip,
  );
  const clicks = prompts.length === 1 ? "One click" : `${prompts.length} clicks`;
  const caption = h(
    "figcaption",
    {},
    `${clicks} on ${showcase.what}. The coarse mask comes at once, the refined one right after. `,
    h("button", { type: "button", class: "samref-link", on: { click: () => onOpen(example) } }, "Try it on this image"),
  );
  await image.decode();
  const slider = createSlider(frame, grip);
  place.replaceChildren(h("figure", {}, frame, caption));
  slider.sweep();

  function onFrame(event) {
    if (event.target.closest(".samref-hero-grip") || slider.wasDragged()) return;
    onClick(example, ...pixelAt(frame.getBoundingClientRect(), event, width, height));
  }
}

/** The image pixel [x, y] under a window position, for an image of `width` x `height` shown in `box`. */
export function pixelAt(box, { clientX, clientY }, width, height) {
  const along = (at, from, length, count) => Math.min(Math.max(Math.floor(((at - from) / length) * count), 0), count - 1);
  return [along(clientX, box.left, box.width, width), along(clientY, box.top, box.height, height)];
}

/** Where the slider goes by a key, percent; null for a key that is none of its own. */
export function moved(at, key) {
  if (key === "Home") return 0;
  if (key === "End") return 100;
  return key in STEPS ? Math.min(Math.max(at + STEPS[key], 0), 100) : null;
}

function createSlider(frame, grip) {
  let at = REST;
  let sweeping = 0;
  let draggedAt = -Infinity;

  function set(value) {
    at = Math.min(Math.max(value, 0), 100);
    const whole = Math.round(at);
    frame.style.setProperty("--at", `${at}%`);
    frame.classList.toggle("samref-hero-few-coarse", at < 22);
    frame.classList.toggle("samref-hero-few-refined", at > 78);
    grip.setAttribute("aria-valuenow", String(whole));
    grip.setAttribute("aria-valuetext", `Coarse mask up to ${whole} percent of the width, refined mask from there on`);
  }

  /** Once, for those who have not asked for less motion: all of it coarse, then the refined mask comes in. */
  function sweep() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden) return set(REST);
    const began = performance.now();
    const step = (now) => {
      const done = Math.min(Math.max((now - began) / SWEEP_MS, 0), 1);
      set(SWEEP_FROM + (REST - SWEEP_FROM) * (1 - (1 - done) ** 3));
      sweeping = done < 1 ? requestAnimationFrame(step) : 0;
    };
    set(SWEEP_FROM);
    sweeping = requestAnimationFrame(step);
  }

  function take(value) {
    cancelAnimationFrame(sweeping);
    set(value);
  }

  grip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grip.setPointerCapture(event.pointerId);
    take(at);
  });
  grip.addEventListener("pointermove", (event) => {
    if (!grip.hasPointerCapture(event.pointerId)) return;
    const { left, width } = frame.getBoundingClientRect();
    draggedAt = event.timeStamp;
    take(((event.clientX - left) / width) * 100);
  });
  grip.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = moved(at, event.key);
    if (next === null) return;
    event.preventDefault();
    event.stopPropagation();
    take(next);
  });
  set(REST);
  return {
    sweep,
    /** Whether a drag ended just now: some browsers make a click of its end. */
    wasDragged: () => performance.now() - draggedAt < 100,
  };
}

/** A canvas of the image's size with the mask: its inside pale, its edge strong. */
function paint(mask, colour, width, height, name) {
  const canvas = h("canvas", { class: `samref-hero-mask ${name}`, width, height, "aria-hidden": "true" });
  const { columns, rows } = mask;
  const pixels = toPixels(mask, colour);
  const isIn = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && pixels[(y * columns + x) * 4 + 3] > 0;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      if (!isIn(x, y)) continue;
      const isInside = isIn(x - EDGE, y) && isIn(x + EDGE, y) && isIn(x, y - EDGE) && isIn(x, y + EDGE);
      if (isInside) pixels[(y * columns + x) * 4 + 3] = FILL;
    }
  }
  canvas.getContext("2d").putImageData(new ImageData(pixels, columns, rows), mask.x, mask.y);
  return canvas;
}
