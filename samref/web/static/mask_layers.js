/** Masks as canvases of image pixels, kept between paints. */

import { outlineSegments } from "./outline.js";
import { coarser, toPixels } from "./rle.js";

/** The layer of accepted objects never has more pixels than this; larger images get it at a half, a third, … */
const MAX_LAYER_PIXELS = 32_000_000;

/** When more objects than this change at once, all are drawn anew. */
const MOST_CHANGES = 40;

/** A canvas of the mask's crop, one canvas pixel for each of its pixels, in an opaque colour. */
export function maskCanvas(mask, colour) {
  const canvas = makeCanvas(mask.columns, mask.rows);
  canvas.getContext("2d").putImageData(new ImageData(toPixels(mask, colour), mask.columns, mask.rows), 0, 0);
  return canvas;
}

/** Draw a mask's canvas where it lies in the image frame; a preview's last cells are cut at its box. */
export function drawMask(context, mask, canvas) {
  const { x, y, width, height, scale } = mask;
  context.drawImage(canvas, 0, 0, width / scale, height / scale, x, y, width, height);
}

const outlines = new WeakMap(); // mask -> {segments, path} by step

/**
 * The sides of the mask's pixels as [x0, y0, x1, y1, …] in the image frame, left and upper end first, for a view of
 * `scale` display dots per image pixel: as fine as the display can show. Made once for each mask and halving of the
 * scale.
 */
export function outlineOf(mask, scale) {
  return outlineAt(mask, scale).segments;
}

/** The same as a path. */
export function outlinePath(mask, scale) {
  const outline = outlineAt(mask, scale);
  if (!outline.path) {
    outline.path = new Path2D();
    const { path, segments } = outline;
    for (let i = 0; i < segments.length; i += 4) {
      path.moveTo(segments[i], segments[i + 1]);
      path.lineTo(segments[i + 2], segments[i + 3]);
    }
  }
  return outline.path;
}

function outlineAt(mask, scale) {
  const step = 2 ** Math.max(0, Math.round(Math.log2(1 / (scale * mask.scale))));
  if (!outlines.has(mask)) outlines.set(mask, new Map());
  const steps = outlines.get(mask);
  if (!steps.has(step)) {
    steps.set(step, { segments: Float64Array.from(outlineSegments(coarser(mask, step))), path: null });
  }
  return steps.get(step);
}

/**
 * All accepted objects of an image in one canvas of image pixels, later objects over earlier ones. Painting two
 * hundred objects is then as cheap as painting one; a change repaints only the boxes it touches.
 */
export function createObjectLayer(imageWidth, imageHeight) {
  const reduction = Math.ceil(Math.sqrt((imageWidth * imageHeight) / MAX_LAYER_PIXELS)) || 1;
  const width = Math.ceil(imageWidth / reduction);
  const height = Math.ceil(imageHeight / reduction);
  let canvas = null; // made with the first object
  let context = null;
  let scratch = null;
  let shown = new Map(); // id -> {mask, colour}
  let asked = null; // the list that is shown

  /** Make the layer show exactly `objects`: [{id, mask, colour: [r, g, b]}], bottom first. */
  function show(objects) {
    if (objects === asked) return;
    asked = objects;
    const before = shown;
    shown = new Map(objects.filter(({ mask }) => mask).map(({ id, mask, colour }) => [id, { mask, colour }]));
    if (!canvas && shown.size === 0) return;
    if (!canvas) make();
    const stays = (id) => isSame(before.get(id), shown.get(id));
    const gone = [...before].filter(([id]) => !stays(id)).map(([, object]) => object);
    const come = [...shown.keys()].filter((id) => !stays(id));
    if (gone.length + come.length > MOST_CHANGES || hasNewOrder(before, shown)) return drawAll();
    for (const { mask } of gone) repaint(mask);
    const place = new Map([...shown.values()].map((object, i) => [object, i]));
    for (const id of come) {
      const object = shown.get(id);
      const isUnder = (other) => place.get(other) > place.get(object) && touch(other.mask, object.mask);
      if ([...shown].some(([other, its]) => stays(other) && isUnder(its))) repaint(object.mask);
      else draw(object);
    }
  }

  function drawAll() {
    context.clearRect(0, 0, imageWidth + reduction, imageHeight + reduction);
    for (const object of shown.values()) draw(object);
  }

  function make() {
    canvas = makeCanvas(width, height);
    context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.scale(1 / reduction, 1 / reduction);
  }

  function repaint(box) {
    context.save();
    context.beginPath();
    context.rect(...snapped(box));
    context.clip();
    context.clearRect(box.x - reduction, box.y - reduction, box.width + 2 * reduction, box.height + 2 * reduction);
    for (const object of shown.values()) if (touch(object.mask, box)) draw(object);
    context.restore();
  }

  /** Through one canvas for all objects: a thousand of their own would take longer to make than to paint. */
  function draw({ mask, colour }) {
    scratch ??= makeCanvas(1, 1);
    if (scratch.width < mask.columns) scratch.width = mask.columns;
    if (scratch.height < mask.rows) scratch.height = mask.rows;
    const pixels = new ImageData(toPixels(mask, colour), mask.columns, mask.rows);
    scratch.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
    drawMask(context, mask, scratch);
  }

  /** The box in whole layer pixels, so that its border is not painted by halves. */
  function snapped({ x, y, width: w, height: h }) {
    const down = (value) => Math.floor(value / reduction) * reduction;
    const up = (value) => Math.ceil(value / reduction) * reduction;
    return [down(x), down(y), up(x + w) - down(x), up(y + h) - down(y)];
  }

  return { show, reduction, canvas: () => canvas };
}

function isSame(a, b) {
  return a !== undefined && b !== undefined && a.mask === b.mask && String(a.colour) === String(b.colour);
}

/** Whether objects that were there before lie in another order now. */
function hasNewOrder(before, now) {
  const place = new Map([...now.keys()].map((id, i) => [id, i]));
  let last = -1;
  for (const id of before.keys()) {
    if (!place.has(id)) continue;
    if (place.get(id) < last) return true;
    last = place.get(id);
  }
  return false;
}

function touch(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function makeCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}
