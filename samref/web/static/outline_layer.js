/**
 * The outlines of all accepted objects as one drawing of display dots, kept between paints: painting a draft over a
 * thousand objects costs one copy. The sides of pixels are straight and upright, so they are written into the dots
 * directly, which is ten times as fast as stroking paths. What takes longer than a slice of time is drawn in
 * several, while the drawing before stands in, moved and scaled.
 */

import { outlineOf, outlinePath } from "./mask_layers.js";
import { imageToDevice, transformOf, visibleBox } from "./view.js";

/** What one paint may spend on drawing outlines, in milliseconds. */
const SLICE_MS = 10;

/** Widths in CSS pixels; each line has a dark rim on both sides, so that it shows on any ground. */
const WIDTH = 1;
const SELECTED_WIDTH = 2;
const RIM = 0.75;

/** RGBA in this machine's byte order. */
const wordOf = (rgba) => new Uint32Array(new Uint8Array(rgba).buffer)[0];
const RIM_WORD = wordOf([0, 0, 0, 140]);
const SELECTED_WORD = wordOf([255, 255, 255, 255]);

const words = new WeakMap(); // colour -> word of its line
function wordOfLine(colour) {
  if (!words.has(colour)) words.set(colour, wordOf([...colour.map(lighter), 255]));
  return words.get(colour);
}

export function createOutlineLayer() {
  let shown = null; // {canvas, context, pixels, words, view, objects, todo}: a finished drawing
  let coming = null; // the one that is being drawn
  let unused = null; // the one before, to draw on next

  /** Paint the outlines of `objects` [{id, mask, colour, selected}]; true when another paint is needed for all. */
  function paint(target, view, objects) {
    if (!isOf(shown, view, objects)) {
      coming ??= begin(unused, view, objects);
      if (draw(coming)) [unused, shown, coming] = [shown, coming, null];
    }
    if (shown?.drawn) copy(target, shown, view);
    return !isOf(shown, view, objects);
  }

  /** Another image: nothing of the old one may stand in. */
  function clear() {
    unused = shown ?? coming;
    shown = null;
    coming = null;
  }

  return { paint, clear };
}

function begin(used, view, objects) {
  const { deviceWidth: width, deviceHeight: height } = view;
  const fits = used?.canvas.width === width && used.canvas.height === height;
  const drawing = fits ? used : make(width, height);
  if (fits && drawing.drawn) drawing.words.fill(0);
  return Object.assign(drawing, { view, objects, todo: seen(view, objects), drawn: false });
}

/** Draw for one slice of time; true when all is drawn. */
function draw(drawing) {
  const { context, pixels, todo } = drawing;
  const end = performance.now() + SLICE_MS;
  while (todo.length) {
    drawObject(drawing, todo.pop());
    drawing.drawn = true;
    if (todo.length % 16 === 0 && performance.now() > end) break;
  }
  if (todo.length) return false;
  if (drawing.drawn) context.putImageData(pixels, 0, 0);
  return true;
}

/** Objects of which something is in sight, last those that are drawn first: the selected ones come on top. */
function seen(view, objects) {
  const [x0, y0, x1, y1] = visibleBox(view);
  const inSight = objects.filter(
    ({ mask }) => mask && mask.x <= x1 && mask.y <= y1 && mask.x + mask.width >= x0 && mask.y + mask.height >= y0,
  );
  return [...inSight.filter((one) => one.selected), ...inSight.filter((one) => !one.selected).reverse()];
}

function drawObject(drawing, { mask, colour, selected }) {
  const { pixelRatio, scale } = drawing.view;
  const segments = outlineOf(mask, scale);
  const width = Math.max(1, Math.round((selected ? SELECTED_WIDTH : WIDTH) * pixelRatio));
  const rim = Math.max(1, Math.round(RIM * pixelRatio));
  drawSides(drawing, segments, width + 2 * rim, RIM_WORD);
  drawSides(drawing, segments, width, selected ? SELECTED_WORD : wordOfLine(colour));
}

/** Write sides [x0, y0, x1, y1, …] of the image frame as bars `width` dots wide. */
function drawSides({ words, view, canvas }, sides, width, word) {
  const [a, b, c, d, e, f] = transformOf(view);
  const { width: columns, height: rows } = canvas;
  const before = width >> 1;
  for (let i = 0; i < sides.length; i += 4) {
    const x0 = Math.round(a * sides[i] + c * sides[i + 1] + e) - before;
    const y0 = Math.round(b * sides[i] + d * sides[i + 1] + f) - before;
    const x1 = Math.round(a * sides[i + 2] + c * sides[i + 3] + e) - before;
    const y1 = Math.round(b * sides[i + 2] + d * sides[i + 3] + f) - before;
    const left = Math.max(0, Math.min(x0, x1));
    const top = Math.max(0, Math.min(y0, y1));
    const right = Math.min(columns, Math.max(x0, x1) + width);
    const bottom = Math.min(rows, Math.max(y0, y1) + width);
    for (let row = top; row < bottom; row++) {
      const end = row * columns + right;
      for (let at = row * columns + left; at < end; at++) words[at] = word;
    }
  }
}

function copy(target, { canvas, view: from }, view) {
  if (from.turns !== view.turns) return;
  const ratio = view.scale / from.scale;
  const [x, y] = imageToDevice(view, 0, 0);
  const [fromX, fromY] = imageToDevice(from, 0, 0);
  target.save();
  target.setTransform(ratio, 0, 0, ratio, x - fromX * ratio, y - fromY * ratio);
  target.imageSmoothingEnabled = ratio !== 1;
  target.drawImage(canvas, 0, 0);
  target.restore();
}

/** Stroke one mask's border right onto the overlay: for what changes from paint to paint. */
export function strokeOutline(context, view, mask, colour, width) {
  const unit = view.pixelRatio / view.scale;
  const path = outlinePath(mask, view.scale);
  context.save();
  context.setTransform(...transformOf(view));
  context.lineCap = "square";
  context.strokeStyle = "rgba(0, 0, 0, 0.5)";
  context.lineWidth = (width + 1.5) * unit;
  context.stroke(path);
  context.strokeStyle = `rgb(${colour.map(lighter).join(" ")})`;
  context.lineWidth = width * unit;
  context.stroke(path);
  context.restore();
}

const lighter = (channel) => Math.round(channel + (255 - channel) * 0.35);

const isOf = (drawing, view, objects) =>
  drawing !== null && drawing.objects === objects && isSameView(drawing.view, view);

const isSameView = (a, b) =>
  a === b ||
  (a.scale === b.scale &&
    a.turns === b.turns &&
    a.offsetX === b.offsetX &&
    a.offsetY === b.offsetY &&
    a.deviceWidth === b.deviceWidth &&
    a.deviceHeight === b.deviceHeight &&
    a.pixelRatio === b.pixelRatio);

function make(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  return { canvas, context: canvas.getContext("2d"), pixels, words, drawn: false };
}
