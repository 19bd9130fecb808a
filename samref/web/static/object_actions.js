/** What a person can do with accepted objects and classes, by name; a part of `actions.js`. */

import { findObject, namesOf, neighbourOf, neighboursOf, rowsOf, selectAfter, selectedObjects, selectionOf } from "./objects.js";
import { findClass } from "./state.js";

const MOST_RECENT = 9;

/** @param {object} parts {store, ask(verb, args), toasts, canvas: () => canvas, root, offerUndo(text, isDone),
 *   nextImage(): the image after the open one, or null} */
export function createObjectActions({ store, ask, toasts, canvas, root, offerUndo, nextImage }) {
  const state = () => store.get();
  const selected = () => selectionOf(state());

  // ---- selection --------------------------------------------------------------------------------------------

  /** Select what was clicked in the image; the list scrolls there by itself. */
  const select = (id, how = "only") => store.set(selectAfter(state(), id, how));

  /** Select what was clicked in the list, or walked to, and bring it into sight. */
  function selectInList(id, how = "only") {
    store.set(selectAfter(state(), id, how));
    const mask = findObject(state(), id)?.mask;
    if (mask && state().selected === id) canvas().reveal(mask);
  }

  function selectNext(step) {
    const id = neighbourOf(state(), step);
    if (id === null) return false;
    selectInList(id);
  }

  function selectAll() {
    const ids = rowsOf(state()).map((one) => one.id);
    if (ids.length) store.set({ selected: ids.at(-1), selection: ids });
  }

  function zoomTo(id = state().selected) {
    const mask = findObject(state(), id)?.mask;
    if (!mask) return false;
    canvas().zoomTo(mask);
  }

  function hover(id) {
    if (state().hovered !== id) store.set({ hovered: id });
  }

  // ---- objects ----------------------------------------------------------------------------------------------

  function remove(ids) {
    if (ids.length === 0) return false;
    const locked = ids.find((id) => findObject(state(), id)?.locked);
    if (locked) return toasts.error(`${namesOf(state()).get(locked)} is locked. Unlock it first.`);
    const what = ids.length === 1 ? namesOf(state()).get(ids[0]) : `${ids.length} objects`;
    offerUndo(`Deleted ${what}.`, (now) => !now.annotations.list.some((one) => ids.includes(one.id)));
    if (ids.length === 1) ask("delete", { id: ids[0] });
    else ask("delete_all", { ids });
  }

  /** Notes, attributes, class, lock or visibility of some objects: `changes` as the request `describe` has them. */
  const describe = (ids, changes) => (ids.length ? ask("describe", { ids, ...changes }) : false);

  /** Hide or lock the selected objects; the other way round when all of them are. */
  function toggle(what) {
    const objects = selectedObjects(state());
    return describe(
      objects.map((one) => one.id),
      { [what]: !objects.every((one) => one[what]) },
    );
  }

  function merge() {
    if (selected().length < 2) return toasts.info("Select two objects or more to merge them.");
    ask("merge", { ids: mainFirst() });
  }

  /** The main object first: merging keeps its place, class and note. */
  const mainFirst = () => [state().selected, ...selected().filter((id) => id !== state().selected)];

  const split = (id) => ask("split", { id });
  const order = (id, to) => ask("order", { id, to });

  /** Take the pixels of an object from those it overlaps ("from others"; locked ones keep theirs), or theirs from it. */
  function subtract(id, from) {
    const one = findObject(state(), id);
    if (!one?.mask) return false;
    const others = neighboursOf(state(), one).filter((other) => from === "it" || !other.locked);
    if (others.length === 0) return toasts.info("No other object lies there, so there is nothing to take.");
    ask(from === "it" ? "subtract_others" : "subtract_from", { id, others: others.map((other) => other.id) });
  }

  function copyToNext() {
    const { image } = state();
    const next = nextImage();
    if (selected().length === 0) return toasts.info("Select the objects to copy first.");
    if (!next) return toasts.info("This is the last image; there is none to copy to.");
    if (next.width !== image.width || next.height !== image.height) {
      return toasts.info(
        `${next.file_name} has ${next.width} x ${next.height} pixels, this image ${image.width} x ${image.height}. ` +
          "Objects can be copied only to an image of the same size.",
      );
    }
    copying = { digest: next.digest, count: next.annotations, copies: selected().length };
    ask("copy", { ids: selected(), digest: next.digest });
  }

  let copying = null; // what was sent to be copied: said when it is there

  store.subscribe(({ workspace }) => {
    const there = copying && workspace?.images.find((one) => one.digest === copying.digest);
    if (!there || there.annotations <= copying.count) return;
    const { copies } = copying;
    copying = null;
    toasts.info(`${copies} object${copies === 1 ? "" : "s"} copied to ${there.file_name}.`);
  });

  // ---- classes ----------------------------------------------------------------------------------------------

  /** Choose the class of what comes next; selected objects get it too while nothing is being drawn. */
  function chooseClass(id) {
    const { draft } = state();
    store.set({ classId: id, recentClasses: [id, ...state().recentClasses.filter((one) => one !== id)].slice(0, MOST_RECENT) });
    const ids = draft.count === 0 && !draft.mask ? selectedObjects(state()).filter((one) => one.class_id !== id) : [];
    if (ids.length === 1) ask("reclass", { id: ids[0].id, class_id: id });
    else if (ids.length) describe(ids.map((one) => one.id), { class_id: id }); // prettier-ignore
  }

  let wanted = null; // name of the class that was asked for, to be chosen when it is there

  /** Add a class and choose it; one of that name is chosen instead. */
  function addClass(name, { forSelection = false } = {}) {
    const there = sameName(state().workspace?.classes ?? [], name);
    if (there && !forSelection) return store.set({ classId: there.id });
    if (there) return chooseClass(there.id);
    wanted = { name, forSelection };
    ask("add_class", { name });
  }

  store.subscribe((now, before) => {
    const [is, was] = [now.workspace?.token, before.workspace?.token];
    if (is && was && is !== was) store.set({ hiddenClasses: [], recentClasses: [], listClass: null, listText: "" });
  });

  store.subscribe((now, before) => {
    if (!wanted || now.workspace?.classes === before.workspace?.classes) return;
    const made = sameName(now.workspace?.classes ?? [], wanted.name);
    if (!made) return;
    const { forSelection } = wanted;
    wanted = null;
    if (forSelection) chooseClass(made.id);
    else store.set({ classId: made.id });
  });

  function removeClass(id) {
    const { workspace, annotations } = state();
    const one = findClass(state(), id);
    if (!one) return;
    const used = annotations.list.filter((object) => object.class_id === id).length;
    if (workspace.classes.length < 2) return toasts.info("The last class cannot be removed. Rename it, or add another.");
    if (used) {
      return toasts.info(
        `${used} object${used === 1 ? "" : "s"} of this image ${used === 1 ? "is" : "are"} of the class ${one.name}. ` +
          "Give them another class first.",
      );
    }
    ask("remove_class", { class_id: id });
  }

  function toggleClass(id) {
    const { hiddenClasses } = state();
    const hidden = hiddenClasses.includes(id);
    store.set({ hiddenClasses: hidden ? hiddenClasses.filter((one) => one !== id) : [...hiddenClasses, id] });
  }

  async function searchClass() {
    if (!state().workspace) return false;
    const { openClassSearch } = await import("./class_search.js");
    openClassSearch({ root, state: state(), chooseClass, addClass });
  }

  /** What a shortcut of an object stands for; undefined for other actions. */
  function perform(action, argument) {
    switch (action) {
      case "delete":
        return remove(selected());
      case "object":
        return selectNext(argument === "next" ? 1 : -1);
      case "zoomToObject":
        return zoomTo();
      case "toggleObject":
        return toggle(argument);
      case "merge":
        return selected().length ? merge() : false;
      case "searchClass":
        searchClass();
        return true;
      case "instanceColours":
        return store.set({ instanceColours: !state().instanceColours });
      default:
        throw new Error(`no such action: ${action}`);
    }
  }

  return {
    perform,
    select,
    selectInList,
    selectAll,
    zoomTo,
    hover,
    describe,
    toggle,
    removeAll: remove,
    remove: (id) => (id ? remove([id]) : undefined),
    merge,
    split,
    order,
    subtract,
    copyToNext,
    chooseClass,
    addClass,
    removeClass,
    toggleClass,
    searchClass,
    setVisible: (id, visible) => ask("set_visible", { id, visible }),
    reclass: (id, classId) => ask("reclass", { id, class_id: classId }),
    changeClass: (id, changes) => ask("change_class", { class_id: id, ...changes }),
    /** Settings of the list and of how objects look: names of state.js values. */
    set: (changes) => store.set(changes),
  };
}

/** The actions that `perform` knows. */
export const OBJECT_ACTIONS = new Set([
  "delete",
  "object",
  "zoomToObject",
  "toggleObject",
  "merge",
  "searchClass",
  "instanceColours",
]);

const folded = (text) => text.trim().normalize("NFC").toLocaleLowerCase();
const sameName = (classes, name) => classes.find((one) => folded(one.name) === folded(name)) ?? null;
