/** Keys in, actions out, by the table in `shortcuts.js`. */

import { findReleased, findShortcut } from "./shortcuts.js";

/** Actions that go on while the key is held; all others act once. */
const REPEATING = new Set([
  "undo",
  "redo",
  "zoom:in",
  "zoom:out",
  "pan",
  "brush:up",
  "brush:down",
  "opacity:up",
  "opacity:down",
  "dropCorner",
]);

/**
 * @param {object} parts {target: where keys are heard, isBlocked(action) , perform(action, event) → false when nothing
 *   was done, hold(action, on), leaveField(): Esc in a text field}
 */
export function listenToKeys({ target, isBlocked, perform, hold, leaveField }) {
  const held = new Set();

  function onKeyDown(event) {
    if (event.defaultPrevented) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") leaveField();
      return;
    }
    if (isLetterInClosedList(event)) event.preventDefault(); // it would change the choice beside what it stands for
    const shortcut = findShortcut(event);
    if (!shortcut || shortcut.passive || isBlocked(shortcut.action)) return;
    if (ownsKey(event.target, event.key)) return;
    if (shortcut.held) {
      event.preventDefault();
      if (!held.has(shortcut.action)) hold(shortcut.action, true);
      held.add(shortcut.action);
      return;
    }
    if (event.repeat && !REPEATING.has(shortcut.action)) return;
    if (perform(shortcut.action, event) !== false) event.preventDefault();
  }

  function onKeyUp(event) {
    const shortcut = findReleased(event);
    if (shortcut && held.delete(shortcut.action)) hold(shortcut.action, false);
  }

  function releaseAll() {
    for (const action of held) hold(action, false);
    held.clear();
  }

  target.addEventListener("keydown", onKeyDown);
  target.addEventListener("keyup", onKeyUp);
  globalThis.addEventListener("blur", releaseAll);
}

/** Letters belong to the field somebody types in, and to a list that hangs open. */
function isTyping(element) {
  if (element?.isContentEditable) return true;
  if (element?.tagName === "SELECT") return isOpen(element);
  const type = element?.tagName === "INPUT" ? element.type : element?.tagName?.toLowerCase();
  return ["text", "search", "number", "textarea"].includes(type);
}

/** Browsers that do not know `:open` keep the keys of an open list to themselves. */
function isOpen(select) {
  try {
    return select.matches(":open");
  } catch {
    return false;
  }
}

function isLetterInClosedList({ target, key, ctrlKey, metaKey, altKey }) {
  return target?.tagName === "SELECT" && key.length === 1 && key !== " " && !ctrlKey && !metaKey && !altKey;
}

const MOVING = new Set(["PageUp", "PageDown", "Home", "End", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);

/** Enter and Space press a focused button and open a list; arrows move a slider, to which Enter means nothing. */
export function ownsKey(element, key) {
  if (element?.closest?.("button, a, summary, [role=button]")) return key === "Enter" || key === " ";
  if (element?.tagName === "SELECT") return MOVING.has(key) || key === "Enter" || key === " ";
  if (element?.tagName !== "INPUT") return false;
  if (element.type === "checkbox") return key === " ";
  return MOVING.has(key) || key === " " || (key === "Enter" && element.type !== "range");
}
