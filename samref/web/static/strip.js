/** The strip under the open image: all images in a row, and the bar with the marks of the open one. */

import { h, iconButton, setAttribute, setText } from "./dom.js";
import { fileInput, tileOf, withCurrent } from "./gallery.js";
import { FILTERS } from "./image_list.js";
import { createWindowed } from "./windowed.js";

/** Fill the strip; gives `update(state)`. */
export function createStrip(container, actions, { imagesOf, thumbs }) {
  const scroller = h("div", { class: "samref-strip-scroller" });
  const list = h("ul", { class: "samref-strip-window", "aria-label": "Images" });
  const input = fileInput(actions);
  const number = h("input", {
    type: "text",
    inputmode: "numeric",
    class: "samref-image-number",
    "aria-label": "Number of the image; Enter opens another one",
    title: "Open an image by its number",
    autocomplete: "off",
    on: {
      focus: () => number.select(),
      keydown: (event) => event.key === "Enter" && go(event),
      blur: () => (number.value = shownNumber),
    },
  });
  const total = h("span", { class: "samref-image-total" });
  const previous = iconButton("back", "Image before this one", () => actions.goBy(-1), {
    data: { key: "image:previous" },
  });
  const next = iconButton("forward", "Image after this one", () => actions.goBy(1), { data: { key: "image:next" } });
  const done = iconButton("check", "All done: mark the image and open the next one to do", actions.doneNext, {
    class: "samref-mark-done",
    data: { key: "doneNext" },
  });
  const flag = iconButton("flag", "Flag the image as a question", () => actions.toggleMark("flagged"), {
    class: "samref-mark-flagged",
    data: { key: "mark:flagged" },
  });
  const remove = iconButton("trash", "Remove this image; it can be brought back", () => {
    if (open) actions.removeImages([open]);
  });
  scroller.append(list);
  container.append(
    h("div", { class: "samref-image-bar" }, previous, number, total, next, done, flag, remove),
    scroller,
    iconButton("plus", "Add images", () => input.click(), { class: "samref-strip-add" }),
    input,
  );
  const windowed = createWindowed({
    scroller,
    list,
    shape: { axis: "x", least: 76, gap: 8 },
    keyOf: (one) => one.digest,
    create: () => tileOf(thumbs, (one) => actions.openImage(one.digest)),
  });
  let open = null;
  let shownNumber = "";
  let listed = null;
  let revealed = null;

  function go(event) {
    event.preventDefault();
    actions.openNumber(Number(number.value));
    number.blur();
  }

  return (state) => {
    const images = imagesOf(state);
    open = (state.opening ?? state.image)?.digest ?? null;
    container.hidden = !state.workspace || state.workspace.images.length === 0;
    if (container.hidden) return;
    const one = images.shown[images.open] ?? images.ordered.find((each) => each.digest === open);
    const filter = state.imageFilter === "all" ? "" : ` ${FILTERS[state.imageFilter].toLowerCase()}`;
    shownNumber = images.open < 0 ? "–" : String(images.open + 1);
    if (document.activeElement !== number) number.value = shownNumber;
    const size = images.shown.length.toLocaleString("en");
    setText(total, `of ${size}${filter}${state.imageSearch.trim() ? " found" : ""}`);
    for (const button of [done, flag, remove]) button.disabled = !one;
    setAttribute(done, "aria-pressed", String(one?.mark === "done"));
    setAttribute(flag, "aria-pressed", String(one?.mark === "flagged"));
    if (images.shown === listed && open === revealed) return;
    listed = images.shown;
    windowed.show(withCurrent(images.shown, images.open), images.open);
    if (open !== revealed) windowed.reveal(images.open);
    revealed = open;
  };
}
