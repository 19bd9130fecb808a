/**
 * The embedded model in onnxruntime: images encoded and kept, prompts answered. Runs in a worker (worker.js) and in
 * Node's tests; knows no network and no page.
 *
 * For hovering an image is encoded once more at a smaller side, at which the model was trained most: its answers there
 * agree with people's masks as well as those at full side, at two fifths of the time.
 */

import { encoderInput, letterbox, shrunk, unpackPixels } from "./frame.js";
import { maskOf, roughMaskOf } from "./mask_of.js";
import { drawPrompts } from "./prompt_maps.js";
import { weightsIn } from "./weights.js";

/** Images kept encoded, 3.5 MB each: twice as many as the page remembers to have opened. */
const KEPT = 12;

/** Longest side of the frame for hovering, see docs/adr/0020-model-in-the-page.md. */
const HOVER_SIDE = 320;

/** A hover mask has about so many cells along its longest side. */
const HOVER_CELLS = 512;

const FOREIGN = "The model's weights do not fit this version of the page. Reload the page.";

/**
 * Load the model.
 *
 * @param {object} ort onnxruntime-web
 * @param {object} about the server's description (model.json)
 * @param {{encoder: Uint8Array, coarse: Uint8Array, weights: Uint8Array}} files
 */
export async function createEngine(ort, about, files) {
  const session = async (graph, wanted) => {
    const externalData = weightsIn(files.weights, wanted);
    try {
      return await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData });
    } catch (error) {
      if (/memory|allocation/i.test(String(error))) throw error;
      throw new Error(FOREIGN, { cause: error });
    }
  };
  const isDecoders = (name) => name.startsWith("decoder.");
  const encoder = await session(files.encoder, (name) => !isDecoders(name));
  const decoder = await session(files.coarse, isDecoders);
  const tensor = (data, ...shape) => new ort.Tensor("float32", data, shape);
  const images = new Map(); // by digest, the one used longest ago first

  const low = (padded) => ({
    width: padded.width / about.low_res_stride,
    height: padded.height / about.low_res_stride,
  });

  async function encoded(pixels, frame) {
    const { width, height } = frame.padded;
    return encoder.run({ image: tensor(encoderInput(pixels, frame), 1, 3, height, width) });
  }

  async function decoded(levels, frame, prompts, previous) {
    const { width, height } = frame.padded;
    const { width: columns, height: rows } = low(frame.padded);
    const stride = about.map_stride;
    const maps = drawPrompts(prompts, frame, about);
    const { logits } = await decoder.run({
      ...levels,
      maps: tensor(maps, 1, about.map_channels, height / stride, width / stride),
      mask_input: tensor(previous ?? new Float32Array(rows * columns), 1, 1, rows, columns),
      has_mask: tensor(Float32Array.of(previous ? 1 : 0), 1, 1, 1, 1),
    });
    return logits.data;
  }

  function image(digest) {
    const held = images.get(digest);
    if (!held) throw new Error("The page has not encoded this image.");
    images.delete(digest);
    images.set(digest, held);
    return held;
  }

  function free(held) {
    for (const levels of [held.levels, held.hovering?.levels]) {
      for (const level of Object.values(levels ?? {})) level.dispose();
    }
  }

  return {
    has: (digest) => images.has(digest),

    /** Encode an image: `bytes` (an ArrayBuffer) its packed pixels, `size` its own `{width, height}`. */
    async open(digest, bytes, size) {
      const frame = letterbox(size, about);
      const pixels = unpackPixels(bytes);
      const levels = await encoded(pixels, frame);
      if (images.has(digest)) free(images.get(digest));
      images.set(digest, { frame, levels, pixels, hovering: null });
      for (const [oldest, held] of images) {
        if (images.size <= KEPT) break;
        images.delete(oldest);
        free(held);
      }
    },

    /** The coarse mask of one object, and the logits that its next prompt goes on from. */
    async coarse(digest, prompts, previous) {
      const { frame, levels } = image(digest);
      const size = low(frame.padded);
      const logits = await decoded(levels, frame, prompts, fitting(previous, size));
      if (!logits.every(Number.isFinite)) throw new Error("The page's model gave no numbers.");
      return { mask: maskOf(logits, size, frame), memory: logits };
    },

    /** Encode for hovering, if that was not done yet. */
    async prepareHover(digest) {
      const held = image(digest);
      if (held.hovering) return;
      const frame = letterbox(held.frame.image, { ...about, side: HOVER_SIDE });
      held.hovering = { frame, levels: await encoded(shrunk(held.pixels, frame.resized), frame) };
    },

    /** About what a click on pixel (x, y) would give. */
    async hover(digest, x, y) {
      await this.prepareHover(digest);
      const { levels, frame } = image(digest).hovering;
      const logits = await decoded(levels, frame, [{ type: "click", x, y, positive: true }], null);
      const scale = Math.max(1, Math.round(Math.max(frame.image.width, frame.image.height) / HOVER_CELLS));
      return roughMaskOf(logits, low(frame.padded), frame, about.low_res_stride, scale);
    },

    forget(digest) {
      if (!images.has(digest)) return;
      free(images.get(digest));
      images.delete(digest);
    },

    async close() {
      for (const held of images.values()) free(held);
      images.clear();
      await encoder.release();
      await decoder.release();
    },
  };
}

function fitting(previous, { width, height }) {
  if (!previous) return null;
  if (previous.length !== width * height) throw new Error("The last answer belongs to another image.");
  return previous;
}
