/**
 * The thread in which the page's model runs. Each message `{id, act, ...}` is answered once by `{id, ...}` or
 * `{id, error}`; how far loading has come is told in between by `{loading}`.
 */

import { createEngine } from "./engine.js";
import { fetchFiles } from "./download.js";

let engine = null;

const acts = {
  async load({ base, about, threads }) {
    const started = performance.now();
    const { described, runtime, files } = await fetchFiles(base, about, (loading) => postMessage({ loading }));
    const ort = await import(runtime);
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmBinary = files.binary;
    delete files.binary;
    engine = await createEngine(ort, described, files);
    return { engine: "wasm", threads: ort.env.wasm.numThreads, seconds: since(started) };
  },

  async open({ digest, pixels, size }) {
    const started = performance.now();
    await engine.open(digest, pixels, size);
    return { seconds: since(started) };
  },

  async prepareHover({ digest }) {
    if (engine.has(digest)) await engine.prepareHover(digest);
    return {};
  },

  async coarse({ digest, prompts, previous }) {
    const started = performance.now();
    return { ...(await engine.coarse(digest, prompts, previous)), seconds: since(started) };
  },

  async hover({ digest, x, y }) {
    const started = performance.now();
    return { mask: await engine.hover(digest, x, y), seconds: since(started) };
  },

  async close() {
    await engine?.close();
    engine = null;
    return {};
  },
};

const since = (started) => (performance.now() - started) / 1000;

/** What a person reads when loading or computing failed for a reason of the machine. */
function sentence(error) {
  const text = error?.message ?? String(error);
  if (error instanceof RangeError || /out of memory|allocat/i.test(text)) {
    return "This device has too little memory for the model in the page.";
  }
  return text;
}

let last = Promise.resolve(); // onnxruntime runs one at a time

addEventListener("message", ({ data: { id, act, ...given } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, ...(await acts[act](given)) });
    } catch (error) {
      postMessage({ id, error: sentence(error) });
    }
  });
});
