/**
 * Everything a person can do on the work page, by name. Buttons, keys and gestures all end here; most become a request.
 * What can be done without an image is in page_actions.js.
 */

import { adjustmentOf } from "./adjust.js";
import { BRUSH } from "./toolbar.js";
import { HAND_ACTIONS, createHandActions } from "./hand_actions.js";
import { IMAGE_ACTIONS } from "./image_actions.js";
import { neighbourOf } from "./image_list.js";
import { recall, remember } from "./memory.js";
import { OBJECT_ACTIONS, createObjectActions } from "./object_actions.js";

/** What a request is called while it waits for the server to come back. */
const WAITS = {
  commit: "accept",
  clear: "discard the draft",
  undo: "undo",
  redo: "redo",
  travel: "go back in the history",
  tidy: "clean up",
  subtract: "subtract the other objects",
  delete: "delete",
  delete_all: "delete",
  describe: "change the objects",
  merge: "merge",
  split: "split",
  subtract_from: "take the overlap",
  subtract_others: "take the overlap",
  order: "change the order",
  copy: "copy",
  edit: "edit again",
  reclass: "change the class",
  set_visible: "show or hide",
  use_model: "change the model",
  add_class: "add the class",
  change_class: "change the class",
  remove_class: "remove the class",
};

/**
 * @param {object} parts {root, store, transport, toasts, announcer, canvas: () => canvas, page: actions of the page,
 *   local: () => the model in this browser, see local/assistant.js, or null, imagesOf(state)}
 */
