/**
 * The canvas: pointer events in, prompts and pixels out, paints in between. One click begins in `onPointer` and leaves
 * through `onPrompt`; its mask comes back in the store and is painted by `paint`. A stroke of the brush is painted at
 * once (hand_layer.js) and leaves through `onHand` when the pointer is lifted.
 */

import { createBrushRing } from "./brush_ring.js";
import { displaySize, watchDisplaySize } from "./display_size.js";
import { createHandLayer, createPendingMask } from "./hand_layer.js";
import { createLatencies } from "./latency.js";
import { createPainter } from "./painter.js";
import { objectToSelect, objectsAt } from "./object_scene.js";
import { showing, zoomedTo } from "./object_view.js";
import { grabAt, movedPrompt } from "./prompt_edit.js";
import { polygonRegion, toWire } from "./raster.js";
import { containsPixel } from "./rle.js";
import { findClass, parseColour, shownAhead } from "./state.js";
import * as Tools from "./tools.js";
import * as View from "./view.js";

const WHEEL_STEP = 1.0016; // per unit of wheel delta: one notch of a mouse (100) zooms by about 1.17
const KEY_ZOOM = 1.3;
const KEY_PAN = 60; // CSS pixels
const BEAT_MS = 90; // feedback moves about eleven times a second: enough to be seen, little to compute
const BEATS = 8;

/** Marks shrink on objects smaller than this many CSS pixels. */
const ROOMY_OBJECT = 60;

const CLICK_ON_AN_OBJECT = "Click on an object: its outline gets corners to pull.";

/** Tools with a width. */
const WIDE_TOOLS = new Set(["scribble", "brush", "eraser"]);

/**
 * @param {object} parts {stage, photo, overlay, brush: elements; store; places; unanswered(): [{verb, args}] that the
 *   server has not answered, oldest first; onPrompt(prompt, meta), onHand({added, removed, how}),
 *   onReshape({id, added, removed}), onReplacePrompt(index, prompt | null), onBrush(direction), onSelect(id | null, "only" | "toggle"),
 *   onHover(id | null), objectScene: see object_scene.js, onHint(text), onReadout({zoom, pixel}), onView(view | null), announce(text)}
 */
