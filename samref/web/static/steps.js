/** Image before, image after: for screens without the strip. */

import { iconButton } from "./dom.js";

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
