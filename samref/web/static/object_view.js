/** Views of an image that show a mask. Pure. */

import { imageToDevice, panBy, zoomAt } from "./view.js";

/** The object fills at most this part of the canvas after zooming to it. */
const PART = 0.6;

/** CSS pixels that stay free around an object that is brought into view. */
const MARGIN = 24;

/** The view that shows the mask large, in the middle. */
export function zoomedTo(view, mask) {
  const factor = Math.min(
    (view.deviceWidth * PART) / (mask.width * view.scale),
    (view.deviceHeight * PART) / (mask.height * view.scale),
  );
  const zoomed = zoomAt(view, factor, view.deviceWidth / 2, view.deviceHeight / 2);
  return centredOn(zoomed, mask);
}

/** The view moved, and made smaller only where that is needed, until the mask is in it; the same view when it is. */
export function showing(view, mask) {
  const [left, top] = imageToDevice(view, mask.x, mask.y);
  const [right, bottom] = imageToDevice(view, mask.x + mask.width, mask.y + mask.height);
  const { deviceWidth, deviceHeight } = view;
  if (left >= 0 && top >= 0 && right <= deviceWidth && bottom <= deviceHeight) return view;
  const margin = MARGIN * view.pixelRatio;
  if (right - left > deviceWidth - 2 * margin || bottom - top > deviceHeight - 2 * margin) return zoomedTo(view, mask);
  const dx = left < margin ? margin - left : Math.min(0, deviceWidth - margin - right);
  const dy = top < margin ? margin - top : Math.min(0, deviceHeight - margin - bottom);
  return panBy(view, dx, dy);
}

function centredOn(view, mask) {
  const [x, y] = imageToDevice(view, mask.x + mask.width / 2, mask.y + mask.height / 2);
  return panBy(view, view.deviceWidth / 2 - x, view.deviceHeight / 2 - y);
}
