/** The objects of the open image as lists: their names, the ones shown, in which order, and which are selected. Pure. */

/** Orders of the list, by name: what the menu says and how two objects compare. */
export const ORDERS = Object.freeze({
  drawn: { text: "As drawn", compare: null },
  class: { text: "By class", compare: (a, b, rank) => rank.get(a.class_id) - rank.get(b.class_id) },
  area: { text: "Largest first", compare: (a, b) => b.area - a.area },
  score: { text: "Lowest score first", compare: (a, b) => (scoreOf(a) ?? 2) - (scoreOf(b) ?? 2) },
});

/** The model's estimate for an object; null where there is none. */
export const scoreOf = ({ score }) => (typeof score === "number" ? score : null);

/** The result of `make(...inputs)`, made anew only when an input is another one. */
export function remembered(make) {
  let inputs = null;
  let made;
  return (...now) => {
    if (!inputs || now.some((input, i) => input !== inputs[i])) {
      made = make(...now);
      inputs = now;
    }
    return made;
  };
}

const NO_CLASSES = Object.freeze([]);

/** id -> "cup 3": the class and the number within it. */
const namesOfList = remembered((list, classes) => {
  const className = new Map(classes.map((one) => [one.id, one.name]));
  const counts = new Map();
  return new Map(
    list.map(({ id, class_id }) => {
      counts.set(class_id, (counts.get(class_id) ?? 0) + 1);
      return [id, `${className.get(class_id) ?? "?"} ${counts.get(class_id)}`];
    }),
  );
});

export const namesOf = (state) => namesOfList(state.annotations.list, state.workspace?.classes ?? NO_CLASSES);

const objectsById = remembered((list) => new Map(list.map((one) => [one.id, one])));

/** The object of that id, or undefined. */
export const findObject = (state, id) => objectsById(state.annotations.list).get(id);

const arranged = remembered((list, classes, names, text, classId, order) => {
  const wanted = text.trim().toLocaleLowerCase();
  const rank = new Map(classes.map((one, i) => [one.id, i]));
  const told = (one) => `${names.get(one.id)} ${one.note ?? ""} ${(one.attributes ?? []).flat().join(" ")}`;
  const rows = list.filter(
    (one) =>
      (classId === null || one.class_id === classId) && (!wanted || told(one).toLocaleLowerCase().includes(wanted)),
  );
  const { compare } = ORDERS[order] ?? ORDERS.drawn;
  return compare ? rows.toSorted((a, b) => compare(a, b, rank)) : rows;
});

/** The objects that the list shows, in its order. */
export function rowsOf(state) {
  const classes = state.workspace?.classes ?? NO_CLASSES;
  return arranged(
    state.annotations.list,
    classes,
    namesOf(state),
    state.listText,
    classes.some((one) => one.id === state.listClass) ? state.listClass : null,
    state.listOrder,
  );
}

const selectedIds = remembered((list, main, several) => {
  if (main === null || !objectsById(list).has(main)) return Object.freeze([]);
  const ids = several.includes(main) ? several.filter((id) => objectsById(list).has(id)) : [main];
  return Object.freeze(ids);
});

/**
 * Ids of the selected objects; `state.selected`, the main one, is among them.
 *
 * `state.selection` counts only while it holds the main one: whoever sets `selected` alone selects just that.
 */
export const selectionOf = (state) => selectedIds(state.annotations.list, state.selected, state.selection);

/** Objects of `selectionOf`. */
export const selectedObjects = (state) => selectionOf(state).map((id) => findObject(state, id));

/** What is selected after an object was clicked; `how` is "only", "toggle" or "range" (over the rows shown). */
export function selectAfter(state, id, how) {
  const before = selectionOf(state);
  if (id === null) return how === "only" ? { selected: null, selection: [] } : {};
  if (how === "toggle" && before.includes(id)) {
    const left = before.filter((one) => one !== id);
    const selected = state.selected === id ? (left.at(-1) ?? null) : state.selected;
    return { selected, selection: left };
  }
  if (how === "toggle") return { selected: id, selection: [...before, id] };
  if (how === "range") {
    const ids = rowsOf(state).map((one) => one.id);
    const from = ids.indexOf(before[0]);
    const to = ids.indexOf(id);
    if (from >= 0 && to >= 0) {
      const span = ids.slice(Math.min(from, to), Math.max(from, to) + 1);
      return { selected: id, selection: from <= to ? span : span.reverse() };
    }
  }
  return { selected: id, selection: [id] };
}

/** The row `step` after the selected one, round the ends; null without rows. */
export function neighbourOf(state, step) {
  const rows = rowsOf(state);
  if (rows.length === 0) return null;
  const at = rows.findIndex((one) => one.id === state.selected);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : (at + step + rows.length) % rows.length;
  return rows[next].id;
}

/** The objects whose boxes touch that of `one`, without itself. */
export function neighboursOf(state, one) {
  const { x, y, width, height } = one.mask;
  const touches = ({ mask }) =>
    mask && mask.x < x + width && x < mask.x + mask.width && mask.y < y + height && y < mask.y + mask.height;
  return state.annotations.list.filter((other) => other.id !== one.id && touches(other));
}

/** Whether an object is seen: neither it nor its class is hidden. */
export const isShown = (state, one) => one.visible && !state.hiddenClasses.includes(one.class_id);
