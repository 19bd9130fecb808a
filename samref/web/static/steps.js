/** Image before, image after: for screens without the strip. */

import { iconButton } from "./dom.js";

/** Fill the place; gives `update(state)`. */
export function createSteps(container, actions) {
  const back = iconButton("back", "Image before this one", () => actions.perform("image:previous"), {
    data: { key: "image:previous" },
  });
  const on = iconButton("forward", "Image after this one", () => actions.perform("image:next"), {
    data: { key: "image:next" },
  });
  container.append(back, on);
  return (state) => {
    const images = state.workspace?.images ?? [];
    const open = (state.opening ?? state.image)?.digest;
    const at = images.findIndex((one) => one.digest === open);
    container.hidden = images.length < 2;
    back.disabled = at <= 0;
    on.disabled = at < 0 || at === images.length - 1;
  };
}
