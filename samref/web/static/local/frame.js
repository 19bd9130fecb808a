/**
 * How an image lies in the model's frame, and the pixels that its encoder takes. Pure; in step with
 * samref/core/geometry.py and samref/web/local.py.
 *
 * A frame is `{image, resized, padded}`, sizes as `{width, height}`: the image, resized, lies at the top left of padded.
 */

/** The frame of an image: longest side `side`, padded to the next `multiple` at the right and bottom. */
export function letterbox(image, { side, multiple }) {
  const scale = side / Math.max(image.width, image.height);
  const fitted = (length) => Math.max(1, Math.floor(length * scale + 0.5));
  const resized = { width: fitted(image.width), height: fitted(image.height) };
  const padded = {
    width: Math.ceil(resized.width / multiple) * multiple,
    height: Math.ceil(resized.height / multiple) * multiple,
  };
  return { image, resized, padded };
}

/**
 * The pixels in `bytes` (an ArrayBuffer, see `pack_pixels` of samref/web/local.py): `{width, height, planes}` with the
 * planes red, green and blue, one after another.
 */
export function unpackPixels(bytes) {
  const head = new DataView(bytes);
  if (bytes.byteLength < 4) throw new Error("The image's pixels arrived cut off.");
  const width = head.getUint16(0, true);
  const height = head.getUint16(2, true);
  const count = width * height;
  if (count === 0 || bytes.byteLength !== 4 + 3 * count) throw new Error("The image's pixels arrived cut off.");
  const [green, red, blue] = [0, 1, 2].map((i) => unpackPlane(new Uint8Array(bytes, 4 + i * count, count), width));
  const planes = new Uint8Array(3 * count);
  for (let i = 0; i < count; i++) {
    planes[i] = red[i] + green[i];
    planes[count + i] = green[i];
    planes[2 * count + i] = blue[i] + green[i];
  }
  return { width, height, planes };
}

/** Each value is what its neighbours foretell and the difference that was sent; beyond the rim lies 0. */
function unpackPlane(sent, width) {
  const plane = new Uint8Array(sent.length);
  for (let i = 0; i < sent.length; i++) {
    const column = i % width;
    const left = column > 0 ? plane[i - 1] : 0;
    const above = i >= width ? plane[i - width] : 0;
    const corner = column > 0 && i >= width ? plane[i - width - 1] : 0;
    const low = left < above ? left : above;
    const high = left < above ? above : left;
    const foretold = left + above - corner;
    plane[i] = sent[i] + (foretold < low ? low : foretold > high ? high : foretold);
  }
  return plane;
}

/** The encoder's input for `pixels` (see `unpackPixels`) in a frame: 3 planes of -1..1 over `padded`, 0 beyond. */
export function encoderInput({ width, height, planes }, { resized, padded }) {
  if (width !== resized.width || height !== resized.height) {
    throw new Error(`An image of ${resized.width} x ${resized.height} was expected, ${width} x ${height} arrived.`);
  }
  const input = new Float32Array(3 * padded.width * padded.height);
  for (let plane = 0; plane < 3; plane++) {
    for (let row = 0; row < height; row++) {
      const from = (plane * height + row) * width;
      const to = (plane * padded.height + row) * padded.width;
      for (let column = 0; column < width; column++) input[to + column] = UNIT[planes[from + column]];
    }
  }
  return input;
}

/** 0..255 to -1..1, with the rounding of 32 bits at each step. */
const UNIT = Float32Array.from({ length: 256 }, (_, value) => Math.fround(value / 127.5) - 1);

/**
 * `pixels` at another size: bilinear, antialiased where it shrinks (a triangle as wide as two of the new pixels), to whole
 * numbers. As torch resizes, but for its rounding.
 */
export function shrunk({ width, height, planes }, to) {
  const across = weightsOf(width, to.width);
  const down = weightsOf(height, to.height);
  const narrow = new Float32Array(3 * height * to.width);
  for (let line = 0; line < 3 * height; line++) {
    for (let column = 0; column < to.width; column++) {
      const { first, weights } = across[column];
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * planes[line * width + first + i];
      narrow[line * to.width + column] = sum;
    }
  }
  const output = new Uint8Array(3 * to.height * to.width);
  for (let plane = 0; plane < 3; plane++) {
    for (let row = 0; row < to.height; row++) {
      const { first, weights } = down[row];
      for (let column = 0; column < to.width; column++) {
        let sum = 0;
        let at = (plane * height + first) * to.width + column;
        for (let i = 0; i < weights.length; i++, at += to.width) sum += weights[i] * narrow[at];
        output[(plane * to.height + row) * to.width + column] = Math.round(sum);
      }
    }
  }
  return { width: to.width, height: to.height, planes: output };
}

/** For each new place the first old one that counts, and the weights of it and those after it; their sum is 1. */
function weightsOf(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = [];
    for (let i = first; i < end; i++) weights.push(Math.max(0, 1 - Math.abs(i + 0.5 - centre) / reach));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
