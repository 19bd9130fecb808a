/** The part of the panel that says how the image and its masks look. None of it is sent or saved with the labels. */

import { PLAIN, isPlain } from "./adjust.js";
import { h, iconButton, setAttribute, setText } from "./dom.js";

const TONES = [
  ["brightness", "Brightness", -100, 100, 1],
  ["contrast", "Contrast", -100, 100, 1],
  ["gamma", "Gamma", 0.2, 5, 0.05],
];

/** Gives {element, update(state)}. */
export function createLook(actions) {
  const opacity = slider("Opacity", "Opacity of masks", 0, 100, 1, (value) => actions.setOpacity(value / 100));
  const edges = check("Outlines", null, (on) => actions.look({ outlines: on }));
  const outline = check("No fill", "outline", (on) => actions.look({ outlineOnly: on }));
  const own = check("By object", "instanceColours", (on) => actions.look({ instanceColours: on }));
  own.element.title = "A colour for each object, not for each class";
  const crosshair = check("Lines at the pointer", "crosshair", (on) => actions.look({ crosshair: on }));
  const minimap = check("Overview", "minimap", (on) => actions.look({ minimap: on }));
  const twoFingers = check("Wheel moves, Ctrl + wheel zooms", null, (on) => actions.look({ twoFingers: on }));
  const hide = toggle("Hide masks", "toggleMasks", () => actions.perform("toggleMasks"));
  const coarse = toggle("See coarse", "toggleCoarse", () => actions.perform("toggleCoarse"));
  const tones = TONES.map(([name, text, least, most, step]) => [
    name,
    slider(text, `${text} of the view`, least, most, step, (value) => actions.adjust({ [name]: value })),
  ]);
  const plain = h(
    "button",
    { type: "button", class: "samref-button", on: { click: () => actions.adjust(PLAIN) } },
    "Reset brightness, contrast, gamma",
  );
  const summary = h("summary", {}, "Brightness and contrast");
  const adjusting = h(
    "details",
    { class: "samref-tone" },
    summary,
    ...tones.map(([, one]) => one.element),
    h("p", { class: "samref-facts" }, "View only: the model and every export see the image as it is."),
    plain,
  );
  const turning = h(
    "div",
    { class: "samref-turn", role: "group", "aria-label": "Turn the view" },
    iconButton("turnLeft", "Turn the view to the left", () => actions.turn(-1), { data: { key: "turn:left" } }),
    iconButton("turnRight", "Turn the view to the right", () => actions.turn(1), { data: { key: "turn:right" } }),
    h("span", { class: "samref-facts" }, "Turns the view only"),
  );
  const element = h(
    "div",
    { class: "samref-look" },
    opacity.element,
    h("div", { class: "samref-hold" }, hide, coarse),
    h("div", { class: "samref-checks" }, edges.element, outline.element, own.element),
    adjusting,
    h(
      "details",
      { class: "samref-tone" },
      h("summary", {}, "Turn, lines, overview"),
      turning,
      crosshair.element,
      minimap.element,
      twoFingers.element,
    ),
  );
  return {
    element,
    update(state) {
      opacity.show(Math.round(state.opacity * 100), `${Math.round(state.opacity * 100)} %`);
      edges.input.checked = state.outlines;
      outline.input.checked = state.outlineOnly;
      own.input.checked = state.instanceColours;
      crosshair.input.checked = state.crosshair;
      minimap.input.checked = state.minimap;
      twoFingers.input.checked = state.twoFingers;
      setAttribute(hide, "aria-pressed", String(state.masksHidden));
      setAttribute(coarse, "aria-pressed", String(state.coarseShown));
      const { adjustment } = state;
      for (const [name, one] of tones) {
        one.show(adjustment[name], name === "gamma" ? adjustment.gamma.toFixed(2) : String(adjustment[name]));
      }
      plain.disabled = isPlain(adjustment);
      setText(summary, isPlain(adjustment) ? "Brightness and contrast" : "Brightness and contrast: changed, view only");
    },
  };
}

function slider(text, label, min, max, step, onInput) {
  const input = h("input", {
    type: "range",
    min,
    max,
    step,
    "aria-label": label,
    on: { input: () => onInput(Number(input.value)) },
  });
  const output = h("output", {});
  return {
    element: h("label", { class: "samref-slider" }, h("span", {}, text), input, output),
    show(value, words) {
      if (input.value !== String(value)) input.value = String(value);
      setText(output, words);
    },
  };
}

function check(text, key, onChange) {
  const input = h("input", { type: "checkbox", on: { change: () => onChange(input.checked) } });
  const badge = key && h("kbd", { data: { key }, "aria-hidden": "true" });
  return { input, element: h("label", { class: "samref-check" }, input, h("span", {}, text), badge) };
}

function toggle(text, key, onClick) {
  return h(
    "button",
    {
      type: "button",
      class: "samref-button samref-hold-button",
      title: text,
      data: { key },
      "aria-pressed": "false",
      on: { click: onClick },
    },
    text,
  );
}
