/**
 * From logits over the model's frame to a mask of the image, in the form that `readMask` of ../rle.js gives. Pure; what a
 * mask is, says samref/inference/postprocess.py: the logits, resized bilinearly to the padded frame, cut to what the image
 * covers, resized bilinearly to the image's size, and there above 0.
 *
 * No pixel is looked at twice, and few at all: down a column a value changes evenly between two cells of the frame, so
 * each pair of cells has one change of sign at most. An image of 12 megapixels takes some ten milliseconds.
 */

/**
 * The mask of an image.
 *
 * @param {Float32Array} logits
 * @param {{width: number, height: number}} low size of `logits`, which cover the padded frame
 * @param {{image, resized, padded}} frame
 * @returns {object | null} null where no pixel is above 0
 */
export function maskOf(logits, low, frame) {
  const { image, resized, padded } = frame;
  const grid = cropped(enlarged(logits, low, padded), padded, resized);
  return aboveZero(grid, resized, across(resized.width, image.width), across(resized.height, image.height));
}

/** A mask of an image from logits over a frame of another size, in cells of `scale` image pixels; for hovering. */
export function roughMaskOf(logits, low, frame, cellSize, scale) {
  const { image, resized } = frame;
  const columns = Math.ceil(image.width / scale);
  const rows = Math.ceil(image.height / scale);
  const x = spread(columns, scale * (resized.width / image.width / cellSize), low.width);
  const y = spread(rows, scale * (resized.height / image.height / cellSize), low.height);
  const mask = aboveZero(logits, low, x, y);
  if (!mask) return null;
  const left = mask.x * scale;
  const top = mask.y * scale;
  return {
    ...mask,
    x: left,
    y: top,
    width: Math.min(mask.columns * scale, image.width - left),
    height: Math.min(mask.rows * scale, image.height - top),
    scale,
  };
}

/** Values (of 32 bits) at another size: bilinear, corners not aligned, as torch does it. */
export function enlarged(values, from, to) {
  if (from.width === to.width && from.height === to.height) return values;
  const x = axisOfFloats(from.width, to.width);
  const y = axisOfFloats(from.height, to.height);
  const output = new Float32Array(to.width * to.height);
  for (let row = 0; row < to.height; row++) {
    const above = y.lower[row] * from.width;
    const below = y.upper[row] * from.width;
    const [keepY, takeY] = [y.keep[row], y.take[row]];
    for (let column = 0; column < to.width; column++) {
      const [left, right] = [x.lower[column], x.upper[column]];
      const [keepX, takeX] = [x.keep[column], x.take[column]];
      output[row * to.width + column] =
        keepY * (keepX * values[above + left] + takeX * values[above + right]) +
        takeY * (keepX * values[below + left] + takeX * values[below + right]);
    }
  }
  return output;
}

function axisOfFloats(from, to) {
  const lower = new Int32Array(to);
  const upper = new Int32Array(to);
  const keep = new Float32Array(to);
  const take = new Float32Array(to);
  const scale = Math.fround(from / to);
  for (let i = 0; i < to; i++) {
    const position = Math.max(0, Math.fround(Math.fround(scale * (i + 0.5)) - 0.5));
    lower[i] = Math.min(Math.floor(position), from - 1);
    upper[i] = Math.min(lower[i] + 1, from - 1);
    take[i] = position - lower[i];
    keep[i] = 1 - take[i];
  }
  return { lower, upper, keep, take };
}

function cropped(values, from, to) {
  if (from.width === to.width) return values.subarray(0, to.width * to.height);
  const output = new Float32Array(to.width * to.height);
  for (let row = 0; row < to.height; row++) {
    output.set(values.subarray(row * from.width, row * from.width + to.width), row * to.width);
  }
  return output;
}

/** Where `pixels` pixels lie between `cells` cells that cover them exactly. */
const across = (cells, pixels) => spread(pixels, cells / pixels, cells);

/** Where the middles of `pixels` pixels, each `step` cells long, lie between the cells: the one before, the share after. */
function spread(pixels, step, cells) {
  const lower = new Int32Array(pixels);
  const share = new Float64Array(pixels);
  for (let i = 0; i < pixels; i++) {
    const position = Math.min(Math.max((i + 0.5) * step - 0.5, 0), cells - 1);
    lower[i] = Math.floor(position);
    share[i] = position - lower[i];
  }
  return { lower, share, cells };
}

