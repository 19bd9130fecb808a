/**
 * The outlines of all accepted objects on a canvas of display dots, kept between paints: painting a draft over a
 * thousand objects costs one copy. A change redraws the boxes it touches; another view is drawn in slices of a few
 * milliseconds, while the old drawing stands in for it, moved and scaled.
 */

import { outlinePath } from "./mask_layers.js";
import { deviceToImage } from "./view.js";

/** What one paint may spend on drawing outlines, in milliseconds. */
const SLICE_MS = 7;

/** More changed objects than this are drawn as a new view. */
const MOST_CHANGES = 40;

/** Widths in CSS pixels. */
const WIDTH = 1.25;
const SELECTED_WIDTH = 2.25;
const HALO = 1.5;

/** CSS pixels by which a stroke may reach over its mask's box. */
const REACH = SELECTED_WIDTH + HALO;

export function createOutlineLayer() {
  let shown = null; // {canvas, context, view, objects, todo} finished drawing
  let coming = null; // the same for the view that is being drawn

  let unused = null; // canvas of the drawing before

  /** Paint the outlines of `objects` [{id, mask, colour, selected}]; true when another paint is needed for all. */
  function paint(target, view, objects) {
    const isDone = () => shown !== null && shown.objects === objects && sameView(shown.view, view);
    if (shown && !isDone() && sameView(shown.view, view)) update(shown, objects);
    if (!isDone()) {
      coming ??= begin(view, objects);
      if (draw(coming)) {
        unused = shown;
        shown = coming;
        coming = null;
      }
    }
    if (shown) copy(target, view);
    return !isDone();
  }

  function begin(view, objects) {
    const { canvas, context } = unused ?? make();
    unused = null;
    canvas.width = view.deviceWidth; // also clears it
    canvas.height = view.deviceHeight;
    return { canvas, context, view, objects, todo: seen(view, objects) };
  }

  function copy(target, view) {
    const ratio = view.scale / shown.view.scale;
    target.save();
    target.setTransform(
      ratio,
      0,
      0,
      ratio,
      view.offsetX - shown.view.offsetX * ratio,
      view.offsetY - shown.view.offsetY * ratio,
    );
    target.imageSmoothingEnabled = ratio !== 1;
    target.drawImage(shown.canvas, 0, 0);
    target.restore();
  }

  /** Another image: nothing of the old one may stand in. */
  function clear() {
    unused = shown ?? coming;
    shown = null;
    coming = null;
  }

  return { paint, clear };
}

/** Draw for one slice of time; true when all is drawn. */
function draw(drawing) {
  const { context, view, todo } = drawing;
  const end = performance.now() + SLICE_MS;
  while (todo.length && performance.now() < end) strokeObject(context, view, todo.pop());
  return todo.length === 0;
}

/** Bring a finished drawing up to date where objects came, went or changed; left as it is when too many did. */
function update(drawing, objects) {
  const before = new Map(drawing.objects.map((one) => [one.id, one]));
  const now = new Map(objects.map((one) => [one.id, one]));
  const gone = drawing.objects.filter((one) => !isSame(one, now.get(one.id)));
  const come = objects.filter((one) => !isSame(one, before.get(one.id)));
  if (gone.length + come.length > MOST_CHANGES) return;
  const { context, view } = drawing;
  const around = gone.length ? seen(view, objects) : [];
  for (const { mask } of gone) {
    if (!mask) continue;
    const box = deviceBox(view, mask);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(...box);
    context.clip();
    context.clearRect(...box);
    for (const one of around) if (touch(box, deviceBox(view, one.mask))) strokeObject(context, view, one);
    context.restore();
  }
  for (const one of seen(view, come)) strokeObject(context, view, one);
  drawing.objects = objects;
}

/** Objects of which something is in sight, the selected ones first: a drawing is made from the end. */
function seen(view, objects) {
  const [x0, y0] = deviceToImage(view, 0, 0);
  const [x1, y1] = deviceToImage(view, view.deviceWidth, view.deviceHeight);
  const inSight = objects.filter(
    ({ mask }) => mask && mask.x <= x1 && mask.y <= y1 && mask.x + mask.width >= x0 && mask.y + mask.height >= y0,
  );
  return [...inSight.filter((one) => one.selected), ...inSight.filter((one) => !one.selected).reverse()];
}

function strokeObject(context, view, { mask, colour, selected }) {
  strokeOutline(context, view, mask, colour, selected ? SELECTED_WIDTH : WIDTH);
}

/** A line of constant width on the display along the mask's border: light on dark, so that it shows on any ground. */
export function strokeOutline(context, view, mask, [red, green, blue], width) {
  const unit = view.pixelRatio / view.scale;
  const path = outlinePath(mask, view.scale);
  context.save();
  context.setTransform(view.scale, 0, 0, view.scale, view.offsetX, view.offsetY);
  context.lineCap = "square";
  context.strokeStyle = "rgba(0, 0, 0, 0.5)";
  context.lineWidth = (width + HALO) * unit;
  context.stroke(path);
  context.strokeStyle = `rgb(${lighter(red)}, ${lighter(green)}, ${lighter(blue)})`;
  context.lineWidth = width * unit;
  context.stroke(path);
  context.restore();
}

const lighter = (channel) => Math.round(channel + (255 - channel) * 0.35);

/** [x, y, width, height] in whole display dots of all that a mask's stroke may reach. */
function deviceBox(view, mask) {
  const reach = REACH * view.pixelRatio;
  const left = Math.floor(mask.x * view.scale + view.offsetX - reach);
  const top = Math.floor(mask.y * view.scale + view.offsetY - reach);
  const right = Math.ceil((mask.x + mask.width) * view.scale + view.offsetX + reach);
  const bottom = Math.ceil((mask.y + mask.height) * view.scale + view.offsetY + reach);
  return [left, top, right - left, bottom - top];
}

const touch = ([ax, ay, aw, ah], [bx, by, bw, bh]) => ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;

const isSame = (a, b) => b !== undefined && a.mask === b.mask && a.colour === b.colour && a.selected === b.selected;

const sameView = (a, b) =>
  a === b ||
  (a.scale === b.scale &&
    a.offsetX === b.offsetX &&
    a.offsetY === b.offsetY &&
    a.deviceWidth === b.deviceWidth &&
    a.deviceHeight === b.deviceHeight &&
    a.pixelRatio === b.pixelRatio);

function make() {
  const canvas = document.createElement("canvas");
  return { canvas, context: canvas.getContext("2d") };
}
