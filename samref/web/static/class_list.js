/** Classes: choose (also with 1 … 9, or by typing), add, rename, recolour, hide, remove. */

import { createList, h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { remembered } from "./objects.js";

export function createClassList(actions) {
  const list = h("ul", { class: "samref-classes" });
  const name = h("input", {
    type: "text",
    maxlength: 80,
    placeholder: "New class",
    "aria-label": "Name of a new class",
    on: { keydown: (event) => event.key === "Enter" && add() },
  });
  const search = iconButton("search", "Choose a class by typing", actions.searchClass, { data: { key: "searchClass" } });
  const adding = h("div", { class: "samref-add" }, name, iconButton("plus", "Add the class", add), search);
  const element = h("div", {}, list, adding);

  function add() {
    const text = name.value.trim();
    if (!text) return name.focus();
    actions.addClass(text);
    name.value = "";
  }

  let number = 0;
  let shown = null; // state being shown, for the rows
  let used = new Map();
  const show = createList(list, (one) => one.id, createRow);

  /** Why a class cannot be removed, or null. */
  function whyKept(id) {
    if (shown.workspace.classes.length < 2) return "The last class cannot be removed";
    const uses = used.get(id) ?? 0;
    return uses ? `In use by ${uses} object${uses === 1 ? "" : "s"} of this image` : null;
  }

  function createRow({ id }) {
    const colour = h("input", {
      type: "color",
      class: "samref-colour",
      on: { change: () => actions.changeClass(id, { colour: colour.value }) },
    });
    const label = h("span", { class: "samref-class-name", dir: "auto" });
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
    const eye = iconButton("eye", "Hide", () => actions.toggleClass(id), { class: "samref-small" });
    const rename = iconButton("pencil", "Rename", begin, { class: "samref-small" });
    const remove = iconButton("trash", "Remove", () => actions.removeClass(id), { class: "samref-small" });
    const row = h("li", {}, colour, choose, field, eye, rename, remove);

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
        setAttribute(choose, "title", one.name);
        setText(key, number <= 9 ? String(number) : "");
        if (document.activeElement !== colour) colour.value = one.colour;
        setAttribute(colour, "aria-label", `Colour of ${one.name}`);
        setAttribute(field, "aria-label", `New name of ${one.name}`);
        setAttribute(rename, "aria-label", `Rename ${one.name}`);
        setAttribute(remove, "aria-label", `Remove ${one.name}`);
        setAttribute(choose, "aria-pressed", String(one.id === shown.classId));
        row.classList.toggle("samref-chosen", one.id === shown.classId);
        const hidden = shown.hiddenClasses.includes(one.id);
        row.classList.toggle("samref-dimmed", hidden);
        if (eye.dataset.hidden !== String(hidden)) {
          eye.dataset.hidden = String(hidden);
          eye.replaceChildren(icon(hidden ? "eyeOff" : "eye"));
        }
        setAttribute(eye, "aria-label", `${hidden ? "Show" : "Hide"} all objects of ${one.name}`);
        setAttribute(eye, "title", hidden ? "Show all objects of this class" : "Hide all objects of this class");
        const why = whyKept(one.id);
        setAttribute(remove, "aria-disabled", why === null ? null : "true");
        setAttribute(remove, "title", why ?? "Remove");
      },
    };
  }

  return {
    element,
    update(state) {
      if (!differs(shown, state)) return;
      number = 0;
      shown = state;
      used = countUses(state.annotations.list);
      show(state.workspace?.classes ?? []);
      setAttribute(name, "disabled", state.workspace ? null : "");
      search.disabled = !state.workspace;
    },
  };
}

/** class id -> number of objects of the open image. */
const countUses = remembered((list) => {
  const uses = new Map();
  for (const { class_id } of list) uses.set(class_id, (uses.get(class_id) ?? 0) + 1);
  return uses;
});

function differs(before, now) {
  return (
    !before ||
    before.workspace?.classes !== now.workspace?.classes ||
    before.annotations !== now.annotations ||
    before.classId !== now.classId ||
    before.hiddenClasses !== now.hiddenClasses
  );
}
