/** The name of an object, painted at its upper edge. */

import { boxOnDevice } from "./object_view.js";

const FONT_PX = 12;
const PAD = 6;
const HEIGHT = 20;
const MOST_CHARACTERS = 40;

/** Paint `text` at the top left of a mask's box, kept inside the canvas. */
export function drawTag(context, view, mask, text) {
  const ratio = view.pixelRatio;
  const shown = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
  context.save();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = `600 ${FONT_PX}px system-ui, "Segoe UI", "Noto Sans", Roboto, sans-serif`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const width = context.measureText(shown).width + 2 * PAD;
  const within = (value, most) => Math.max(4, Math.min(value, most - 4));
  const [boxLeft, boxTop] = boxOnDevice(view, mask);
  const left = within(boxLeft / ratio, view.deviceWidth / ratio - width);
  const top = within(boxTop / ratio - HEIGHT - 6, view.deviceHeight / ratio - HEIGHT);
  context.fillStyle = "rgba(16, 20, 27, 0.82)";
  context.beginPath();
  context.roundRect(left, top, width, HEIGHT, 5);
  context.fill();
  context.fillStyle = "#fff";
  context.fillText(shown, left + PAD, top + HEIGHT / 2 + 0.5);
  context.restore();
}
