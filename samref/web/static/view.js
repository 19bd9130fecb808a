/**
 * Where the image lies on the screen: the one place where a point crosses between the screen and the image.
 *
 * Frames, from the outside in:
 *   client  CSS pixels of the browser window, as pointer events give them
 *   device  pixels of the canvas' backing store, (0, 0) at its top left; one of them is one dot of the display
 *   image   pixels of the image
 *
 * A view is a frozen value. `scale` is device pixels per image pixel. The image's corner is kept twice: `cornerX/Y`
 * exactly, so that zooming back and forth does not drift, and `offsetX/Y` rounded to whole device pixels, which is
 * where it is painted and hit. Everything here is pure.
 */

/** Closest zoom: one image pixel is this many CSS pixels wide. */
const MAX_CSS_PIXELS_PER_IMAGE_PIXEL = 48;

/** Widest zoom, as a part of the zoom at which the whole image is seen. */
const MIN_PART_OF_FIT = 0.25;

/** This many CSS pixels of the image stay visible, however far one pans. */
const KEEP_VISIBLE = 40;

/** Free border around a fitted image, in CSS pixels. */
const FIT_MARGIN = 12;

/** Products such as 29 * 1.1 fall a hair below the whole number they mean. */
const EPSILON = 1e-6;

/** A view of an image on a canvas of `deviceWidth` x `deviceHeight` backing pixels; the whole image is seen. */
export function createView({ deviceWidth, deviceHeight, imageWidth, imageHeight, pixelRatio = 1 }) {
  return fit({ deviceWidth, deviceHeight, imageWidth, imageHeight, pixelRatio });
}

/** The scale at which the whole image is seen; a small image is not blown up beyond four CSS pixels a pixel. */
export function fitScale({ deviceWidth, deviceHeight, imageWidth, imageHeight, pixelRatio }) {
  const margin = 2 * FIT_MARGIN * pixelRatio;
  const room = Math.min((deviceWidth - margin) / imageWidth, (deviceHeight - margin) / imageHeight);
  const tight = Math.min(deviceWidth / imageWidth, deviceHeight / imageHeight);
  return Math.max(Math.min(room > 0 ? room : tight, 4 * pixelRatio), EPSILON);
}

/** The same canvas with the whole image in its middle. */
export function fit(view) {
  const scale = fitScale(view);
  const cornerX = (view.deviceWidth - view.imageWidth * scale) / 2;
  const cornerY = (view.deviceHeight - view.imageHeight * scale) / 2;
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
  const ratio = pixelRatio / view.pixelRatio;
  const [middleX, middleY] = deviceToImage(view, view.deviceWidth / 2, view.deviceHeight / 2);
  const scale = clampScale(next, view.scale * ratio);
  return settle({
    ...next,
    scale,
    cornerX: deviceWidth / 2 - middleX * scale,
    cornerY: deviceHeight / 2 - middleY * scale,
  });
}

/** A continuous image position (between pixels: box sides, polygon corners) of a device position. */
export function deviceToImage(view, x, y) {
  return [(x - view.offsetX) / view.scale, (y - view.offsetY) / view.scale];
}

/**
 * The image pixel that is *shown* at a device position: the display dot there takes its colour from the image pixel
 * under the dot's middle. May lie outside the image.
 */
export function deviceToPixel(view, x, y) {
  const [imageX, imageY] = deviceToImage(view, Math.floor(x + EPSILON) + 0.5, Math.floor(y + EPSILON) + 0.5);
  return [Math.floor(imageX), Math.floor(imageY)];
}

/** The device position of a continuous image position; the middle of pixel (x, y) is (x + 0.5, y + 0.5). */
export function imageToDevice(view, x, y) {
  return [x * view.scale + view.offsetX, y * view.scale + view.offsetY];
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

/** Image pixels that can be seen, as [x0, y0, x1, y1] with exclusive ends; empty when x1 <= x0. */
export function visiblePixels(view) {
  const [x0, y0] = deviceToImage(view, 0, 0);
  const [x1, y1] = deviceToImage(view, view.deviceWidth, view.deviceHeight);
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
  const keep = (length, room) => Math.min(KEEP_VISIBLE * view.pixelRatio, length, room);
  const width = view.imageWidth * view.scale;
  const height = view.imageHeight * view.scale;
  const keepX = keep(width, view.deviceWidth);
  const keepY = keep(height, view.deviceHeight);
  const cornerX = Math.min(Math.max(view.cornerX, keepX - width), view.deviceWidth - keepX);
  const cornerY = Math.min(Math.max(view.cornerY, keepY - height), view.deviceHeight - keepY);
  return Object.freeze({ ...view, cornerX, cornerY, offsetX: Math.round(cornerX), offsetY: Math.round(cornerY) });
}
