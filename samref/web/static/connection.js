/** The conversation with the server: hello, answers into the state, silence, tabs and restarts. */

import { neighbourOf } from "./image_list.js";
import { keyIn } from "./keeping.js";
import { recall, remember } from "./memory.js";
import { NO_PIXELS, readMask } from "./rle.js";
import { INITIAL, mergeAnswer } from "./state.js";
import { ABOUT_IMAGES } from "./transport.js";

const PROBE_MS = 1_500;

/** A server that is looked for has this long; with the silence before it, a person hears of it within two seconds. */
const PATIENCE_MS = 1_000;

/** The same when nothing depends on hearing of it soon. */
const LONG_PATIENCE_MS = 4_000;

/** While somebody moves the mouse or types and nothing is asked, the server is looked at this often. */
const LOOK_MS = 1_500;

/** After this long without a word the request is given up, and the state asked for once the server is back. */
const GIVE_UP_MS = 8_000;

const POLL_MS = 1_500;
const FOCUS_SYNC_MS = 2_000;

/** Keys of workspaces that were open in this browser before, and are still remembered. */
const MOST_FORMER = 20;

/** Nothing to do for this long: the model may look at the next image. */
const IDLE_MS = 1_500;

/**
 * @param {object} parts {store, base, transport: () => transport, routes, toasts, imagesOf(state), onStage(seq, stage, meta),
 *   onBye(bye)}
 */
