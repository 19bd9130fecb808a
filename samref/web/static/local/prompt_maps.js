/**
 * Prompts drawn as the maps that the coarse decoder takes. Pure; cell by cell what samref/core/prompt_maps.py draws.
 *
 * A map is a Uint8Array of `width` x `height` cells, row by row. A click names a pixel, whose middle is what counts; the
 * sides of a box and the corners of an outline lie between pixels.
 */

/** Channels, in the decoder's order; the last is of rough masks, which the page leaves to the server. */
const [POSITIVE, NEGATIVE, BOX, REGION] = [0, 1, 2, 3];

/** Kinds of prompts that are drawn here; what has another is left to the server. */
const DRAWN = new Set(["click", "box"]);

/** Whether all these prompts can be drawn here. */
export const canDraw = (prompts) => prompts.every((prompt) => DRAWN.has(prompt.type));

/**
 * All channels one after another, as numbers for the decoder.
 *
 * @param {object[]} prompts as on the wire, in image pixels
 * @param {{image, resized, padded}} frame
 * @param {{map_stride: number, map_channels: number, click_radius: number}} model
 */
export function drawPrompts(prompts, frame, { map_stride: stride, map_channels: channels, click_radius: radius }) {
  const width = frame.padded.width / stride;
  const height = frame.padded.height / stride;
  const cells = width * height;
  const drawn = new Float32Array(channels * cells);
  const channel = (index) => ({ width, height, cells: drawn.subarray(index * cells, (index + 1) * cells) });
  const toCells = place(frame, stride);
  for (const prompt of prompts) {
    if (prompt.type === "click") {
      const [column, row] = toCells.pixel(prompt.x, prompt.y);
      fillDisk(channel(prompt.positive === false ? NEGATIVE : POSITIVE), column, row, radius / stride);
    } else if (prompt.type === "box") {
      fillBox(channel(BOX), toCells.position(prompt.x0, prompt.y0), toCells.position(prompt.x1, prompt.y1));
    } else {
      throw new Error(`The page draws no ${prompt.type}.`);
    }
  }
  return drawn;
}

/** Image pixels to cells: `position` of a place between pixels, `pixel` the fractional index of a pixel's middle. */
function place({ image, resized }, stride) {
  const scaleX = resized.width / image.width;
  const scaleY = resized.height / image.height;
  const cell = 1 / stride;
  return {
    position: (x, y) => [x * scaleX * cell, y * scaleY * cell],
    pixel: (x, y) => [(x * scaleX + 0.5 * scaleX) * cell - 0.5, (y * scaleY + 0.5 * scaleY) * cell - 0.5],
  };
}

/** Every cell whose index lies within `radius` of the centre. */
export function fillDisk({ width, height, cells }, column, row, radius) {
  const top = Math.max(0, Math.ceil(row - radius));
  const bottom = Math.min(height, Math.floor(row + radius) + 1);
  const left = Math.max(0, Math.ceil(column - radius));
  const right = Math.min(width, Math.floor(column + radius) + 1);
  const reach = radius * radius;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if ((y - row) * (y - row) + (x - column) * (x - column) <= reach) cells[y * width + x] = 1;
    }
  }
}

/** The cells between two corners, each rounded. */
function fillBox({ width, height, cells }, [x0, y0], [x1, y1]) {
  const [left, right] = [x0, x1].map((x) => Math.min(Math.max(roundHalfEven(x), 0), width));
  const [top, bottom] = [y0, y1].map((y) => Math.min(Math.max(roundHalfEven(y), 0), height));
  for (let y = top; y < bottom; y++) if (left < right) cells.fill(1, y * width + left, y * width + right);
}

/** As Python rounds: a half goes to the even number. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
