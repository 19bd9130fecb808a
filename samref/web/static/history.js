/** The history of the open image as a list: what was done, newest first; a click goes to that moment. */

import { createList, h, iconButton, setAttribute, setText, titledDialog } from "./dom.js";

/** Gives {button, element, isOpen, update(state)}; the list is asked for while the dialog is open. */
export function createHistory(actions) {
  const list = h("ol", { class: "samref-history-list", reversed: true });
  const button = iconButton("history", "History: all that was done on this image", open, {
    "aria-haspopup": "dialog",
  });
  const element = titledDialog(
    "samref-history",
    "History of this image",
    null,
    h("p", {}, "Go back to any moment, and forward again. What you do there takes the place of what came after it."),
    list,
  );
  const show = createList(list, (entry) => entry.number, createEntry);
  let askedAt = null; // the revision whose history was asked for

  function createEntry({ number }) {
    const go = h("button", { type: "button", class: "samref-menu-item", on: { click: () => actions.travel(number) } });
    return {
      element: h("li", {}, go),
      update({ what, at }) {
        setText(go, number === 0 ? "Image opened" : what[0].toUpperCase() + what.slice(1));
        setAttribute(go, "aria-current", number === at ? "step" : null);
        go.classList.toggle("samref-undone", number > at);
      },
    };
  }

  function open() {
    askedAt = null;
    element.showModal();
    actions.askHistory();
  }

  return {
    button,
    element,
    isOpen: () => element.open,
    update({ image, revision, history }) {
      button.disabled = !image;
      if (!element.open) return;
      if (!image) return element.close();
      if (askedAt !== revision) {
        askedAt = revision;
        actions.askHistory();
      }
      show(history ? history.entries.map((entry) => ({ ...entry, at: history.at })).reverse() : []);
    },
  };
}
