/**
 * Brightness, contrast and gamma of the photo as it is shown. The browser's compositor does it with a table of tones
 * on the photo's canvas: nothing is computed per image, and neither the model nor an export ever sees it.
 */

const SVG = "http://www.w3.org/2000/svg";
const FILTER = "samref-tones";
const STEPS = 64;

/** Nothing changed. `brightness` and `contrast` -100 … 100, `gamma` 0.2 … 5. */
export const PLAIN = Object.freeze({ brightness: 0, contrast: 0, gamma: 1 });

export const isPlain = ({ brightness, contrast, gamma }) => brightness === 0 && contrast === 0 && gamma === 1;

/** An adjustment within its limits; whatever is none becomes plain. */
export function adjustmentOf(value) {
  const within = (name, least, most) =>
    Number.isFinite(value?.[name]) ? Math.min(Math.max(value[name], least), most) : PLAIN[name];
  return {
    brightness: within("brightness", -100, 100),
    contrast: within("contrast", -100, 100),
    gamma: within("gamma", 0.2, 5),
  };
}

/**
 * The tone shown for each of 65 tones from black to white, all 0 … 1: gamma first (above 1 lifts the shadows), then
 * contrast about the middle grey, then brightness.
 */
export function tonesOf({ brightness, contrast, gamma }) {
  const slope = Math.tan(((contrast / 100 + 1) * Math.PI) / 4); // 0 at -100, 1 at 0, very steep at 100
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const lifted = (i / STEPS) ** (1 / gamma);
    const tone = (lifted - 0.5) * Math.min(slope, 1000) + 0.5 + brightness / 100;
    return Math.min(Math.max(tone, 0), 1);
  });
}

/** Gives `update(adjustment)`, which shows the elements that way. */
export function createAdjuster(root, elements) {
  const svg = document.createElementNS(SVG, "svg");
  const make = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  svg.classList.add("samref-tones");
  svg.setAttribute("aria-hidden", "true");
  const filter = make("filter", { id: FILTER, "color-interpolation-filters": "sRGB" }, svg);
  const transfer = make("feComponentTransfer", {}, filter);
  const channels = ["R", "G", "B"].map((channel) => make(`feFunc${channel}`, { type: "table" }, transfer));
  root.append(svg);
  let shown = null;
  return (adjustment) => {
    if (adjustment === shown) return;
    shown = adjustment;
    const table = tonesOf(adjustment)
      .map((tone) => tone.toFixed(4))
      .join(" ");
    for (const channel of channels) channel.setAttribute("tableValues", table);
    for (const element of elements) element.style.filter = isPlain(adjustment) ? "" : `url("#${FILTER}")`;
  };
}
