/**
 * What the page does with the model in this browser: it looks at each image that is opened, shows the mask under the
 * pointer, and paints a click at once while the server is asked. The server decides everything that is recorded; a mask
 * made here is only shown, until the server's own is there.
 *
 * It is trusted when it has shown two things: that it is quick enough, by masks of the first image that nobody sees,
 * and that it is right, by the server's coarse mask of the first click. Until then, and wherever it cannot help, the
 * server's coarse mask comes as it does without it, and the help says why.
 */

import { neighbourOf } from "../image_list.js";
import { recall, remember } from "../memory.js";
import { findClass, parseColour, shownAhead } from "../state.js";
import { agrees } from "./agreement.js";
import { whyNot } from "./conditions.js";
import { createHover } from "./hover.js";
import { createHoverLayer } from "./hover_layer.js";
import * as LocalModel from "./model.js";
import { createNotes } from "./notes.js";
import { createAnswers, foreseen } from "./steps.js";

/** A mask that takes longer (the median of some) comes hardly before the server's. */
export const SLOWEST_MS = 150;

/** Masks that nobody sees, to find out how long one takes; the first one of all is not counted. */
const TRIALS = 3;

/** A page that has just been loaded is busy: a slow machine gets a second chance. */
const SECOND_TRIAL_MS = 3_000;

/** Times that are remembered. */
const KEPT_TIMES = 9;

/** Masks unlike the server's after which no more are made. */
const MOST_DIFFERENT = 2;

/** Steps whose memory may have to be found first. */
const MOST_MISSING = 3;

/** The longest draft of which a step is computed ahead of the next click. */
const LONGEST_WARM = 8;

/** Images that the model keeps (engine.js): the open one, the next and the one before. */
const KEPT_IMAGES = 3;

/** Errors after which no more masks are made; after the first one the image is looked at again. */
const MOST_ERRORS = 2;

/** Nothing to do for this long: the next image is looked at. */
const IDLE_MS = 1_500;

/**
 * @param {object} parts {base: address of the page, stage, overlay: elements; store, transport, routes, canvas, help,
 *   imagesOf(state)}
 */
