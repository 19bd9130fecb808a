/** The `?` overlay: every shortcut and gesture, printed from the table that the key handler uses. */

import { h, titledDialog } from "./dom.js";
import { GESTURES, SHORTCUTS, labelsOf, onKeysChanged } from "./shortcuts.js";

/** @param {Element} notes what else there is to say below the keys */
export function createHelp(notes) {
  const columns = h("div", { class: "samref-help-columns" });
  const change = h("button", { type: "button", class: "samref-button", on: { click: changeKeys } }, "Change keys");
  const dialog = titledDialog("", "Keyboard and gestures", change, columns, notes);
  dialog.addEventListener("close", print);
  onKeysChanged(() => !change.hidden && print());
  print();

  function print() {
    change.hidden = false;
    columns.replaceChildren(
      group(
        "Mouse, pen and fingers",
        GESTURES.map(({ label, text }) => line([label], text)),
      ),
      ...groupsOf(SHORTCUTS).map(([name, members]) =>
        group(
          name,
          members.map((one) => line(labelsOf(one), one.text)),
        ),
      ),
    );
  }

  async function changeKeys() {
    const { createKeySettings } = await import("./key_settings.js"); // seldom needed, so fetched when it is
    change.hidden = true;
    columns.replaceChildren(createKeySettings());
    columns.querySelector("button")?.focus();
  }

  return {
    element: dialog,
    isOpen: () => dialog.open,
    toggle: () => (dialog.open ? dialog.close() : dialog.showModal()),
  };
}

/** [[group, its shortcuts]] in the order of the table. */
export function groupsOf(shortcuts) {
  const groups = new Map();
  for (const one of shortcuts) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  return [...groups];
}

const group = (title, lines) => h("section", {}, h("h3", {}, title), h("dl", {}, ...lines));

const line = (labels, text) =>
  h("div", { class: "samref-help-line" }, h("dt", {}, ...printKeys(labels)), h("dd", {}, text));

const printKeys = (labels) =>
  labels.length ? labels.flatMap((label, i) => [i > 0 ? " or " : null, h("kbd", {}, label)]) : ["no key"];
