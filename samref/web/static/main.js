/**
 * Where the page begins: `mount` builds the parts and ties them together. The wire is described in docs/protocol.md.
 *
 * One click, to follow by jumping to definitions: canvas.js `onPointer` → tools.js `step` → actions.js `prompt` →
 * transport.js `send` → wire.js `post` … transport.js `receive` → connection.js `onAnswer` → state.js `mergeAnswer` → canvas.js `paint` →
 * painter.js `paintOverlay`.
 *
 * For tests and measurements the root element carries a read-only hook, `root.samref`:
 *   state()                what the page knows (see state.js)
 *   phase()                one of the words in state.js `PHASES`
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
import { createAnnouncer } from "./announcer.js";
import { createCanvas } from "./canvas.js";
import { createConnection } from "./connection.js";
import { createCrosshair } from "./crosshair.js";
import { h } from "./dom.js";
import { createStart, createStrip } from "./gallery.js";
import { createHeader } from "./header.js";
import { createHelp } from "./help.js";
import { createHistory } from "./history.js";
import { createImageList } from "./image_list.js";
import { createKeeping } from "./keeping.js";
import { takeFiles } from "./intake.js";
import { listenToKeys } from "./keyboard.js";
import { followKeys } from "./key_hints.js";
import { isForgetful, recall, recallSettings, remember } from "./memory.js";
import { createMinimap } from "./minimap.js";
import { createObjectScene } from "./object_scene.js";
import { createPanel } from "./panel.js";
import { createPlaces } from "./places.js";
import { containsPixel } from "./rle.js";
import { createRoutes } from "./routes.js";
import { buildShell } from "./shell.js";
import { SHORTCUTS, useKeys } from "./shortcuts.js";
import { INITIAL, createStore, phaseOf, shownAhead } from "./state.js";
import { createSteps } from "./steps.js";
import { createToasts } from "./toasts.js";
import { BRUSH, TOLERANCE, createDraftBar, createToolbar, createZoom } from "./toolbar.js";
import { createThumbs } from "./thumbs.js";
import { createTransport } from "./transport.js";
import { createUploads } from "./uploads.js";
import { createWire } from "./wire.js";

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
  imageSort: "added",
  crosshair: false,
  minimap: true,
  twoFingers: false,
  localModel: true,
  hoverMask: true,
};

/** What this page remembers only while it is open. */
const PAGE = {
  tool: "click",
  positive: true,
  classId: null,
  selected: null,
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
  panelOpen: false,
  startShown: true,
  opening: null,
  uploading: 0,
  imageFilter: "all",
  imageSearch: "",
  offline: false,
  answeredFully: true,
};

