/** The mask under the pointer on a canvas of its own: what lies below is not painted anew for it. */

import { h } from "../dom.js";
import { drawMask, maskCanvas } from "../mask_layers.js";
import { strokeOutline } from "../outline_layer.js";
import { transformOf } from "../view.js";

/** Fainter than a draft and than finished objects: nothing has been done yet. */
const FILL = 0.22;
const LINE = 0.85;
const WIDTH = 1; // of the outline, in CSS pixels
const pale = (channel) => Math.round(channel + (255 - channel) * 0.6);

/** @param {object} parts {stage, overlay: the canvas it lies over} */
export function createHoverLayer({ stage, overlay }) {
  const style = "position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none";
  const canvas = h("canvas", { class: "samref-hovered", "aria-hidden": "true", hidden: true, style });
  const context = canvas.getContext("2d");
  overlay.after(canvas);

  return {
    element: canvas,
    show(mask, colour, view) {
      if (canvas.width !== overlay.width) canvas.width = overlay.width;
      if (canvas.height !== overlay.height) canvas.height = overlay.height;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = false;
      context.setTransform(...transformOf(view));
      context.globalAlpha = FILL;
      drawMask(context, mask, maskCanvas(mask, colour));
      context.globalAlpha = LINE;
      strokeOutline(context, view, mask, colour.map(pale), WIDTH);
      context.globalAlpha = 1;
      canvas.hidden = false;
    },
    hide: () => (canvas.hidden = true),
    isShown: () => !canvas.hidden,
  };
}
