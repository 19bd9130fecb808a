/** The whole image in a corner while only a part of it is in sight; click or drag there to move. */

import { h } from "./dom.js";
import { deviceToImage, imageToDevice, showsAll, transformOf, turnedSize, visiblePixels } from "./view.js";

/** Longest side in CSS pixels. */
const SIDE = 148;

/** @param {object} parts {stage, showAt(x, y): put an image position into the middle} */
export function createMinimap({ stage, showAt }) {
  const canvas = h("canvas", { class: "samref-minimap", "aria-hidden": "true", hidden: true });
  const context = canvas.getContext("2d");
  let photo = null; // small copy of the photo
  let mini = null; // the view that the minimap shows
  stage.append(canvas);

  /** Keep a small copy of an image's photo; null forgets the last one. */
  function setPhoto(bitmap) {
    photo = null;
    if (!bitmap) return;
    const shrink = Math.min(1, (2 * SIDE) / Math.max(bitmap.width, bitmap.height));
    photo = document.createElement("canvas");
    photo.width = Math.max(1, Math.round(bitmap.width * shrink));
    photo.height = Math.max(1, Math.round(bitmap.height * shrink));
    const into = photo.getContext("2d");
    into.imageSmoothingQuality = "medium";
    into.drawImage(bitmap, 0, 0, photo.width, photo.height);
  }

  /** Show where `view` is; `on`: whether the minimap is wanted at all. */
  function update(view, on) {
    canvas.hidden = !on || !view || showsAll(view);
    if (canvas.hidden) return;
    const [width, height] = turnedSize(view);
    const scale = (SIDE * view.pixelRatio) / Math.max(width, height);
    mini = { ...view, scale, offsetX: 0, offsetY: 0 };
    const size = [width, height].map((length) => Math.max(Math.round(length * scale), 2));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    canvas.style.width = `${size[0] / view.pixelRatio}px`;
    canvas.style.height = `${size[1] / view.pixelRatio}px`;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, ...size);
    if (photo) {
      context.setTransform(...transformOf(mini));
      context.drawImage(photo, 0, 0, view.imageWidth, view.imageHeight);
      context.setTransform(1, 0, 0, 1, 0, 0);
    }
    paintFrame(view);
  }

  /** What is in sight, with the rest of the image dimmed. */
  function paintFrame(view) {
    const [x0, y0, x1, y1] = visiblePixels(view);
    const [ax, ay] = imageToDevice(mini, x0, y0);
    const [bx, by] = imageToDevice(mini, x1, y1);
    const frame = [Math.min(ax, bx), Math.min(ay, by), Math.abs(bx - ax), Math.abs(by - ay)];
    const unit = view.pixelRatio;
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(...frame);
    context.fillStyle = "rgba(10, 13, 18, 0.5)";
    context.fill("evenodd");
    context.lineWidth = 3 * unit;
    context.strokeStyle = "rgba(0, 0, 0, 0.7)";
    context.strokeRect(...frame);
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = "#fff";
    context.strokeRect(...frame);
  }

  function go(event) {
    const { left, top } = canvas.getBoundingClientRect();
    const ratio = mini.pixelRatio;
    showAt(...deviceToImage(mini, (event.clientX - left) * ratio, (event.clientY - top) * ratio));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    go(event);
  });
  canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && go(event));

  return { setPhoto, update };
}
