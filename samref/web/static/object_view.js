/** Views of an image that show a mask. Pure. */

import { centredAt, imageToDevice, panBy, zoomCentre } from "./view.js";

/** The object fills at most this part of the canvas after zooming to it. */
const PART = 0.6;

/** CSS pixels that stay free around an object that is brought into view. */
const MARGIN = 24;

/** [left, top, right, bottom] of a mask's box on the canvas, however the image is turned. */
export function boxOnDevice(view, { x, y, width, height }) {
  const [ax, ay] = imageToDevice(view, x, y);
  const [bx, by] = imageToDevice(view, x + width, y + height);
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}

/** The view that shows the mask large, in the middle. */
export function zoomedTo(view, mask) {
  const [left, top, right, bottom] = boxOnDevice(view, mask);
  const factor = Math.min((view.deviceWidth * PART) / (right - left), (view.deviceHeight * PART) / (bottom - top));
  return centredAt(zoomCentre(view, factor), mask.x + mask.width / 2, mask.y + mask.height / 2);
}

/** The view moved, and made smaller only where that is needed, until the mask is in it; the same view when it is. */
export function showing(view, mask) {
  const [left, top, right, bottom] = boxOnDevice(view, mask);
  const { deviceWidth, deviceHeight } = view;
  if (left >= 0 && top >= 0 && right <= deviceWidth && bottom <= deviceHeight) return view;
  const margin = MARGIN * view.pixelRatio;
  if (right - left > deviceWidth - 2 * margin || bottom - top > deviceHeight - 2 * margin) return zoomedTo(view, mask);
  const dx = left < margin ? margin - left : Math.min(0, deviceWidth - margin - right);
  const dy = top < margin ? margin - top : Math.min(0, deviceHeight - margin - bottom);
  return panBy(view, dx, dy);
}
