/** What the canvas paints of the accepted objects, and which of them lie under a pixel. */

import { createInstanceColours } from "./object_colours.js";
import { isShown, namesOf, remembered, selectionOf } from "./objects.js";
import { containsPixel } from "./rle.js";
import { findClass, parseColour } from "./state.js";

/** Gives `scene(state)`; the same list as before as long as nothing changed, so that what is painted can be kept. */
export function createObjectScene() {
  const instanceColours = createInstanceColours();
  const parsed = new Map(); // "#rrggbb" -> [r, g, b], one array for each
  const parse = (text) => parsed.get(text) ?? parsed.set(text, parseColour(text)).get(text);

  const shown = remembered((list, hiddenClasses, editing) =>
    list.filter((one) => isShown({ hiddenClasses }, one) && one.id !== editing),
  );

  const objects = remembered((list, all, classes, selection, perInstance) => {
    const selected = new Set(selection);
    const own = perInstance ? instanceColours(all) : null;
    const ofClass = new Map((classes ?? []).map((one) => [one.id, parse(one.colour)]));
    return list.map((one) => ({
      id: one.id,
      mask: one.mask,
      colour: own?.get(one.id) ?? ofClass.get(one.class_id) ?? parse(undefined),
      selected: selected.has(one.id),
    }));
  });

  const onlySelected = remembered((list) => list.filter((one) => one.selected));

  /** {objects: [{id, mask, colour, selected}] bottom first, outlined: those with an outline, hovered: {…, name} | null} */
  function scene(state) {
    const list = shown(state.annotations.list, state.hiddenClasses, state.draft.editing);
    const painted = objects(
      list,
      state.annotations.list,
      state.workspace?.classes,
      selectionOf(state),
      state.instanceColours,
    );
    const under = state.hovered === null ? null : painted.find((one) => one.id === state.hovered);
    return {
      objects: painted,
      outlined: state.outlines || state.outlineOnly ? painted : onlySelected(painted),
      hovered: under ? { ...under, name: namesOf(state).get(under.id) } : null,
    };
  }

  /** The colour of an object's swatch in the list, as CSS. */
  function swatch(state, one) {
    if (!state.instanceColours) return findClass(state, one.class_id)?.colour ?? "transparent";
    return `rgb(${instanceColours(state.annotations.list).get(one.id).join(" ")})`;
  }

  return { scene, swatch };
}

/** The objects seen at an image pixel, topmost first. */
export function objectsAt(state, x, y) {
  return state.annotations.list
    .filter((one) => isShown(state, one) && one.id !== state.draft.editing && containsPixel(one.mask, x, y))
    .reverse();
}

/** Id of the object that a click on that pixel selects, or null; the one below when the topmost is selected already. */
export function objectToSelect(state, x, y) {
  const free = objectsAt(state, x, y).filter((one) => !one.locked);
  const at = free.findIndex((one) => one.id === state.selected);
  return (free[(at + 1) % free.length] ?? null)?.id ?? null;
}
