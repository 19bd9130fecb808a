/**
 * Shows the keys that are set wherever the page names one: a tooltip's "(P)", a little key beside a text. An element
 * says by `data-key` which action it stands for.
 */

import { setAttribute } from "./dom.js";
import { labelOf, onKeysChanged } from "./shortcuts.js";

/** Say on a button what it would do now: "Undo: accept cup 3 (Ctrl + Z)". */
export function nameButton(button, word, what) {
  const key = labelOf(button.dataset.key);
  const label = `${word}${what ? `: ${what}` : ""}${key ? ` (${key})` : ""}`;
  setAttribute(button, "title", label);
  setAttribute(button, "aria-label", label);
}

/** Fill in the keys below `root`, now and whenever they change. */
export function followKeys(root) {
  const fill = () => root.querySelectorAll("[data-key]").forEach(showKey);
  onKeysChanged(fill);
  fill();
}

function showKey(element) {
  const label = labelOf(element.dataset.key);
  const badge = element.matches("kbd") ? element : element.querySelector("kbd");
  if (badge) {
    badge.textContent = label;
    badge.hidden = label === "";
  }
  for (const name of ["title", "aria-label"]) {
    const text = element.getAttribute(name);
    if (text) element.setAttribute(name, withKey(text, label));
  }
}

/** "Point (P)" with another key; a text with a word about keys, such as "(X switches)", keeps it. */
export function withKey(text, label) {
  const bare = text.replace(/ \((?<key>[^()]+?)(?<rest> switches)?\)$/, (_, _key, rest) => (rest ? "\u0000" : ""));
  if (bare.endsWith("\u0000")) return `${bare.slice(0, -1)}${label ? ` (${label} switches)` : ""}`;
  return label ? `${bare} (${label})` : bare;
}
