/** Below the image while there is no draft: the image before and after (on small screens), undo and redo. */

import { iconButton, setAttribute } from "./dom.js";
import { labelOf } from "./shortcuts.js";

/** Fill the place; gives `update(state)`. */
export function createSteps(container, actions, imagesOf) {
  const back = iconButton("back", "Image before this one", () => actions.perform("image:previous"), {
    data: { key: "image:previous" },
  });
  const on = iconButton("forward", "Image after this one", () => actions.perform("image:next"), {
    data: { key: "image:next" },
  });
  container.append(back, on);
  return (state) => {
    const { shown, open } = imagesOf(state);
    container.hidden = shown.length < 2;
    back.disabled = open === 0;
    on.disabled = open === shown.length - 1;
  };
}

/** Fill the place with undo and redo, which say what they would do; gives `update(state)`. */
export function createTravel(container, actions) {
  const undo = iconButton("undo", "Undo", actions.undo);
  const redo = iconButton("redo", "Redo", actions.redo);
  container.append(undo, redo);
  const show = (button, word, action, what) => {
    const key = labelOf(action);
    const label = `${word}${what ? `: ${what}` : ""}${key ? ` (${key})` : ""}`;
    button.disabled = !what;
    setAttribute(button, "title", label);
    setAttribute(button, "aria-label", label);
  };
  return (state) => {
    container.hidden = !state.image;
    show(undo, "Undo", "undo", state.undo);
    show(redo, "Redo", "redo", state.redo);
  };
}
