/**
 * The canvas: pointer events in, prompts out, paints in between. One click begins in `onPointer` and leaves through
 * `onPrompt`; its mask comes back in the store and is painted by `paint`.
 */

import { placeRing } from "./brush_ring.js";
import { watchDisplaySize } from "./display_size.js";
import { createLatencies } from "./latency.js";
import { createPainter } from "./painter.js";
import { containsPixel } from "./rle.js";
import { findClass, parseColour } from "./state.js";
import * as Tools from "./tools.js";
import * as View from "./view.js";

const WHEEL_STEP = 1.0016; // per unit of wheel delta: one notch of a mouse (100) zooms by about 1.17
const KEY_ZOOM = 1.3;
const KEY_PAN = 60; // CSS pixels
const BEAT_MS = 90; // feedback moves about eleven times a second: enough to be seen, little to compute
const BEATS = 8;

/**
 * @param {object} parts {stage, photo, overlay, brush: elements; store; places; unansweredPrompts(): prompts;
 *   onPrompt(prompt, meta), onSelect(id | null), onHint(text), onReadout({zoom, pixel}), onView(view | null)}
 */
export function createCanvas({
  stage,
  photo,
  overlay,
  brush,
  store,
  unansweredPrompts,
  onPrompt,
  onSelect,
  onHint,
  onReadout,
  onView,
  places,
}) {
  const painter = createPainter(photo, overlay);
  const latencies = createLatencies();
  let view = null; // null without an image
  let size = { width: 1, height: 1, pixelRatio: globalThis.devicePixelRatio || 1 };
  let gesture = Tools.IDLE;
  let pointer = null; // last device position of the mouse or pen, null when it is elsewhere
  let image = null; // {digest, width, height}
  let dirty = { photo: false, overlay: false, scheduled: false };
  let beat = 0;
  let beating = null;
  const painted = { count: 0, seq: null, stage: null, at: null };

  // ---- images and views -----------------------------------------------------------------------------------

  /** Show an image of that size; its photo may follow. */
  function setImage(next) {
    image = next;
    gesture = Tools.abandon(gesture);
    if (!next) {
      view = null;
    } else {
      painter.setImage(null, next.width, next.height);
      const fitted = View.createView({ ...deviceSize(), imageWidth: next.width, imageHeight: next.height });
      view = View.atPlace(fitted, places.placeOn(next.digest));
    }
    stage.classList.toggle("samref-has-image", next !== null);
    schedule({ photo: true });
    tellReadout();
    onView(view);
  }

  function setPhoto(digest, bitmap) {
    if (image?.digest !== digest) return bitmap.close?.();
    painter.setPhoto(bitmap);
    schedule({ photo: true });
  }

  function setView(next) {
    if (!next) return;
    view = next;
    places.keep(image.digest, { place: View.placeOf(view) });
    schedule({ photo: true });
    tellReadout();
    onView(view);
  }

  const deviceSize = () => ({ deviceWidth: size.width, deviceHeight: size.height, pixelRatio: size.pixelRatio });

  watchDisplaySize(overlay, (now) => {
    if (now.width === size.width && now.height === size.height && now.pixelRatio === size.pixelRatio) return;
    size = now;
    painter.resize(size.width, size.height);
    if (view) view = View.resized(view, size.width, size.height, size.pixelRatio);
    tellReadout();
    onView(view);
    paint({ photo: true }); // in this frame: a resized canvas is blank until it is painted
  });

  // ---- painting ---------------------------------------------------------------------------------------------

  /** Paint before the next frame; several calls make one paint. */
  function schedule({ photo: withPhoto = false } = {}) {
    dirty.photo ||= withPhoto;
    if (dirty.scheduled) return;
    dirty.scheduled = true;
    requestAnimationFrame(() => paint());
  }

  function paint({ photo: withPhoto = false } = {}) {
    const photoToo = withPhoto || dirty.photo;
    dirty = { photo: false, scheduled: false };
    if (photoToo) painter.paintPhoto(view);
    painter.paintOverlay(view, scene());
    painted.count += 1;
    latencies.painted();
  }

  function scene() {
    const state = store.get();
    const { draft, annotations } = state;
    const pending = unansweredPrompts();
    keepBeating(pending.length > 0);
    const colourOf = (classId) => parseColour(findClass(state, classId)?.colour);
    return {
      objects: annotations.list
        .filter((one) => one.visible && one.id !== draft.editing)
        .map((one) => ({
          id: one.id,
          mask: one.mask,
          colour: colourOf(one.class_id),
          selected: one.id === state.selected,
        })),
      draft: { mask: state.holdCoarse !== state.coarseShown ? (draft.coarse ?? draft.mask) : draft.mask, colour: colourOf(state.classId) },
      prompts: draft.prompts,
      pending,
      shape: Tools.preview(gesture),
      pointer,
      opacity: state.opacity,
      outlineOnly: state.outlineOnly,
      hidden: state.holdHide !== state.masksHidden,
      beat: beat / BEATS,
    };
  }

  /** Move the feedback of prompts that wait, as long as some do. */
  function keepBeating(needed) {
    if (!needed || beating !== null || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    beating = setTimeout(() => {
      beating = null;
      beat = (beat + 1) % BEATS;
      schedule();
    }, BEAT_MS);
  }

  // ---- pointers ---------------------------------------------------------------------------------------------

  function placement() {
    const { left, top } = overlay.getBoundingClientRect();
    return View.placementOf(left, top, size.pixelRatio);
  }

  /** A browser event as `tools.js` wants it. */
  function toToolEvent(type, event, where = placement()) {
    const device = View.clientToDevice(where, event.clientX, event.clientY);
    return {
      type,
      id: event.pointerId,
      pointerType: event.pointerType,
      button: event.button,
      alt: event.altKey,
      space: store.get().panning,
      device,
      pixel: View.deviceToPixel(view, ...device),
      position: View.deviceToImage(view, ...device),
      trail: type === "move" ? trailOf(event, where) : [],
    };
  }

  function trailOf(event, where) {
    const passed = event.getCoalescedEvents?.() ?? [];
    return passed.map(({ clientX, clientY }) =>
      View.deviceToPixel(view, ...View.clientToDevice(where, clientX, clientY)),
    );
  }

  function onPointer(type, event) {
    if (!view) return;
    const toolEvent = toToolEvent(type, event);
    if (event.pointerType !== "touch") pointer = toolEvent.device;
    run(Tools.step(gesture, toolEvent, toolContext()), event);
    moveBrush(event);
    tellReadout(toolEvent.pixel);
  }

  function toolContext() {
    const { tool, positive, brushWidth } = store.get();
    const { imageWidth, imageHeight, scale, pixelRatio } = view;
    return { tool, positive, brushWidth, imageWidth, imageHeight, scale, pixelRatio };
  }

  /** Do what the tools said. */
  function run({ gesture: next, actions }, event = null) {
    const drawing = Tools.isDrawing(gesture) || Tools.isDrawing(next);
    gesture = next;
    stage.classList.toggle("samref-grabbing", gesture.mode === "pan");
    for (const action of actions) {
      if (action.do === "prompt") onPrompt(action.prompt, latencies.begin(event?.timeStamp));
      else if (action.do === "pan") setView(View.panBy(view, action.dx, action.dy));
      else if (action.do === "pinch")
        setView(View.panBy(View.zoomAt(view, action.factor, ...action.at), action.dx, action.dy));
      else if (action.do === "select") onSelect(objectAt(...action.pixel));
      else if (action.do === "hint") onHint(action.text);
    }
    if (drawing || actions.length) schedule();
  }

  /** Id of the topmost visible object at an image pixel, or null. */
  function objectAt(x, y) {
    const hit = store.get().annotations.list.findLast((one) => one.visible && containsPixel(one.mask, x, y));
    return hit?.id ?? null;
  }

  overlay.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    if (event.button === 1) event.preventDefault(); // no autoscroll
    overlay.setPointerCapture?.(event.pointerId);
    onPointer("down", event);
  });
  overlay.addEventListener("pointermove", (event) => onPointer("move", event));
  overlay.addEventListener("pointerup", (event) => onPointer("up", event));
  overlay.addEventListener("pointercancel", (event) => onPointer("cancel", event));
  overlay.addEventListener("pointerleave", () => {
    pointer = null;
    brush.hidden = true;
    tellReadout();
    if (Tools.isDrawing(gesture)) schedule();
  });
  overlay.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!view) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : 1; // Firefox counts in lines
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!event.ctrlKey && (sideways || store.get().twoFingers)) {
        const step = -lines * size.pixelRatio;
        setView(View.panBy(view, event.deltaX * step, event.deltaY * step));
        return moveBrush(event);
      }
      const delta = event.deltaY * lines * (event.ctrlKey ? 5 : 1); // a trackpad's pinch comes in small steps
      setView(
        View.zoomAt(view, WHEEL_STEP ** -delta, ...View.clientToDevice(placement(), event.clientX, event.clientY)),
      );
      moveBrush(event);
    },
    { passive: false },
  );

  function moveBrush(event) {
    const { tool, brushWidth } = store.get();
    const shown = view !== null && tool === "scribble" && event.pointerType !== "touch";
    placeRing(brush, stage, event, shown ? (brushWidth * view.scale) / view.pixelRatio : null);
  }

  function tellReadout(pixel = null) {
    const inside = view && pixel && View.containsPixel(view, pixel);
    const zoom = view ? Math.round((view.scale / view.pixelRatio) * 100) : null;
    onReadout({ zoom, pixel: inside ? pixel : null });
  }

  store.subscribe((now, before) => {
    if (now.tool !== before.tool) {
      gesture = Tools.abandon(gesture);
      brush.hidden = true;
    }
    schedule();
  });

  return {
    setImage,
    setPhoto,
    schedule,
    fit: () => view && setView(View.fit(view)),
    showAt: (x, y) => view && setView(View.centredAt(view, x, y)),
    turn: (quarters) => view && setView(View.turned(view, quarters)),
    zoom: (direction) => view && setView(View.zoomCentre(view, KEY_ZOOM ** direction)),
    pan: (dx, dy) =>
      view && setView(View.panBy(view, -dx * KEY_PAN * size.pixelRatio, -dy * KEY_PAN * size.pixelRatio)),
    isDrawing: () => Tools.isDrawing(gesture),
    abandon: () => run({ gesture: Tools.abandon(gesture), actions: [] }),
    finishPolygon: () => run(Tools.finishPolygon(gesture), { timeStamp: performance.now() }),
    dropCorner: () => run({ gesture: Tools.dropCorner(gesture), actions: [] }),
    /** An answer's mask is in the store: measure from its prompt to its paint. */
    expectPaint(seq, stage_, startedAt) {
      Object.assign(painted, { seq, stage: stage_, at: performance.now() });
      latencies.expect(stage_, startedAt);
    },
    /** For tests and measurements, see main.js. */
    inspect: {
      view: () => view,
      imageToClient: (x, y) => View.deviceToClient(placement(), ...View.imageToDevice(view, x, y)),
      clientToPixel: (x, y) => View.deviceToPixel(view, ...View.clientToDevice(placement(), x, y)),
      overlayPixel: (x, y) => {
        if (dirty.scheduled) paint();
        return painter.overlayPixel(view, x, y);
      },
      stats: () => ({ painted: { ...painted }, latencies: latencies.last() }),
    },
  };
}
