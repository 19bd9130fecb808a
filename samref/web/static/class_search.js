/** Choose one of many classes by typing: a window with a field and the classes that fit, the recent ones first. */

import { h, setAttribute } from "./dom.js";

const MOST_SHOWN = 60;
let number = 0;

/** Classes that hold all words of `text`, those that begin with it first, then recent ones, then as they are. Pure. */
export function findClasses(classes, text, recent) {
  const wanted = text.trim().toLocaleLowerCase();
  const words = wanted.split(/\s+/).filter(Boolean);
  const rank = new Map(recent.map((id, i) => [id, i]));
  const fits = classes.filter(({ name }) => words.every((word) => name.toLocaleLowerCase().includes(word)));
  const key = ({ id, name }) => [name.toLocaleLowerCase().startsWith(wanted) ? 0 : 1, rank.get(id) ?? recent.length];
  return fits.toSorted((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1]);
}

/** Open the window; it goes when a class is chosen, with Esc, or with a click beside it. */
export function openClassSearch({ root, state, chooseClass, addClass }) {
  if (root.querySelector(".samref-class-search")) return;
  const { classes } = state.workspace;
  const before = document.activeElement;
  const id = `samref-class-search-${++number}`;
  let entries = []; // what can be chosen: {class} or {name} to add
  let at = 0;
  const list = h("ul", { class: "samref-found", role: "listbox", id, "aria-label": "Classes" });
  const field = h("input", {
    type: "text",
    maxlength: 80,
    dir: "auto",
    placeholder: "Class",
    role: "combobox",
    "aria-label": "Find a class, or name a new one",
    "aria-expanded": "true",
    "aria-controls": id,
    "aria-autocomplete": "list",
    on: { input: show, keydown: onKey },
  });
  const dialog = h("dialog", { class: "samref-class-search", "aria-label": "Choose a class" }, field, list);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus({ preventScroll: true });
  });

  function show() {
    const found = findClasses(classes, field.value, state.recentClasses).slice(0, MOST_SHOWN);
    entries = found.map((one) => ({ one }));
    const name = field.value.trim();
    const isThere = classes.some((one) => one.name.toLocaleLowerCase() === name.toLocaleLowerCase());
    if (name && !isThere) entries.push({ name });
    at = 0;
    list.replaceChildren(...entries.map(createEntry));
    mark();
  }

  function createEntry({ one, name }, i) {
    const position = one ? classes.indexOf(one) : -1;
    return h(
      "li",
      { role: "option", id: `${id}-${i}`, title: one?.name ?? null, on: { click: () => choose(i) } },
      one ? h("span", { class: "samref-swatch" }) : h("span", { class: "samref-plus", "aria-hidden": "true" }, "+"),
      h("span", { class: "samref-class-name", dir: "auto" }, one ? one.name : `Add the class “${name}”`),
      position >= 0 && position < 9 ? h("kbd", { "aria-hidden": "true" }, String(position + 1)) : null,
    );
  }

  function mark() {
    entries.forEach(({ one }, i) => {
      const entry = list.children[i];
      if (one) entry.querySelector(".samref-swatch").style.background = one.colour;
      setAttribute(entry, "aria-selected", String(i === at));
      if (i === at) entry.scrollIntoView({ block: "nearest" });
    });
    setAttribute(field, "aria-activedescendant", entries.length ? `${id}-${at}` : null);
  }

  function choose(i) {
    const entry = entries[i];
    if (!entry) return;
    dialog.close();
    if (entry.one) chooseClass(entry.one.id);
    else addClass(entry.name, { forSelection: true });
  }

  function onKey(event) {
    if (event.key === "Enter") choose(at);
    else if (event.key === "ArrowDown") at = Math.min(at + 1, entries.length - 1);
    else if (event.key === "ArrowUp") at = Math.max(at - 1, 0);
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key !== "Enter") mark();
  }

  root.append(dialog);
  show();
  dialog.showModal();
  field.focus();
}
