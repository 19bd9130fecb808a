/** Everything a person can do, by name. Buttons, keys and gestures all end here; most become a request. */

import { adjustmentOf } from "./adjust.js";
import { nameOf } from "./announcer.js";
import { BRUSH } from "./toolbar.js";
import { IMAGE_ACTIONS, createImageActions } from "./image_actions.js";
import { closeImage } from "./state.js";
import { remember } from "./memory.js";

/** What a request is called while it waits for the server to come back. */
const WAITS = {
  commit: "accept",
  clear: "discard the draft",
  undo: "undo",
  redo: "redo",
  delete: "delete",
  edit: "edit again",
  reclass: "change the class",
  set_visible: "show or hide",
  use_model: "change the model",
  add_class: "add the class",
  change_class: "change the class",
  remove_class: "remove the class",
};

/**
 * @param {object} parts {store, transport, routes, toasts, announcer, canvas: () => canvas, help, keeping,
 *   imagesOf(state), uploads: () => uploads}
 */
export function createActions(parts) {
  const { store, transport, routes, toasts, announcer, canvas, help, keeping, imagesOf, uploads } = parts;
  const state = () => store.get();
  const openDigest = () => (state().opening ?? state().image)?.digest;

  function ask(verb, args = {}) {
    if (state().offline) {
      if (verb === "commit" && transport.unsent().at(-1)?.verb === "commit") return; // an object is accepted once
      if (WAITS[verb]) toasts.info(`Kept until the server is back: ${WAITS[verb]}.`);
    }
    transport.send(verb, args, { image: openDigest() });
  }

  /** Say what was done once it is done, with a way back as long as nothing else was done since. */
  function offerUndo(text, isDone) {
    const digest = openDigest();
    const stop = store.subscribe((now) => {
      if (now.image?.digest !== digest) return stop();
      if (!isDone(now)) return;
      stop();
      const { revision } = now;
      const isNewest = () => state().image?.digest === digest && state().revision === revision;
      const run = () => (isNewest() ? undo() : toasts.info("More was done since. Undo goes back step by step."));
      toasts.info(text, { action: { label: "Undo", run } });
    });
  }

  /** One prompt from the canvas; its dot is painted at once because the transport knows it. */
  function prompt(made, meta) {
    if (!openDigest()) return;
    transport.send("prompt", { prompts: [made] }, { image: openDigest(), meta });
    tell();
  }

  /** Wake the listeners: what the transport holds is part of the image. */
  const tell = () => store.set({});

  function accept() {
    if (canvas().isDrawing()) return canvas().finishPolygon();
    const { draft, classId, serverPhase } = state();
    const waits = transport.unansweredPrompts().length > 0;
    if (!draft.mask && !waits) {
      if (state().image)
        toasts.info(serverPhase === "preparing" ? "The image is still being prepared." : "Click on an object first.");
      return;
    }
    ask("commit", { class_id: classId });
    store.set({ selected: null });
  }

  function clear() {
    if (canvas().isDrawing()) return canvas().abandon();
    const { draft, selected } = state();
    if (draft.count > 0 || draft.mask || draft.editing || transport.unansweredPrompts().length) {
      offerUndo("The draft is discarded.", (now) => now.draft.count === 0 && !now.draft.mask && !now.draft.editing);
      ask("clear");
    } else if (selected) store.set({ selected: null });
  }

  function undo() {
    if (canvas().isDrawing()) return canvas().dropCorner();
    if (!state().undo && !transport.isBusy()) return;
    announcer.say(state().undo ? `Undone: ${state().undo}.` : "Undone.", "travel");
    ask("undo");
  }

  function redo() {
    if (!state().redo && !transport.isBusy()) return;
    announcer.say(state().redo ? `Redone: ${state().redo}.` : "Redone.", "travel");
    ask("redo");
  }

  // ---- objects ----------------------------------------------------------------------------------------------

  function remove(id) {
    if (!id) return;
    offerUndo(`Deleted ${nameOf(state(), id)}.`, (now) => !now.annotations.list.some((one) => one.id === id));
    ask("delete", { id });
    if (state().selected === id) store.set({ selected: null });
  }

  function edit(id) {
    const object = state().annotations.list.find((one) => one.id === id);
    if (!object) return;
    store.set({ classId: object.class_id, selected: null });
    ask("edit", { id });
  }

  function chooseClass(id) {
    const { selected, draft, annotations } = state();
    store.set({ classId: id });
    const object = annotations.list.find((one) => one.id === selected);
    if (object && draft.count === 0 && object.class_id !== id) ask("reclass", { id: selected, class_id: id });
  }

  function chooseClassByNumber(number) {
    const one = state().workspace?.classes[number - 1];
    if (one) chooseClass(one.id);
  }

  // ---- images ---------------------------------------------------------------------------------------------

  const images = createImageActions({
    store,
    transport,
    routes,
    toasts,
    uploads,
    imagesOf,
    openImage,
    closeImage: leaveImage,
    importCoco,
    openDigest,
  });

  function openImage(digest, { startShown = false } = {}) {
    const known = state().workspace?.images.find((one) => one.digest === digest);
    if (!known) return;
    if (openDigest() === digest) return store.set({ startShown });
    store.set({ ...closeImage(state()), opening: known, selected: null, startShown });
    remember("image", digest, "session");
    transport.send("open", {}, { image: digest });
  }

  function leaveImage() {
    store.set({ ...closeImage(state()), opening: null, selected: null, startShown: true });
    remember("image", null, "session");
  }

  function openExample(name) {
    store.set({ ...closeImage(state()), opening: { digest: null }, selected: null, startShown: false });
    transport.send("open_example", { name }, { image: null });
  }

  async function importCoco(file) {
    try {
      const { message } = await routes.importCoco(file);
      toasts.info(message);
      ask("sync");
    } catch (error) {
      toasts.error(error.message);
    }
  }

  async function download(format, onlyThisImage) {
    try {
      await routes.download(format, onlyThisImage ? openDigest() : null);
    } catch (error) {
      toasts.error(error.message);
    }
  }

  // ---- this page --------------------------------------------------------------------------------------------

  function setBrush(width) {
    store.set({ brushWidth: Math.min(Math.max(Math.round(width), BRUSH.least), BRUSH.most) });
  }

  function hold(action, on) {
    if (action === "hide") store.set({ holdHide: on });
    else if (action === "coarse") store.set({ holdCoarse: on });
    else if (action === "panning") store.set({ panning: on });
  }

  /** What a shortcut stands for; false when there was nothing to do with the key. */
  function perform(action, event) {
    const [name, argument] = action.split(":");
    if (IMAGE_ACTIONS.has(name)) return images.perform(name, argument);
    switch (name) {
      case "accept":
        return accept();
      case "undo":
        return undo();
      case "redo":
        return redo();
      case "clear":
        return escape();
      case "dropCorner":
        return canvas().isDrawing() ? canvas().dropCorner() : false;
      case "delete":
        return state().selected ? remove(state().selected) : false;
      case "edit":
        return state().selected ? edit(state().selected) : false;
      case "class":
        return chooseClassByNumber(Number(event.key));
      case "tool":
        return chooseTool(argument);
      case "flipSign":
        return setSign(!state().positive);
      case "brush":
        return setBrush(state().brushWidth * (argument === "up" ? 1.25 : 0.8) + (argument === "up" ? 1 : -1));
      case "fit":
        return canvas().fit();
      case "zoom":
        return canvas().zoom(argument === "in" ? 1 : -1);
      case "pan":
        return canvas().pan(...ARROWS[event.key]);
      case "outline":
        return setOutlineOnly(!state().outlineOnly);
      case "toggleMasks":
        return store.set({ masksHidden: !state().masksHidden });
      case "toggleCoarse":
        return store.set({ coarseShown: !state().coarseShown });
      case "crosshair":
        return store.set({ crosshair: !state().crosshair });
      case "minimap":
        return store.set({ minimap: !state().minimap });
      case "opacity":
        return setOpacity(state().opacity + (argument === "up" ? 0.1 : -0.1));
      case "turn":
        return canvas().turn(argument === "right" ? 1 : -1);
      case "help":
        return help.toggle();
      default:
        throw new Error(`no such action: ${action}`);
    }
  }

  /** Esc goes back one step: what lies over the image first, then what is drawn, then the draft. */
  function escape() {
    const { startShown, image, panelOpen } = state();
    if (startShown) return image ? hideStart() : false;
    if (panelOpen) return store.set({ panelOpen: false });
    return clear();
  }

  const chooseTool = (tool) => store.set({ tool });
  const setSign = (positive) => store.set({ positive });
  const setOutlineOnly = (outlineOnly) => store.set({ outlineOnly });
  const setOpacity = (opacity) => store.set({ opacity: Math.round(Math.min(Math.max(opacity, 0), 1) * 100) / 100 });
  const hideStart = () => store.set({ startShown: false });

  return {
    prompt,
    accept,
    clear,
    undo,
    redo,
    edit,
    remove,
    chooseClass,
    openImage,
    openExample,
    ...images.actions,
    onStored: images.onStored,
    importCoco,
    download,
    setBrush,
    hold,
    perform,
    chooseTool,
    setSign,
    setOutlineOnly,
    hideStart,
    select: (id) => store.set({ selected: id }),
    setVisible: (id, visible) => ask("set_visible", { id, visible }),
    reclass: (id, classId) => ask("reclass", { id, class_id: classId }),
    useModel: (name) => ask("use_model", { name }),
    addClass: (name) => ask("add_class", { name }),
    changeClass: (id, changes) => ask("change_class", { class_id: id, ...changes }),
    removeClass: (id) => ask("remove_class", { class_id: id }),
    setOpacity,
    /** How the image looks on this page: outlineOnly, crosshair, minimap, twoFingers. */
    look: (changes) => store.set(changes),
    adjust: (changes) => store.set({ adjustment: adjustmentOf({ ...state().adjustment, ...changes }) }),
    turn: (quarters) => canvas().turn(quarters),
    togglePanel: () => store.set({ panelOpen: !state().panelOpen }),
    showStart: () => store.set({ startShown: !state().startShown || !state().image }),
    fit: () => canvas().fit(),
    zoom: (direction) => canvas().zoom(direction),
    help: () => help.toggle(),
    showKeeping: () => keeping.open(state()),
  };
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