export function createActions({ root, store, transport, toasts, announcer, canvas, local, page, imagesOf }) {
  const state = () => store.get();
  const { openDigest } = page;

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

  const objects = createObjectActions({
    store,
    ask,
    toasts,
    canvas,
    root,
    offerUndo,
    nextImage: () => neighbourOf(imagesOf(state()), openDigest(), 1),
  });
  const hands = createHandActions({ store, ask, toasts, canvas });

  /** One prompt from the canvas; its dot is painted at once because the transport knows it. */
  function prompt(made, meta) {
    if (!openDigest()) return;
    if (made.positive === false && isDraftEmpty()) return toasts.info(NOTHING_TO_REMOVE);
    tellOfBoxes(made);
    transport.send("prompt", { prompts: [made], ...local()?.promise(made) }, { image: openDigest(), meta });
    local()?.foresee(meta);
    tell();
  }

  /** Once, and never to somebody who has made a box. */
  function tellOfBoxes({ type }) {
    if (recall("toldOfBoxes") !== null || !["click", "box"].includes(type)) return;
    remember("toldOfBoxes", "1");
    if (type === "box") return;
    toasts.info("A drag makes a box around the object: it often finds the object better than a click.");
  }

  /** Whether no mask is there or on its way that something could be removed from. */
  const isDraftEmpty = () => !canvas().draftMask() && transport.unansweredPrompts().length === 0;

  /** Wake the listeners: what the transport holds is part of the image. */
  const tell = () => store.set({});

  function accept() {
    if (canvas().isDrawing()) return canvas().finishPolygon();
    const { draft, classId, serverPhase } = state();
    const waits = transport.unansweredPrompts().length > 0 || canvas().draftMask() !== null;
    if (!draft.mask && !waits) {
      if (state().image)
        toasts.info(serverPhase === "preparing" ? "The image is still being prepared." : "Click on an object first.");
      return;
    }
    ask("commit", { class_id: classId, overlap: state().overlap });
    store.set({ selected: null, positive: true }); // the next object begins with what belongs to it
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

  /** Tab on the image shows another mask of a lone click; anywhere else it moves the focus, as Tab does. */
  function nextCandidate({ target, shiftKey }) {
    const { draft } = state();
    const isLone = draft.mask && draft.prompts.length === 1 && draft.prompts[0].type === "click" && !draft.hand;
    if (!isLone || draft.editing || shiftKey || !target.closest?.(".samref-stage")) return false;
    ask("next_candidate");
  }

  // ---- objects ----------------------------------------------------------------------------------------------

  function edit(id) {
    const object = state().annotations.list.find((one) => one.id === id);
    if (!object) return;
    store.set({ classId: object.class_id, selected: null });
    ask("edit", { id });
  }

  function chooseClassByNumber(number) {
    const one = state().workspace?.classes[number - 1];
    if (one) objects.chooseClass(one.id);
  }

  // ---- this page --------------------------------------------------------------------------------------------

  function setBrush(width) {
    const odd = 2 * Math.floor(width / 2) + 1; // around a pixel's middle, as many pixels on each side
    store.set({ brushWidth: Math.min(Math.max(odd, BRUSH.least), BRUSH.most) });
  }

  const changeBrush = (direction) => setBrush(state().brushWidth * (direction > 0 ? 1.25 : 0.8) + direction);

  function hold(action, on) {
    if (hands.holdAtCursor(action, on)) return;
    if (action === "hide") store.set({ holdHide: on });
    else if (action === "coarse") store.set({ holdCoarse: on });
    else if (action === "panning") store.set({ panning: on });
  }

  /** What a shortcut stands for; false when there was nothing to do with the key. */
  function perform(action, event) {
    const [name, argument] = action.split(":");
    if (hands.performAtCursor(name, event)) return true;
    if (HAND_ACTIONS.has(name)) return hands.performHand(name, argument);
    if (name === "delete" && canvas().removeChosen()) return true;
    if (OBJECT_ACTIONS.has(name)) return objects.perform(name, argument);
    if (IMAGE_ACTIONS.has(name)) return page.performImage(name, argument);
    switch (name) {
      case "accept":
        return accept();
      case "undo":
        return undo();
      case "redo":
        return redo();
      case "clear":
        return escape();
      case "candidate":
        return nextCandidate(event);
      case "dropCorner":
        return canvas().isDrawing() ? canvas().dropCorner() : canvas().removeChosen();
      case "edit":
        return state().selected ? edit(state().selected) : false;
      case "class":
        return chooseClassByNumber(Number(event.key));
      case "tool":
        return chooseTool(argument);
      case "flipSign":
        return setSign(!state().positive);
      case "brush":
        return changeBrush(argument === "up" ? 1 : -1);
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
      case "hoverMask":
        return store.set({ hoverMask: !state().hoverMask });
      case "crosshair":
        return store.set({ crosshair: !state().crosshair });
      case "minimap":
        return store.set({ minimap: !state().minimap });
      case "opacity":
        return setOpacity(state().opacity + (argument === "up" ? 0.1 : -0.1));
      case "turn":
        return canvas().turn(argument === "right" ? 1 : -1);
      case "help":
        return page.help();
      default:
        throw new Error(`no such action: ${action}`);
    }
  }

  /** Esc goes back one step: what lies over the image first, then what is drawn, then the draft. */
  function escape() {
    const { startShown, image, panelOpen } = state();
    if (startShown) return image ? page.hideStart() : false;
    if (panelOpen) return store.set({ panelOpen: false });
    return clear();
  }

  const chooseTool = (tool) => store.set({ tool });
  const setSign = (positive) => store.set({ positive });
  const setOutlineOnly = (outlineOnly) => store.set({ outlineOnly });
  const setOpacity = (opacity) => store.set({ opacity: Math.round(Math.min(Math.max(opacity, 0), 1) * 100) / 100 });

  return {
    ...page,
    ...objects,
    ...hands,
    prompt,
    accept,
    clear,
    undo,
    redo,
    edit,
    setBrush,
    changeBrush,
    hold,
    perform,
    chooseTool,
    setSign,
    setOutlineOnly,
    useModel: (name) => ask("use_model", { name }),
    setOpacity,
    setOverlap: (overlap) => store.set({ overlap }),
    /** How the image looks on this page: outlineOnly, crosshair, minimap, twoFingers. */
    look: (changes) => store.set(changes),
    adjust: (changes) => store.set({ adjustment: adjustmentOf({ ...state().adjustment, ...changes }) }),
    turn: (quarters) => canvas().turn(quarters),
    fit: () => canvas().fit(),
    zoom: (direction) => canvas().zoom(direction),
    askHistory: () => ask("history"),
    travel: (to) => ask("travel", { to }),
  };
}

const NOTHING_TO_REMOVE =
  "There is nothing to remove from yet. Say first what belongs to the object: click on it, or press X for Add.";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
