/** The `?` overlay: every shortcut and gesture, printed from the table that the key handler uses. */

import { h, iconButton } from "./dom.js";
import { GESTURES, SHORTCUTS, labelsOf } from "./shortcuts.js";

export function createHelp() {
  const keys = (labels) => labels.flatMap((label, i) => [i > 0 ? " or " : null, h("kbd", {}, label)]);
  const line = (labels, text) =>
    h("div", { class: "samref-help-line" }, h("dt", {}, ...keys(labels)), h("dd", {}, text));
  const group = (title, lines) => h("section", {}, h("h3", {}, title), h("dl", {}, ...lines));
  const groups = [...new Set(SHORTCUTS.map((shortcut) => shortcut.group))];
  const dialog = h(
    "dialog",
    { class: "samref-help", "aria-label": "Keyboard and gestures", on: { click: closeOnBackdrop } },
    h(
      "div",
      { class: "samref-help-body" },
      h(
        "header",
        {},
        h("h2", {}, "Keyboard and gestures"),
        iconButton("close", "Close", () => dialog.close()),
      ),
      h(
        "div",
        { class: "samref-help-columns" },
        group(
          "Mouse, pen and fingers",
          GESTURES.map(({ label, text }) => line([label], text)),
        ),
        ...groups.map((name) =>
          group(
            name,
            SHORTCUTS.filter((one) => one.group === name).map((one) => line(labelsOf(one), one.text)),
          ),
        ),
      ),
    ),
  );

  function closeOnBackdrop(event) {
    if (event.target === dialog) dialog.close();
  }

  return {
    element: dialog,
    isOpen: () => dialog.open,
    toggle: () => (dialog.open ? dialog.close() : dialog.showModal()),
  };
}
