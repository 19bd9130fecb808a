/**
 * Where the image lies on the screen: the one place where a point crosses between the screen and the image.
 *
 * Frames, from the outside in:
 *   client  CSS pixels of the browser window, as pointer events give them
 *   device  pixels of the canvas' backing store, (0, 0) at its top left; one of them is one dot of the display
 *   turned  pixels of the image as it is shown: turned clockwise by `turns` quarter turns, (0, 0) at its top left
 *   image   pixels of the image
 *
 * A view is a frozen value. `scale` is device pixels per image pixel. The corner of the turned image is kept twice:
 * `cornerX/Y` exactly, so that zooming back and forth does not drift, and `offsetX/Y` rounded to whole device pixels,
 * which is where it is painted and hit. Everything here is pure.
 */

/** Closest zoom: one image pixel is this many CSS pixels wide. */
const MAX_CSS_PIXELS_PER_IMAGE_PIXEL = 48;

/** Widest zoom, as a part of the zoom at which the whole image is seen. */
const MIN_PART_OF_FIT = 0.25;

/** This part of the image (of the canvas where the image is larger) stays in sight, however far one pans. */
const KEEP_VISIBLE = 0.5;

/** Free border around a fitted image, in CSS pixels. */
const FIT_MARGIN = 12;

/** Products such as 29 * 1.1 fall a hair below the whole number they mean. */
const EPSILON = 1e-6;

/** A view of an image on a canvas of `deviceWidth` x `deviceHeight` backing pixels; the whole image is seen. */
export function createView({ deviceWidth, deviceHeight, imageWidth, imageHeight, pixelRatio = 1, turns = 0 }) {
  return fit({ deviceWidth, deviceHeight, imageWidth, imageHeight, pixelRatio, turns });
}

/** Width and height of the image as it is shown, in image pixels. */
export function turnedSize({ imageWidth, imageHeight, turns = 0 }) {
  return turns % 2 ? [imageHeight, imageWidth] : [imageWidth, imageHeight];
}

/** The scale at which the whole image is seen; a small image is not blown up beyond four CSS pixels a pixel. */
export function fitScale(view) {
  const { deviceWidth, deviceHeight, pixelRatio } = view;
  const [width, height] = turnedSize(view);
  const margin = 2 * FIT_MARGIN * pixelRatio;
  const room = Math.min((deviceWidth - margin) / width, (deviceHeight - margin) / height);
  const tight = Math.min(deviceWidth / width, deviceHeight / height);
  return Math.max(Math.min(room > 0 ? room : tight, 4 * pixelRatio), EPSILON);
}

/** The same canvas with the whole image in its middle. */
export function fit(view) {
  const scale = fitScale(view);
  const [width, height] = turnedSize(view);
  const cornerX = (view.deviceWidth - width * scale) / 2;
  const cornerY = (view.deviceHeight - height * scale) / 2;
  return settle({ ...view, scale, cornerX, cornerY, fitted: true });
}

/** The view after zooming by `factor`; the image point at device position (x, y) stays there. */
export function zoomAt(view, factor, x, y) {
  const scale = clampScale(view, view.scale * factor);
  const ratio = scale / view.scale;
  return settle({
    ...view,
    scale,
    cornerX: x - (x - view.cornerX) * ratio,
    cornerY: y - (y - view.cornerY) * ratio,
    fitted: false,
  });
}

/** The view after zooming about the middle of the canvas. */
export function zoomCentre(view, factor) {
  return zoomAt(view, factor, view.deviceWidth / 2, view.deviceHeight / 2);
}

/** The view moved by (dx, dy) device pixels. */
export function panBy(view, dx, dy) {
  return settle({ ...view, cornerX: view.cornerX + dx, cornerY: view.cornerY + dy, fitted: false });
}

