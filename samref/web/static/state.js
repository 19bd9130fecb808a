/**
 * What the page knows: the server's last word about the open image, and what the person set on this page. Pure,
 * but for the little store at the end.
 */

import { readMask } from "./rle.js";

const EMPTY_DRAFT = Object.freeze({
  count: 0,
  prompts: [],
  mask: null,
  coarse: null,
  score: null,
  stage: null,
  hand: null, // {added, removed}: masks of pixels set by hand
  editing: null,
  bases: null, // for each prompt the number of the one whose memory its answer starts from; null where that says too little
});

const NO_ANNOTATIONS = Object.freeze({ revision: 0, list: [] });

export const INITIAL = Object.freeze({
  workspace: null,
  image: null, // {digest, file_name, width, height} of the image the view speaks of
  revision: 0,
  serverPhase: "empty",
  model: null,
  modelNote: "",
  draft: EMPTY_DRAFT,
  annotations: NO_ANNOTATIONS,
  proposed: [], // boxes that shall become objects, [x0, y0, x1, y1, class id] each
  undo: null, // words for what Ctrl + Z would undo, null at the beginning
  redo: null,
  history: null, // {at, entries: [{number, what}]}, as last asked for
  seconds: {},
  ahead: null, // {prompts, mask}: what the model in this browser says of a draft that the server has not answered yet
  disagrees: false, // the draft here and on the server have different lengths: ask
});

/** The state after an answer to `request` ({verb, args, first}). Errors and byes change only what they carry. */
export function mergeAnswer(state, answer, request) {
  let next = state;
  if (answer.workspace) next = { ...next, workspace: mergeWorkspace(state.workspace, answer.workspace) };
  if (answer.history) next = { ...next, history: answer.history };
  if (answer.view) next = mergeView(next, answer.view, answer.kind === "error" ? null : request);
  return next;
}

/** Of a workspace that the page has, only what changed is sent: `since` is the revision it changed from, 0 is all. */
function mergeWorkspace(known, wire) {
  if (!known || !wire.since) return wire;
  if (wire.images.length === 0) return { ...known, ...wire, images: known.images };
  const changed = new Map(wire.images.map((image) => [image.digest, image]));
  const images = known.images.map((image) => {
    const now = changed.get(image.digest);
    changed.delete(image.digest);
    return now ?? image;
  });
  return { ...known, ...wire, images: [...images, ...changed.values()] };
}

function mergeView(state, view, request) {
  const digest = view.image?.digest ?? null;
  const same = digest !== null && digest === state.image?.digest;
  const draft = mergeDraft(same ? state.draft : EMPTY_DRAFT, view.draft, request);
  return {
    ...state,
    image: same ? state.image : (view.image ?? null),
    revision: view.revision,
    serverPhase: paintsItself(request) && view.phase === "preparing" ? "coarse" : view.phase,
    model: view.model ?? state.model,
    modelNote: view.model_note ?? "",
    draft,
    ahead: same && isAhead(state.ahead, draft) ? state.ahead : null,
    annotations: mergeAnnotations(same ? state.annotations : NO_ANNOTATIONS, view.annotations),
    proposed: view.proposed ?? (same ? state.proposed : []),
    undo: view.undo ?? null,
    redo: view.redo ?? null,
    seconds: view.seconds ?? {},
    disagrees: draft.count !== draft.prompts.length,
  };
}

/** Whether the page makes the coarse mask of that request's prompts itself. */
const paintsItself = (request) => request?.verb === "prompt" && request.args.coarse === "mine";

/** Whether a mask made in this browser is of prompts that the server has no mask of. */
const isAhead = (ahead, draft) => ahead !== null && (ahead.prompts.length > draft.count || draft.stage === null);

/**
 * What the model in this browser says of the draft with the first of the prompts that wait, {prompts, mask}; null where
 * it says nothing, or where the server's own mask is as new.
 */
export function shownAhead({ ahead, draft }, waiting) {
  if (ahead === null || !isAhead(ahead, draft)) return null;
  return isBeginning(ahead.prompts, [...draft.prompts, ...waiting]) ? ahead : null;
}

