/**
 * The work page: canvas, tools, panel, strip and keys. It is loaded once the start page stands (main.js), so that the
 * first image does not wait for it. `createWorkbench` builds the parts and ties them together.
 *
 * One click, to follow by jumping to definitions: canvas.js `onPointer` → tools.js `step` → actions.js `prompt` →
 * transport.js `send` → wire.js `post` … transport.js `receive` → connection.js `onAnswer` → state.js `mergeAnswer` →
 * canvas.js `paint` → painter.js `paintOverlay`.
 *
 * For tests and measurements the root element carries a read-only hook, `root.samref`; beside what main.js says:
 *   view()                 zoom and place of the image (see view.js), null without an image
 *   imageToClient(x, y)    window position [x, y] of a continuous image position; add 0.5 for the middle of a pixel
 *   clientToPixel(x, y)    image pixel [x, y] under a window position
 *   overlayPixel(x, y)     RGBA of the overlay where the middle of that image pixel is shown, null when out of sight
 *   draftPixel(x, y)       whether the draft's mask has that image pixel (of what was sent: a preview is coarser)
 *   objectPixel(id, x, y)  the same for an accepted object
 *   stats()                {painted: {count, seq, stage, at}, latencies: {dot, local, coarse, refined} in ms, transport,
 *                          local: see local/assistant.js, null before it is loaded}
 */

import { createActions } from "./actions.js";
import { PLAIN, adjustmentOf, createAdjuster } from "./adjust.js";
import { createCanvas } from "./canvas.js";
import { createCrosshair } from "./crosshair.js";
import { createHistory } from "./history.js";
import { followKeys } from "./key_hints.js";
import { listenToKeys } from "./keyboard.js";
import { keepSettings, recall, recallSettings, remember } from "./memory.js";
import { createMinimap } from "./minimap.js";
import { createObjectScene } from "./object_scene.js";
import { createPanel } from "./panel.js";
import { createPlaces } from "./places.js";
import { containsPixel } from "./rle.js";
import { SHORTCUTS, useKeys } from "./shortcuts.js";
import { createSteps } from "./steps.js";
import { createStrip } from "./strip.js";
import { BRUSH, TOLERANCE, createDraftBar, createToolbar, createZoom } from "./toolbar.js";

/** What a person sets once and finds again. */
const SETTINGS = {
  opacity: 0.5,
  outlineOnly: false,
  outlines: true,
  instanceColours: false,
  brushWidth: BRUSH.normal,
  overlap: "keep",
  listOrder: "drawn",
  listHeight: 0,
  detailsOpen: false,
  closedSections: "",
  tolerance: TOLERANCE.normal,
  crosshair: false,
  minimap: true,
  twoFingers: false,
  localModel: true,
  hoverMask: true,
};

/** What is remembered only while the page is open. */
const WORK = {
  tool: "click",
  positive: true,
  selection: [],
  hovered: null,
  hiddenClasses: [],
  recentClasses: [],
  listText: "",
  listClass: null,
  openPolygon: false, // somebody has begun one and not closed it
  preview: null, // mask a clean-up would give
  previewing: null, // which one was asked for
  tidyOpen: false,
  tidyAmounts: {},
  holdHide: false,
  holdCoarse: false,
  masksHidden: false,
  coarseShown: false,
  adjustment: PLAIN,
  panning: false,
};

/**
 * Build the work page into the shell.
 *
 * @param {object} parts {root, base, shell, store, transport, wire, routes, toasts, announcer, imagesOf, thumbs,
 *   page: its actions, startShown(state)}
 *
 * Gives {update(state), expectPaint(seq, stage, startedAt), showBulk(), useModel(name), inspect}.
 */
