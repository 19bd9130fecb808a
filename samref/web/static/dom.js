/** Small makers of elements. Text goes in as text nodes only: what a person typed never becomes HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `attributes`: `class`, `on` ({event: listener}), `data` ({name: value}), properties such as `value`
 * and `disabled`, and anything else as an attribute; null and false leave it out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = new Set(["value", "disabled", "checked", "hidden", "selected", "multiple"]);

/** A line icon of the table below. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("samref-icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon; `label` is read out and shown as a tooltip, and as text when `text` is true. */
export function iconButton(name, label, onClick, { text = false, class: extra = "", ...attributes } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: `samref-button ${extra}`,
      title: label,
      "aria-label": label,
      on: { click: onClick },
      ...attributes,
    },
    icon(name),
    text ? h("span", {}, text === true ? label : text) : null,
  );
}

/** A dialog with its title and a way out: the cross, Esc, or a click beside it. `extra`: elements beside the title. */
export function titledDialog(name, title, extra, ...content) {
  const dialog = h(
    "dialog",
    { class: `samref-help ${name}`, "aria-label": title, on: { click: ({ target }) => target === dialog && dialog.close() } },
    h(
      "div",
      { class: "samref-help-body" },
      h(
        "header",
        {},
        h("h2", {}, title),
        extra,
        iconButton("close", "Close", () => dialog.close()),
      ),
      ...content,
    ),
  );
  return dialog;
}

/** Set text and attributes only where they differ, so that screen readers and focus are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * Keep the children of `container` equal to `items` by key: elements of keys that stay are updated, not made anew.
 *
 * `create(item)` gives `{element, update(item)}`.
 */
export function createList(container, keyOf, create) {
  let rows = new Map();
  return (items) => {
    const next = new Map();
    let cursor = container.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      const row = rows.get(key) ?? create(item);
      row.update(item);
      next.set(key, row);
      if (row.element === cursor) cursor = cursor.nextElementSibling;
      else container.insertBefore(row.element, cursor);
    }
    for (const [key, row] of rows) if (!next.has(key)) row.element.remove();
    rows = next;
  };
}

const ICONS = {
  brush: "M4 20c3.500 0 5-1 5-3.200A2.600 2.600 0 0 0 4.500 15C3.500 17 4.500 18.500 4 20z M9.500 14.500L19 4.500a1.400 1.400 0 0 1 2 2L11.500 16.500",
  eraser: "M9 19.500L4 14.500a2 2 0 0 1 0-2.800L12 3.700a2 2 0 0 1 2.800 0L20 9a2 2 0 0 1 0 2.800L12.300 19.500z M8 8l8 8 M9 19.500h11",
  lasso: "M12 4c5 0 9 2.500 9 6s-4 6-9 6-9-2.500-9-6 4-6 9-6z M7 15.200c-2 1-1.500 3.300.5 3.300s2.500-2 .500-3.300 M7.500 18.500c0 1.500-.500 2-1.500 2.500",
  vertices: "M6 18L9 7l9 2 M6 18l10-.5 M4 16.500h4v4H4z M7 4.500h4v4H7z M16.500 7h4v4h-4z",
  tidy: "M14 4l6 6 M12.500 9.500l2 2-6 8.500H5l-1-1 1-3.500z M4 5h4 M6 3v4 M18 16h3 M19.500 14.500v3",
  click: "M5 3l13 7-5.5 2L10 18z M14 14l5 5",
  box: "M4 7V4h3 M17 4h3v3 M20 17v3h-3 M7 20H4v-3 M10.5 4h3 M10.5 20h3 M4 10.5v3 M20 10.5v3",
  scribble: "M3 17c3-9 6-11 7-8s-3 7-1 8 5-9 7-9-1 6 0 7 3-1 5-3",
  polygon: "M12 4l8 6-3 9H7l-3-9z M12 4h.01 M20 10h.01 M17 19h.01 M7 19h.01 M4 10h.01",
  hand: "M8 12V6.5a1.5 1.5 0 0 1 3 0V11 M11 10.5V5a1.5 1.5 0 0 1 3 0v5.5 M14 11V6.5a1.5 1.5 0 0 1 3 0V14c0 4-2 6.5-5.5 6.5S6.500 18.500 5 15.500l-1.300-2.600a1.400 1.400 0 0 1 2.400-1.400L8 14",
  plus: "M12 5v14 M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5",
  back: "M15 5l-7 7 7 7",
  forward: "M9 5l7 7-7 7",
  turnLeft: "M4 5v5h5 M4.500 10A8 8 0 1 1 4 13.500",
  turnRight: "M20 5v5h-5 M19.500 10A8 8 0 1 0 20 13.500",
  undo: "M9 7L4 12l5 5 M4 12h10a6 6 0 0 1 6 6",
  history: "M4 12a8 8 0 1 0 2.500-5.800 M4 4v4h4 M12 8v4.500l3 2",
  redo: "M15 7l5 5-5 5 M20 12H10a6 6 0 0 0-6 6",
  check: "M4 12.500l5.500 5.500L20 7",
  close: "M6 6l12 12 M18 6L6 18",
  eye: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12z M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  eyeOff:
    "M3 3l18 18 M10 5.700A9 9 0 0 1 12 5.500c6 0 9.500 6.500 9.500 6.500a17 17 0 0 1-3 3.700 M6.500 7.500C4 9.300 2.500 12 2.500 12S6 18.500 12 18.500c1.700 0 3.200-.5 4.500-1.200",
  pencil: "M4 20l1-4L16 5l3 3L8 19z M14 7l3 3",
  trash: "M5 7h14 M10 7V4.500h4V7 M7 7l1 13h8l1-13 M10.500 11v5 M13.500 11v5",
  upload: "M12 16V5 M7.500 9.500L12 5l4.500 4.500 M5 16v3.500h14V16",
  download: "M12 5v11 M7.500 11.500L12 16l4.500-4.500 M5 16v3.500h14V16",
  help: "M9 9.500a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400 M12 18h.01",
  outline: "M12 4c5 0 8 3 8 8s-3 8-8 8-8-3-8-8 3-8 8-8z",
  lock: "M6.500 11h11v8.500h-11z M8.500 11V8a3.500 3.500 0 0 1 7 0v3",
  unlock: "M6.500 11h11v8.500h-11z M8.500 11V8a3.500 3.500 0 0 1 6.800-1.200",
  merge: "M5 5c0 6 7 4 7 10v4 M19 5c0 6-7 4-7 10 M9 16.500l3 3 3-3",
  more: "M5.500 12h.01 M12 12h.01 M18.500 12h.01",
  info: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17z M12 11v5 M12 8h.01",
  search: "M10.500 4.500a6 6 0 1 0 0 12 6 6 0 0 0 0-12z M15 15l5 5",
  down: "M7 10l5 5 5-5",
  images: "M4 5h16v14H4z M4 16l5-5 4 4 2.500-2.500L20 17 M15.500 9h.01",
  flag: "M6 21V4 M6 4.500h11l-2.500 4 2.500 4H6",
  outside: "M14 4h6v6 M20 4l-9 9 M18 14v5.500H4.500V6H10",
  folder: "M3.500 6.500h6l2 2.500h9v10h-17z",
  list: "M9 6h11 M9 12h11 M9 18h11 M4.500 6h.01 M4.500 12h.01 M4.500 18h.01",
};
