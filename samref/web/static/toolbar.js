/** Tools at the left, the bar of the draft and the zoom buttons over the image. */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { findClass } from "./state.js";

const TOOLS = [
  ["click", "Point", "P"],
  ["box", "Box", "B"],
  ["scribble", "Scribble", "S"],
  ["polygon", "Polygon", "G"],
  ["hand", "Hand", "V"],
];

export const BRUSH = Object.freeze({ least: 1, most: 151, normal: 11 });

/** Fill `tools`; gives `update(state)`. */
export function createToolbar(container, actions) {
  const buttons = TOOLS.map(([tool, name, key]) => [
    tool,
    iconButton(tool, `${name} (${key})`, () => actions.chooseTool(tool), {
      text: name,
      class: "samref-tool",
      data: { key: `tool:${tool}` },
      "aria-pressed": "false",
    }),
  ]);
  const add = iconButton("plus", "Add to the object (X switches)", () => actions.setSign(true), {
    text: "Add",
    class: "samref-sign-add",
    data: { key: "flipSign" },
  });
  const remove = iconButton("minus", "Remove from the object (X switches)", () => actions.setSign(false), {
    text: "Remove",
    class: "samref-sign-remove",
    data: { key: "flipSign" },
  });
  const width = h("input", {
    type: "range",
    min: BRUSH.least,
    max: BRUSH.most,
    step: 2,
    "aria-label": "Width of the scribble in image pixels",
    on: { input: () => actions.setBrush(Number(width.value)) },
  });
  const widthText = h("span", {});
  const brushBox = h(
    "label",
    { class: "samref-brush-width", title: "Width in image pixels ([ and ])" },
    widthText,
    width,
  );
  container.append(
    h(
      "div",
      { class: "samref-tool-group", role: "group", "aria-label": "Tool" },
      ...buttons.map(([, button]) => button),
    ),
    h("div", { class: "samref-tool-group samref-sign", role: "group", "aria-label": "What prompts say" }, add, remove),
    brushBox,
  );
  return (state) => {
    for (const [tool, button] of buttons) setAttribute(button, "aria-pressed", String(state.tool === tool));
    setAttribute(add, "aria-pressed", String(state.positive));
    setAttribute(remove, "aria-pressed", String(!state.positive));
    brushBox.hidden = state.tool !== "scribble";
    width.value = String(state.brushWidth);
    setText(widthText, `${state.brushWidth} px`);
  };
}

/** Zoom buttons and the readout; gives `update({zoom, pixel})`. */
export function createZoom(container, readout, actions) {
  const percent = h("button", {
    type: "button",
    class: "samref-button samref-percent",
    title: "Fit the image (F)",
    data: { key: "fit" },
    on: { click: actions.fit },
  });
  container.append(
    iconButton("minus", "Zoom out (−)", () => actions.zoom(-1), { data: { key: "zoom:out" } }),
    percent,
    iconButton("plus", "Zoom in (+)", () => actions.zoom(1), { data: { key: "zoom:in" } }),
    iconButton("fit", "Fit the image (F)", actions.fit, { data: { key: "fit" } }),
  );
  return ({ zoom, pixel }) => {
    setText(percent, zoom === null ? "" : `${zoom} %`);
    setAttribute(percent, "aria-label", zoom === null ? "Fit" : `Zoom is ${zoom} percent; fit the image`);
    setText(readout, pixel ? `${pixel[0]}, ${pixel[1]}` : "");
  };
}

/** The bar of the draft: class, score, undo, redo, discard, accept; gives `update(state)`. */
export function createDraftBar(container, actions) {
  const swatch = h("span", { class: "samref-swatch" });
  const name = h("span", { class: "samref-draft-class" });
  const score = h("span", { class: "samref-draft-score", title: "The model's own estimate of how well the mask fits" });
  const undo = iconButton("undo", "Undo (Ctrl + Z)", actions.undo, { data: { key: "undo" } });
  const redo = iconButton("redo", "Redo (Ctrl + Y)", actions.redo, { data: { key: "redo" } });
  const clear = iconButton("close", "Discard the draft (Esc)", actions.clear, { data: { key: "clear" } });
  const accept = h(
    "button",
    {
      type: "button",
      class: "samref-button samref-accept",
      title: "Accept the mask (Enter)",
      data: { key: "accept" },
      on: { click: actions.accept },
    },
    icon("check"),
    h("span", {}, "Accept"),
    h("kbd", { "aria-hidden": "true" }, "Enter"),
  );
  container.append(h("span", { class: "samref-draft-what" }, swatch, name, score), undo, redo, clear, accept);
  return (state) => {
    const { draft } = state;
    const active = draft.count > 0 || draft.mask !== null || draft.editing !== null;
    container.hidden = !state.image || !active;
    const chosen = findClass(state, state.classId);
    swatch.style.background = chosen?.colour ?? "transparent";
    setText(name, `${draft.editing ? "Editing · " : ""}${chosen?.name ?? ""}`);
    setText(score, draft.score === null ? "" : draft.score.toFixed(2));
    undo.disabled = !state.undo;
    redo.disabled = !state.redo;
    clear.disabled = draft.count === 0 && draft.editing === null && !draft.mask;
    accept.disabled = !draft.mask;
  };
}
