/** Tools at the left, the bar of the draft and the zoom buttons over the image. */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { nameButton } from "./key_hints.js";
import { findClass } from "./state.js";
import { createTidyMenu } from "./tidy_menu.js";

/** Tools that ask the model, tools that set pixels themselves, and the one that only moves: [tool, name, keys, what]. */
const GROUPS = [
  [
    "Model",
    "Prompts for the model",
    [
      ["click", "Point", "P", "click on the object, or drag a box around it"],
      ["box", "Box", "B", "drag around the object"],
      ["scribble", "Scribble", "S", "draw along the object"],
      ["polygon", "Polygon", "G", "a hint: the model fits the mask to what you outline"],
    ],
  ],
  [
    "Exact",
    "Pixels by hand",
    [
      ["brush", "Brush", "D", "paint exactly these pixels"],
      ["eraser", "Eraser", "Shift + D", "take exactly these pixels away"],
      ["lasso", "Lasso", "L", "exactly what is inside; drag freely, or click corners"],
      ["vertices", "Corners", "Y", "pull the outline of the draft or of the selected object"],
    ],
  ],
  ["", "Moving", [["hand", "Hand", "V", "move the image or one prompt, select an object"]]],
];

export const BRUSH = Object.freeze({ least: 1, most: 501, normal: 11 });

/** How far the outline may run beside the straight sides between its handles, in image pixels. */
export const TOLERANCE = Object.freeze({ least: 0.5, most: 32, normal: 2 });

/** The slider's middle is not the largest brush's half: small brushes are set finely. */
const SLIDER = 100;
const toSlider = (width) => Math.round(SLIDER * Math.sqrt((width - BRUSH.least) / (BRUSH.most - BRUSH.least)));
const fromSlider = (at) => BRUSH.least + (BRUSH.most - BRUSH.least) * (at / SLIDER) ** 2;

/** Fill `tools`; gives `update(state)`. */
export function createToolbar(container, actions) {
  const buttons = [];
  const groups = GROUPS.map(([title, label, tools]) => {
    const made = tools.map(([tool, name, keys, what]) => {
      const button = iconButton(tool, `${name}: ${what} (${keys})`, () => actions.chooseTool(tool), {
        text: name,
        class: "samref-tool",
        data: { key: `tool:${tool}` },
        "aria-pressed": "false",
      });
      setAttribute(button, "aria-label", name);
      setAttribute(button, "aria-description", what);
      buttons.push([tool, button]);
      return button;
    });
    const heading = title && h("span", { class: "samref-tool-title", "aria-hidden": "true" }, title);
    return h("div", { class: "samref-tool-group", role: "group", "aria-label": label }, heading || null, ...made);
  });
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
    min: 0,
    max: SLIDER,
    step: 1,
    "aria-label": "Width of the brush in image pixels",
    on: { input: () => actions.setBrush(fromSlider(Number(width.value))) },
  });
  const widthText = h("span", {});
  const brushBox = h(
    "label",
    { class: "samref-brush-width", title: "Width in image pixels ([ and ], or Alt + wheel)" },
    widthText,
    width,
  );
  const tolerance = h("input", {
    type: "range",
    min: 0,
    max: SLIDER,
    step: 1,
    "aria-label": "How closely corners follow the outline",
    on: { input: () => actions.setTolerance(toTolerance(Number(tolerance.value))) },
  });
  const cornersText = h("span", { role: "status" });
  const cornersBox = h(
    "label",
    {
      class: "samref-brush-width samref-corners",
      title: "Fewer or more corners; no pixel changes until one is pulled",
    },
    cornersText,
    tolerance,
  );
  container.append(
    ...groups,
    h("div", { class: "samref-tool-group samref-sign", role: "group", "aria-label": "What prompts say" }, add, remove),
    brushBox,
    cornersBox,
  );
  const rove = makeOneStop(container, [...buttons.map(([, button]) => button), add, remove]);
  return (state, countHandles) => {
    for (const [tool, button] of buttons) setAttribute(button, "aria-pressed", String(state.tool === tool));
    setAttribute(add, "aria-pressed", String(state.positive));
    setAttribute(remove, "aria-pressed", String(!state.positive));
    rove(buttons.find(([tool]) => tool === state.tool)?.[1]);
    brushBox.hidden = !WIDE.has(state.tool);
    const at = String(toSlider(state.brushWidth));
    if (width.value !== at) width.value = at;
    setText(widthText, `${state.brushWidth} px`);
    setAttribute(width, "aria-valuetext", `${state.brushWidth} pixels`);
    cornersBox.hidden = state.tool !== "vertices";
    if (cornersBox.hidden) return;
    const count = countHandles();
    tolerance.value = String(fromTolerance(state.tolerance));
    setText(cornersText, count ? `${count} corners` : "No outline");
  };
}