/** The pixels whose value is above 0, cut to their box; null where there is none. */
function aboveZero(grid, { width, height }, x, y) {
  const pixels = x.lower.length;
  const rows = y.lower.length;
  const between = runsOf(y);
  const line = new Float64Array(height);
  const found = []; // [column, runs] where there are any; runs are flat, ends excluded, never touching
  let top = rows;
  let bottom = 0;
  const reach = extent(grid, width, height);
  if (!reach) return null;
  for (let column = 0; column < pixels; column++) {
    const left = x.lower[column];
    const right = Math.min(left + 1, width - 1);
    if (right < reach.left || left > reach.right) continue;
    const share = x.share[column];
    for (let row = reach.top; row <= reach.bottom; row++) {
      const at = row * width;
      line[row] = grid[at + left] * (1 - share) + grid[at + right] * share;
    }
    const runs = runsAboveZero(line, reach, y, between, height);
    if (runs.length === 0) continue;
    found.push([column, runs]);
    if (runs[0] < top) top = runs[0];
    if (runs[runs.length - 1] > bottom) bottom = runs[runs.length - 1];
  }
  return found.length === 0 ? null : boxed(found, top, bottom);
}

/** The rows and columns of the grid from which a value above 0 can come, ends included; null where there is none. */
function extent(grid, width, height) {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!(grid[row * width + column] > 0)) continue;
      if (column < left) left = column;
      if (column > right) right = column;
      if (row < top) top = row;
      bottom = row;
    }
  }
  if (right < 0) return null;
  return { left, right, top: Math.max(0, top - 1), bottom: Math.min(height - 1, bottom + 1) };
}

/** For each cell the first pixel behind it and behind the next one: `first[cell]`..`first[cell + 1]` lie between. */
function runsOf({ lower, cells }) {
  const first = new Int32Array(cells + 1).fill(lower.length);
  for (let i = lower.length - 1; i >= 0; i--) first[lower[i]] = i;
  for (let cell = cells - 1; cell >= 0; cell--) first[cell] = Math.min(first[cell], first[cell + 1]);
  return first;
}

/** Runs of rows, flat, whose value between the cells of `line` is above 0. */
function runsAboveZero(line, reach, { share }, first, height) {
  const runs = [];
  const add = (from, to) => {
    if (from >= to) return;
    if (runs.length > 0 && runs[runs.length - 1] === from) runs[runs.length - 1] = to;
    else runs.push(from, to);
  };
  for (let cell = reach.top; cell <= reach.bottom; cell++) {
    const [from, to] = [first[cell], first[cell + 1]];
    if (from === to) continue;
    const above = line[cell];
    const below = cell + 1 < height ? (cell + 1 <= reach.bottom ? line[cell + 1] : -1) : above;
    if (above > 0 && below > 0) add(from, to);
    else if (above > 0 || below > 0) {
      const isInside = (row) => above * (1 - share[row]) + below * share[row] > 0;
      const [begin, end] = [isInside(from), isInside(to - 1)];
      if (begin === end) {
        if (begin) add(from, to);
        continue;
      }
      // Where the sign changes: found in halves, because the values only rise or only fall.
      let [low, high] = [from, to - 1];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (isInside(middle) === begin) low = middle;
        else high = middle;
      }
      if (begin) add(from, high);
      else add(high, to);
    }
  }
  return runs;
}

/** Columns with runs as one mask, in run lengths of its box. */
function boxed(found, top, bottom) {
  const left = found[0][0];
  const columns = found[found.length - 1][0] - left + 1;
  const rows = bottom - top;
  const counts = [];
  let end = 0; // of the last run of the object
  for (const [column, runs] of found) {
    const start = (column - left) * rows - top;
    for (let i = 0; i < runs.length; i += 2) {
      const from = start + runs[i];
      if (from === end && counts.length > 0) counts[counts.length - 1] += runs[i + 1] - runs[i];
      else counts.push(from - end, runs[i + 1] - runs[i]);
      end = start + runs[i + 1];
    }
  }
  if (end < columns * rows) counts.push(columns * rows - end);
  return { x: left, y: top, width: columns, height: rows, columns, rows, scale: 1, counts };
}
