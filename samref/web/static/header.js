/** The header: name, image, what is going on, model, help. */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { PHASES } from "./state.js";

/** Fill the header; gives `update(state, phase)`. */
export function createHeader(container, actions, toasts) {
  const file = h("span", { class: "samref-file" });
  const images = h(
    "button",
    {
      type: "button",
      class: "samref-button samref-home",
      title: "All images",
      on: { click: actions.showStart },
    },
    icon("images"),
    file,
  );
  let shownModels = null;
  let current = null;
  const word = h("span", { class: "samref-phase-word" });
  const hint = h("span", { class: "samref-phase-hint" });
  const times = h("span", { class: "samref-times", title: "Time the model took" });
  const phase = h(
    "div",
    { class: "samref-phase" },
    h("span", { class: "samref-phase-dot", "aria-hidden": "true" }),
    word,
    hint,
  );
  const model = h("select", {
    "aria-label": "Model",
    title: "Model",
    on: { change: choose },
  });

  /** A model that is not here says why when it is chosen: by mouse, key or finger alike. */
  function choose() {
    const wanted = shownModels.find((one) => one.name === model.value);
    if (wanted.ready) return actions.useModel(wanted.name);
    model.value = current ?? "";
    toasts.info(`${wanted.title} cannot be used on this machine. ${wanted.note}`.trim());
  }

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
  return (state, now) => {
    const [title, text] = PHASES[now];
    container.dataset.phase = now;
    setText(word, title);
    setText(hint, now === "ready" && state.modelNote ? state.modelNote : text);
    setAttribute(phase, "title", `${title}: ${text}`);
    setText(times, timesOf(state, now));
    const path = state.image?.file_name ?? "Images";
    const name = path.slice(path.lastIndexOf("/") + 1);
    setText(file, name);
    setAttribute(images, "aria-label", `${name}: all images`); // begins with what is shown, for those who speak it
    setAttribute(images, "title", state.image ? `${path}: all images` : "All images");
    setAttribute(panelButton, "aria-expanded", String(state.panelOpen));
    if (state.workspace?.models && shownModels !== state.workspace.models) {
      shownModels = state.workspace.models;
      const optionsOf = (ready) =>
        shownModels
          .filter((one) => one.ready === ready)
          .map((one) => h("option", { value: one.name, title: one.note || one.title }, one.title));
      const missing = optionsOf(false);
      model.replaceChildren(
        ...optionsOf(true),
        ...(missing.length ? [h("optgroup", { label: "Not on this machine" }, ...missing)] : []),
      );
    }
    current = state.model;
    model.disabled = !state.image;
    if (state.model && model.value !== state.model) model.value = state.model;
    setAttribute(model, "title", state.modelNote || "Model");
  };
}

function timesOf({ seconds, draft }, phase) {
  if (phase !== "done" || !draft.stage || !seconds.model) return "";
  return `${Math.round(seconds.model * 1000)} ms`;
}
