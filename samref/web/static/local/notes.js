/** What the help says of the model in this browser, and the two switches that go with it. */

import { h, setText } from "../dom.js";
import { sentenceOf } from "./conditions.js";

/** Gives {element, update(state, status)}; `onChange(changes)` takes changed settings. */
export function createNotes(onChange) {
  const said = h("p", { class: "samref-facts samref-local" });
  const model = check("Run the model in this browser, too", (on) => onChange({ localModel: on }));
  const hover = check("Show the mask under the pointer before a click", (on) => onChange({ hoverMask: on }));
  const title = h("h3", {}, "Masks without waiting");
  const element = h("section", { "aria-label": "Masks without waiting" }, title, said, model.element, hover.element);
  return {
    element,
    update({ localModel, hoverMask }, status) {
      setText(said, sentenceOf(status));
      model.input.checked = localModel;
      hover.input.checked = hoverMask;
      hover.input.disabled = !localModel;
    },
  };
}

function check(text, onChange) {
  const input = h("input", { type: "checkbox", on: { change: () => onChange(input.checked) } });
  return { input, element: h("label", { class: "samref-check" }, input, h("span", {}, text)) };
}
