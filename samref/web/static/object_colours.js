/** Colours that tell the objects of an image apart, whatever their class. Pure but for its memory of who has which. */

const HUES = 12;
const TONES = [
  [0.85, 0.5],
  [0.7, 0.68],
  [0.75, 0.36],
];

/** Colours as far apart as their number allows; [r, g, b] each. */
export const PALETTE = Object.freeze(
  TONES.flatMap(([saturation, lightness], tone) =>
    Array.from({ length: HUES }, (_, i) =>
      Object.freeze(fromHsl((i * 360) / HUES + (tone * 360) / HUES / TONES.length, saturation, lightness)),
    ),
  ),
);

/**
 * Give objects their colours: `colourOf(list)` is a map from id to [r, g, b].
 *
 * An object keeps its colour as long as the page lives. A new one takes the colour its id stands for, or the next
 * that no object in reach has, so that neighbours differ and a reload brings nearly the same colours.
 */
export function createInstanceColours() {
  const given = new Map(); // id -> index in PALETTE
  let shown = null;
  let colours = new Map();
  return (list) => {
    if (list === shown) return colours;
    shown = list;
    const boxes = [];
    for (const one of list) if (given.has(one.id)) boxes.push(one);
    for (const one of list) {
      if (given.has(one.id)) continue;
      const taken = new Set(boxes.filter((other) => isNear(one.mask, other.mask)).map(({ id }) => given.get(id)));
      given.set(one.id, freeColour(hash(one.id), taken));
      boxes.push(one);
    }
    colours = new Map(list.map(({ id }) => [id, PALETTE[given.get(id)]]));
    return colours;
  };
}

/** The colour number to take: that of `number`, else the next free one; steps of 7 pass all and never go to a neighbour. */
function freeColour(number, taken) {
  for (let i = 0; i < PALETTE.length; i++) {
    const at = (number + 7 * i) % PALETTE.length;
    if (!taken.has(at)) return at;
  }
  return number % PALETTE.length;
}

/** Whether two boxes touch when each is grown by a tenth. */
function isNear(a, b) {
  if (!a || !b) return false;
  const reachX = (a.width + b.width) * 0.1;
  const reachY = (a.height + b.height) * 0.1;
  return (
    a.x < b.x + b.width + reachX &&
    b.x < a.x + a.width + reachX &&
    a.y < b.y + b.height + reachY &&
    b.y < a.y + a.height + reachY
  );
}

/** FNV-1a, 32 bits. */
function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619) >>> 0;
  return value;
}

function fromHsl(hue, saturation, lightness) {
  const reach = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}
