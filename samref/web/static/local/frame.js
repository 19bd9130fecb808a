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
 * The input at half the side, each value the mean of four: `{input, padded}`, padded to the next `multiple` again. What
 * lies in the padding counts as 0 there, too.
 */
export function halved(input, padded, multiple) {
  const next = (length) => Math.ceil(length / 2 / multiple) * multiple;
  const half = { width: next(padded.width), height: next(padded.height) };
  const output = new Float32Array(3 * half.width * half.height);
  for (let plane = 0; plane < 3; plane++) {
    for (let row = 0; row < padded.height / 2; row++) {
      const from = (plane * padded.height + 2 * row) * padded.width;
      const to = (plane * half.height + row) * half.width;
      for (let column = 0; column < padded.width / 2; column++) {
        const at = from + 2 * column;
        output[to + column] = (input[at] + input[at + 1] + input[at + padded.width] + input[at + padded.width + 1]) / 4;
      }
    }
  }
  return { input: output, padded: half };
}