export function createAssistant(parts) {
  const { base, stage, overlay, store, transport, routes, canvas, help, imagesOf } = parts;
  const state = () => store.get();

  let model = null; // once it is loaded
  let engine = null; // what runs it
  let answers = null;
  let loading = null;
  let trial = "none"; // "none", "running", "passed"
  let broken = null; // {reason, detail, ms}: why no more masks are made until the page is loaded again
  let times = []; // of the last masks, ms
  let errors = 0; // since the last mask
  let differing = 0; // masks unlike the server's
  const opened = new Map(); // digest -> "coming", "here" or "failed", the longest unused first
  let painting = null; // what the newest click is asked for: {meta}
  let isPainting = false;
  let compared = null; // the answer that was compared with the server's last
  let warming = false;
  let idle = null;
  const counts = { painted: 0, promised: 0, dropped: 0 };

  const simd = LocalModel.hasSimd();
  const digestNow = () => state().image?.digest ?? null;
  const refusal = () => {
    const { localModel, workspace, model: name } = state();
    const { connection } = globalThis.navigator;
    return whyNot({ wanted: localModel, offered: workspace?.local ?? null, model: name, connection, simd });
  };
  const trustKey = () => [state().workspace.version, engine, globalThis.navigator.userAgent].join("|");
  const isTrusted = () => recall("localTrust") === trustKey();
  const median = () => [...times].sort((a, b) => a - b)[times.length >> 1] ?? null;

  /** {phase: "loading", "preparing" or "ready", ms}, or {reason, …}: see conditions.js. */
  function status() {
    const reason = refusal();
    if (reason) return { reason };
    if (broken) return broken;
    if (!model) return { phase: "loading" };
    const image = opened.get(digestNow());
    if (image === "failed") return { reason: "image" };
    if (image !== "here" || trial !== "passed") return { phase: "preparing" };
    return { phase: "ready", ms: Math.round(median()) };
  }

  const isReady = () => status().phase === "ready";

  // ---- loading and looking at images ------------------------------------------------------------------------

  async function load() {
    try {
      const made = LocalModel.createLocalModel({ base, about: state().workspace.local.about });
      ({ engine } = await made.load());
      model = made;
      answers = createAnswers({ coarse });
    } catch (error) {
      fail({ reason: "failed", detail: sentence(error) });
    }
    store.set({});
  }

  function fail(why) {
    broken ??= why;
    painting = null;
    hover.hide();
    model?.close();
  }

  /** Look at an image, and once at how long a mask of it takes. */
  async function open(image) {
    const { digest } = image;
    if (opened.has(digest)) return keepInLine(digest);
    opened.set(digest, "coming");
    try {
      await model.open(digest, await routes.framedPixels(digest), { width: image.width, height: image.height });
      opened.set(digest, "here");
      keepInLine(digest);
    } catch {
      opened.set(digest, "failed");
    }
    store.set({});
  }

  /** The model drops the image that was used longest ago; so does this list of them. */
  function keepInLine(digest) {
    const how = opened.get(digest);
    if (how === undefined) return;
    opened.delete(digest);
    opened.set(digest, how);
    for (const old of opened.keys()) {
      if (opened.size <= KEPT_IMAGES) return;
      if (opened.get(old) !== "coming") opened.delete(old);
    }
  }

  async function coarse(question) {
    keepInLine(question.digest);
    const answer = await model.coarse(question);
    errors = 0;
    return answer;
  }

  function askHover(x, y) {
    const digest = digestNow();
    keepInLine(digest);
    return model.hover(digest, x, y);
  }

  /** How long does a mask take here? Those of the middle of the image are made and thrown away. */
  async function tryOut(image, isSecond = false) {
    trial = "running";
    const middle = { type: "click", x: image.width >> 1, y: image.height >> 1, positive: true };
    try {
      for (let i = 0; i <= TRIALS; i++) {
        const before = performance.now();
        await coarse({ digest: image.digest, prompts: [middle], previous: null });
        if (i > 0) noteTime(performance.now() - before);
      }
    } catch (error) {
      trial = "none";
      return breakDown(error, image.digest);
    }
    if (median() <= SLOWEST_MS) trial = "passed";
    else if (isSecond) fail({ reason: "time", ms: Math.round(median()) });
    else {
      times = [];
      setTimeout(() => tryOut(image, true), SECOND_TRIAL_MS);
    }
    store.set({});
  }

  function noteTime(ms) {
    times.push(ms);
    if (times.length > KEPT_TIMES) times.shift();
  }

  function breakDown(error, digest = digestNow()) {
    if (broken) return;
    console.warn(error);
    errors += 1;
    opened.delete(digest);
    if (errors >= MOST_ERRORS) fail({ reason: "broken" });
    store.set({});
  }

  /** What is to be done next, after anything changed. */
  function follow(now, before) {
    notes.update(now, status());
    const waiting = transport.unansweredPrompts();
    if (now.ahead && waiting.length === 0 && shownAhead(now, waiting) === null) store.set({ ahead: null }); // undone
    if (refusal() || broken) return hover.hide();
    const { image, serverPhase } = now;
    if (!model) return void (["ready", "coarse", "refined"].includes(serverPhase) && (loading ??= load()));
    if (image && !opened.has(image.digest)) open(image);
    if (image && trial === "none" && opened.get(image.digest) === "here") tryOut(image);
    if (!isFree()) hover.hide();
    if (now.draft !== before?.draft) onDraft(now);
    lookAhead(image);
  }

  /** The next image is looked at while nothing else is to do. */
  function lookAhead(image) {
    clearTimeout(idle);
    if (!image || !isReady()) return;
    const next = neighbourOf(imagesOf(state()), image.digest, 1);
    if (!next || opened.has(next.digest)) return;
    idle = setTimeout(() => isReady() && !isPainting && !transport.isBusy() && !state().offline && open(next), IDLE_MS);
  }

  // ---- clicks -----------------------------------------------------------------------------------------------

  /** The draft with all that waits, and with `more`; null where this model cannot say its mask. */
  function stepsWith(...more) {
    const { draft, image, opening } = state();
    if (opening || !image || draft.editing) return null;
    const unsent = more.length ? [...transport.unsent(), { verb: "prompt", args: { prompts: more } }] : transport.unsent();
    const steps = foreseen(draft, unsent, transport.unanswered() === "prompt");
    if (steps === null || steps.prompts.length === 0) return null;
    if (!LocalModel.canAnswer(steps.prompts)) return null;
    return answers.missing(image.digest, steps) <= MOST_MISSING ? steps : null;
  }

  /** What the request of a prompt says of the coarse mask: that the page makes it, where it surely will. */
  function promise(prompt) {
    if (!isReady() || !isTrusted() || stepsWith(prompt) === null) return {};
    counts.promised += 1;
    return { coarse: "mine" };
  }

  /** A prompt has been handed to the transport: paint what it will come to. */
  function foresee(meta) {
    if (!isReady()) return;
    const steps = stepsWith();
    const [prompt] = steps?.prompts.slice(-1) ?? [];
    const seen = steps?.prompts.length === 1 && prompt.type === "click" ? hover.maskAt(prompt.x, prompt.y) : null;
    if (seen) {
      canvas.expectPaint(null, "local", meta.startedAt);
      store.set({ ahead: { prompts: steps.prompts, mask: seen } }); // a little rougher, but there already
    }
    hover.hide();
    painting = { meta: seen ? null : meta };
    if (!isPainting) paintAhead();
  }

  /** Newest wins: of clicks that come while one is being computed only the last one is. */
  async function paintAhead() {
    isPainting = true;
    try {
      while (painting) {
        const { meta } = painting;
        painting = null;
        const digest = digestNow();
        const steps = isReady() ? stepsWith() : null;
        if (steps === null) continue;
        const isNew = answers.missing(digest, steps) === 1;
        const before = performance.now();
        const { mask } = await answers.ask(digest, steps);
        if (isNew) noteTime(performance.now() - before);
        show(digest, { prompts: steps.prompts, mask }, meta);
      }
      if (times.length === KEPT_TIMES && median() > SLOWEST_MS) fail({ reason: "time", ms: Math.round(median()) });
    } catch (error) {
      breakDown(error);
    } finally {
      isPainting = false;
    }
    onDraft(state());
  }

  /** Paint a mask, unless the draft has gone another way meanwhile or the server's own mask is here. */
  function show(digest, ahead, meta) {
    const now = state();
    const waiting = transport.unansweredPrompts();
    const isWanted = digest === digestNow() && foreseen(now.draft, transport.unsent(), false) !== null;
    const newer = shownAhead(now, waiting);
    const isNewest = !newer || newer.prompts.length <= ahead.prompts.length;
    if (!isWanted || !isNewest || shownAhead({ ...now, ahead }, waiting) === null) return void (counts.dropped += 1);
    counts.painted += 1;
    if (meta) canvas.expectPaint(null, "local", meta.startedAt);
    store.set({ ahead });
  }

  // ---- answers of the server --------------------------------------------------------------------------------

  /** The server's word on the draft: to compare with, to have a coarse mask beside, to go on from. */
  function onDraft({ draft, image }) {
    if (!isReady() || isPainting || warming || !image || draft.editing || !draft.count) return;
    if (draft.bases === null || draft.bases.length !== draft.prompts.length) return;
    if (!LocalModel.canAnswer(draft.prompts)) return;
    const { digest } = image;
    const mine = answers.known(digest, draft);
    if (!mine) return void warm(digest, draft);
    if (!isTrusted()) compare(mine, draft);
    if (draft.stage === "refined" && draft.coarse === null && mine.mask) {
      store.set({ draft: { ...draft, coarse: mine.mask } }); // for whoever holds the key to see it
    }
  }

  /** Have the memory of the newest step, so that the next click needs one mask only. */
  async function warm(digest, draft) {
    const count = answers.missing(digest, draft);
    if (draft.prompts.length > LONGEST_WARM || count > LONGEST_WARM) return;
    warming = true;
    try {
      await answers.ask(digest, draft);
    } catch (error) {
      return breakDown(error);
    } finally {
      warming = false;
    }
    onDraft(state());
  }

  function compare(mine, { stage, mask, coarse }) {
    const theirs = stage === "coarse" ? mask : coarse;
    if (!theirs || mine === compared || theirs.scale !== 1) return; // a preview is coarser
    compared = mine;
    if (agrees(mine.mask, theirs)) return remember("localTrust", trustKey());
    differing += 1;
    if (differing < MOST_DIFFERENT) return;
    fail({ reason: "differs" });
    store.set({});
  }

  // ---- the mask under the pointer ---------------------------------------------------------------------------

  /** Whether a click where the pointer is would begin an object, and nothing else is going on. */
  function isFree() {
    const now = state();
    const { draft } = now;
    if (!now.hoverMask || now.tool !== "click" || !now.positive || now.panning || now.startShown) return false;
    if (now.masksHidden !== now.holdHide || now.hovered !== null || now.opening || now.preview) return false;
    if (draft.count > 0 || draft.mask || draft.editing || canvas.isDrawing()) return false;
    return transport.unansweredPrompts().length === 0 && isReady();
  }

  function pixelAt(clientX, clientY) {
    const { image } = state();
    const [x, y] = canvas.inspect.clientToPixel(clientX, clientY);
    return image && x >= 0 && y >= 0 && x < image.width && y < image.height ? [x, y] : null;
  }

  const hover = createHover({
    overlay,
    layer: createHoverLayer({ stage, overlay }),
    view: canvas.inspect.view,
    pixelAt,
    isFree,
    ask: askHover,
    colour: () => parseColour(findClass(state(), state().classId)?.colour),
    onError: breakDown,
  });

  const notes = createNotes((changes) => store.set(changes));
  help.note(notes.element);
  store.subscribe(follow);
  follow(state(), null);

  return {
    promise,
    foresee,
    hideHover: hover.hide,
    /** For tests and measurements: {status, trusted, ms: median of a mask, hover: waits in ms, counts}. */
    stats: () => ({
      status: status(),
      trusted: state().workspace?.local ? isTrusted() : false,
      ms: median(),
      hover: hover.waits(),
      hovering: hover.isShown(),
      ...counts,
    }),
  };
}

/** What an error says, as one sentence. */
const sentence = ({ message }) => message || "Its download broke off.";
