/** Everything a person can do, by name. Buttons, keys and gestures all end here; most become a request. */

import { BRUSH } from "./toolbar.js";
import { IMAGE_ACTIONS, createImageActions } from "./image_actions.js";
import { closeImage } from "./state.js";
import { remember } from "./memory.js";

/**
 * @param {object} parts {store, transport, routes, toasts, canvas: () => canvas, help, keeping, imagesOf(state),
 *   uploads: () => uploads}
 */
export function createActions({ store, transport, routes, toasts, canvas, help, keeping, imagesOf, uploads }) {
  const state = () => store.get();
  const openDigest = () => (state().opening ?? state().image)?.digest;
  const ask = (verb, args = {}) => transport.send(verb, args, { image: openDigest() });

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
    if (draft.count > 0 || draft.mask || draft.editing || transport.unansweredPrompts().length) ask("clear");
    else if (selected) store.set({ selected: null });
  }

  function undo() {
    if (canvas().isDrawing()) return canvas().dropCorner();
    if (state().draft.canUndo || transport.isBusy()) ask("undo");
  }

  function redo() {
    if (state().draft.canRedo || transport.isBusy()) ask("redo");
  }

  // ---- objects ----------------------------------------------------------------------------------------------

  function remove(id) {
    if (!id) return;
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
    setOpacity: (opacity) => store.set({ opacity }),
    togglePanel: () => store.set({ panelOpen: !state().panelOpen }),
    showStart: () => store.set({ startShown: !state().startShown || !state().image }),
    fit: () => canvas().fit(),
    zoom: (direction) => canvas().zoom(direction),
    help: () => help.toggle(),
    showKeeping: () => keeping.open(state()),
  };
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
