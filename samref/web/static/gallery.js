/** Where images come from: the start screen with upload and examples, and the strip under the open image. */

import { createList, h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { sentencesOf } from "./keeping.js";

const IMAGES = "image/png,image/jpeg,image/webp,image/avif,image/bmp,image/tiff,image/gif,.tif,.tiff,.avif";

/** Fill the start screen; gives `update(state, isShown)`. */
export function createStart(container, actions, routes) {
  const input = fileInput(actions);
  const choose = h(
    "button",
    { type: "button", class: "samref-dropzone", on: { click: () => input.click() } },
    icon("upload"),
    h("strong", {}, "Open images"),
    h(
      "span",
      {},
      "Choose files",
      h("span", { class: "samref-for-keys" }, ", drop them anywhere on this page, or paste one with Ctrl + V"),
    ),
  );
  const mine = h("ul", { class: "samref-grid" });
  const mineBox = h("section", { hidden: true }, h("h2", {}, "Your images"), mine);
  const examples = h("ul", { class: "samref-grid" });
  const examplesBox = h("section", { hidden: true }, h("h2", {}, "Or try one of these"), examples);
  const kept = h("span", {});
  const more = h("button", { type: "button", class: "samref-link", on: { click: actions.showKeeping } }, "Your work …");
  const back = iconButton("close", "Back to the image", actions.hideStart, { class: "samref-back" });
  container.append(
    h(
      "div",
      { class: "samref-start-body" },
      back,
      h("h1", {}, "Label objects with a few clicks"),
      h(
        "p",
        { class: "samref-lead" },
        "Click on an object; a mask appears. Correct it with a click, a box or a stroke, and press Enter.",
      ),
      choose,
      input,
      mineBox,
      examplesBox,
      h("p", { class: "samref-keeping-line" }, kept, " ", more),
    ),
  );
  const showMine = createList(
    mine,
    (one) => one.digest,
    (one) =>
      tile(
        () => actions.openImage(one.digest),
        (image) => lazily(image, () => routes.thumb(one.digest)),
      ),
  );
  const showExamples = createList(
    examples,
    (one) => one.name,
    (one) =>
      tile(
        () => actions.openExample(one.name),
        (image) => (image.src = routes.exampleThumb(one.name)),
      ),
  );
  return (state, isShown) => {
    container.hidden = !isShown;
    back.hidden = !state.image;
    setText(kept, sentencesOf(state.workspace?.keeping).join(" "));
    const images = state.workspace?.images ?? [];
    mineBox.hidden = images.length === 0;
    showMine(images.map((one) => ({ ...one, title: one.file_name, note: objectsText(one.annotations) })));
    const bundled = state.workspace?.examples ?? [];
    examplesBox.hidden = bundled.length === 0;
    showExamples(bundled);
  };
}

/** Fill the strip; gives `update(state)`. */
export function createStrip(container, actions, routes) {
  const list = h("ul", {});
  const input = fileInput(actions);
  container.append(
    list,
    iconButton("plus", "Add images", () => input.click(), { class: "samref-strip-add" }),
    input,
  );
  const show = createList(
    list,
    (one) => one.digest,
    (one) =>
      tile(
        () => actions.openImage(one.digest),
        (image) => lazily(image, () => routes.thumb(one.digest)),
      ),
  );
  let current = null;
  return (state) => {
    const open = state.opening?.digest ?? state.image?.digest;
    container.hidden = !state.workspace || state.workspace.images.length === 0;
    show(
      (state.workspace?.images ?? []).map((one) => ({
        ...one,
        title: one.file_name,
        note: one.annotations ? String(one.annotations) : "",
        current: one.digest === open,
      })),
    );
    if (open !== current) {
      current = open;
      list.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  };
}

function tile(onClick, load) {
  const image = h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const title = h("span", { class: "samref-tile-title" });
  const note = h("span", { class: "samref-tile-note" });
  const button = h("button", { type: "button", class: "samref-tile", on: { click: onClick } }, image, title, note);
  load(image);
  return {
    element: h("li", {}, button),
    update(one) {
      setText(title, one.title);
      setText(note, one.note ?? "");
      note.hidden = !one.note;
      setAttribute(button, "title", one.title);
      setAttribute(button, "aria-current", one.current ? "true" : null);
    },
  };
}

const waiting = new WeakMap();
const whenSeen = globalThis.IntersectionObserver
  ? new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        whenSeen.unobserve(target);
        waiting
          .get(target)()
          .then((address) => address && (target.src = address));
      }
    })
  : null;

/** Load a thumbnail once its tile can be seen. */
function lazily(image, address) {
  waiting.set(image, address);
  whenSeen?.observe(image);
}

function fileInput(actions) {
  const input = h("input", {
    type: "file",
    accept: IMAGES,
    multiple: true,
    class: "samref-file-input",
    tabindex: "-1",
    "aria-hidden": "true",
    on: {
      change: () => {
        actions.addFiles([...input.files]);
        input.value = "";
      },
    },
  });
  return input;
}

const objectsText = (count) => (count ? `${count} object${count === 1 ? "" : "s"}` : "");
