/**
 * The draft while a hand changes its pixels: a canvas of image pixels that follows the brush, and the mask that comes
 * of it. What is painted here is what is sent: both come from the runs of `raster.js`.
 *
 * A stroke touches the canvas only where the brush was. The canvas covers the draft and the stroke, not the image; it
 * grows by halves of itself, so that growing is rare.
 */

import { drawMask, maskCanvas } from "./mask_layers.js";
import { Region, eachBrushRun, minus, regionOf, toMask, union } from "./raster.js";
import { readMask } from "./rle.js";

/** Room around the first touch, in image pixels. */
const MARGIN = 128;

export function createHandLayer() {
  let stroke = null; // {region, erase, last, canvas, context, box: [x0, y0, x1, y1], colour, width, height}

  /**
   * A stroke begins over the draft as it is shown: its mask, and its canvas (which is painted on from here) with its
   * place in the image if there is one.
   */
  function begin({ mask, canvas, place, colour, erase, width, height }) {
    stroke = {
      region: new Region(width, height),
      erase,
      last: null,
      canvas: null,
      context: null,
      box: null,
      colour,
      width,
      height,
    };
    if (!mask) return;
    if (canvas) {
      const box = [place[0], place[1], place[0] + canvas.width, place[1] + canvas.height];
      Object.assign(stroke, { canvas, context: canvas.getContext("2d"), box });
      stroke.context.fillStyle = cssOf(colour);
      return;
    }
    makeRoom([mask.x, mask.y, mask.x + mask.width, mask.y + mask.height]);
    const { context, box } = stroke;
    context.save();
    context.imageSmoothingEnabled = false;
    context.translate(-box[0], -box[1]);
    drawMask(context, mask, maskCanvas(mask, colour));
    context.restore();
  }

  /** The brush goes on to these points ([x, y, radius]). */
  function paint(points) {
    const { region, width, height, erase } = stroke;
    for (const point of points) {
      const from = stroke.last ?? point;
      stroke.last = point;
      const runs = [];
      eachBrushRun(from, point, width, (x, first, end) => {
        region.add(x, first, end);
        runs.push(x, Math.max(first, 0), Math.min(end, height));
      });
      const reach = boundsOf(runs);
      if (!reach) continue;
      if (!erase) makeRoom(reach);
      if (!stroke.canvas) continue; // nothing to erase from
      const { context, box } = stroke;
      const put = erase ? "clearRect" : "fillRect";
      for (let i = 0; i < runs.length; i += 3) {
        if (runs[i + 1] < runs[i + 2])
          context[put](runs[i] - box[0], runs[i + 1] - box[1], 1, runs[i + 2] - runs[i + 1]);
      }
    }
  }

  /** Let the canvas cover [x0, y0, x1, y1] as well. */
  function makeRoom([x0, y0, x1, y1]) {
    const { box, canvas, width, height, colour } = stroke;
    if (canvas && x0 >= box[0] && y0 >= box[1] && x1 <= box[2] && y1 <= box[3]) return;
    const extra = (along) => (canvas ? Math.max(MARGIN, along >> 1) : MARGIN);
    const [wide, high] = box ? [extra(box[2] - box[0]), extra(box[3] - box[1])] : [MARGIN, MARGIN];
    const held = box ?? [x0, y0, x1, y1];
    const next = [
      x0 < held[0] || !canvas ? Math.max(0, Math.min(x0, held[0]) - wide) : held[0],
      y0 < held[1] || !canvas ? Math.max(0, Math.min(y0, held[1]) - high) : held[1],
      x1 > held[2] || !canvas ? Math.min(width, Math.max(x1, held[2]) + wide) : held[2],
      y1 > held[3] || !canvas ? Math.min(height, Math.max(y1, held[3]) + high) : held[3],
    ];
    const grown = document.createElement("canvas");
    grown.width = next[2] - next[0];
    grown.height = next[3] - next[1];
    const context = grown.getContext("2d");
    if (canvas) context.drawImage(canvas, box[0] - next[0], box[1] - next[1]);
    context.fillStyle = cssOf(colour);
    Object.assign(stroke, { canvas: grown, context, box: next });
  }

  /** The stroke is done: {region, erase, canvas, place: [x, y] of the canvas in the image}. */
  function end() {
    const { region, erase, canvas, box } = stroke;
    stroke = null;
    return { region, erase, canvas, place: canvas ? [box[0], box[1]] : null };
  }

  return {
    begin,
    paint,
    end,
    cancel: () => (stroke = null),
    isActive: () => stroke !== null,
    /** The draft with the stroke under way: {canvas, place}, or null. */
    shown: () => (stroke?.canvas ? { canvas: stroke.canvas, place: [stroke.box[0], stroke.box[1]] } : null),
  };
}

const cssOf = (colour) => `rgb(${colour.join(", ")})`;

function boundsOf(runs) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < runs.length; i += 3) {
    if (runs[i + 1] >= runs[i + 2]) continue;
    x0 = Math.min(x0, runs[i]);
    x1 = Math.max(x1, runs[i] + 1);
    y0 = Math.min(y0, runs[i + 1]);
    y1 = Math.max(y1, runs[i + 2]);
  }
  return x0 < x1 ? [x0, y0, x1, y1] : null;
}

/**
 * The mask after hand steps that the server has not answered yet: [{added, removed}] as sent, in order. The same object
 * comes back as long as the pixels are the same, so that its canvas and outline are made once and not again when the
 * answer confirms it.
 */
export function createPendingMask() {
  let base = null;
  let done = [];
  let result = null;

  return (mask, steps, width, height) => {
    if (mask !== base && steps.length === 0 && result && sameMask(result, mask)) {
      base = mask;
      done = [];
    }
    const goesOn = mask === base && done.length <= steps.length && done.every((one, i) => one === steps[i]);
    if (!goesOn) {
      base = mask;
      done = [];
      result = mask;
    }
    for (const step of steps.slice(done.length)) {
      result = afterStep(result, step, width, height);
      done.push(step);
    }
    return result;
  };
}

/** A mask with the pixels of a hand step put in and taken out. */
export function afterStep(mask, { added, removed }, width, height) {
  let region = regionOf(mask, width, height);
  if (added) region = union(region, regionOf(readMask(added), width, height));
  if (removed) region = minus(region, regionOf(readMask(removed), width, height));
  return toMask(region);
}

/** Whether two masks have the same pixels. */
export function sameMask(a, b) {
  if (a === b) return true;
  if (!a || !b || a.x !== b.x || a.y !== b.y || a.scale !== b.scale) return false;
  if (a.rows !== b.rows || a.columns !== b.columns || a.counts.length !== b.counts.length) return false;
  return a.counts.every((count, i) => count === b.counts[i]);
}
