/**
 * Paints two stacked canvases: the photo, and over it masks, outlines and prompts. Knows views and pixels, no events.
 *
 * Masks are drawn without smoothing: a display dot shows the mask pixel under its middle, as `view.js` counts it.
 */

import { createObjectLayer, drawMask, maskCanvas } from "./mask_layers.js";
import { createOutlineLayer, strokeOutline } from "./outline_layer.js";
import { drawTag } from "./object_tag.js";
import { drawCross, drawCursor, drawPrompt, drawShape } from "./prompt_marks.js";
import { imageToDevice, transformOf, visiblePixels } from "./view.js";

/** From this many display dots per image pixel on, the photo shows its pixels as squares. */
const SHOW_PHOTO_PIXELS = 3;

/** The photo is kept at half, a quarter, … of its size until it is this small, for fast and calm small views. */
const SMALLEST_LEVEL = 600;

/** A draft is a little stronger than the accepted objects. */
const DRAFT_STRENGTH = 1.15;

/** The outline of the object under the pointer, in CSS pixels. */
const HOVER_WIDTH = 3;
/** Its outline is nearly white: seen even beside objects of its own class, or on things of its colour. */
const pale = (channel) => Math.round(channel + (255 - channel) * 0.6);

export function createPainter(photo, overlay) {
  const photoContext = photo.getContext("2d", { alpha: true });
  const overlayContext = overlay.getContext("2d");
  let levels = []; // the photo, largest first
  let objects = null; // layer of accepted objects
  const outlines = createOutlineLayer();
  let draft = { mask: null, colour: null, canvas: null, place: null }; // place: [x, y] of a canvas wider than the mask

  /** Another image: its bitmap (any size of the same shape; null while it loads) and its true size. */
  function setImage(bitmap, imageWidth, imageHeight) {
    for (const level of levels) level.close?.();
    levels = bitmap ? [bitmap] : [];
    objects = createObjectLayer(imageWidth, imageHeight);
    outlines.clear();
  }

  /** The same image's photo has arrived. */
  function setPhoto(bitmap) {
    levels = [bitmap];
  }

  function resize(width, height) {
    for (const canvas of [photo, overlay]) {
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
    }
  }

  function paintPhoto(view) {
    const context = photoContext;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, photo.width, photo.height);
    if (!view || levels.length === 0) return;
    const level = levelFor(view);
    const [x0, y0, x1, y1] = visiblePixels(view);
    if (x1 <= x0 || y1 <= y0) return;
    context.imageSmoothingEnabled = view.scale < SHOW_PHOTO_PIXELS;
    context.imageSmoothingQuality = "medium";
    const ratioX = level.width / view.imageWidth;
    const ratioY = level.height / view.imageHeight;
    intoImageFrame(context, view, () => {
      const [width, height] = [x1 - x0, y1 - y0];
      context.drawImage(level, x0 * ratioX, y0 * ratioY, width * ratioX, height * ratioY, x0, y0, width, height);
    });
  }

  /** The smallest level that still has a pixel for every display dot; halved ones are made when first needed. */
  function levelFor(view) {
    const wanted = view.imageWidth * view.scale;
    let i = 0;
    while (true) {
      const level = levels[i];
      if (level.width / 2 < wanted || level.width < 2 * SMALLEST_LEVEL) return level;
      i += 1;
      if (!levels[i]) levels[i] = halved(level);
    }
  }

  /**
   * Everything over the photo; true when outlines are still missing that another paint will bring.
   *
   * scene: {objects, outlined: [{id, mask, colour, selected}], hovered: {mask, colour, name} | null,
   *         draft: {mask, colour, live: {canvas, place} | null}, prompts, pending, shape, pointer,
   *         marked: prompt | null, vertices: {draw} | null, cursor: pixel | null, markSize 0..1,
   *         opacity 0..1, outlineOnly, hidden, beat}
   */
  function paintOverlay(view, scene) {
    const context = overlayContext;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, overlay.width, overlay.height);
    if (!view) return false;
    const unfinished = scene.hidden ? false : paintMasks(context, view, scene);
    const { markSize: size, beat } = scene;
    for (const prompt of scene.pending) drawPrompt(context, view, prompt, { size, pending: true, beat });
    if (scene.shape) drawShape(context, view, scene.shape, scene.pointer);
    if (scene.cursor) drawCursor(context, view, scene.cursor);
    return unfinished;
  }

  /** Objects, draft and its prompts: what can be hidden; true when outlines are still missing. */
  function paintMasks(context, view, scene) {
    objects.show(scene.objects);
    context.imageSmoothingEnabled = false;
    intoImageFrame(context, view, () => {
      if (!scene.outlineOnly) fillObjects(context, view, scene.opacity);
    });
    const unfinished = outlines.paint(context, view, scene.outlined);
    if (scene.hovered?.mask) paintHovered(context, view, scene.hovered);
    intoImageFrame(context, view, () => {
      if (scene.draft.live) paintLiveDraft(context, scene);
      else if (scene.draft.mask) paintDraft(context, view, scene);
    });
    for (const prompt of scene.prompts) drawPrompt(context, view, prompt, { size: scene.markSize });
    if (scene.marked) drawCross(context, view, scene.marked);
    scene.vertices?.draw(context, view);
    return unfinished;
  }

  function paintHovered(context, view, { mask, colour, name }) {
    strokeOutline(context, view, mask, colour, HOVER_WIDTH);
    drawTag(context, view, mask, name);
  }

  function fillObjects(context, view, opacity) {
    const layer = objects.canvas();
    if (!layer) return;
    const [x0, y0, x1, y1] = visiblePixels(view);
    if (x1 <= x0 || y1 <= y0) return;
    const { reduction } = objects;
    const [width, height] = [x1 - x0, y1 - y0];
    context.globalAlpha = opacity;
    context.drawImage(
      layer,
      x0 / reduction,
      y0 / reduction,
      width / reduction,
      height / reduction,
      x0,
      y0,
      width,
      height,
    );
    context.globalAlpha = 1;
  }

  function paintDraft(context, view, { draft: { mask, colour }, opacity, outlineOnly }) {
    if (!outlineOnly) {
      if (draft.mask !== mask || String(draft.colour) !== String(colour)) {
        draft = { mask, colour, canvas: maskCanvas(mask, colour), place: null };
      }
      context.globalAlpha = Math.min(1, opacity * DRAFT_STRENGTH);
      if (draft.place) context.drawImage(draft.canvas, ...draft.place);
      else drawMask(context, mask, draft.canvas);
      context.globalAlpha = 1;
    }
    strokeOutline(context, view, mask, colour.map(pale), 1.5);
  }

  /** The draft while a hand paints on it: its outline is drawn when the hand is lifted. */
  function paintLiveDraft(context, { draft: { live }, opacity, outlineOnly }) {
    context.globalAlpha = Math.min(1, (outlineOnly ? 0.5 : opacity) * DRAFT_STRENGTH);
    context.drawImage(live.canvas, ...live.place);
    context.globalAlpha = 1;
  }

  /** The canvas this mask is painted from, to be painted on: {canvas, place}; null when it has none of its own. */
  function takeDraftCanvas(mask, colour) {
    const { canvas, place } = draft;
    const usable = mask && mask.scale === 1 && draft.mask === mask && String(draft.colour) === String(colour);
    draft = { mask: null, colour: null, canvas: null, place: null };
    return usable ? { canvas, place: place ?? [mask.x, mask.y] } : null;
  }

  /** A canvas that shows this mask already. */
  function giveDraftCanvas(mask, colour, canvas, place) {
    draft = { mask, colour, canvas, place };
  }

  /** RGBA of the overlay where the middle of image pixel (x, y) is shown; null when it is not on the canvas. */
  function overlayPixel(view, x, y) {
    const [deviceX, deviceY] = imageToDevice(view, x + 0.5, y + 0.5).map(Math.floor);
    if (deviceX < 0 || deviceY < 0 || deviceX >= overlay.width || deviceY >= overlay.height) return null;
    return [...overlayContext.getImageData(deviceX, deviceY, 1, 1).data];
  }

  return {
    setImage,
    setPhoto,
    resize,
    paintPhoto,
    paintOverlay,
    takeDraftCanvas,
    giveDraftCanvas,
    overlayPixel,
  };
}

function intoImageFrame(context, view, draw) {
  context.save();
  context.setTransform(...transformOf(view));
  draw();
  context.restore();
}

function halved(source) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(source.width / 2));
  canvas.height = Math.max(1, Math.round(source.height / 2));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "medium";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}
