/**
 * Masks as they travel: COCO's compressed run lengths of a crop, and the pixels they stand for. Pure.
 *
 * The wire form is `{box: [x, y, width, height], counts, scale}`: the crop lies at `box` in the image frame; its
 * runs describe ceil(width / scale) x ceil(height / scale) pixels, column by column, background first. `scale` 1 is
 * the exact mask, 2 a preview at half resolution.
 */

/** Run lengths of a compressed COCO string: background, object, background, ... */
export function decodeCounts(text) {
  const counts = [];
  let position = 0;
  while (position < text.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      if (position >= text.length) throw new Error("a mask arrived cut off");
      const bits = text.charCodeAt(position++) - 48;
      if (bits < 0 || bits > 63) throw new Error("a mask arrived with a character that does not belong there");
      value += (bits & 31) * 2 ** shift;
      more = (bits & 32) !== 0;
      shift += 5;
      if (!more && (bits & 16) !== 0) value -= 2 ** shift; // the last five bits carry the sign
    }
    if (counts.length > 2) value += counts[counts.length - 2]; // kept as difference to the run before last
    if (value < 0) throw new Error("a mask arrived with a negative run");
    counts.push(value);
  }
  return counts;
}

/** The compressed COCO string of run lengths; `decodeCounts` reads it back. */
export function encodeCounts(counts) {
  const codes = [];
  for (let i = 0; i < counts.length; i++) {
    let value = i > 2 ? counts[i] - counts[i - 2] : counts[i];
    let more = true;
    while (more) {
      let bits = value & 31;
      value >>= 5;
      more = (bits & 16) !== 0 ? value !== -1 : value !== 0;
      if (more) bits |= 32;
      codes.push(bits + 48);
    }
  }
  let text = "";
  for (let i = 0; i < codes.length; i += 8192) text += String.fromCharCode(...codes.slice(i, i + 8192));
  return text;
}

/** A mask ready to draw: `{x, y, width, height, columns, rows, scale, counts}`; null when it has no pixel. */
export function readMask(wire) {
  if (!wire) return null;
  const [x, y, width, height] = wire.box;
  const scale = wire.scale ?? 1;
  if (width <= 0 || height <= 0) return null;
  const columns = Math.ceil(width / scale);
  const rows = Math.ceil(height / scale);
  const counts = decodeCounts(wire.counts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total !== columns * rows) throw new Error(`a mask of ${columns} x ${rows} pixels arrived with ${total}`);
  return { x, y, width, height, columns, rows, scale, counts };
}

/** A mask without a pixel, where null would mean that there is none to show. */
export const NO_PIXELS = Object.freeze({
  x: 0,
  y: 0,
  width: 1,
  height: 1,
  columns: 1,
  rows: 1,
  scale: 1,
  counts: Object.freeze([1]),
});

/**
 * Call `visit(column, first, end)` for every vertical run of object pixels, columns from left to right; runs that go
 * over the foot of a column are cut there.
 */
export function eachColumnRun(mask, visit) {
  const { rows, counts } = mask;
  let position = 0;
  for (let i = 0; i < counts.length; i++) {
    const end = position + counts[i];
    if (i % 2 === 1) {
      while (position < end) {
        const column = Math.floor(position / rows);
        const first = position - column * rows;
        const stop = Math.min(rows, first + end - position);
        visit(column, first, stop);
        position += stop - first;
      }
    }
    position = end;
  }
}

/**
 * The mask in cells of `step` x `step` of its own, for drawing it small: each column is the middle one of those it
 * stands for, rows are rounded. Nothing moves by more than half a cell; what is smaller than that may vanish.
 */
export function coarser(mask, step) {
  if (step === 1) return mask;
  const columns = Math.ceil(mask.columns / step);
  const rows = Math.ceil(mask.rows / step);
  const counts = [];
  let end = 0; // of the last object run
  eachColumnRun(mask, (column, first, stop) => {
    if (column % step !== step >> 1) return;
    const top = Math.floor(column / step) * rows;
    const from = top + Math.round(first / step);
    const to = top + Math.min(Math.round(stop / step), rows);
    if (to <= from) return;
    if (counts.length > 0 && from === end) counts[counts.length - 1] += to - from;
    else counts.push(from - end, to - from);
    end = to;
  });
  counts.push(columns * rows - end);
  return { ...mask, columns, rows, scale: mask.scale * step, counts };
}

/** RGBA bytes of the crop (rows x columns): `colour` [r, g, b] and opaque where the object is, else transparent. */
export function toPixels(mask, [red, green, blue]) {
  const bytes = new Uint8ClampedArray(mask.columns * mask.rows * 4);
  const words = new Uint32Array(bytes.buffer);
  bytes.set([red, green, blue, 255].slice(0, Math.min(4, bytes.length)), 0);
  const word = words[0]; // the colour in this machine's byte order
  words[0] = 0;
  eachColumnRun(mask, (column, first, end) => {
    for (let at = first * mask.columns + column, row = first; row < end; row++, at += mask.columns) words[at] = word;
  });
  return bytes;
}

/** Whether the image pixel (x, y) belongs to the mask. */
export function containsPixel(mask, x, y) {
  if (!mask) return false;
  if (x < mask.x || y < mask.y || x >= mask.x + mask.width || y >= mask.y + mask.height) return false;
  const column = Math.floor((x - mask.x) / mask.scale);
  const target = column * mask.rows + Math.floor((y - mask.y) / mask.scale);
  let position = 0;
  for (let i = 0; i < mask.counts.length; i++) {
    position += mask.counts[i];
    if (target < position) return i % 2 === 1;
  }
  return false;
}

/** Number of object pixels (of the crop's own resolution). */
export function area(mask) {
  return mask ? mask.counts.reduce((sum, count, i) => (i % 2 === 1 ? sum + count : sum), 0) : 0;
}
