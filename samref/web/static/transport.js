/**
 * Requests out, answers in, in order. Nothing here knows the network or the page: `post` and `receive` are the wire.
 *
 * The rules (docs/protocol.md): a request leaves when none is in flight or when the one in flight has been answered
 * at least once; what waits stays in order, and waiting prompts are joined into one request. Sequence numbers go up
 * by one; an answer to anything but the newest request sent is stale and is dropped.
 */

export const PROTOCOL_VERSION = 1;

/** Prompts one request may carry. */
const MAX_JOINED = 1000;

/** Unanswered for this long, the connection is looked at (`onSilence`); milliseconds. */
export const SILENCE_MS = 900;

/** Nothing at all for this long: what is the present state? */
export const SYNC_MS = 30_000;

/** Verbs that only ask; repeating them harms nobody and two waiting ones are one too many. */
const QUESTIONS = new Set(["hello", "sync"]);

/** These change nothing either; what one of them is refused for does not concern what waits behind it. */
const LOOKS = new Set([...QUESTIONS, "preview_tidy", "history"]);

/** Verbs about images as a whole: they depend on nothing before them, and doing them twice is doing them once. */
export const ABOUT_IMAGES = new Set(["mark_image", "remove_images", "restore_images"]);

/**
 * @param {object} wire
 * @param {(message: object) => void} wire.post sends one request
 * @param {() => object} wire.context fields every request carries at the moment it leaves: token, image, revision, known
 * @param {(answer: object, request: object) => void} wire.onAnswer called for every answer that counts
 * @param {(request: object) => void} wire.onSilence a request went unanswered for too long
 * @param {(request: object) => void} wire.onLost the connection broke before the last answer to a request
 * @param {{now, setTimeout, clearTimeout}} [wire.clock] for tests
 */
