/** The side panel: classes, objects, how masks look, files out and in. */

import { createClassList } from "./class_list.js";
import { h, iconButton } from "./dom.js";
import { createLook } from "./look.js";
import { createObjectList } from "./object_list.js";

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
  const out = iconButton("download", "Export labels, or import them", () => actions.showExport(), { text: "Export" });
  const showImport = () => actions.showExport("import");
  const into = iconButton("upload", "Import labels, or export them", showImport, { text: "Import" });
  const inBulk = h(
    "button",
    { type: "button", class: "samref-button samref-work", on: { click: actions.showBulk } },
    "Masks from boxes",
  );
  const work = h(
    "button",
    { type: "button", class: "samref-button samref-work", on: { click: actions.showKeeping } },
    "Where is my work?",
  );
  return { element: h("div", { class: "samref-files" }, out, into, inBulk, work), update: () => {} };
}
