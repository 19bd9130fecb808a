/**
 * The embedded model in the page: its encoder and coarse decoder in a worker of their own. The page never waits for it;
 * the newest click goes first, and of hovers only the newest is answered.
 *
 * Every promise that is refused carries a sentence; what the page then does is let the server answer, as without it.
 */

import { canDraw } from "./prompt_maps.js";

/** More threads than this make it hardly faster. */
const MOST_THREADS = 4;

/**
 * Half of what the browser counts, since it counts each core twice; of few cores all: the page itself hardly works while
 * it waits for a mask (on two cores a mask takes 59 ms with two threads and 95 ms with one, tests/bench/test_page_model.py).
 * More than one needs an isolated page.
 */
function usefulThreads() {
  if (!globalThis.crossOriginIsolated) return 1;
  const cores = navigator.hardwareConcurrency || 1;
  return Math.min(cores > 2 ? cores >> 1 : cores, MOST_THREADS);
}

/** What goes first when the worker is free. */
const [COARSE, OPEN, PREPARE, HOVER] = [0, 1, 2, 3];

/** A WebAssembly module with one instruction on 128 bits: only an engine with SIMD takes it. */
const SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
);

export const NO_SIMD = "This browser lacks WebAssembly SIMD, which the model in the page needs.";
export const NO_WORKER = "This browser does not let the model in the page run beside it.";
export const CLOSED = "The model in the page was closed.";
export const LEFT_TO_SERVER = "Prompts of this kind are answered by the server.";

/** Whether this browser can run the model at all. */
export const hasSimd = () => typeof WebAssembly === "object" && WebAssembly.validate(SIMD);

/** Whether all these prompts (as on the wire) can be answered here. */
export const canAnswer = (prompts) => prompts.length > 0 && canDraw(prompts);

/**
 * @param {object} options
 * @param {string} options.base address of the page
 * @param {string} options.about address of the list of files, below it
 * @param {(state: {phase: string, share?: number}) => void} [options.onState] told while it loads
 * @param {number} [options.threads] more than one only in an isolated page
 * @param {() => Worker} [options.makeWorker] for tests
 */
export function createLocalModel({
  base,
  about,
  onState = () => {},
  threads = usefulThreads(),
  makeWorker = moduleWorker,
}) {
  let worker = null;
  let closed = false;
  let running = null; // the job that the worker does
  let number = 0;
  const waiting = []; // jobs: {rank, message, transfer, resolve, reject}

  function next() {
    if (running || !worker || waiting.length === 0) return;
    const rank = Math.min(...waiting.map((job) => job.rank));
    running = waiting.splice(
      waiting.findIndex((job) => job.rank === rank),
      1,
    )[0];
    running.message.id = ++number;
    worker.postMessage(running.message, running.transfer);
  }

  const ask = (rank, message, transfer = []) =>
    new Promise((resolve, reject) => {
      if (closed) reject(new Error(CLOSED));
      else {
        waiting.push({ rank, message, transfer, resolve, reject });
        next();
      }
    });

  function told({ data }) {
    if (data.loading !== undefined) return onState({ phase: "loading", share: data.loading });
    const { id, error, ...answer } = data;
    if (!running || id !== running.message.id) return undefined;
    const job = running;
    running = null;
    if (error === undefined) job.resolve(answer);
    else job.reject(new Error(error));
    return next();
  }

  function drop(reason) {
    const left = running ? [running, ...waiting] : [...waiting];
    running = null;
    waiting.length = 0;
    for (const job of left) job.reject(new Error(reason));
  }

  function stop(reason) {
    worker?.terminate(); // gives all of its memory back
    worker = null;
    closed = true;
    drop(reason);
    onState({ phase: "closed" });
  }

  return {
    /** Fetch the model and make it ready: {engine, threads, seconds}. */
    async load() {
      if (!hasSimd()) throw new Error(NO_SIMD);
      if (closed || worker) throw new Error(CLOSED);
      try {
        worker = makeWorker();
      } catch (error) {
        throw new Error(NO_WORKER, { cause: error });
      }
      worker.onmessage = told;
      worker.onerror = (event) => {
        event.preventDefault?.();
        stop(NO_WORKER);
      };
      onState({ phase: "loading", share: 0 });
      try {
        const loaded = await ask(COARSE, { act: "load", base: String(base), about, threads });
        onState({ phase: "ready" });
        return loaded;
      } catch (error) {
        stop(error.message);
        throw error;
      }
    },

    /**
     * Encode an image: {seconds}.
     *
     * @param {string} digest
     * @param {ArrayBuffer} pixels what `framedPixels` of ../routes.js gives; belongs to the worker afterwards
     * @param {{width: number, height: number}} size of the image
     */
    async open(digest, pixels, { width, height }) {
      const opened = await ask(OPEN, { act: "open", digest, pixels, size: { width, height } }, [pixels]);
      ask(PREPARE, { act: "prepareHover", digest }).catch(() => {}); // a hover would make it, later
      return opened;
    },

    /** The coarse mask that the server would give: {mask, memory, seconds}; `mask` is null where it has no pixel. */
    async coarse({ digest, prompts, previous = null }) {
      if (!canAnswer(prompts)) throw new Error(LEFT_TO_SERVER);
      return ask(COARSE, { act: "coarse", digest, prompts, previous });
    },

    /** About what a click on pixel (x, y) would give: {mask, seconds}; null when a newer hover took its place. */
    async hover(digest, x, y) {
      const overtaken = waiting.findIndex((job) => job.rank === HOVER);
      if (overtaken >= 0) waiting.splice(overtaken, 1)[0].resolve(null);
      return ask(HOVER, { act: "hover", digest, x, y });
    },

    /** Give all memory back; what was asked and not answered is refused. */
    close() {
      if (!closed) stop(CLOSED);
    },
  };
}

const moduleWorker = () => new Worker(new URL("worker.js", import.meta.url), { type: "module", name: "samref-model" });
