/** Classes: choose (also with 1 … 9), add, rename, recolour, remove. */

import { createList, h, iconButton, setAttribute, setText } from "./dom.js";

export function createClassList(actions) {
  const list = h("ul", { class: "samref-classes" });
  const name = h("input", {
    type: "text",
    maxlength: 80,
    placeholder: "New class",
    "aria-label": "Name of a new class",
    on: { keydown: (event) => event.key === "Enter" && add() },
  });
  const element = h("div", {}, list, h("div", { class: "samref-add" }, name, iconButton("plus", "Add the class", add)));

  function add() {
    const text = name.value.trim();
    if (!text) return name.focus();
    actions.addClass(text);
    name.value = "";
  }

  let number = 0;
  let shown = null; // state being shown, for the rows
  const show = createList(list, (one) => one.id, createRow);

  function createRow({ id }) {
    const colour = h("input", {
      type: "color",
      class: "samref-colour",
      on: { change: () => actions.changeClass(id, { colour: colour.value }) },
    });
    const label = h("span", { class: "samref-class-name" });
    const key = h("kbd", { "aria-hidden": "true" });
    const choose = h(
      "button",
      { type: "button", class: "samref-class", on: { click: () => actions.chooseClass(id) } },
      label,
      key,
    );
    const field = h("input", {
      type: "text",
      maxlength: 80,
      class: "samref-rename",
      hidden: true,
      on: { keydown: onKey, blur: () => finish(true) },
    });
    const rename = iconButton("pencil", "Rename", begin, { class: "samref-small" });
    const remove = iconButton("trash", "Remove", () => actions.removeClass(id), { class: "samref-small" });
    const row = h("li", {}, colour, choose, field, rename, remove);

    function begin() {
      field.value = label.textContent;
      field.hidden = false;
      choose.hidden = true;
      field.focus();
      field.select();
    }
    function finish(keep) {
      if (field.hidden) return;
      field.hidden = true;
      choose.hidden = false;
      const text = field.value.trim();
      if (keep && text && text !== label.textContent) actions.changeClass(id, { name: text });
    }
    function onKey(event) {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.stopPropagation();
      finish(event.key === "Enter");
      choose.focus();
    }

    return {
      element: row,
      update(one) {
        number += 1;
        setText(label, one.name);
        setText(key, number <= 9 ? String(number) : "");
        if (document.activeElement !== colour) colour.value = one.colour;
        setAttribute(colour, "aria-label", `Colour of ${one.name}`);
        setAttribute(field, "aria-label", `New name of ${one.name}`);
        setAttribute(rename, "aria-label", `Rename ${one.name}`);
        setAttribute(remove, "aria-label", `Remove ${one.name}`);
        setAttribute(choose, "aria-pressed", String(one.id === shown.classId));
        row.classList.toggle("samref-chosen", one.id === shown.classId);
        remove.disabled =
          shown.workspace.classes.length < 2 || shown.annotations.list.some((object) => object.class_id === one.id);
      },
    };
  }

  return {
    element,
    update(state) {
      number = 0;
      shown = state;
      show(state.workspace?.classes ?? []);
      setAttribute(name, "disabled", state.workspace ? null : "");
    },
  };
}
