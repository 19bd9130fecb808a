/** The side panel: classes, objects, how masks look, files out and in. */

import { createClassList } from "./class_list.js";
import { h, iconButton, setText } from "./dom.js";
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

function createLook(actions) {
  const opacity = h("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    "aria-label": "Opacity of masks",
    on: { input: () => actions.setOpacity(Number(opacity.value) / 100) },
  });
  const percent = h("output", {});
  const outline = h("input", { type: "checkbox", on: { change: () => actions.setOutlineOnly(outline.checked) } });
  const element = h(
    "div",
    { class: "samref-look" },
    h("label", { class: "samref-slider" }, h("span", {}, "Opacity"), opacity, percent),
    h(
      "label",
      { class: "samref-check", title: "Outlines only (O)" },
      outline,
      h("span", {}, "Outlines only"),
      h("kbd", {}, "O"),
    ),
    h(
      "div",
      { class: "samref-hold" },
      holdButton("Hide masks", "H", "hide", actions),
      holdButton("See coarse", "C", "coarse", actions),
    ),
  );
  return {
    element,
    update(state) {
      opacity.value = String(Math.round(state.opacity * 100));
      setText(percent, `${opacity.value} %`);
      outline.checked = state.outlineOnly;
    },
  };
}

/** A button that acts as long as it is held, like its key. */
function holdButton(text, key, action, actions) {
  const off = () => actions.hold(action, false);
  return h(
    "button",
    {
      type: "button",
      class: "samref-button samref-hold-button",
      title: `Hold: ${text.toLowerCase()} (${key})`,
      on: {
        pointerdown: (event) => {
          event.currentTarget.setPointerCapture?.(event.pointerId);
          actions.hold(action, true);
        },
        pointerup: off,
        pointercancel: off,
        lostpointercapture: off,
        contextmenu: (event) => event.preventDefault(),
      },
    },
    h("span", {}, text),
    h("kbd", {}, key),
  );
}

function createFiles(actions) {
  const out = iconButton("download", "Export labels, or import them", () => actions.showExport(), { text: "Export" });
  const showImport = () => actions.showExport("import");
  const into = iconButton("upload", "Import labels, or export them", showImport, { text: "Import" });
  const work = h(
    "button",
    { type: "button", class: "samref-button samref-work", on: { click: actions.showKeeping } },
    "Where is my work?",
  );
  return { element: h("div", { class: "samref-files" }, out, into, work), update: () => {} };
}