/** Take over the root element; called once a page. */
export function mount({ root, base }) {
  const store = createStore({ ...INITIAL, ...PAGE, ...recallTab(), ...recallSettings(SETTINGS) });
  useKeys(parse(recall("keys")));
  const shell = buildShell(root);
  const toasts = createToasts(shell.toasts);
  const places = createPlaces();
  const announcer = createAnnouncer();
  const help = createHelp();
  root.append(help.element, announcer.element);

  const routes = createRoutes(base, () => connection.keys.current());
  const connection = createConnection({
    store,
    routes,
    toasts,
    transport: () => transport,
    imagesOf: (state) => imagesOf(state),
    onStage: (seq, stage, meta) => canvas.expectPaint(seq, stage, meta?.startedAt),
    onBye,
  });
  const wire = createWire(base, {
    onText: (text) => transport.receive(text),
    onLost: (seq) => transport.lose(seq),
  });
  const transport = createTransport({
    post: wire.post,
    context: connection.context,
    onAnswer: connection.onAnswer,
    onSilence: connection.onSilence,
    onLost: connection.onLost,
  });
  const keeping = createKeeping(connection.keys, isForgetful, toasts);
  root.append(keeping.element);
  const imagesOf = createImageList();
  const thumbs = createThumbs(routes.thumb);
  const uploads = createUploads({
    store,
    routes,
    toasts,
    place: shell.uploads,
    onStored: (stored, batch) => actions.onStored(stored, batch),
  });
  const shared = { root, store, transport, routes, toasts, announcer, help, keeping, imagesOf };
  const actions = createActions({ ...shared, canvas: () => canvas, local: () => local, showBulk, uploads: () => uploads });
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
  const updateHeader = createHeader(shell.header, actions, toasts);
  const updatePanel = createPanel(shell.panel, actions, objectScene.swatch);
  const updateStart = createStart(shell.start, actions, {
    base,
    imagesOf,
    thumbs,
    exampleThumb: routes.exampleThumb,
    toasts,
  });
  const updateStrip = createStrip(shell.strip, actions, { imagesOf, thumbs });

  const isAhead = () => shownAhead(store.get(), transport.unansweredPrompts()) !== null;
  const phase = () => phaseOf(store.get(), { ...store.get(), unanswered: transport.unanswered(), isAhead: isAhead() });
  const startShown = ({ startShown: asked, image, opening }) => asked || (!image && !opening);
  let shownImage = null;
  let shownPhoto = null; // promise of its bitmap
  let bulk = null;
  let local = null;
  let localIsCalled = false;

  function update() {
    const state = store.get();
    updateHeader(state, phase());
    updateToolbar(state, canvas.countHandles);
    updateDraftBar(state);
    updatePanel(state);
    const focusIsLost = shell.start.contains(document.activeElement);
    updateStart(state, startShown(state));
    const { tools, stage, foot, panel, strip } = shell;
    for (const covered of [tools, stage, foot, panel, strip]) covered.inert = startShown(state);
    root.classList.toggle("samref-choosing", startShown(state));
    if (focusIsLost && !startShown(state)) stage.focus({ preventScroll: true }); // what was pressed is hidden now
    updateStrip(state);
    updateSteps(state);
    updateCrosshair(state.crosshair);
    adjust(state.adjustment);
    minimap.update(canvas.inspect.view(), state.minimap);
    keeping.update(state);
    history.update(state);
    shell.stage.dataset.tool = state.panning ? "hand" : state.tool;
    showImage(state.opening?.digest ? state.opening : state.image);
  }

  /** Bring an image onto the canvas: its frame at once, its photo when it has come. */
  function showImage(image) {
    const digest = image?.digest ?? null;
    if (digest === shownImage) return;
    shownImage = digest;
    minimap.setPhoto(null);
    canvas.setImage(image);
    if (!image) return;
    shownPhoto = routes.photo(digest);
    shownPhoto.then(
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
      const photoOf = async (digest) =>
        digest === shownImage ? createImageBitmap(await shownPhoto) : routes.photo(digest);
      local = createAssistant({ base, ...shell, store, transport, canvas, photoOf, imagesOf, help });
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

  function onBye({ reason, message }) {
    const act =
      reason === "version"
        ? h(
            "button",
            { type: "button", class: "samref-button samref-accept", on: { click: () => location.reload() } },
            "Reload",
          )
        : h("button", { type: "button", class: "samref-button samref-accept", on: { click: startAnew } }, "Start anew");
    const dialog = h("dialog", { class: "samref-bye", "aria-label": "The server" }, h("p", {}, message), act);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    function startAnew() {
      dialog.remove();
      connection.startAnew();
    }
    root.append(dialog);
    dialog.showModal();
  }

  places.followSelection(store);
  announcer.follow(store);
  followKeys(root);

  let kept = "";
  store.subscribe((state) => {
    update();
    rememberTab(state);
    const settings = JSON.stringify(Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, state[name]])));
    if (settings !== kept) remember("settings", (kept = settings));
  });

  listenToKeys({
    target: document,
    isBlocked: (action) => {
      if (root.querySelector(".samref-bye")) return true;
      if (keeping.isOpen() || history.isOpen() || root.querySelector(".samref-export[open]")) return true;
      if (help.isOpen()) return action !== "help";
      return startShown(store.get()) && action !== "help" && action !== "clear"; // nothing is done behind the start screen
    },
    perform: actions.perform,
    hold: actions.hold,
    leaveField: () => shell.stage.focus({ preventScroll: true }),
  });
  takeFiles({ root, dropHint: shell.dropHint, onFiles: actions.addFiles });
  returnFocus(root, shell.stage);

  root.samref = Object.freeze({
    state: store.get,
    phase,
    ...canvas.inspect,
    draftPixel: (x, y) => containsPixel(store.get().draft.mask, x, y),
    objectPixel: (id, x, y) => containsPixel(store.get().annotations.list.find((one) => one.id === id)?.mask, x, y),
    stats: () => ({ ...canvas.inspect.stats(), transport: transport.stats(), local: local?.stats() ?? null }),
  });

  update();
  connection.begin();
  if (recall("bulk", "session")) showBulk();
}

/** Call when the browser has nothing to do; soon in one that does not say. */
const whenIdle = globalThis.requestIdleCallback ?? ((callback) => setTimeout(callback, 500));

/** What this tab keeps over a reload. */
function recallTab() {
  const [tool, classId, adjustment] = ["tool", "class", "adjustment"].map((key) => recall(key, "session"));
  const known = SHORTCUTS.some(({ action }) => action === `tool:${tool}`);
  return {
    ...(known ? { tool } : {}),
    ...(Number(classId) ? { classId: Number(classId) } : {}),
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
