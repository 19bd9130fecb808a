/** Objects of the open image: select, edit again, hide, give another class, delete. */

import { createList, h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { findClass } from "./state.js";

export function createObjectList(actions) {
  const list = h("ul", { class: "samref-objects" });
  const empty = h(
    "p",
    { class: "samref-empty" },
    "Accepted objects appear here. Click on something, then press Enter.",
  );
  const count = h("span", { class: "samref-count" });
  let shown = null;
  let numbers = new Map(); // id -> number within its class
  const show = createList(list, (one) => one.id, createRow);

  function createRow({ id }) {
    const swatch = h("span", { class: "samref-swatch" });
    const name = h("span", { class: "samref-object-name" });
    const score = h("span", {
      class: "samref-object-score",
      title: "The model's own estimate of how well the mask fits",
    });
    const select = h(
      "button",
      {
        type: "button",
        class: "samref-object",
        on: { click: () => actions.select(shown.selected === id ? null : id) },
      },
      swatch,
      name,
      score,
    );
    const eye = h("button", {
      type: "button",
      class: "samref-button samref-small",
      on: { click: () => actions.setVisible(id, eye.dataset.visible !== "true") },
    });
    const edit = iconButton("pencil", "Edit again", () => actions.edit(id), { class: "samref-small" });
    const remove = iconButton("trash", "Delete", () => actions.remove(id), { class: "samref-small" });
    const kind = h("select", {
      "aria-label": "Class of the object",
      on: { change: () => actions.reclass(id, Number(kind.value)) },
    });
    const facts = h("span", { class: "samref-facts" });
    const details = h("div", { class: "samref-object-details", hidden: true }, kind, facts);
    const row = h("li", {}, h("div", { class: "samref-object-row" }, select, eye, edit, remove), details);
    let classes = null;

    return {
      element: row,
      update(one) {
        const itsClass = findClass(shown, one.class_id);
        const title = `${itsClass?.name ?? "?"} ${numbers.get(id)}`;
        const selected = shown.selected === id;
        swatch.style.background = itsClass?.colour ?? "transparent";
        setText(name, title);
        setText(score, typeof one.score === "number" ? one.score.toFixed(2) : "");
        setAttribute(select, "aria-pressed", String(selected));
        row.classList.toggle("samref-chosen", selected);
        row.classList.toggle("samref-dimmed", !one.visible);
        row.classList.toggle("samref-editing", shown.draft.editing === id);
        if (eye.dataset.visible !== String(one.visible)) {
          eye.dataset.visible = String(one.visible);
          eye.replaceChildren(icon(one.visible ? "eye" : "eyeOff"));
        }
        setAttribute(eye, "aria-label", `${one.visible ? "Hide" : "Show"} ${title}`);
        setAttribute(eye, "title", one.visible ? "Hide" : "Show");
        setAttribute(edit, "aria-label", `Edit ${title} again`);
        setAttribute(remove, "aria-label", `Delete ${title}`);
        details.hidden = !selected;
        if (classes !== shown.workspace.classes) {
          classes = shown.workspace.classes;
          kind.replaceChildren(...classes.map((each) => h("option", { value: each.id }, each.name)));
        }
        kind.value = String(one.class_id);
        setText(facts, factsOf(one));
      },
    };
  }

  return {
    element: h("div", { class: "samref-objects-box" }, list, empty),
    count,
    update(state) {
      if (!differs(shown, state)) return; // two hundred rows are not gone through at every click
      shown = state;
      const perClass = new Map();
      numbers = new Map(
        state.annotations.list.map((one) => {
          perClass.set(one.class_id, (perClass.get(one.class_id) ?? 0) + 1);
          return [one.id, perClass.get(one.class_id)];
        }),
      );
      show(state.annotations.list);
      setText(count, state.annotations.list.length ? String(state.annotations.list.length) : "");
      empty.hidden = state.annotations.list.length > 0;
    },
  };
}

/** Whether anything that the list shows is not what it was. */
function differs(before, now) {
  if (!before) return true;
  return (
    before.annotations !== now.annotations ||
    before.selected !== now.selected ||
    before.draft.editing !== now.draft.editing ||
    before.workspace?.classes !== now.workspace?.classes
  );
}

function factsOf({ area, clicks, seconds, model }) {
  const facts = [`${area.toLocaleString("en")} px`];
  if (clicks) facts.push(`${clicks} click${clicks === 1 ? "" : "s"}`);
  if (seconds) facts.push(`${seconds.toFixed(seconds < 10 ? 1 : 0)} s`);
  if (model) facts.push(model);
  return facts.join(" · ");
}