export function createConnection({ store, base, transport, routes, toasts, imagesOf, onStage, onBye }) {
  let token = recall("token");
  let tried = null; // {before}: the key, if any, to go back to when the new one opens nothing
  let helloWithout = false; // the last hello asked for a new workspace
  let restored = false; // the image this tab had open was asked for
  let probing = false;
  let lostMeanwhile = null; // a request that broke off during a probe
  let polling = null;
  let syncedAt = 0;
  let lostAt = -Infinity;
  let looking = null;
  let heardAt = 0; // when the server last gave a sign of life, or was asked for one
  let idle = null;
  const prefetched = new Set();
  const onGpu = new Set(); // images that a GPU is asked for

  function context() {
    const { image, opening, revision, annotations, workspace } = store.get();
    return {
      token,
      image: (opening ?? image)?.digest ?? null,
      revision,
      known: {
        annotations: annotations.revision,
        workspace: workspace?.revision ?? 0,
        images: workspace?.revision ?? 0,
      },
    };
  }

  function hello() {
    helloWithout = token === null;
    transport().send("hello", {}, { image: null });
  }

  function onAnswer(answer, request) {
    heardAt = performance.now();
    store.get().offline && store.set({ offline: false });
    if (answer.kind === "bye") return farewell(answer.bye);
    if (answer.workspace && !keepToken(answer.workspace.token)) return;
    if (answer.kind === "error") onError(answer, request);
    try {
      merge(answer, request);
    } catch (error) {
      console.error(error);
      toasts.error("An answer of the server could not be read. Reload the page; nothing is lost.");
    }
    if (answer.gpu) askForGpu(answer.gpu);
    if (request.verb === "hello") restoreImage();
  }

  /** Somebody lends this visitor a GPU for the open image; once at a time, the server says when again. */
  async function askForGpu(gpu) {
    const name = `${gpu.image} ${gpu.model}`;
    if (onGpu.has(name)) return;
    onGpu.add(name);
    try {
      const { prepareOnGpu } = await import("./gpu.js");
      const { message } = await prepareOnGpu({ base, token, gpu });
      if (message) toasts.info(message);
    } catch {
      toasts.info("The part of the page that asks for a GPU did not arrive. The CPU prepares this image instead.");
    } finally {
      onGpu.delete(name);
    }
  }

  function merge(answer, request) {
    const before = store.get();
    const next = { ...mergeAnswer(before, answer, request) };
    const digest = answer.view?.image?.digest;
    if (digest) {
      next.opening = null;
      if (digest !== before.image?.digest) remember("image", digest, "session");
    }
    next.answeredFully = answer.final !== false;
    if (request.verb === "preview_tidy" && answer.preview !== undefined && before.previewing === request.args.how) {
      next.preview = readMask(answer.preview) ?? NO_PIXELS;
    }
    next.classId = chooseClassId(next);
    if (next.selected && !next.annotations.list.some((one) => one.id === next.selected)) next.selected = null;
    if (request.verb === "prompt" && answer.kind === "view") onStage(request.seq, next.draft.stage, request.meta);
    store.set(next);
    if (digest && request.verb === "open") resendKept(next);
    if (next.disagrees) transport().send("sync");
    pollWhileWorking(request);
    prefetchWhenIdle();
  }

  function onError(answer, request) {
    toasts.error(answer.error?.message ?? "Something went wrong on the server.");
    if (request.verb.startsWith("open") && !answer.view) {
      remember("image", null, "session");
      store.set({ opening: null, image: null, startShown: true });
    } else if (ABOUT_IMAGES.has(request.verb)) {
      // the list here runs ahead of what was refused: ask for all of it
      store.set({ workspace: { ...store.get().workspace, revision: 0 } });
      transport().send("sync", {}, { image: null });
    } else if (request.image && !answer.view && request.verb !== "sync") {
      transport().send("sync"); // what was painted in advance is taken back
    }
  }

  /** Keep the class that is chosen while it exists, else take the first. */
  function chooseClassId({ workspace, classId }) {
    const classes = workspace?.classes ?? [];
    return classes.some((one) => one.id === classId) ? classId : (classes[0]?.id ?? null);
  }

  /** False when another tab made a workspace meanwhile: that one is ours too. */
  function keepToken(given) {
    const stored = recall("token");
    if (helloWithout && stored && stored !== given) {
      token = stored;
      hello();
      return false;
    }
    token = given;
    tried = null;
    remember("token", given);
    return true;
  }

  function restoreImage() {
    if (restored) return;
    restored = true;
    const digest = recall("image", "session");
    const known = store.get().workspace?.images.find((one) => one.digest === digest);
    if (!known) return store.set({ startShown: !store.get().opening });
    store.set({ opening: known, startShown: false });
    transport().send("open", {}, { image: digest });
  }

  /** A reload can come at any moment (by hand, or when the version changed): what has no answer is kept. */
  function keepUnsent() {
    const { image, revision } = store.get();
    const requests = transport()
      .unsent()
      .filter((one) => one.image === image?.digest && !one.verb.startsWith("open"));
    if (requests.length) {
      remember("unsent", JSON.stringify({ digest: image.digest, revision, requests }), "session");
    }
  }

  /**
   * Send it again, each request once: the image's log says what arrived. It has not grown: nothing did. It has grown
   * by what the first would add: the first did, and its answer was lost. Else somebody else was here.
   */
  function resendKept({ image, revision }) {
    const kept = JSON.parse(recall("unsent", "session") ?? "null");
    remember("unsent", null, "session");
    if (kept?.digest !== image.digest) return;
    const [first, ...rest] = kept.requests;
    const grown = revision - kept.revision;
    if (grown !== 0 && grown !== (first.args.prompts?.length ?? 1)) {
      return toasts.error("This image was changed elsewhere meanwhile; what was done here without the server is dropped.");
    }
    for (const { verb, args } of grown === 0 ? kept.requests : rest) {
      const { coarse: _painted, ...said } = args; // what this browser's model had painted is gone with the reload
      transport().send(verb, said, { image: image.digest });
    }
  }

  function farewell(bye) {
    transport().reset();
    if (bye.reason !== "token" || tried === null) return onBye(bye);
    const { before } = tried;
    const where = before === null ? "A new one was begun for you." : "You are back in your own.";
    toasts.error(`No workspace of this server has that key. ${where}`);
    token = null; // no key to be kept among the former ones
    enter(before);
  }

  /** Leave the workspace this server does not know and begin a new one; its key stays among the former ones. */
  function startAnew() {
    enter(null);
  }

  /** Open the workspace of another key, or come back to this one when that key opens nothing. */
  function useKey(key) {
    if (key === token) return toasts.info("That is the workspace you have open.");
    const before = token;
    enter(key);
    tried = { before };
  }

  function enter(key) {
    const former = formerKeys().filter((one) => one !== key && one !== token);
    const left = token === null || token === key ? former : [token, ...former];
    remember("former", JSON.stringify(left.slice(0, MOST_FORMER)));
    tried = null;
    token = key;
    restored = true;
    remember("token", key);
    remember("image", null, "session");
    transport().reset();
    store.set({ ...INITIAL, opening: null, selected: null, startShown: true, classId: null });
    hello();
  }

  function formerKeys() {
    try {
      const kept = JSON.parse(recall("former") ?? "[]");
      return Array.isArray(kept) ? kept.filter((key) => typeof key === "string" && keyIn(key)) : [];
    } catch {
      return []; // damaged
    }
  }

  /** Begin: with the key in the page's address (`#key=…`, taken out of there at once), else with the one kept here. */
  function begin() {
    const key = keyIn(globalThis.location.hash);
    if (!key) return hello();
    globalThis.history.replaceState(null, "", globalThis.location.pathname + globalThis.location.search);
    if (key === token) hello();
    else useKey(key);
  }

  /** A repeated question may have been answered before the work was done: ask again until it is. */
  function pollWhileWorking(request) {
    clearTimeout(polling);
    const { serverPhase, answeredFully } = store.get();
    const working = serverPhase === "preparing" || (serverPhase === "coarse" && request.verb === "sync");
    if (working && answeredFully && !transport().isBusy())
      polling = setTimeout(() => transport().send("sync"), POLL_MS);
  }

  /** Have the image after the open one ready before it is asked for. */
  function prefetchWhenIdle() {
    clearTimeout(idle);
    const { image, serverPhase } = store.get();
    const next = neighbourOf(imagesOf(store.get()), image?.digest, 1);
    if (!image || !next || prefetched.has(next.digest) || serverPhase === "preparing") return;
    idle = setTimeout(() => {
      if (transport().isBusy()) return; // its answer brings us here again
      prefetched.add(next.digest);
      transport().send("prefetch", { digest: next.digest });
    }, IDLE_MS);
  }

  async function probe(patienceMs) {
    probing = true;
    const found = await routes.probe(patienceMs);
    probing = false;
    return found;
  }

  /** No answer for a while: a slow server is waited for, a lost one is looked for until it is back. */
  async function onSilence(request) {
    if (probing) return transport().waitOn();
    const found = await probe(PATIENCE_MS);
    if (lostMeanwhile) return onLost(lostMeanwhile);
    const waited = performance.now() - request.sentAt;
    if (found === "gone" || (found === "silent" && waited > GIVE_UP_MS)) return onLost(request);
    // a file on its way takes the line: then silence means nothing
    store.set({ offline: found === "silent" && store.get().uploading === 0 });
    return waited < 30_000 ? transport().waitOn() : transport().resync();
  }

  /** The connection broke. A server that is there is asked at once, or after a pause when it breaks again and again. */
  async function onLost(request) {
    if (probing) return void (lostMeanwhile = request);
    probing = true;
    const now = performance.now();
    const again = now - lostAt < PROBE_MS;
    lostAt = now;
    if (again) await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
    const alive = (await probe(store.get().offline ? LONG_PATIENCE_MS : PATIENCE_MS)) === "here";
    lostMeanwhile = null; // sent again with all the rest
    store.set({ offline: !alive });
    if (!alive) return void setTimeout(() => onLost(request), PROBE_MS);
    if (request.verb !== "hello") return transport().resync({ again: true });
    transport().reset();
    hello();
  }

  /** While somebody is there, and nothing is asked, look now and then whether the server still is. */
  function onPresence() {
    looking ??= setTimeout(look, Math.max(0, heardAt + LOOK_MS - performance.now()));
  }

  async function look() {
    looking = null;
    if (probing || store.get().offline || transport().isBusy()) return;
    if (performance.now() - heardAt < LOOK_MS) return onPresence(); // it gave a sign of life meanwhile
    heardAt = performance.now();
    const found = await probe(PATIENCE_MS);
    if (lostMeanwhile) onLost(lostMeanwhile);
    else if (found === "gone" || (found === "silent" && store.get().uploading === 0)) onLost({});
  }

  function onFocus() {
    const now = performance.now();
    if (document.visibilityState !== "visible" || now - syncedAt < FOCUS_SYNC_MS || transport().isBusy()) return;
    if (!store.get().image) return;
    syncedAt = now;
    transport().send("sync");
  }

  for (const sign of ["pointermove", "keydown"]) document.addEventListener(sign, onPresence, { passive: true });
  globalThis.addEventListener("focus", onFocus);
  globalThis.addEventListener("pagehide", keepUnsent);
  document.addEventListener("visibilitychange", onFocus);
  globalThis.addEventListener("online", () => store.get().offline && onLost({}));
  globalThis.addEventListener("offline", () => store.set({ offline: true }));

  const keys = { current: () => token, former: formerKeys, use: useKey };
  return { begin, onAnswer, onSilence, onLost, context, startAnew, keys };
}