export function createWorkbench(parts) {
  const { root, base, shell, store, transport, wire, routes, toasts, announcer, imagesOf, thumbs, page, startShown } = parts;
  useKeys(parse(recall("keys")));
  store.set({ ...WORK, ...recallSettings(SETTINGS), ...recallTab() });
  const places = createPlaces();
  const shared = { root, store, transport, toasts, announcer, page, imagesOf };
  const actions = createActions({ ...shared, canvas: () => canvas, local: () => local });
  const objectScene = createObjectScene();
  const minimap = createMinimap({ stage: shell.stage, showAt: (x, y) => canvas.showAt(x, y) });
  const readout = createZoom(shell.zoom, shell.readout, actions);
  const canvas = createCanvas({
    ...shell,
    store,
    places,
    unanswered: transport.unsent,
    onPrompt: (made, meta) => bulk?.take(made) || actions.prompt(made, meta),
    onHand: actions.paint,
    onReshape: actions.reshape,
    onReplacePrompt: actions.replacePrompt,
    onBrush: actions.changeBrush,
    announce: (text) => announcer.say(text, "crosshair"),
    objectScene,
    onSelect: actions.select,
    onHover: actions.hover,
    onHint: toasts.info,
    onReadout: readout,
    onView: (view) => {
      minimap.update(view, store.get().minimap);
      bulk?.place();
      local?.hideHover();
    },
  });
  const adjust = createAdjuster(root, [shell.photo]);
  const updateCrosshair = createCrosshair(shell.stage, shell.overlay);
  const updateSteps = createSteps(shell.steps, actions, imagesOf);
  const updateToolbar = createToolbar(shell.tools, actions);
  const history = createHistory(actions);
  root.append(history.element);
  const updateDraftBar = createDraftBar(shell.draftBar, actions, history, shell.stage);
  const updatePanel = createPanel(shell.panel, actions, objectScene.swatch);
  const updateStrip = createStrip(shell.strip, actions, { imagesOf, thumbs });
  let shownImage = null;
  let bulk = null;
  let local = null;
  let localIsCalled = false;

  function update(state) {
    updateToolbar(state, canvas.countHandles);
    updateDraftBar(state);
    updatePanel(state);
    updateStrip(state);
    updateSteps(state);
    updateCrosshair(state.crosshair);
    adjust(state.adjustment);
    minimap.update(canvas.inspect.view(), state.minimap);
    history.update(state);
    shell.stage.dataset.tool = state.panning ? "hand" : state.tool;
    showImage(state.opening?.digest ? state.opening : state.image);
    rememberTab(state);
  }

  /** Bring an image onto the canvas: its frame at once, its photo when it has come. */
  function showImage(image) {
    const digest = image?.digest ?? null;
    if (digest === shownImage) return;
    shownImage = digest;
    minimap.setPhoto(null);
    canvas.setImage(image);
    if (!image) return;
    routes.photo(digest).then(
      (bitmap) => {
        if (shownImage === digest) minimap.setPhoto(bitmap);
        canvas.setPhoto(digest, bitmap);
        callLocal();
      },
      (error) => shownImage === digest && toasts.error(error.message),
    );
  }

  /** The model in this browser: called when the first photo is here, comes when nothing else is to do. */
  function callLocal() {
    if (localIsCalled || !store.get().workspace?.local) return;
    localIsCalled = true;
    whenIdle(async () => {
      const { createAssistant } = await import("./local/assistant.js");
      const help = { note: page.noteInHelp };
      local = createAssistant({ base, ...shell, store, transport, routes, canvas, imagesOf, help });
    });
  }

  /** Masks from boxes: a part of the page that is loaded when somebody wants it. */
  async function showBulk() {
    const { createBulk } = await import("./bulk.js");
    const { panel, stage } = shell;
    const parts = { panel, stage, store, routes, transport, toasts, actions, tab: wire.tab };
    bulk ??= createBulk({ ...parts, canvas: () => canvas });
    bulk.open();
  }

  places.followSelection(store);
  followKeys(root);
  keepSettings(store, Object.keys(SETTINGS));
  const isOpen = (name) => root.querySelector(`dialog.${name}[open]`) !== null;
  listenToKeys({
    target: document,
    isBlocked: (action) => {
      if (history.isOpen() || ["samref-bye", "samref-keeping", "samref-export"].some(isOpen)) return true;
      if (isOpen("samref-help")) return action !== "help";
      return startShown(store.get()) && action !== "help" && action !== "clear"; // nothing is done behind the start screen
    },
    perform: actions.perform,
    hold: actions.hold,
    leaveField: () => shell.stage.focus({ preventScroll: true }),
  });
  returnFocus(root, shell.stage);
  if (recall("bulk", "session")) showBulk();

  return {
    update,
    expectPaint: canvas.expectPaint,
    showBulk,
    useModel: actions.useModel,
    inspect: {
      ...canvas.inspect,
      stats: () => ({ ...canvas.inspect.stats(), local: local?.stats() ?? null }),
      draftPixel: (x, y) => containsPixel(store.get().draft.mask, x, y),
      objectPixel: (id, x, y) => containsPixel(store.get().annotations.list.find((one) => one.id === id)?.mask, x, y),
    },
  };
}

/** Call when the browser has nothing to do; soon in one that does not say. */
const whenIdle = globalThis.requestIdleCallback ?? ((callback) => setTimeout(callback, 500));

/** What this tab keeps over a reload. */
function recallTab() {
  const [tool, adjustment] = ["tool", "adjustment"].map((key) => recall(key, "session"));
  const known = SHORTCUTS.some(({ action }) => action === `tool:${tool}`);
  return {
    ...(known ? { tool } : {}),
    ...(adjustment ? { adjustment: adjustmentOf(parse(adjustment)) } : {}),
  };
}

/** What a kept text holds; null when it is damaged. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

let keptOfTab = null; // the state that was written down

function rememberTab({ tool, classId, adjustment }) {
  const before = keptOfTab ?? {};
  keptOfTab = { tool, classId, adjustment };
  if (tool !== before.tool) remember("tool", tool, "session");
  if (classId !== before.classId && classId !== null) remember("class", String(classId), "session");
  if (adjustment !== before.adjustment) remember("adjustment", JSON.stringify(adjustment), "session");
}

/** After a click with the mouse the keys belong to the image again; somebody who walks with Tab keeps the focus. */
function returnFocus(root, stage) {
  const back = () => (stage.inert ? root : stage).focus({ preventScroll: true });
  root.addEventListener("click", (event) => {
    const byPointer = event.detail > 0;
    if (byPointer && event.target.closest?.("button") && !event.target.closest("dialog")) {
      if (document.activeElement?.tagName === "BUTTON") back();
    }
  });
  // the same for what was chosen in a list, ticked or slid with the mouse
  let chosenByPointer = null;
  root.addEventListener("pointerdown", (event) => (chosenByPointer = event.target.closest?.("select, input, label")));
  root.addEventListener("keydown", () => (chosenByPointer = null));
  root.addEventListener("change", ({ target }) => {
    const chosen = target.matches("select, input[type=range], input[type=checkbox]") && !target.closest("dialog");
    const byPointer = chosenByPointer === target || chosenByPointer?.contains(target);
    if (chosen && byPointer && document.activeElement === target) back();
  });
}
