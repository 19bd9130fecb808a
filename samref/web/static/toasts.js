/** Short messages at the foot of the page. Text only: a message may hold what somebody typed. */

import { h, iconButton } from "./dom.js";

const SHOWN_MS = { error: 9_000, info: 4_500 };
const MOST = 3;

export function createToasts(container) {
  function show(kind, text) {
    const last = container.lastElementChild;
    if (last?.dataset.text === text) last.remove(); // said again, not said twice
    const toast = h(
      "div",
      { class: `samref-toast samref-toast-${kind}`, role: kind === "error" ? "alert" : "status", data: { text } },
      h("span", {}, text),
      iconButton("close", "Close this message", () => toast.remove()),
    );
    container.append(toast);
    while (container.children.length > MOST) container.firstElementChild.remove();
    setTimeout(() => toast.remove(), SHOWN_MS[kind]);
  }
  return { error: (text) => show("error", text), info: (text) => show("info", text) };
}
