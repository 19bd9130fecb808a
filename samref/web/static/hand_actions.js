/** What a person does to pixels and single prompts, by name: strokes, clean-ups, outlines, the keyboard's pointer. */

import { NO_PIXELS } from "./rle.js";
import { minus, regionOf, toMask, union } from "./raster.js";

/** Actions of shortcuts.js that end here. */
export const HAND_ACTIONS = new Set(["tidy", "tidyMenu", "cursor"]);

/** A mask may be this many characters long on the wire. */
const MOST_CHARACTERS = 400_000;

/** An area that has no limit: all holes, all islands but the largest part. */
export const ALL = 0;

/** A preview is asked for when the pointer rests on it this long, ms. */
const REST_MS = 120;

/** Clean-ups of the draft: what the amount is and how far it goes (areas also to `ALL`); null: there is none. */
export const TIDY = Object.freeze([
  { how: "fill_holes", text: "Fill holes", unit: "px²", amount: ALL, least: 1, most: 100_000, about: "up to" },
  {
    how: "drop_islands",
    text: "Drop islands",
    unit: "px²",
    amount: 100,
    least: 1,
    most: 100_000,
    about: "smaller than",
  },
  { how: "smooth", text: "Smooth", unit: "px", amount: 3, least: 1, most: 50, about: "by" },
  { how: "grow", text: "Grow", unit: "px", amount: 2, least: 1, most: 50, about: "by" },
  { how: "shrink", text: "Shrink", unit: "px", amount: 2, least: 1, most: 50, about: "by" },
  { how: "subtract", text: "Subtract other objects", amount: null },
]);

/** @param {object} parts {store, ask(verb, args), toasts, canvas: () => canvas} */
export function createHandActions({ store, ask, toasts, canvas }) {
  const state = () => store.get();
  const tell = () => store.set({}); // what the transport holds is part of the image
  let resting = null;

  /** Pixels set by hand: masks as sent, or null. */
  function paint({ added, removed, how }) {
    if (isTooLong(added, removed)) return;
    ask("paint", { added, removed, how });
    tell();
  }

  function reshape({ id, added, removed }) {
    if (isTooLong(added, removed)) return;
    ask("reshape", { id, added, removed });
    tell();
  }

  function isTooLong(...masks) {
    const long = masks.some((mask) => mask && mask.counts.length > MOST_CHARACTERS);
    if (long) toasts.error("That shape has too many small pieces to be kept. Draw it in parts.");
    return long;
  }

  /** Another prompt in the place of one of the draft's, or none. */
  function replacePrompt(index, prompt) {
    ask("replace_prompt", { index, prompt });
    tell();
  }

  // ---- clean-ups ----------------------------------------------------------------------------------------------

  const amountOf = (how) => state().tidyAmounts[how] ?? TIDY.find((one) => one.how === how).amount;

  function tidy(how) {
    leaveTidy();
    if (!canvas().draftMask()) return toasts.info("There is no mask to clean up yet: click on an object first.");
    if (how === "subtract") ask("subtract");
    else ask("tidy", { how, amount: amountOf(how) });
  }

  /** Show what a clean-up would give, once the pointer rests. */
  function tryTidy(how) {
    leaveTidy();
    if (!state().draft.mask) return;
    if (how === "subtract") return void store.set({ preview: withoutOthers() });
    resting = setTimeout(() => {
      store.set({ previewing: how });
      ask("preview_tidy", { how, amount: amountOf(how) });
    }, REST_MS);
  }

  function leaveTidy() {
    clearTimeout(resting);
    const { preview, previewing } = state();
    if (preview || previewing) store.set({ preview: null, previewing: null });
  }

  /** The draft without the pixels of all visible objects; an empty mask where nothing is left. */
  function withoutOthers() {
    const { draft, annotations, image } = state();
    const region = (mask) => regionOf(mask, image.width, image.height);
    const others = annotations.list.filter((one) => one.visible && one.mask && one.id !== draft.editing);
    const taken = others.reduce((sum, one) => union(sum, region(one.mask)), region(null));
    return toMask(minus(region(draft.mask), taken)) ?? NO_PIXELS;
  }

  function setTidyAmount(how, amount) {
    const { least, most } = TIDY.find((one) => one.how === how);
    const kept = amount === ALL ? ALL : Math.min(Math.max(Math.round(amount), least), most);
    store.set({ tidyAmounts: { ...state().tidyAmounts, [how]: kept } });
  }

  function toggleTidyMenu(open = !state().tidyOpen) {
    leaveTidy();
    store.set({ tidyOpen: open });
  }

  // ---- the keyboard's pointer -----------------------------------------------------------------------------------

  /** What the arrows, Enter and Esc mean while it is on; false when they mean what they always do. */
  function performAtCursor(name, event) {
    const { cursor } = canvas();
    if (!cursor.isOn()) return false;
    if (name === "pan") cursor.move(ARROWS[event.key], event.shiftKey ? FAR : 1);
    else if (name === "accept" && cursor.isFresh()) cursor.press({ negative: event.shiftKey });
    else if (name === "clear" && !canvas().isDrawing()) cursor.hide();
    else return false;
    return true;
  }

  /** Space presses there instead of panning; true when it did. */
  function holdAtCursor(action, on) {
    const { cursor } = canvas();
    if (action !== "panning" || !cursor.isOn()) return false;
    if (on) cursor.press();
    return true;
  }

  function perform(name, argument) {
    if (name === "tidy") return tidy(argument);
    if (name === "tidyMenu") return canvas().draftMask() ? toggleTidyMenu() : false;
    return canvas().cursor.toggle();
  }

  return {
    paint,
    reshape,
    replacePrompt,
    tidy,
    tryTidy,
    leaveTidy,
    setTidyAmount,
    toggleTidyMenu,
    setTolerance: (tolerance) => store.set({ tolerance }),
    finishPolygon: () => canvas().finishPolygon(),
    dropCorner: () => canvas().dropCorner(),
    performAtCursor,
    holdAtCursor,
    performHand: perform,
  };
}

const FAR = 10; // image pixels with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