/** The view on a canvas of another size: a fitted image stays fitted, else the middle stays the middle. */
export function resized(view, deviceWidth, deviceHeight, pixelRatio) {
  const next = { ...view, deviceWidth, deviceHeight, pixelRatio };
  if (view.fitted) return fit(next);
  const middle = deviceToImage(view, view.deviceWidth / 2, view.deviceHeight / 2);
  return centredAt({ ...next, scale: clampScale(next, (view.scale * pixelRatio) / view.pixelRatio) }, ...middle);
}

/** The view moved so that a continuous image position lies in the middle of the canvas, as far as that may be. */
export function centredAt(view, x, y) {
  const [u, v] = toTurned(view, x, y);
  return settle({
    ...view,
    cornerX: view.deviceWidth / 2 - u * view.scale,
    cornerY: view.deviceHeight / 2 - v * view.scale,
    fitted: false,
  });
}

/** The view turned clockwise by `quarters` quarter turns about the middle of the canvas. */
export function turned(view, quarters) {
  const next = { ...view, turns: (((view.turns + quarters) % 4) + 4) % 4 };
  if (view.fitted) return fit(next);
  const middle = deviceToImage(view, view.deviceWidth / 2, view.deviceHeight / 2);
  return centredAt({ ...next, scale: clampScale(next, view.scale) }, ...middle);
}

/** What another canvas needs to show the same place: `{turns, zoom, x, y}`; zoom and place are null when fitted. */
export function placeOf(view) {
  if (view.fitted) return { turns: view.turns, zoom: null, x: null, y: null };
  const [x, y] = deviceToImage(view, view.deviceWidth / 2, view.deviceHeight / 2);
  return { turns: view.turns, zoom: view.scale / view.pixelRatio, x, y };
}

/** The view at a place that `placeOf` gave; anything that is no place leaves it as it is. */
export function atPlace(view, place) {
  if (![0, 1, 2, 3].includes(place?.turns)) return view;
  const next = fit({ ...view, turns: place.turns });
  const { zoom, x, y } = place;
  if (![zoom, x, y].every(Number.isFinite) || zoom <= 0) return next;
  return centredAt({ ...next, scale: clampScale(next, zoom * view.pixelRatio) }, x, y);
}

function toTurned({ imageWidth, imageHeight, turns }, x, y) {
  if (turns === 1) return [imageHeight - y, x];
  if (turns === 2) return [imageWidth - x, imageHeight - y];
  if (turns === 3) return [y, imageWidth - x];
  return [x, y];
}

function fromTurned({ imageWidth, imageHeight, turns }, u, v) {
  if (turns === 1) return [v, imageHeight - u];
  if (turns === 2) return [imageWidth - u, imageHeight - v];
  if (turns === 3) return [imageWidth - v, u];
  return [u, v];
}

/** A continuous image position (between pixels: box sides, polygon corners) of a device position. */
export function deviceToImage(view, x, y) {
  return fromTurned(view, (x - view.offsetX) / view.scale, (y - view.offsetY) / view.scale);
}

/**
 * The image pixel that is *shown* at a device position: the display dot there takes its colour from the image pixel
 * under the dot's middle. May lie outside the image.
 */
export function deviceToPixel(view, x, y) {
  const u = Math.floor((Math.floor(x + EPSILON) + 0.5 - view.offsetX) / view.scale);
  const v = Math.floor((Math.floor(y + EPSILON) + 0.5 - view.offsetY) / view.scale);
  const [imageX, imageY] = fromTurned(view, u + 0.5, v + 0.5); // the pixel's middle: whole numbers stay exact
  return [imageX - 0.5, imageY - 0.5];
}

/** The device position of a continuous image position; the middle of pixel (x, y) is (x + 0.5, y + 0.5). */
export function imageToDevice(view, x, y) {
  const [u, v] = toTurned(view, x, y);
  return [u * view.scale + view.offsetX, v * view.scale + view.offsetY];
}