export function createTransport({
  post,
  context,
  onAnswer,
  onSilence = () => {},
  onLost = () => {},
  clock = globalClock(),
}) {
  let seq = 0;
  let inFlight = null; // {seq, verb, image, args, prompts?, answered, sentAt}
  let waiting = []; // {verb, image?, args, meta}
  let lost = null; // a request that may never have arrived, until the next sync tells
  let silence = null;
  const stats = { sent: 0, received: 0, stale: 0 };

  /** Put a request at the end of the line. `image` is the image it is about; the open one when left out. */
  function send(verb, args = {}, { image, meta } = {}) {
    if (QUESTIONS.has(verb) && waiting.some((item) => item.verb === verb && item.image === image)) return;
    waiting.push({ verb, image, args, meta });
    pump();
  }

  function pump() {
    if (waiting.length === 0 || (inFlight && !inFlight.answered)) return;
    const next = takeNext();
    const fields = context();
    seq += 1;
    const message = {
      v: PROTOCOL_VERSION,
      seq,
      verb: next.verb,
      ...fields,
      ...(next.image === undefined ? {} : { image: next.image }),
      ...next.args,
    };
    if (message.image !== fields.image) {
      message.revision = 0;
      message.known = { ...fields.known, annotations: 0 };
    }
    inFlight = { ...next, seq, image: message.image, revision: message.revision, answered: false, sentAt: clock.now() };
    stats.sent += 1;
    watchSilence();
    post(message);
  }

  function takeNext() {
    const first = waiting.shift();
    if (first.verb !== "prompt") return first;
    const joined = { ...first };
    while (
      waiting[0]?.verb === "prompt" &&
      waiting[0].image === first.image &&
      joined.args.prompts.length < MAX_JOINED
    ) {
      const next = waiting.shift();
      joined.args = { ...next.args, prompts: [...joined.args.prompts, ...next.args.prompts] };
      joined.meta = next.meta ?? joined.meta; // the newest prompt's
    }
    return joined;
  }

  /** One answer as JSON text; anything unreadable or stale is ignored. Says whether it counted. */
  function receive(text) {
    if (!text) return false;
    const answer = JSON.parse(text);
    stats.received += 1;
    if (!inFlight || answer.seq !== inFlight.seq) {
      stats.stale += 1;
      return false;
    }
    const request = inFlight;
    const first = !request.answered;
    request.answered = true;
    const final = answer.final !== false;
    if (answer.kind === "error") refuseWaiting(request);
    if (final) inFlight = null;
    watchSilence();
    if (request.verb === "sync") sendLostAgain(answer);
    onAnswer(answer, { ...request, first });
    pump();
    return true;
  }

  /** The image's log is as long as when the lost request left, so it never arrived. */
  function sendLostAgain({ view }) {
    if (lost && view?.image?.digest === lost.image && view.revision === lost.revision) waiting.unshift(lost);
    lost = null;
  }

  /** What waits behind a refused request was meant for a state that never came about. */
  function refuseWaiting(request) {
    if (LOOKS.has(request.verb)) return;
    const goesOn = ({ verb }) => QUESTIONS.has(verb) || ABOUT_IMAGES.has(verb) || verb.startsWith("open");
    waiting = waiting.filter(goesOn);
  }

  function watchSilence() {
    if (silence !== null) clock.clearTimeout(silence);
    silence = null;
    if (!inFlight) return;
    const request = inFlight;
    const patience = request.answered ? SYNC_MS : SILENCE_MS;
    silence = clock.setTimeout(() => {
      silence = null;
      if (inFlight === request) onSilence(request);
    }, patience);
  }

  /** Go on waiting for the request in flight. */
  function waitOn() {
    watchSilence();
  }

  /**
   * Give the request in flight up and ask for the present state first. `again`: the connection was gone, so send the
   * request again if that state does not know it.
   */
  function resync({ again = false } = {}) {
    if (again && inFlight && !inFlight.answered && !QUESTIONS.has(inFlight.verb) && inFlight.image) {
      const { verb, image, args, meta, revision } = inFlight;
      lost = { verb, image, args, meta, revision };
    }
    if (again && inFlight && !inFlight.answered && ABOUT_IMAGES.has(inFlight.verb)) {
      const { verb, image, args, meta } = inFlight;
      waiting.unshift({ verb, image, args, meta });
    }
    inFlight = null;
    waiting = waiting.filter((item) => item.verb !== "sync");
    waiting.unshift({ verb: "sync", args: {} });
    pump();
  }

  /** Forget everything that waits (the workspace is gone). */
  function reset() {
    inFlight = null;
    lost = null;
    waiting = [];
    watchSilence();
  }

  /** Nothing more comes to that request; of no interest when it has its last answer or was overtaken. */
  function lose(seq) {
    if (inFlight?.seq === seq) onLost(inFlight);
  }

  /** Prompts made here that no answer speaks of yet, oldest first. */
  function unansweredPrompts() {
    const flying = inFlight && !inFlight.answered ? inFlight : null;
    return [lost, flying, ...waiting].flatMap((item) => (item?.verb === "prompt" ? item.args.prompts : []));
  }

  /** Requests that change something and have no answer yet, oldest first: [{verb, image, args, revision}]. */
  function unsent() {
    const flying = inFlight && !inFlight.answered ? inFlight : null;
    return [lost, flying, ...waiting]
      .filter((item) => item && !LOOKS.has(item.verb))
      .map(({ verb, image, args, revision }) => ({ verb, image, args, revision }));
  }

  return {
    send,
    unsent,
    receive,
    resync,
    reset,
    lose,
    waitOn,
    unansweredPrompts,
    isBusy: () => inFlight !== null || waiting.length > 0,
    /** Verb in flight without an answer, or null. */
    unanswered: () => (inFlight && !inFlight.answered ? inFlight.verb : null),
    stats: () => ({ ...stats, seq, waiting: waiting.length, inFlight: inFlight?.verb ?? null }),
  };
}

function globalClock() {
  return {
    now: () => performance.now(),
    setTimeout: (callback, ms) => globalThis.setTimeout(callback, ms),
    clearTimeout: (id) => globalThis.clearTimeout(id),
  };
}
