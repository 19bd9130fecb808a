/** The ring around the pointer: the outline of the pixels a brush covers there, or of a scribble. */

import { outlineSegments } from "./outline.js";
import { strokeRegion, toMask } from "./raster.js";

const SVG = "http://www.w3.org/2000/svg";
const SMALLEST = 3; // CSS pixels; a smaller footprint is shown as a ring of this size

/** Wide brushes seen from afar are a circle: nobody could see their steps. */
const STEPS_SEEN = 2; // CSS pixels per image pixel

/** Fills `element`; gives {place, hide}. */
export function createBrushRing(element) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const lines = ["samref-ring-dark", "samref-ring-light"].map((name) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(path);
    return path;
  });
  element.append(svg);
  let drawn = "";

  /**
   * Around an image pixel: `x`, `y` of its middle and `scale` (CSS pixels per image pixel) on the stage; `width` of
   * the brush in image pixels.
   */
  function place(x, y, scale, width) {
    element.hidden = false;
    element.style.transform = `translate(${x}px, ${y}px)`;
    const steps = scale >= STEPS_SEEN && width * scale >= SMALLEST;
    const key = `${width} ${scale} ${steps}`;
    if (key === drawn) return;
    drawn = key;
    const d = steps ? footprintPath(width, scale) : circlePath(Math.max(width * scale, SMALLEST) / 2);
    for (const path of lines) path.setAttribute("d", d);
  }

  return {
    place,
    hide() {
      element.hidden = true;
    },
  };
}

/** Outline of the pixels under a brush of that width, around the middle of the middle one. */
function footprintPath(width, scale) {
  const middle = Math.ceil(width / 2) + 1;
  const side = 2 * middle + 1;
  const segments = outlineSegments(toMask(strokeRegion([[middle, middle, width / 2]], side, side)));
  const at = (value) => ((value - middle - 0.5) * scale).toFixed(2);
  let d = "";
  for (let i = 0; i < segments.length; i += 4) {
    d += `M${at(segments[i])} ${at(segments[i + 1])}L${at(segments[i + 2])} ${at(segments[i + 3])}`;
  }
  return d;
}

const circlePath = (radius) =>
  `M${-radius} 0a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
