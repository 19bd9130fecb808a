/**
 * Objects of the open image: a list that is searched, sorted and walked by keys, of which only the rows in sight
 * exist; the bar below acts on what is selected.
 */

import { h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { createSizer } from "./list_sizer.js";
import { ORDERS, findObject, namesOf, rowsOf, scoreOf, selectionOf } from "./objects.js";
import { createVirtualList } from "./virtual_list.js";

/** Heights of a row in CSS pixels, as styles/objects.css has them. */
const ROW = Object.freeze({ mouse: 30, narrow: 44 });

export function createObjectList(actions, swatchOf) {
  const narrow = matchMedia("(max-width: 760px), (pointer: coarse)");
  const rowHeight = () => (narrow.matches ? ROW.narrow : ROW.mouse);
  const list = h("div", {
    class: "samref-objects",
    role: "grid",
    tabindex: "0",
    "aria-label": "Objects",
    "aria-multiselectable": "true",
    on: { keydown: onKey, pointerleave: () => actions.hover(null) },
  });
  const empty = h("p", { class: "samref-empty" });
  const box = h("div", { class: "samref-objects-box" }, list, empty);
  const rows = createVirtualList(box, list, rowHeight, createRow);
  const count = h("span", { class: "samref-count" });
  const tools = createTools(actions);
  const sizer = createSizer(box, { least: ROW.mouse * 3, label: "Height of the list", onSize: (listHeight) => actions.set({ listHeight }) });
  const barPlace = h("div", { class: "samref-bar-place", hidden: true });
  let bar = null;
  let shown = null;
  let selection = new Set();
  let listed = null; // the rows, shown and hidden by scrolling

  narrow.addEventListener("change", () => shown && rows.show(rowsOf(shown)));

  function createRow() {
    let id = null;
    const swatch = h("span", { class: "samref-swatch" });
    const name = h("span", { class: "samref-object-name", dir: "auto" });
    const marks = h("span", { class: "samref-object-marks" });
    const score = h("span", {
      class: "samref-object-score",
      title: "The model's own estimate of how well the mask fits",
    });
    const small = { class: "samref-small", tabindex: "-1" };
    const later = { class: "samref-small samref-later", tabindex: "-1" }; // seen on the row under the mouse
    const eye = iconButton("eye", "Hide", () => actions.setVisible(id, eye.dataset.visible !== "true"), small);
    const lock = iconButton("lock", "Unlock", () => actions.describe([id], { locked: false }), small);
    const edit = iconButton("pencil", "Edit again", () => actions.edit(id), later);
    const remove = iconButton("trash", "Delete", () => actions.remove(id), later);
    const row = h(
      "div",
      { role: "row", on: { click: onClick, dblclick: onDoubleClick, pointerenter: () => actions.hover(id) } },
      h("span", { class: "samref-object", role: "gridcell" }, swatch, name, marks, score),
      h("span", { class: "samref-object-acts", role: "gridcell" }, edit, remove, lock, eye),
    );

    function onClick(event) {
      if (event.target.closest("button")) return;
      list.focus({ preventScroll: true });
      const how = event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "only";
      if (how === "only" && selection.size === 1 && selection.has(id) && event.detail < 2) return actions.select(null);
      actions.selectInList(id, how);
    }
    function onDoubleClick(event) {
      if (event.target.closest("button")) return;
      actions.selectInList(id);
      actions.zoomTo(id);
    }

    return {
      element: row,
      update(one, index) {
        id = one.id;
        const title = namesOf(shown).get(id);
        row.id = `samref-object-${id}`;
        setAttribute(row, "aria-rowindex", String(index + 1));
        setAttribute(row, "aria-selected", String(selection.has(id)));
        swatch.style.background = swatchOf(shown, one);
        setText(name, title);
        setAttribute(name, "title", title);
        const estimate = scoreOf(one);
        setText(score, estimate === null ? "" : estimate.toFixed(2));
        setText(marks, one.note || one.attributes?.length ? "✎" : "");
        setAttribute(marks, "title", one.note || null);
        row.classList.toggle("samref-chosen", selection.has(id));
        row.classList.toggle("samref-hovered", shown.hovered === id);
        row.classList.toggle("samref-dimmed", !one.visible || shown.hiddenClasses.includes(one.class_id));
        row.classList.toggle("samref-editing", shown.draft.editing === id);
        if (eye.dataset.visible !== String(one.visible)) {
          eye.dataset.visible = String(one.visible);
          eye.replaceChildren(icon(one.visible ? "eye" : "eyeOff"));
        }
        setAttribute(eye, "aria-label", `${one.visible ? "Hide" : "Show"} ${title}`);
        setAttribute(eye, "title", one.visible ? "Hide" : "Show");
        setAttribute(lock, "aria-label", `Unlock ${title}`);
        setAttribute(edit, "aria-label", `Edit ${title} again`);
        setAttribute(remove, "aria-label", `Delete ${title}`);
        lock.hidden = !one.locked;
        edit.hidden = remove.hidden = one.locked === true;
      },
    };
  }

  /** Arrows, Home and End walk the rows, with Shift they select a range; Enter zooms to the object. */
  function onKey(event) {
    const ids = rowsOf(shown).map((one) => one.id);
    const at = ids.indexOf(shown.selected);
    const to = { ArrowDown: at + 1, ArrowUp: at < 0 ? ids.length - 1 : at - 1, Home: 0, End: ids.length - 1 }[event.key];
    if (to !== undefined && !event.altKey) {
      const id = ids[Math.min(Math.max(to, 0), ids.length - 1)];
      if (id) actions.selectInList(id, event.shiftKey ? "range" : "only");
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) actions.selectAll();
    else if (event.key === "Enter" && !shown.draft.mask && shown.selected) actions.zoomTo();
    else return;
    event.preventDefault();
  }

  /** The bar comes with the first object: nobody needs it before, and the page begins sooner. */
  async function updateBar() {
    barPlace.hidden = false;
    bar ??= import("./object_bar.js").then(({ createObjectBar }) => {
      const made = createObjectBar(actions);
      barPlace.append(made.element);
      return made;
    });
    const { update } = await bar;
    update(shown);
  }

  return {
    element: h("div", { class: "samref-objects-part" }, tools.element, box, sizer.element, barPlace),
    count,
    update(state) {
      if (!differs(shown, state)) return;
      const before = shown;
      shown = state;
      selection = new Set(selectionOf(state));
      const all = state.annotations.list;
      const items = rowsOf(state);
      if (items === listed) rows.refresh();
      else rows.show((listed = items));
      setText(count, all.length === 0 ? "" : items.length === all.length ? all.length : `${items.length} of ${all.length}`);
      setAttribute(list, "aria-rowcount", String(items.length));
      list.hidden = items.length === 0;
      empty.hidden = items.length > 0;
      setText(
        empty,
        all.length
          ? "No object of that name or class."
          : "Accepted objects appear here. Click on something, then press Enter.",
      );
      if (state.selected !== before?.selected || (state.selected && state.image !== before?.image)) {
        const at = items.findIndex((one) => one.id === state.selected);
        if (at >= 0) rows.reveal(at);
      }
      const active = findObject(state, state.selected) ? `samref-object-${state.selected}` : null;
      setAttribute(list, "aria-activedescendant", active);
      tools.update(state);
      sizer.update(state.listHeight);
      if (all.length) updateBar();
    },
  };
}

/** Search, class and order; gives {element, update(state)}. */
function createTools(actions) {
  const find = h("input", {
    type: "search",
    maxlength: 80,
    placeholder: "Find",
    "aria-label": "Find objects by name, note or attribute",
    on: { input: () => actions.set({ listText: find.value }), keydown: onKey },
  });
  const kind = h("select", {
    "aria-label": "Show objects of",
    on: { change: () => actions.set({ listClass: kind.value ? Number(kind.value) : null }) },
  });
  const order = h(
    "select",
    { "aria-label": "Order of the list", on: { change: () => actions.set({ listOrder: order.value }) } },
    ...Object.entries(ORDERS).map(([name, { text }]) => h("option", { value: name }, text)),
  );
  const element = h("div", { class: "samref-list-tools" }, find, kind, order);
  let classes = null;

  function onKey(event) {
    if (event.key !== "Escape" || !find.value) return;
    event.stopPropagation();
    find.value = "";
    actions.set({ listText: "" });
  }

  return {
    element,
    update(state) {
      if (classes !== state.workspace?.classes) {
        classes = state.workspace?.classes;
        const options = (classes ?? []).map((one) => h("option", { value: one.id }, one.name));
        kind.replaceChildren(h("option", { value: "" }, "All"), ...options);
      }
      kind.value = String(state.listClass ?? "");
      if (kind.selectedIndex < 0) kind.value = "";
      order.value = state.listOrder;
      if (document.activeElement !== find) find.value = state.listText;
      element.hidden = state.annotations.list.length === 0;
    },
  };
}

const PARTS = ["annotations", "image", "selected", "selection", "hovered", "hiddenClasses", "instanceColours"];
const LOOK = ["listText", "listClass", "listOrder", "listHeight", "detailsOpen"];

/** Whether anything that the list shows is not what it was. */
function differs(before, now) {
  if (!before) return true;
  return (
    [...PARTS, ...LOOK].some((name) => before[name] !== now[name]) ||
    before.draft.editing !== now.draft.editing ||
    before.draft.mask !== now.draft.mask ||
    before.workspace?.classes !== now.workspace?.classes ||
    before.workspace?.images !== now.workspace?.images
  );
}
