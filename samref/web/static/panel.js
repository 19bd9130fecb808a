/** The side panel: classes, objects, how masks look, files out and in. */

import { createClassList } from "./class_list.js";
import { h, icon, iconButton, setAttribute } from "./dom.js";
import { createLook } from "./look.js";
import { createObjectList } from "./object_list.js";

/** Fill the panel; gives `update(state)`. */
export function createPanel(container, actions, swatchOf) {
  const classes = createClassList(actions);
  const objects = createObjectList(actions, swatchOf);
  const look = createLook(actions);
  const files = createFiles(actions);
  const sections = [
    createSection(actions, "Classes", classes.element),
    createSection(actions, "Objects", objects.element, objects.count),
    createSection(actions, "View", look.element),
    createSection(actions, "Files", files.element),
  ];
  container.append(
    h(
      "div",
      { class: "samref-panel-top" },
      h("h2", {}, "Classes and objects"),
      iconButton("close", "Close", actions.togglePanel),
    ),
    ...sections.map((one) => one.element),
  );
  return (state) => {
    for (const part of [classes, objects, look, files, ...sections]) part.update(state);
    container.classList.toggle("samref-open", state.panelOpen);
  };
}

/** A part of the panel that can be closed; which are closed is a setting, their names with commas between. */
function createSection(actions, title, content, extra = null) {
  const name = title.toLowerCase();
  const heading = h(
    "button",
    { type: "button", class: "samref-section-heading", on: { click: toggle } },
    icon("down"),
    h("span", {}, title),
  );
  const body = h("div", { class: "samref-section-body" }, content);
  const element = h(
    "section",
    { class: `samref-section samref-section-${name}`, "aria-label": title },
    h("h3", {}, heading, extra),
    body,
  );
  let closed = [];

  function toggle() {
    const next = closed.includes(name) ? closed.filter((one) => one !== name) : [...closed, name];
    actions.set({ closedSections: next.join() });
  }

  return {
    element,
    update(state) {
      closed = state.closedSections.split(",").filter(Boolean);
      const open = !closed.includes(name);
      body.hidden = !open;
      element.classList.toggle("samref-closed", !open);
      setAttribute(heading, "aria-expanded", String(open));
    },
  };
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