/** Whether a list of prompts begins with those of another. */
function isBeginning(first, prompts) {
  return first.length <= prompts.length && first.every((one, i) => isSamePrompt(one, prompts[i]));
}

const isSamePrompt = (one, other) => one === other || textOfPrompt(one) === textOfPrompt(other);

/** The same text for the same prompt, whether it was made here or came from the server. */
export const textOfPrompt = (prompt) => JSON.stringify(prompt, Object.keys(prompt).sort());

/**
 * The answers to an accepted prompt leave the prompts out: they are those known before and those just sent. What was
 * shown stays until there is a mask that knows of them.
 */
function mergeDraft(known, wire, request) {
  if (!wire) return EMPTY_DRAFT;
  const sent = request?.verb === "prompt" && request.first ? request.args.prompts : [];
  const waits = request?.verb === "prompt" && wire.mask === null;
  return {
    count: wire.count,
    prompts: wire.prompts ?? [...known.prompts, ...sent],
    mask: waits ? known.mask : readMask(wire.mask),
    coarse: readMask(wire.coarse),
    score: wire.score ?? null,
    stage: wire.stage ?? null,
    hand: wire.hand ? { added: readMask(wire.hand.added), removed: readMask(wire.hand.removed) } : null,
    editing: wire.editing ?? null,
    bases: wire.bases ?? null,
  };
}

function mergeAnnotations(known, wire) {
  if (!wire || wire.revision === known.revision) return known;
  const byId = new Map(known.list.map((annotation) => [annotation.id, annotation]));
  for (const changed of wire.changed ?? []) byId.set(changed.id, { ...changed, mask: readMask(changed.mask) });
  return { revision: wire.revision, list: wire.order.map((id) => byId.get(id)).filter(Boolean) };
}

/** State with no image open. */
export function closeImage(state) {
  return { ...INITIAL, workspace: state.workspace, model: state.model };
}

/**
 * What is going on, in one word: "empty", "opening", "preparing", "ready", "coarse" (a prompt waits for its coarse
 * mask), "refining", "done" or "offline".
 */
export function phaseOf(state, { offline, opening, uploading, answeredFully, unanswered, isAhead: ahead = false }) {
  if (offline) return "offline";
  if (opening || (uploading && !state.image)) return "opening";
  if (!state.image) return "empty";
  if (ahead) return "refining";
  if (unanswered === "prompt") return state.serverPhase === "preparing" ? "preparing" : "coarse";
  if (state.serverPhase === "preparing") return "preparing";
  if (state.serverPhase === "coarse" && !answeredFully) return "refining";
  return state.draft.mask ? "done" : "ready";
}

/** Words for each phase: what is going on, and what to do. */
export const PHASES = Object.freeze({
  empty: ["No image", "Open one to begin"],
  opening: ["Opening", "The image is on its way"],
  preparing: ["Preparing", "The model looks at the image; you may click already"],
  ready: ["Ready", "Drag a box around the object, or click on it"],
  coarse: ["Coarse mask", "Looking for the object"],
  refining: ["Refining", "The coarse mask is here, a finer one follows"],
  done: ["Done", "Correct it, or press Enter to accept"],
  offline: ["Offline", "The server does not answer; trying again"],
});

/** The class of that number, or null. */
export function findClass(state, id) {
  return state.workspace?.classes.find((one) => one.id === id) ?? null;
}

/** [r, g, b] of "#rrggbb"; a calm blue for anything else. */
export function parseColour(text) {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text ?? "");
  return match ? match.slice(1).map((part) => parseInt(part, 16)) : [47, 111, 237];
}

/** A value with listeners: `get()`, `set(changes)`, `subscribe(listener)`. */
export function createStore(initial) {
  let value = Object.freeze({ ...initial });
  const listeners = new Set();
  return {
    get: () => value,
    set(changes) {
      const before = value;
      value = Object.freeze({ ...value, ...changes });
      for (const listener of listeners) listener(value, before);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
