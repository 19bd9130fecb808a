/**
 * Short messages. Text only: a message may hold what somebody typed.
 *
 *   toasts.info("Deleted cup 3.", { action: { label: "Undo", run } })   a button that does something and closes it
 *   toasts.error("3 files were refused.", { details: ["a.svg: …", …] }) a list that can be opened
 *
 * A message stays while the pointer or the focus is on it, or its list is open.
 */

import { h, iconButton } from "./dom.js";

const SHOWN_MS = { error: 9_000, info: 4_500, action: 8_000 };
const MOST = 3;

export function createToasts(container) {
  function show(kind, text, { action = null, details = [] } = {}) {
    const last = container.lastElementChild;
    if (last?.dataset.text === text) last.remove(); // said again, not said twice
    const list = details.length ? listOf(details) : null;
    const toast = h(
      "div",
      { class: `samref-toast samref-toast-${kind}`, role: kind === "error" ? "alert" : "status", data: { text } },
      h("div", { class: "samref-toast-text" }, h("span", {}, text), list),
      action && actionButton(action, () => toast.remove()),
      iconButton("close", "Close this message", () => toast.remove()),
    );
    container.append(toast);
    while (container.children.length > MOST) container.firstElementChild.remove();
    leaveAlone(toast, list, action ? SHOWN_MS.action : SHOWN_MS[kind]);
  }

  return {
    error: (text, options) => show("error", text, options),
    info: (text, options) => show("info", text, options),
  };
}

function listOf(details) {
  return h(
    "details",
    {},
    h("summary", {}, `Show all ${details.length}`),
    h("ul", { class: "samref-toast-list" }, ...details.map((line) => h("li", {}, line))),
  );
}

function actionButton({ label, run }, close) {
  function act() {
    close();
    run();
  }
  return h("button", { type: "button", class: "samref-button samref-toast-action", on: { click: act } }, label);
}

/** Remove the message after a while in which nobody read it. */
function leaveAlone(toast, list, after) {
  const isRead = () => toast.matches(":hover, :focus-within") || list?.open;
  function leave() {
    if (isRead()) setTimeout(leave, after / 2);
    else toast.remove();
  }
  setTimeout(leave, after);
}
