/** The bar below the list of objects: what can be done with those selected, and the details of the main one. */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { findObject, namesOf, selectedObjects } from "./objects.js";

/** Gives {element, update(state)}. */
export function createObjectBar(actions) {
  const hint = h("span", { class: "samref-bar-hint" }, "Ctrl + click selects in the image");
  const what = h("span", { class: "samref-bar-what", dir: "auto" });
  const kind = h("select", {
    "aria-label": "Class of the selected objects",
    on: { change: () => actions.describe(ids(), { class_id: Number(kind.value) }) },
  });
  const small = { class: "samref-small" };
  const eye = iconButton("eye", "Hide", () => actions.toggle("visible"), small);
  const lock = iconButton("lock", "Lock", () => actions.toggle("locked"), small);
  const merge = iconButton("merge", "Merge into one", actions.merge, { ...small, data: { key: "merge" } });
  const remove = iconButton("trash", "Delete", () => actions.removeAll(ids()), small);
  const more = createMenu();
  const open = iconButton("info", "Details", () => actions.set({ detailsOpen: !shown.detailsOpen }), small);
  const tools = h("div", { class: "samref-bar-tools" }, kind, eye, lock, merge, more.element, open, remove);
  const details = createDetails(actions);
  const element = h(
    "div",
    { class: "samref-bar", role: "group", "aria-label": "Selected objects" },
    hint,
    what,
    tools,
    details.element,
  );
  let shown = null;
  let classes = null;
  const ids = () => selectedObjects(shown).map((one) => one.id);

  function createMenu() {
    const id = () => shown.selected;
    const items = [
      ["Zoom to it", () => actions.zoomTo()],
      ["To the front", () => actions.order(id(), "front")],
      ["One forward", () => actions.order(id(), "forward")],
      ["One backward", () => actions.order(id(), "backward")],
      ["To the back", () => actions.order(id(), "back")],
      ["Split into its parts", () => actions.split(id())],
      ["Take its pixels from the others", () => actions.subtract(id(), "others")],
      ["Take the others' pixels from it", () => actions.subtract(id(), "it")],
      ["Copy to the next image", () => actions.copyToNext()],
    ].map(([text, act]) => {
      const run = () => {
        menu.open = false;
        act();
      };
      return h("button", { type: "button", class: "samref-menu-item", on: { click: run } }, text);
    });
    const menu = h(
      "details",
      {
        class: "samref-more",
        on: { focusout: (event) => menu.contains(event.relatedTarget) || (menu.open = false), keydown: onKey },
      },
      h("summary", { class: "samref-button samref-small", title: "More", "aria-label": "More" }, icon("more")),
      h("div", { class: "samref-menu-items" }, ...items),
    );
    function onKey(event) {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    return {
      element: menu,
      update(several) {
        items.slice(1, -1).forEach((item) => (item.disabled = several));
      },
    };
  }

  return {
    element,
    update(state) {
      shown = state;
      const objects = selectedObjects(state);
      const one = findObject(state, state.selected) ?? null;
      element.hidden = state.annotations.list.length === 0;
      hint.hidden = objects.length > 0;
      what.hidden = tools.hidden = objects.length === 0;
      details.update(state, one && objects.length === 1 && state.detailsOpen ? one : null);
      setAttribute(open, "aria-pressed", String(state.detailsOpen));
      if (!one) return;
      const name = objects.length === 1 ? namesOf(state).get(one.id) : `${objects.length} selected`;
      setText(what, name);
      setAttribute(what, "title", name);
      if (classes !== state.workspace?.classes) {
        classes = state.workspace?.classes;
        const mixed = h("option", { value: "", disabled: true, hidden: true }, "Several classes");
        kind.replaceChildren(mixed, ...(classes ?? []).map((each) => h("option", { value: each.id }, each.name)));
      }
      const same = objects.every((each) => each.class_id === one.class_id);
      kind.value = same ? String(one.class_id) : "";
      const all = (what) => objects.every((each) => each[what]);
      show(eye, all("visible") ? "eye" : "eyeOff", all("visible") ? "Hide" : "Show");
      show(lock, all("locked") ? "lock" : "unlock", all("locked") ? "Unlock" : "Lock");
      merge.hidden = objects.length < 2;
      open.hidden = objects.length > 1;
      more.update(objects.length > 1);
    },
  };
}

function show(button, name, label) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
  setAttribute(button, "title", label);
  setAttribute(button, "aria-label", `${label} the selected objects`);
}

/** Note, attributes and facts of one object. */
function createDetails(actions) {
  const note = h("input", {
    type: "text",
    maxlength: 2000,
    dir: "auto",
    placeholder: "Note",
    "aria-label": "Note about the object",
    on: { change: () => note.value.trim() !== shown.note && actions.describe([shown.id], { note: note.value.trim() }), keydown: onEnter },
  });
  const pairs = h("div", { class: "samref-attributes" });
  const add = iconButton("plus", "Add an attribute", () => addPair("", "").querySelector("input").focus(), { text: "Attribute" });
  const facts = h("p", { class: "samref-facts" });
  const element = h("div", { class: "samref-object-details" }, note, pairs, add, facts);
  let shown = {};
  let attributes = null;

  function onEnter(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    event.currentTarget.blur();
  }

  function addPair(name, value) {
    const field = (text, label) =>
      h("input", { type: "text", maxlength: label === "Name" ? 80 : 500, dir: "auto", value: text, placeholder: label, "aria-label": `${label} of the attribute`, on: { change: send, keydown: onEnter } }); // prettier-ignore
    const remove = () => {
      pair.remove();
      send();
    };
    const pair = h("div", { class: "samref-attribute" }, field(name, "Name"), field(value, "Value"), iconButton("close", "Remove the attribute", remove, { class: "samref-small" })); // prettier-ignore
    pairs.append(pair);
    return pair;
  }

  /** All pairs that have a name. */
  function send() {
    const now = [...pairs.children].map((pair) => [...pair.querySelectorAll("input")].map((field) => field.value.trim()));
    const named = now.filter(([name]) => name);
    if (JSON.stringify(named) !== JSON.stringify(attributes)) actions.describe([shown.id], { attributes: named });
  }

  return {
    element,
    update(state, one) {
      element.hidden = one === null;
      if (!one) {
        shown = {};
        return;
      }
      const another = shown.id !== one.id;
      if (another || document.activeElement !== note) note.value = one.note ?? "";
      const its = one.attributes ?? [];
      if (another || (JSON.stringify(its) !== JSON.stringify(attributes) && !pairs.contains(document.activeElement))) {
        pairs.replaceChildren();
        for (const [name, value] of its) addPair(name, value);
      }
      attributes = its;
      shown = one;
      note.disabled = add.disabled = one.locked === true;
      setText(facts, factsOf(one));
    },
  };
}

function factsOf({ area, clicks, seconds, model }) {
  const facts = [`${area.toLocaleString("en")} px`];
  if (clicks) facts.push(`${clicks} click${clicks === 1 ? "" : "s"}`);
  if (seconds) facts.push(`${seconds.toFixed(seconds < 10 ? 1 : 0)} s`);
  if (model) facts.push(model);
  return facts.join(" · ");
}
