/** The side panel: classes, objects, how masks look, files out and in. */

import { createClassList } from "./class_list.js";
import { h, icon, iconButton } from "./dom.js";
import { createLook } from "./look.js";
import { createObjectList } from "./object_list.js";

const EXPORTS = [
  ["coco-polygon", "COCO, polygons", false],
  ["coco-rle", "COCO, run lengths (exact)", false],
  ["png-class", "PNG of classes, this image", true],
  ["png-instance", "PNG of objects, this image", true],
  ["zip", "Everything (zip)", false],
];

/** Fill the panel; gives `update(state)`. */
export function createPanel(container, actions) {
  const classes = createClassList(actions);
  const objects = createObjectList(actions);
  const look = createLook(actions);
  const files = createFiles(actions);
  container.append(
    h(
      "div",
      { class: "samref-panel-top" },
      h("h2", {}, "Classes and objects"),
      iconButton("close", "Close", actions.togglePanel),
    ),
    section("Classes", classes.element),
    section("Objects", objects.element, objects.count, "samref-section-objects"),
    section("View", look.element),
    section("Files", files.element),
  );
  return (state) => {
    for (const part of [classes, objects, look, files]) part.update(state);
    container.classList.toggle("samref-open", state.panelOpen);
  };
}

function section(title, content, extra = null, name = "") {
  return h("section", { class: `samref-section ${name}`, "aria-label": title }, h("h3", {}, title, extra), content);
}

function createFiles(actions) {
  const buttons = EXPORTS.map(([format, text, needsImage]) => [
    needsImage,
    h(
      "button",
      { type: "button", class: "samref-menu-item", on: { click: () => actions.download(format, needsImage) } },
      text,
    ),
  ]);
  const menu = h(
    "details",
    { class: "samref-menu" },
    h("summary", { class: "samref-button" }, icon("download"), h("span", {}, "Export")),
    h("div", { class: "samref-menu-items" }, ...buttons.map(([, button]) => button)),
  );
  for (const [, button] of buttons) button.addEventListener("click", () => (menu.open = false));
  const input = h("input", {
    type: "file",
    accept: ".json,application/json",
    class: "samref-file-input",
    tabindex: "-1",
    "aria-hidden": "true",
    on: {
      change: () => {
        if (input.files[0]) actions.importCoco(input.files[0]);
        input.value = "";
      },
    },
  });
  const importButton = iconButton("upload", "Import COCO: objects from a file", () => input.click(), {
    text: "Import COCO",
  });
  const work = h(
    "button",
    { type: "button", class: "samref-button samref-work", on: { click: actions.showKeeping } },
    "Where is my work?",
  );
  return {
    element: h("div", { class: "samref-files" }, menu, importButton, input, work),
    update(state) {
      for (const [needsImage, button] of buttons) button.disabled = needsImage && !state.image;
    },
  };
}
