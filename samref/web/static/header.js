/** The header: name, image, what is going on, model, help. */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { PHASES } from "./state.js";

/** Fill the header; gives `update(state, phase)`. */
export function createHeader(container, actions) {
  const file = h("span", { class: "samref-file" });
  const images = h(
    "button",
    {
      type: "button",
      class: "samref-button samref-home",
      title: "All images",
      "aria-label": "All images",
      on: { click: actions.showStart },
    },
    icon("images"),
    file,
  );
  const word = h("span", { class: "samref-phase-word" });
  const hint = h("span", { class: "samref-phase-hint" });
  const times = h("span", { class: "samref-times", title: "Time the model took" });
  const phase = h(
    "div",
    { class: "samref-phase", role: "status", "aria-live": "polite" },
    h("span", { class: "samref-phase-dot", "aria-hidden": "true" }),
    word,
    hint,
  );
  const model = h("select", {
    "aria-label": "Model",
    title: "Model",
    on: { change: () => actions.useModel(model.value) },
  });
  const panelButton = iconButton("list", "Classes and objects", actions.togglePanel, {
    class: "samref-panel-button",
    "aria-expanded": "false",
    "aria-controls": "samref-panel",
  });
  container.append(
    h("span", { class: "samref-brand" }, "samref"),
    images,
    phase,
    times,
    h("label", { class: "samref-model" }, h("span", { class: "samref-model-label" }, "Model"), model),
    iconButton("help", "Keyboard and gestures (?)", actions.help),
    panelButton,
  );
  let shownModels = null;
  return (state, now) => {
    const [title, text] = PHASES[now];
    container.dataset.phase = now;
    setText(word, title);
    setText(hint, now === "ready" && state.modelNote ? state.modelNote : text);
    setAttribute(phase, "title", `${title}: ${text}`);
    setText(times, timesOf(state, now));
    const path = state.image?.file_name ?? "";
    setText(file, path.slice(path.lastIndexOf("/") + 1) || "Images");
    setAttribute(file, "title", path || null);
    setAttribute(panelButton, "aria-expanded", String(state.panelOpen));
    if (state.workspace?.models && shownModels !== state.workspace.models) {
      shownModels = state.workspace.models;
      model.replaceChildren(
        ...shownModels.map((one) =>
          h(
            "option",
            { value: one.name, disabled: !one.ready, title: one.note || one.title },
            one.ready ? one.title : `${one.title} (not here)`,
          ),
        ),
      );
    }
    model.disabled = !state.image;
    if (state.model && model.value !== state.model) model.value = state.model;
    setAttribute(model, "title", state.modelNote || "Model");
  };
}

function timesOf({ seconds, draft }, phase) {
  if (phase !== "done" || !draft.stage || !seconds.model) return "";
  return `${Math.round(seconds.model * 1000)} ms`;
}
