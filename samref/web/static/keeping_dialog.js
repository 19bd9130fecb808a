/** The dialog "Your work": what is kept, the key that opens it, and how to take it elsewhere. */

import { h, setText, titledDialog } from "./dom.js";
import { FORGETS, keyIn, linkWith, sentencesOf } from "./keeping.js";
import { isForgetful } from "./memory.js";

/**
 * The dialog; gives {element, open(), update(state)}.
 *
 * @param {object} keys {current(), former(), use(key)}: the key of this workspace and those held here before
 * @param {{info}} toasts
 */
export function createKeeping(keys, toasts) {
  const said = h("div", { class: "samref-keeping-said" });
  const forgetful = h(
    "p",
    { class: "samref-keeping-warning", hidden: true },
    FORGETS,
  );
  const former = h("ul", { class: "samref-keeping-former" });
  const formerBox = h("section", { hidden: true }, h("h3", {}, "Used in this browser before"), former);
  const field = h("input", {
    type: "text",
    "aria-label": "Key of another workspace",
    placeholder: "Key of another workspace",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
  });
  const form = h(
    "form",
    {
      class: "samref-keeping-form",
      on: {
        submit: (event) => {
          event.preventDefault();
          const key = keyIn(field.value);
          if (!key) return toasts.info("That is no key: it has letters, digits, - and _ only.");
          field.value = "";
          use(key);
        },
      },
    },
    field,
    h("button", { type: "submit", class: "samref-button" }, "Open"),
  );
  const dialog = titledDialog(
    "samref-keeping",
    "Your work",
    null,
    said,
    forgetful,
    h("h3", {}, "The key of this workspace"),
    h(
      "p",
      {},
      "This browser holds it. Whoever has it can open, change and export everything here. Keep a copy: with it the " +
        "workspace opens in another browser, too. If it is lost, whoever runs the server can make another one.",
    ),
    h(
      "div",
      { class: "samref-keeping-buttons" },
      copyButton("Copy the key", () => keys.current()),
      copyButton("Copy a link with the key", () => linkWith(keys.current())),
    ),
    h("h3", {}, "Open another workspace"),
    form,
    formerBox,
    h("h3", {}, "Take it elsewhere"),
    h(
      "p",
      {},
      "Export gives the labels as files. Whoever runs the server copies everything, images included, with ",
      h("code", {}, "python -m samref backup FOLDER"),
      "; that folder can be served on another machine.",
    ),
  );

  function copyButton(text, give) {
    return h("button", { type: "button", class: "samref-button", on: { click: () => copy(give()) } }, text);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      toasts.info("Copied. Keep it where only you can read it.");
    } catch {
      field.value = text; // a page without permission can still show it
      field.select();
      toasts.info("Copying is not allowed here: the field below holds it, marked.");
    }
  }

  function use(key) {
    dialog.close();
    keys.use(key);
  }

  function update({ workspace }) {
    const sentences = sentencesOf(workspace?.keeping);
    while (said.children.length < sentences.length) said.append(h("p", {}));
    while (said.children.length > sentences.length) said.lastChild.remove();
    sentences.forEach((sentence, at) => setText(said.children[at], sentence));
    forgetful.hidden = !isForgetful();
    const others = keys.former();
    formerBox.hidden = others.length === 0;
    former.replaceChildren(
      ...others.map((key) =>
        h(
          "li",
          {},
          h("button", { type: "button", class: "samref-button", on: { click: () => use(key) } }, `${key.slice(0, 6)}…`),
        ),
      ),
    );
  }

  return {
    element: dialog,
    update: (state) => dialog.open && update(state),
    isOpen: () => dialog.open,
    open(state) {
      update(state);
      dialog.showModal();
    },
  };
}