const WIDE = new Set(["scribble", "brush", "eraser"]);
const toTolerance = (at) => TOLERANCE.least * (TOLERANCE.most / TOLERANCE.least) ** (at / SLIDER);
const fromTolerance = (pixels) =>
  Math.round((SLIDER * Math.log(pixels / TOLERANCE.least)) / Math.log(TOLERANCE.most / TOLERANCE.least));

/**
 * One stop for the Tab key in a row of buttons; arrows, Home and End walk in it. Gives `rove(button)`: where the stop
 * is while nobody is in there.
 */
export function makeOneStop(container, buttons) {
  const stopAt = (chosen) => buttons.forEach((button) => (button.tabIndex = button === chosen ? 0 : -1));
  stopAt(buttons[0]);
  container.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    const step = STEPS[event.key];
    if (at < 0 || step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next =
      buttons[
        step === null ? (event.key === "Home" ? 0 : buttons.length - 1) : (at + step + buttons.length) % buttons.length
      ];
    stopAt(next);
    next.focus();
  });
  return (button) => {
    if (button && !buttons.includes(document.activeElement)) stopAt(button);
  };
}

const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: null, End: null };

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

/** The bar of the draft: class, score, undo, redo, history, clean-ups, discard, accept; gives `update(state)`. */
export function createDraftBar(container, actions, history, stage) {
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
  const close = iconButton("polygon", "Close the polygon (Enter, or a double click)", actions.finishPolygon, {
    text: "Close",
    class: "samref-polygon-close",
  });
  const takeBack = iconButton("undo", "Take the last corner back (Backspace)", actions.dropCorner, { text: "Corner" });
  const polygon = h("span", { class: "samref-draft-polygon", hidden: true }, close, takeBack);
  const tidy = createTidyMenu(actions);
  container.append(
    h("span", { class: "samref-draft-what" }, swatch, name, score),
    polygon,
    undo,
    redo,
    history.button,
    tidy.button,
    clear,
    accept,
  );
  stage.append(tidy.menu); // over the image: the bar may scroll
  return (state) => {
    const { draft } = state;
    const active = draft.count > 0 || draft.mask !== null || draft.editing !== null;
    container.hidden = !state.image || !(active || state.openPolygon || state.undo || state.redo);
    container.classList.toggle("samref-draft-empty", !active);
    polygon.hidden = !state.openPolygon;
    container.classList.toggle("samref-draft-open-polygon", state.openPolygon === true);
    tidy.update(state);
    const chosen = findClass(state, state.classId);
    swatch.style.background = chosen?.colour ?? "transparent";
    setText(name, `${draft.editing ? "Editing · " : ""}${chosen?.name ?? ""}`);
    setText(score, draft.score === null ? "" : draft.score.toFixed(2));
    undo.disabled = !state.undo;
    redo.disabled = !state.redo;
    nameButton(undo, "Undo", state.undo);
    nameButton(redo, "Redo", state.redo);
    clear.disabled = draft.count === 0 && draft.editing === null && !draft.mask;
    accept.disabled = !draft.mask;
  };
}
