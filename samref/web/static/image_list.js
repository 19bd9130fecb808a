/** Which images there are, in which order and which of them are shown: the gallery, the strip and the keys agree. Pure. */

/** What an image can be asked for by, and what each says of itself. */
export const FILTERS = Object.freeze({
  all: "All",
  todo: "To do",
  draft: "Unfinished object",
  done: "Done",
  flagged: "Flagged",
  removed: "Removed",
});

export const SORTS = Object.freeze({ added: "As added", name: "Name", state: "State", objects: "Objects" });

/** The state of an image in one word. An unfinished object is said besides: `image.draft`. */
export function stateOf(image) {
  if (image.removed) return "removed";
  return image.mark || (image.draft ? "draft" : "todo");
}

const passes = {
  all: (image) => !image.removed,
  todo: (image) => !image.removed && !image.mark,
  draft: (image) => !image.removed && image.draft === true,
  done: (image) => !image.removed && image.mark === "done",
  flagged: (image) => !image.removed && image.mark === "flagged",
  removed: (image) => image.removed === true,
};

const ORDER_OF_STATES = ["draft", "todo", "flagged", "done", "removed"];
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** The last part of a path. */
export const nameIn = (path) => path.slice(path.lastIndexOf("/") + 1);

/**
 * A function `of(state)` that gives {all, shown, counts, open}: every image that is not removed, those that pass filter
 * and search, in order; how many pass each filter; and the place of the open image in `shown` (-1: not there). What
 * this page knows of the open image is newer than the list. Nothing is computed twice for the same state.
 */
export function createImageList() {
  const live = remembering(withOpenImage);
  const ranks = remembering(rankNames);
  const sort = remembering((images, by, nameRanks) => sorted(images, by, nameRanks));
  const select = remembering(filtered);
  const count = remembering(countAll);
  const place = remembering((shown, digest) => shown.findIndex((one) => one.digest === digest));

  return function of(state) {
    const known = state.workspace?.images ?? NONE;
    const digest = (state.opening ?? state.image)?.digest ?? null;
    const images = live(known, ...liveFacts(state));
    const by = state.imageSort ?? "added";
    const ordered = sort(images, by, by === "name" ? ranks(known.length, known[0]?.digest, known) : null);
    const shown = select(ordered, state.imageFilter ?? "all", (state.imageSearch ?? "").trim().toLowerCase());
    return { ordered, shown, counts: count(images), open: place(shown, digest) };
  };
}

/** The image `step` places after `digest` among those shown; the next one that is shown where that one is not. */
export function neighbourOf({ ordered, shown, open }, digest, step) {
  if (open >= 0) return shown[open + step] ?? null;
  const isShown = new Set(shown);
  const at = ordered.findIndex((one) => one.digest === digest);
  if (at < 0) return null;
  for (let i = at + step; i >= 0 && i < ordered.length; i += step) if (isShown.has(ordered[i])) return ordered[i];
  return null;
}

/** The next image after `digest` that nobody has marked yet, from the start again after the last; null: none. */
export function nextToDo({ ordered }, digest) {
  const at = ordered.findIndex((one) => one.digest === digest);
  const round = [...ordered.slice(at + 1), ...ordered.slice(0, Math.max(at, 0))];
  return round.find((one) => passes.todo(one) && one.digest !== digest) ?? null;
}

const NONE = Object.freeze([]);

/** Of the open image: digest, whether it has a draft, and how many objects; null where the page knows no better. */
function liveFacts({ image, opening, draft, annotations }) {
  if (!image || opening || annotations.revision === 0) return [null, false, 0];
  return [image.digest, draft.count > 0 || Boolean(draft.mask) || draft.editing !== null, annotations.list.length];
}

function withOpenImage(images, digest, draft, count) {
  const at = digest === null ? -1 : images.findIndex((one) => one.digest === digest);
  if (at < 0 || ((images[at].draft ?? false) === draft && images[at].annotations === count)) return images;
  const copy = [...images];
  copy[at] = { ...copy[at], draft, annotations: count };
  return copy;
}

/** Names never change, so their order is found once for so many images. */
function rankNames(_count, _first, images) {
  const byName = [...images].sort((one, other) => names.compare(one.file_name, other.file_name));
  return new Map(byName.map((one, rank) => [one.digest, rank]));
}

function sorted(images, by, nameRanks) {
  if (by === "name") return [...images].sort((a, b) => nameRanks.get(a.digest) - nameRanks.get(b.digest));
  if (by === "objects") return [...images].sort((a, b) => b.annotations - a.annotations);
  if (by !== "state") return images;
  const rank = (image) => ORDER_OF_STATES.indexOf(stateOf(image));
  return [...images].sort((a, b) => rank(a) - rank(b));
}

function filtered(images, filter, text) {
  return images.filter((one) => passes[filter](one) && (!text || one.file_name.toLowerCase().includes(text)));
}

function countAll(images) {
  const counts = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, 0]));
  for (const image of images) for (const name of Object.keys(FILTERS)) if (passes[name](image)) counts[name] += 1;
  return counts;
}

/** `compute`, which is asked again only when an argument is another one than last time. */
function remembering(compute) {
  let last = null;
  return (...args) => {
    if (last === null || args.some((arg, i) => arg !== last.args[i])) last = { args, result: compute(...args) };
    return last.result;
  };
}
