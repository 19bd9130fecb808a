/** The little menu of clean-ups beside the draft: each is shown on the image while the pointer rests on it. */

import { h, iconButton, setAttribute, setText } from "./dom.js";
import { ALL, TIDY } from "./hand_actions.js";
import { SHORTCUTS, labelsOf } from "./shortcuts.js";

/** What becomes of pixels that other objects have, when a mask is accepted. */
const OVERLAPS = [
  ["keep", "objects may overlap"],
  ["under", "others keep their pixels"],
  ["over", "it takes pixels from others"],
];

/** Gives {button, menu, update(state)}. */
export function createTidyMenu(actions) {
  const rows = TIDY.map((item) => createRow(item, actions));
  const overlap = h(
    "select",
    { on: { change: () => actions.setOverlap(overlap.value) } },
    OVERLAPS.map(([value, text]) => h("option", { value }, text)),
  );
  const menu = h(
    "div",
    {
      class: "samref-tidy",
      id: "samref-tidy",
      role: "group",
      "aria-label": "Clean up the mask",
      hidden: true,
      on: { keydown: onKey, pointerleave: actions.leaveTidy, focusout: onFocusOut },
    },
    rows.map(({ element }) => element),
    h("label", { class: "samref-tidy-overlap" }, h("span", {}, "When accepted"), overlap),
  );
  const button = iconButton("tidy", "Clean up the mask (T)", () => actions.toggleTidyMenu(), {
    class: "samref-tidy-button",
    "aria-expanded": "false",
    "aria-controls": "samref-tidy",
    data: { key: "tidyMenu" },
  });

  function onKey(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      actions.toggleTidyMenu(false);
      cameFrom?.focus({ preventScroll: true });
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (event.target.tagName === "INPUT") return;
    event.preventDefault();
    const presses = rows.map(({ press }) => press);
    const at = presses.indexOf(document.activeElement);
    presses[(at + (event.key === "ArrowDown" ? 1 : presses.length - 1)) % presses.length].focus();
  }

  function onFocusOut(event) {
    if (!menu.contains(event.relatedTarget)) actions.leaveTidy();
  }

  let wasOpen = false;
  let cameFrom = null; // what had the focus before
  function update(state) {
    const usable = state.draft.mask !== null;
    const open = state.tidyOpen && usable;
    button.hidden = !usable;
    setAttribute(button, "aria-expanded", String(open));
    menu.hidden = !open;
    for (const row of rows) row.update(state);
    overlap.value = state.overlap;
    if (open && !wasOpen) {
      cameFrom = document.activeElement;
      rows[0].press.focus({ preventScroll: true });
    }
    wasOpen = open;
  }

  document.addEventListener("pointerdown", (event) => {
    if (wasOpen && !menu.contains(event.target) && !button.contains(event.target)) actions.toggleTidyMenu(false);
  });

  return { button, menu, update };
}

function createRow({ how, text, unit, amount, least, most, about }, actions) {
  const shortcut = SHORTCUTS.find(({ action }) => action === `tidy:${how}`);
  const show = () => actions.tryTidy(how);
  const press = h(
    "button",
    {
      type: "button",
      class: "samref-button samref-tidy-do",
      data: { key: `tidy:${how}` },
      on: { click: () => actions.tidy(how), pointerenter: show, focus: show, pointerleave: actions.leaveTidy },
    },
    h("span", {}, text),
    h("kbd", { "aria-hidden": "true" }, labelsOf(shortcut)[0]),
  );
  if (amount === null) return { element: h("div", { class: "samref-tidy-row" }, press), press, update() {} };
  const isArea = unit === "px²";
  const slider = h("input", {
    type: "range",
    min: 0,
    max: STEPS,
    step: 1,
    "aria-label": `${text} ${about}`,
    on: {
      input: () => {
        actions.setTidyAmount(how, fromStep(Number(slider.value), least, most, isArea));
        show();
      },
    },
  });
  const words = h("output", {});
  return {
    element: h("div", { class: "samref-tidy-row" }, press, h("label", {}, slider, words)),
    press,
    update({ tidyAmounts }) {
      const now = tidyAmounts[how] ?? amount;
      const step = String(now === ALL ? STEPS : toStep(now, least, most));
      if (slider.value !== step) slider.value = step;
      const text = now === ALL ? "all" : `${now} ${unit}`;
      setAttribute(slider, "aria-valuetext", text);
      setText(words, text);
    },
  };
}

/** Sliders go by factors, so that small amounts are as easy to set as large ones. */
const STEPS = 60;
const fromStep = (step, least, most, isArea) =>
  isArea && step === STEPS ? ALL : Math.round(least * (most / least) ** (step / STEPS));
const toStep = (amount, least, most) => Math.round((STEPS * Math.log(amount / least)) / Math.log(most / least));
