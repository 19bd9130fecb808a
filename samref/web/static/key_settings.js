/** Choose other keys: a list of all that can be changed. Fetched when somebody asks for it. */

import { h, setText } from "./dom.js";
import { groupsOf } from "./help.js";
import { remember } from "./memory.js";
import { SHORTCUTS, chordOf, customKeys, labelsOf, keysOf, ownerOf, printChord, useKeys } from "./shortcuts.js";

/** Keys that would lock somebody out of the page. */
const KEPT = new Set(["tab", "shift+tab", "ctrl+w", "ctrl+t", "ctrl+r", "ctrl+n", "f5", "f11", "f12"]);

const MODIFIERS = new Set(["Shift", "Control", "Alt", "Meta", "AltGraph", "CapsLock", "Dead", "Process"]);

/** The list, as one element. */
export function createKeySettings() {
  const said = h("p", { class: "samref-key-said", role: "status" });
  const rows = [];
  let listening = null; // the row that waits for a key, and the chord it may take from another

  function createRow(shortcut) {
    const key = h("button", { type: "button", class: "samref-button samref-key", on: { click: () => listen(row) } });
    const reset = h(
      "button",
      { type: "button", class: "samref-button", "aria-label": `Reset: ${shortcut.text}`, on: { click: undo } },
      "Reset",
    );
    const element = h("div", { class: "samref-key-row" }, key, h("span", {}, shortcut.text), reset);
    const row = { shortcut, key, show };

    function show() {
      const labels = labelsOf(shortcut).join(" or ") || "no key";
      const waits = listening?.row === row;
      setText(key, waits ? "Press a key" : labels);
      key.setAttribute("aria-label", `${waits ? "Press a key" : labels}: ${shortcut.text}`);
      key.classList.toggle("samref-listening", waits);
      reset.disabled = !customKeys()[shortcut.action];
    }

    function undo() {
      const { [shortcut.action]: _own, ...rest } = customKeys();
      keep(rest);
      setText(said, `${shortcut.text}: ${labelsOf(shortcut).join(" or ") || "no key, because it is taken"}.`);
    }

    rows.push(row);
    return element;
  }

  function listen(row) {
    listening = { row, offered: null };
    setText(said, `Press the new key for “${row.shortcut.text}”, or Esc to leave it.`);
    show();
  }

  function stop(text) {
    listening = null;
    setText(said, text);
    show();
  }

  function onKey(event) {
    if (!listening || MODIFIERS.has(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const { row, offered } = listening;
    if (event.key === "Escape") return stop("Nothing was changed.");
    const chord = chordOf(event);
    if (!chord || KEPT.has(chord)) return setText(said, "That key belongs to the browser. Press another.");
    const owner = ownerOf(chord);
    const printed = printChord(chord);
    if (owner?.fixed) return setText(said, `${printed} always means “${owner.text}”. Press another key.`);
    if (owner && owner.action !== row.shortcut.action && offered !== chord) {
      listening.offered = chord;
      return setText(said, `${printed} means “${owner.text}”. Press it again to take it from there, or another key.`);
    }
    const taken = owner && owner.action !== row.shortcut.action ? owner : null;
    keep({
      ...customKeys(),
      ...(taken ? { [taken.action]: keysOf(taken).filter((one) => one !== chord) } : {}),
      [row.shortcut.action]: [chord],
    });
    stop(`${row.shortcut.text}: ${printed}.`);
  }

  function keep(keys) {
    useKeys(keys);
    remember("keys", JSON.stringify(keys));
    show();
  }

  const show = () => rows.forEach((row) => row.show());
  const changeable = SHORTCUTS.filter((one) => !one.fixed);
  const element = h(
    "div",
    { class: "samref-keys", on: { focusout: ({ target }) => target === listening?.row.key && stop("") } },
    h("p", {}, "Press a key’s button, then the new key. Your keys are kept by this browser."),
    said,
    ...groupsOf(changeable).map(([name, members]) =>
      h("section", { "aria-label": name }, h("h3", {}, name), ...members.map(createRow)),
    ),
    h(
      "button",
      {
        type: "button",
        class: "samref-button",
        on: {
          click: () => {
            keep({});
            setText(said, "All keys are as they came.");
          },
        },
      },
      "Reset all keys",
    ),
  );
  element.addEventListener("keydown", onKey, { capture: true });
  show();
  return element;
}
