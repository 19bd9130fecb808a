/**
 * The page's model in Node, for tests in Python: `node run_local_model.mjs FOLDER` reads `FOLDER/cases.json`, a list of
 * `{pixels: file, width, height, steps: [[prompt, ...], ...], hover: [x, y] | null}`, and writes `FOLDER/answers.json`,
 * for each case `{steps: [{mask, seconds}, ...], hover, open_s}`; each step goes on from the one before.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

import { createEngine } from "../../samref/web/static/local/engine.js";

const assets = new URL("../../assets/", import.meta.url);
const folder = process.argv[2];

const read = (path) => readFileSync(new URL(path, assets));
const bundle = brotliDecompressSync(read("browser/onnxruntime/ort.wasm.bundle.min.mjs.br"));
const bundlePath = join(folder, "ort.mjs");
writeFileSync(bundlePath, bundle);
const ort = await import(bundlePath);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = brotliDecompressSync(read("browser/onnxruntime/ort-wasm-simd-threaded.wasm.br"));
const engine = await createEngine(ort, JSON.parse(read("browser/model.json")), {
  encoder: read("browser/encoder.onnx"),
  coarse: read("browser/coarse.onnx"),
  weights: new Uint8Array(read("weights/tiny-base.safetensors")),
});

const timed = async (work) => {
  const started = performance.now();
  const made = await work();
  return [made, (performance.now() - started) / 1000];
};

const answers = [];
for (const [number, { pixels, width, height, steps, hover }] of JSON.parse(
  readFileSync(join(folder, "cases.json")),
).entries()) {
  const digest = String(number);
  const bytes = readFileSync(join(folder, pixels));
  const packed = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const [, openSeconds] = await timed(() => engine.open(digest, packed, { width, height }));
  const answered = [];
  let previous = null;
  for (const prompts of steps) {
    const [{ mask, memory }, seconds] = await timed(() => engine.coarse(digest, prompts, previous));
    previous = memory;
    answered.push({ mask, seconds });
  }
  const hovered = [];
  for (let i = 0; hover && i < 2; i++) hovered.push(await timed(() => engine.hover(digest, ...hover)));
  const last = hovered.at(-1);
  answers.push({ open_s: openSeconds, steps: answered, hover: last ? { mask: last[0], seconds: last[1] } : null });
}
writeFileSync(join(folder, "answers.json"), JSON.stringify(answers));