export function createCanvas({
  stage,
  photo,
  overlay,
  brush,
  store,
  unanswered,
  onPrompt,
  objectScene,
  onHand,
  onReshape,
  onReplacePrompt,
  onBrush,
  onSelect,
  onHover,
  onHint,
  onReadout,
  announce,
  onView,
  places,
}) {
  const painter = createPainter(photo, overlay);
  const latencies = createLatencies();
  let view = null; // null without an image
  let size = displaySize(overlay);
  painter.resize(size.width, size.height);
  let gesture = Tools.IDLE;
  let pointer = null; // last device position of the mouse or pen, null when it is elsewhere
  let image = null; // {digest, width, height}
  let dirty = { photo: false, overlay: false, scheduled: false };
  let beat = 0;
  let beating = null;
  const hand = createHandLayer();
  const pendingMask = createPendingMask();
  const pendingShapes = new Map(); // id -> what pendingMask is for the draft
  const ring = createBrushRing(brush);
  let pressureFelt = false; // a pen without a gauge says 0.5 for ever
  let ctrlDown = false; // a pinch on a trackpad comes as a wheel with Control that nobody holds
  let dragged = null; // {index, prompt} of a prompt that is being moved
  let marked = null; // number of the prompt under the Hand, or chosen
  let cursor = null; // the keyboard's crosshair: {pixel, fresh: not pressed here yet, held: a box is begun} or null
  const painted = { count: 0, seq: null, stage: null, at: null };

  // ---- images and views -----------------------------------------------------------------------------------

  /** Show an image of that size; its photo may follow. */
  function setImage(next) {
    image = next;
    abandon();
    marked = cursor = null;
    pendingShapes.clear();
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
    if (!brush.hidden) moveBrush();
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
    if (painter.paintOverlay(view, scene())) schedule();
    painted.count += 1;
    latencies.painted();
  }

  function scene() {
    const state = store.get();
    const { draft } = state;
    const pending = unanswered();
    const prompts = pending.flatMap(({ verb, args }) => (verb === "prompt" ? args.prompts : []));
    keepBeating(prompts.length > 0);
    const colourOf = (classId) => parseColour(findClass(state, classId)?.colour);
    const mask = draftMask(state);
    const ahead = shownAhead(state, prompts);
    const wantsCoarse = state.holdCoarse !== state.coarseShown;
    const shownPrompts = draftPrompts(draft.prompts, pending);
    return {
      ...withHandWork(objectScene.scene(state), pending),
      draft: {
        mask: state.preview ?? (wantsCoarse && !ahead ? (draft.coarse ?? mask) : mask),
        colour: colourOf(state.classId),
        live: hand.shown(),
      },
      prompts: shownPrompts,
      pending: prompts,
      marked: state.tool === "hand" && marked !== null ? (shownPrompts[marked] ?? null) : null,
      vertices: state.tool === "vertices" ? vertices : null,
      cursor: cursor?.pixel ?? null,
      shape: Tools.preview(gesture),
      pointer: pointer ?? cursorDevice(),
      markSize: markSizeOn(mask),
      opacity: state.opacity,
      outlineOnly: state.outlineOnly,
      hidden: state.holdHide !== state.masksHidden,
      beat: beat / BEATS,
    };
  }

  /** The draft as it will be when the server has answered all that a hand did. */
  function draftMask(state = store.get()) {
    const pending = unanswered();
    const steps = pending.flatMap(({ verb, args }) => (verb === "paint" ? [args] : []));
    const ahead = shownAhead(
      state,
      pending.flatMap(({ verb, args }) => (verb === "prompt" ? args.prompts : [])),
    );
    const mask = ahead ? ahead.mask : state.draft.mask;
    return image ? pendingMask(mask, steps, image.width, image.height) : mask;
  }

  /** The objects with what a hand did to them and the server has not answered yet. */
  function withHandWork(shown, pending) {
    const ids = new Set(pending.flatMap(({ verb, args }) => (verb === "reshape" ? [args.id] : [])));
    if (ids.size === 0) return shown;
    const reshaped = (list) => list.map((one) => (ids.has(one.id) ? { ...one, mask: objectMask(one, pending) } : one));
    return { ...shown, objects: reshaped(shown.objects), outlined: reshaped(shown.outlined) };
  }

  function objectMask({ id, mask }, pending) {
    const steps = pending.flatMap(({ verb, args }) => (verb === "reshape" && args.id === id ? [args] : []));
    if (steps.length === 0 && !pendingShapes.has(id)) return mask;
    if (!pendingShapes.has(id)) pendingShapes.set(id, createPendingMask());
    return pendingShapes.get(id)(mask, steps, image.width, image.height);
  }

  /** The draft's prompts with those moved and taken away that the server has not answered yet. */
  function draftPrompts(prompts, pending) {
    let shown = prompts;
    for (const { verb, args } of pending) {
      if (verb !== "replace_prompt") continue;
      shown = args.prompt ? shown.with(args.index, args.prompt) : shown.toSpliced(args.index, 1);
    }
    return dragged && shown[dragged.index] ? shown.with(dragged.index, dragged.prompt) : shown;
  }

  /** How large marks may be on the draft: 1, and less on an object of a few display dots. */
  function markSizeOn(mask) {
    if (!mask || !view) return 1;
    const side = (Math.min(mask.width, mask.height) * view.scale) / view.pixelRatio;
    return Math.min(1, side / ROOMY_OBJECT);
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
    const sample = sampleOf(event, where);
    return {
      ...sample,
      type,
      id: event.pointerId,
      pointerType: event.pointerType,
      button: event.button,
      alt: event.altKey,
      ctrl: event.ctrlKey || event.metaKey,
      time: event.timeStamp,
      space: store.get().panning,
      trail: type === "move" ? (event.getCoalescedEvents?.() ?? []).map((one) => sampleOf(one, where)) : [],
    };
  }

  /** Where a pointer is, and how hard a pen presses: null for all that cannot feel it. */
  function sampleOf({ clientX, clientY, pointerType, pressure }, where) {
    const device = View.clientToDevice(where, clientX, clientY);
    if (pointerType === "pen" && pressure > 0 && pressure !== 0.5) pressureFelt = true;
    return {
      device,
      pixel: View.deviceToPixel(view, ...device),
      position: View.deviceToImage(view, ...device),
      pressure: pointerType === "pen" && pressureFelt && pressure > 0 ? pressure : null,
    };
  }

  function onPointer(type, event) {
    if (!view) return;
    const toolEvent = toToolEvent(type, event);
    if (event.pointerType !== "touch") pointer = toolEvent.device;
    if (type === "down") hideCursor();
    run(Tools.step(gesture, toolEvent, toolContext(toolEvent)), event);
    if (type === "move" && gesture.mode === "idle") hover(toolEvent);
    if (type === "move") nameUnder(event, toolEvent.pixel);
    moveBrush(event);
    tellReadout(toolEvent.pixel);
  }

  function toolContext({ type, position }) {
    const { tool, positive, brushWidth, draft } = store.get();
    const { imageWidth, imageHeight, scale, pixelRatio } = view;
    const grabs = type === "down" && tool === "hand" && !draftIsBusy();
    const prompt = grabs ? grabAt(draft.prompts, position, pixelRatio / scale, marked) : null;
    return { tool, positive, brushWidth, imageWidth, imageHeight, scale, pixelRatio, prompt };
  }

  /** A prompt is named by its number, so none is taken hold of while numbers may change. */
  const draftIsBusy = () => unanswered().some(({ verb }) => verb !== "paint" && verb !== "sync");

  /** What lies under a pointer that is not pressed: handles and prompts say so. */
  function hover({ position, pointerType }) {
    if (pointerType === "touch") return;
    const { tool, draft } = store.get();
    const unit = view.pixelRatio / view.scale;
    if (tool === "vertices" && vertices?.hover(position, unit)) schedule();
    const grip = tool === "hand" ? grabAt(draft.prompts, position, unit, marked) : null;
    stage.classList.toggle("samref-on-prompt", grip !== null);
    if (tool === "hand") mark(grip?.index ?? null);
  }

  function mark(index) {
    if (marked === index) return;
    marked = index;
    schedule();
  }

  /** Do what the tools said. */
  function run({ gesture: next, actions }, event = null) {
    const drawing = Tools.isDrawing(gesture) || Tools.isDrawing(next);
    gesture = next;
    stage.classList.toggle("samref-grabbing", gesture.mode === "pan");
    for (const action of actions) DO[action.do](action, event);
    if (hand.isActive() && gesture.mode !== "brush") dropStroke(); // a second finger, Esc, another tool
    if (gesture.mode !== "prompt") dragged = null;
    if (gesture.mode !== "vertex") vertices?.abandon();
    tellOpenPolygon();
    if (drawing || actions.length) schedule();
  }

  const DO = {
    prompt: ({ prompt }, event) => onPrompt(prompt, latencies.begin(event?.timeStamp)),
    pan: ({ dx, dy }) => setView(View.panBy(view, dx, dy)),
    pinch: ({ factor, at, dx, dy }) => setView(View.panBy(View.zoomAt(view, factor, ...at), dx, dy)),
    select: ({ pixel }, event) => selectAt(pixel, event?.shiftKey),
    hint: ({ text }) => onHint(text),
    stroke: paintStroke,
    strokeEnd: endStroke,
    fill: fillPolygon,
    vertex: pullVertex,
    movePrompt,
  };

  // ---- pixels by hand ---------------------------------------------------------------------------------------

  const draftColour = () => parseColour(findClass(store.get(), store.get().classId)?.colour);

  function paintStroke({ points, erase, begins }) {
    if (begins) {
      const mask = draftMask();
      const colour = draftColour();
      hand.begin({ mask, ...painter.takeDraftCanvas(mask, colour), colour, erase, ...sizeOfImage() });
    }
    if (hand.isActive()) hand.paint(points);
  }

  function endStroke() {
    const before = draftMask();
    const { region, erase, canvas, place } = hand.end();
    const pixels = toWire(region);
    if (!pixels) return;
    if (erase && !before)
      return onHint("There is nothing to erase yet: click on an object, or paint one with the brush.");
    onHand({ added: erase ? null : pixels, removed: erase ? pixels : null, how: erase ? "eraser" : "brush" });
    const after = draftMask();
    if (after && canvas) painter.giveDraftCanvas(after, draftColour(), canvas, place);
  }

  function dropStroke() {
    hand.cancel();
    schedule();
  }

  function fillPolygon({ points, positive, how }) {
    const pixels = toWire(polygonRegion([points], image.width, image.height));
    if (!pixels) return;
    if (!positive && !draftMask())
      return onHint("There is nothing to cut from yet: switch to Add (X), or click on an object.");
    onHand({ added: positive ? pixels : null, removed: positive ? null : pixels, how });
  }

  const sizeOfImage = () => ({ width: image.width, height: image.height });

  // ---- prompts and outlines taken hold of ---------------------------------------------------------------------

  function movePrompt({ phase, grabbed, from, to, moved }) {
    const { index, part } = grabbed;
    const prompt = store.get().draft.prompts[index];
    if (!prompt) return;
    if (part === "cross") {
      if (phase === "drop" && !moved) removePrompt(index);
      return;
    }
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const next = movedPrompt(prompt, part, dx, dy, image.width, image.height);
    if (phase === "drag") dragged = { index, prompt: next };
    else if (moved) onReplacePrompt(index, next);
    marked = index;
  }

  function removePrompt(index) {
    marked = null;
    stage.classList.remove("samref-on-prompt");
    onReplacePrompt(index, null);
  }

  /** A press beside the outline takes another object's instead. */
  function pullVertex({ phase, event }) {
    if (vertices?.pointer(phase, event, view.pixelRatio / view.scale)) return;
    if (phase !== "down" || event.button !== 0 || draftMask()) return;
    const id = objectToSelect(store.get(), ...event.pixel);
    onSelect(id, "only");
    if (id !== null) return;
    const isLocked = objectsAt(store.get(), ...event.pixel).length > 0;
    onHint(isLocked ? "That object is locked. Unlock it in the list to change its outline." : CLICK_ON_AN_OBJECT);
  }

  let vertices = null; // comes with the first use of its tool

  async function loadVertices() {
    let module = null;
    try {
      module = await import("./vertex_tool.js");
    } catch {
      return onHint("The corners could not be loaded. Choose the tool again when the server is back.");
    }
    vertices ??= module.createVertexTool({
      target: vertexTarget,
      tolerance: () => store.get().tolerance,
      imageSize: () => [image.width, image.height],
      onHint,
      onChange({ id, added, removed }) {
        if (id === null) onHand({ added, removed, how: "vertices" });
        else onReshape({ id, added, removed });
      },
    });
    store.set({}); // the corners are there now
  }

  /** The outline that gets handles: the draft's, else the selected object's. */
  function vertexTarget() {
    const state = store.get();
    if (!image) return null;
    const { draft, annotations, selected } = state;
    const others = annotations.list.filter((one) => one.visible && one.mask && one.id !== draft.editing);
    const masksBut = (id) => others.filter((one) => one.id !== id).map((one) => one.mask);
    const mask = draftMask(state);
    if (mask) return { id: null, mask, others: masksBut(null) };
    const object = annotations.list.find((one) => one.id === selected && one.visible && !one.locked);
    if (!object) return null;
    return { id: object.id, mask: objectMask(object, unanswered()), others: masksBut(object.id) };
  }

  let openPolygon = false;
  function tellOpenPolygon() {
    const open = gesture.polygon !== null;
    if (open === openPolygon) return;
    openPolygon = open;
    store.set({ openPolygon: open });
  }

  // ---- the keyboard's pointer ---------------------------------------------------------------------------------

  const cursorDevice = () =>
    cursor && view ? View.imageToDevice(view, cursor.pixel[0] + 0.5, cursor.pixel[1] + 0.5) : null;

  function toggleCursor() {
    if (!view) return false;
    if (cursor) return hideCursor();
    const middle = View.deviceToPixel(view, view.deviceWidth / 2, view.deviceHeight / 2);
    cursor = { pixel: View.clampPixel(view, middle), fresh: true, held: false };
    schedule();
    announce(
      `Crosshair at ${cursor.pixel.join(", ")}. Arrows move it, Enter presses the tool, Shift and Enter says not the object.`,
    );
  }

  function hideCursor() {
    if (!cursor) return;
    if (cursor.held) run({ gesture: Tools.abandon(gesture), actions: [] });
    cursor = null;
    schedule();
  }

  /** Move it by image pixels, `way` [x, y] on the screen; it stays in the image and in sight. */
  function moveCursor(way, pixels) {
    const [ax, ay] = View.deviceToImage(view, 0, 0);
    const [bx, by] = View.deviceToImage(view, ...way); // the way on the screen, in an image that may be turned
    const [x, y] = cursor.pixel;
    const to = [x + Math.sign(bx - ax) * pixels, y + Math.sign(by - ay) * pixels];
    cursor = { ...cursor, pixel: View.clampPixel(view, to), fresh: true };
    const [cx, cy] = cursorDevice();
    const edge = 40 * view.pixelRatio;
    const out = (at, room) => (at < edge ? edge - at : at > room - edge ? room - edge - at : 0);
    const [panX, panY] = [out(cx, view.deviceWidth), out(cy, view.deviceHeight)];
    if (panX || panY) setView(View.panBy(view, panX, panY));
    if (cursor.held) step("move", {});
    tellReadout(cursor.pixel);
    schedule();
    announce(describePixel(cursor.pixel));
  }

  /** Press the tool there: dots and corners at once, boxes and strokes from one press to the next. */
  function pressCursor({ negative = false } = {}) {
    const { tool } = store.get();
    cursor = { ...cursor, fresh: false };
    if (cursor.held) {
      cursor.held = false;
      step("up", { negative });
      return announce("Second corner.");
    }
    step("down", { negative });
    if (tool === "box" || tool === "scribble") {
      cursor.held = true;
      return announce("First corner. Move on and press again.");
    }
    step("up", { negative });
    announce(`${negative ? "Not the object" : "Pressed"} at ${cursor.pixel.join(", ")}. Enter once more accepts.`);
  }

  /** An event of the cursor, as a pointer would have made it. */
  function step(type, { negative }) {
    const [x, y] = cursor.pixel;
    const event = {
      type,
      id: -1,
      pointerType: "keyboard",
      button: negative ? 2 : 0,
      alt: false,
      ctrl: false,
      space: false,
      time: performance.now(),
      pressure: null,
      device: cursorDevice(),
      pixel: [x, y],
      position: [x + 0.5, y + 0.5],
      trail: [],
    };
    run(Tools.step(gesture, event, toolContext(event)), { timeStamp: event.time });
  }

  function describePixel([x, y]) {
    const object = store.get().annotations.list.findLast((one) => one.visible && containsPixel(one.mask, x, y));
    const under = containsPixel(draftMask(), x, y) ? "draft" : object && findClass(store.get(), object.class_id)?.name;
    return under ? `${x}, ${y}, ${under}` : `${x}, ${y}`;
  }

  /** Select the object at an image pixel; `more` adds it to those selected or takes it out. */
  function selectAt(pixel, more = false) {
    onSelect(objectToSelect(store.get(), ...pixel), more ? "toggle" : "only");
  }

  /** Control (Command) + left button selects, whatever the tool; on a corner it is held to snap it. */
  function selects(event) {
    if (!view || event.button !== 0 || !(event.ctrlKey || event.metaKey) || Tools.isDrawing(gesture)) return false;
    const { pixel, position } = toToolEvent("down", event);
    const pulls = store.get().tool === "vertices" && vertices?.isOver(position, view.pixelRatio / view.scale);
    if (pulls) return false;
    selectAt(pixel, event.shiftKey);
    return true;
  }

  /** The object under a pointer that does nothing else is named and outlined. */
  function nameUnder({ pointerType, buttons }, pixel) {
    if (pointerType === "touch") return;
    const isFree = buttons === 0 && gesture.mode === "idle" && !Tools.isDrawing(gesture);
    onHover(isFree ? (objectsAt(store.get(), ...pixel)[0]?.id ?? null) : null);
  }

  overlay.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    if (event.button === 1) event.preventDefault(); // no autoscroll
    if (selects(event)) return;
    overlay.setPointerCapture?.(event.pointerId);
    onPointer("down", event);
  });
  overlay.addEventListener("pointermove", (event) => onPointer("move", event));
  overlay.addEventListener("pointerup", (event) => onPointer("up", event));
  overlay.addEventListener("pointercancel", (event) => onPointer("cancel", event));
  overlay.addEventListener("pointerleave", () => {
    pointer = null;
    ring.hide();
    if (!Tools.isDrawing(gesture)) mark(null);
    onHover(null);
    tellReadout();
    if (Tools.isDrawing(gesture)) schedule();
  });
  overlay.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!view) return;
      event.preventDefault();
      if (WIDE_TOOLS.has(store.get().tool) && (event.altKey || ctrlDown)) {
        onBrush(event.deltaY < 0 || event.deltaX < 0 ? 1 : -1); // Alt turns the wheel sideways in some browsers
        return moveBrush(event);
      }
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

  for (const kind of ["keydown", "keyup"]) {
    globalThis.addEventListener(
      kind,
      (event) => (ctrlDown = event.key === "Control" ? kind === "keydown" : event.ctrlKey),
    );
  }
  globalThis.addEventListener("blur", () => (ctrlDown = false));

  let ringAt = null; // the last event that moved the ring
  function moveBrush(event = ringAt) {
    ringAt = event;
    const { tool, brushWidth } = store.get();
    if (!event || !view || !WIDE_TOOLS.has(tool) || event.pointerType === "touch") return ring.hide();
    const where = placement();
    const [x, y] = View.deviceToPixel(view, ...View.clientToDevice(where, event.clientX, event.clientY));
    const [left, top] = View.deviceToClient(where, ...View.imageToDevice(view, x + 0.5, y + 0.5));
    const corner = stage.getBoundingClientRect();
    ring.place(left - corner.left, top - corner.top, view.scale / view.pixelRatio, brushWidth);
  }

  function tellReadout(pixel = null) {
    const inside = view && pixel && View.containsPixel(view, pixel);
    const zoom = view ? Math.round((view.scale / view.pixelRatio) * 100) : null;
    onReadout({ zoom, pixel: inside ? pixel : null });
  }

  function abandon() {
    run({ gesture: Tools.abandon(gesture), actions: [] });
  }

  const needsVertices = () => store.get().tool === "vertices" && vertices === null;
  if (needsVertices()) loadVertices();

  store.subscribe((now, before) => {
    if (now.tool !== before.tool) {
      if (needsVertices()) loadVertices();
      abandon();
      if (cursor) cursor.held = false;
      marked = null;
      ring.hide();
    }
    if (now.brushWidth !== before.brushWidth && !brush.hidden) moveBrush();
    if (now.draft.prompts !== before.draft.prompts) marked = null;
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
    /** Move the image, if needed, until the mask is in sight. */
    reveal: (mask) => view && setView(showing(view, mask)),
    zoomTo: (mask) => view && setView(zoomedTo(view, mask)),
    isDrawing: () => Tools.isDrawing(gesture),
    abandon,
    draftMask: () => draftMask(),
    /** Take away the handle or prompt that is chosen; false when none is. */
    removeChosen() {
      const { tool } = store.get();
      if (tool === "vertices") return vertices?.remove() ?? false;
      if (tool !== "hand" || marked === null || draftIsBusy()) return false;
      removePrompt(marked);
      return true;
    },
    countHandles: () => vertices?.count() ?? 0,
    cursor: {
      toggle: toggleCursor,
      hide: hideCursor,
      move: moveCursor,
      press: pressCursor,
      isOn: () => cursor !== null,
      /** Whether it has moved since it was last pressed. */
      isFresh: () => cursor !== null && (cursor.fresh || cursor.held),
    },
    finishPolygon: () => run(Tools.finishPolygon(gesture), { timeStamp: performance.now() }),
    dropCorner: () => run({ gesture: Tools.dropCorner(gesture), actions: [] }),
    /** An answer's mask is in the store: measure from its prompt to its paint. */
    expectPaint(seq, stage_, startedAt) {
      Object.assign(painted, { seq, stage: stage_, at: performance.now() });
      latencies.expect(stage_, startedAt);
    },
    /** For tests and measurements, see workbench.js. */
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