/** Six numbers [a, b, c, d, e, f] for `context.setTransform`, after which one draws in the image frame. */
export function transformOf(view) {
  const [e, f] = imageToDevice(view, 0, 0);
  const { scale } = view;
  return [
    [scale, 0, 0, scale, e, f],
    [0, scale, -scale, 0, e, f],
    [-scale, 0, 0, -scale, e, f],
    [0, -scale, scale, 0, e, f],
  ][view.turns];
}

/** Whether an image pixel belongs to the image. */
export function containsPixel(view, [x, y]) {
  return x >= 0 && y >= 0 && x < view.imageWidth && y < view.imageHeight;
}

/** The nearest pixel of the image. */
export function clampPixel(view, [x, y]) {
  return [Math.min(Math.max(x, 0), view.imageWidth - 1), Math.min(Math.max(y, 0), view.imageHeight - 1)];
}

/** The nearest continuous position in the image, its far edges included. */
export function clampPosition(view, [x, y]) {
  return [Math.min(Math.max(x, 0), view.imageWidth), Math.min(Math.max(y, 0), view.imageHeight)];
}

/** What of the image frame the canvas shows, as continuous [x0, y0, x1, y1]; may reach beyond the image. */
export function visibleBox(view) {
  const [ax, ay] = deviceToImage(view, 0, 0);
  const [bx, by] = deviceToImage(view, view.deviceWidth, view.deviceHeight);
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}

/** Whether the whole image is in sight. */
export function showsAll(view) {
  const [x0, y0, x1, y1] = visibleBox(view);
  return x0 <= 0 && y0 <= 0 && x1 >= view.imageWidth && y1 >= view.imageHeight;
}

/** Image pixels that can be seen, as [x0, y0, x1, y1] with exclusive ends; empty when x1 <= x0. */
export function visiblePixels(view) {
  const [x0, y0, x1, y1] = visibleBox(view);
  return [
    Math.max(0, Math.floor(x0)),
    Math.max(0, Math.floor(y0)),
    Math.min(view.imageWidth, Math.ceil(x1)),
    Math.min(view.imageHeight, Math.ceil(y1)),
  ];
}

/**
 * Where the canvas lies in the window. Browsers paint a canvas from the whole device pixel nearest to its CSS corner,
 * so a corner at a fraction of a pixel is rounded here just as it is there.
 */
export function placementOf(clientLeft, clientTop, pixelRatio) {
  return { left: Math.round(clientLeft * pixelRatio), top: Math.round(clientTop * pixelRatio), pixelRatio };
}

/** The device position of a client position. */
export function clientToDevice(placement, clientX, clientY) {
  return [clientX * placement.pixelRatio - placement.left, clientY * placement.pixelRatio - placement.top];
}

/** The client position of a device position. */
export function deviceToClient(placement, x, y) {
  return [(x + placement.left) / placement.pixelRatio, (y + placement.top) / placement.pixelRatio];
}

function clampScale(view, scale) {
  const widest = Math.min(fitScale(view) * MIN_PART_OF_FIT, view.pixelRatio);
  const closest = Math.max(MAX_CSS_PIXELS_PER_IMAGE_PIXEL * view.pixelRatio, fitScale(view));
  return Math.min(Math.max(scale, widest), closest);
}

/** Keep part of the image in sight and round the corner to whole device pixels. */
function settle(view) {
  const keep = (length, room) => KEEP_VISIBLE * Math.min(length, room);
  const [width, height] = turnedSize(view).map((length) => length * view.scale);
  const keepX = keep(width, view.deviceWidth);
  const keepY = keep(height, view.deviceHeight);
  const cornerX = Math.min(Math.max(view.cornerX, keepX - width), view.deviceWidth - keepX);
  const cornerY = Math.min(Math.max(view.cornerY, keepY - height), view.deviceHeight - keepY);
  return Object.freeze({ ...view, cornerX, cornerY, offsetX: Math.round(cornerX), offsetY: Math.round(cornerY) });
}
