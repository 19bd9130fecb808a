/**
 * Prompts drawn as the maps that the coarse decoder takes. Pure; cell by cell what samref/core/prompt_maps.py draws.
 *
 * A map is a Uint8Array of `width` x `height` cells, row by row. A click names a pixel, whose middle is what counts; the
 * sides of a box and the corners of an outline lie between pixels.
 */

/** Channels, in the decoder's order; the last is of rough masks, which the page leaves to the server. */
const [POSITIVE, NEGATIVE, BOX, REGION] = [0, 1, 2, 3];

/** Kinds of prompts that are drawn here; scribbles, drawn by OpenCV's thick lines, are left to the server. */
const DRAWN = new Set(["click", "box", "polygon"]);

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
    } else if (prompt.type === "polygon") {
      const corners = prompt.points.map(([x, y]) => toCells.position(x, y));
      fillOutline(channel(prompt.positive === false ? NEGATIVE : REGION), corners);
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

/** OpenCV draws outlines on a grid of so many parts of a cell. */
const PARTS = 16;

/** The units of its slopes. */
const ONE = 65536;

/**
 * What OpenCV's `fillPoly` draws for corners given between cells: the line of the outline, and in each row the cells that
 * an odd number of sides lies left of.
 */
export function fillOutline({ width, height, cells }, positions) {
  const all = positions.map((place) => place.map((length) => roundHalfEven((length - 0.5) * PARTS)));
  const differs = (a, b) => a[0] !== b[0] || a[1] !== b[1];
  const moved = all.filter((corner, i) => differs(corner, all[(i || all.length) - 1]));
  const corners = moved.length > 0 ? moved : [all[0]];
  const whole = corners.map((corner) => corner.map((part) => Math.floor((part + PARTS / 2) / PARTS)));
  const flips = new Uint8Array(height * (width + 1));
  corners.forEach(([x], i) => {
    const next = (i + 1) % corners.length;
    drawLine({ width, height, cells }, whole[i], whole[next]);
    const [row, nextRow] = [whole[i][1], whole[next][1]];
    if (row === nextRow) return;
    const unit = ONE / PARTS;
    const slope = Math.trunc(((corners[next][0] - x) * unit) / (nextRow - row));
    const [first, last] = [Math.min(row, nextRow), Math.max(row, nextRow)];
    const start = (row < nextRow ? x : corners[next][0]) * unit + ONE - 1;
    for (let y = Math.max(first, 0); y < Math.min(last, height); y++) {
      const column = Math.floor((start + (y - first) * slope) / ONE);
      flips[y * (width + 1) + Math.min(Math.max(column, 0), width)] ^= 1;
    }
  });
  for (let y = 0; y < height; y++) {
    let inside = 0;
    for (let x = 0; x < width; x++) {
      inside ^= flips[y * (width + 1) + x];
      if (inside) cells[y * width + x] = 1;
    }
  }
}

/** The cells of a line between two cells, as OpenCV draws it: from left to right, a step a cell. */
function drawLine({ width, height, cells }, from, to) {
  const clipped = clipLine(width - 1, height - 1, ...from, ...to);
  if (!clipped) return;
  let [x, y, x2, y2] = clipped;
  if (x2 < x) [x, y, x2, y2] = [x2, y2, x, y];
  const rise = y2 < y ? -1 : 1;
  const [across, down] = [x2 - x, Math.abs(y2 - y)];
  const isSteep = down > across;
  const [long, short] = isSteep ? [down, across] : [across, down];
  let error = long - 2 * short;
  for (let i = 0; i <= long; i++) {
    cells[y * width + x] = 1;
    const turns = error < 0;
    error += (turns ? 2 * long : 0) - 2 * short;
    if (isSteep) {
      y += rise;
      if (turns) x += 1;
    } else {
      x += 1;
      if (turns) y += rise;
    }
  }
}

/** The part of a line within 0..right, 0..bottom, with OpenCV's rounding; null where it lies outside. */
function clipLine(right, bottom, x1, y1, x2, y2) {
  const side = (x) => (x < 0 ? 1 : x > right ? 2 : 0);
  const height = (y) => (y < 0 ? 4 : y > bottom ? 8 : 0);
  let one = side(x1) + height(y1);
  let two = side(x2) + height(y2);
  const crosses = () => (one & two) === 0 && (one | two) !== 0;
  if (crosses()) {
    if (one & 12) {
      const edge = one < 8 ? 0 : bottom;
      x1 += Math.trunc(((edge - y1) * (x2 - x1)) / (y2 - y1));
      y1 = edge;
      one = side(x1);
    }
    if (two & 12) {
      const edge = two < 8 ? 0 : bottom;
      x2 += Math.trunc(((edge - y2) * (x2 - x1)) / (y2 - y1));
      y2 = edge;
      two = side(x2);
    }
    if (crosses()) {
      if (one) {
        const edge = one === 1 ? 0 : right;
        y1 += Math.trunc(((edge - x1) * (y2 - y1)) / (x2 - x1));
        [x1, one] = [edge, 0];
      }
      if (two) {
        const edge = two === 1 ? 0 : right;
        y2 += Math.trunc(((edge - x2) * (y2 - y1)) / (x2 - x1));
        [x2, two] = [edge, 0];
      }
    }
  }
  return (one | two) === 0 ? [x1, y1, x2, y2] : null;
}
