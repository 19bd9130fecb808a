/**
 * Boxes of many images become masks: the box in the panel that shows the server's job, boxes drawn for later, and the
 * review of what came of it, the lowest score first. Loaded when somebody asks for it.
 */

import { h, setText } from "./dom.js";
import { remember } from "./memory.js";

/** How often the job is asked about while it runs. */
const LOOK_MS = 1_500;

const SVG = "http://www.w3.org/2000/svg";

/** What a job's phase means to a person. */
export function sentenceOf(told) {
  const left = told.boxes - told.boxes_done;
  const objects = (count) => `${count} ${count === 1 ? "mask" : "masks"}`;
  const boxes = `${left} ${left === 1 ? "box" : "boxes"}`;
  const images = told.images - told.images_done;
  switch (told.phase) {
    case "none":
      return "No boxes yet. Import them from a COCO file or a zip of YOLO labels, or collect them on the images.";
    case "running":
      return `${told.boxes_done} of ${told.boxes} boxes done${timeLeft(told.seconds_left)}.`;
    case "waiting":
      return `${boxes} ${left === 1 ? "waits" : "wait"}: an object is being drawn in that image. Accept or discard it.`;
    case "paused":
      return `To do: ${boxes} in ${images === 1 ? "1 image" : `${images} images`}.`;
    default:
      return `Done: ${objects(told.masks)}${left > 0 ? `; ${boxes} could not be done` : ""}.`;
  }
}

function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const [count, unit] = seconds < 90 ? [Math.max(1, Math.round(seconds)), "s"] : [Math.round(seconds / 60), "min"];
  return `, about ${count} ${unit} left`;
}

/** The attributes of an object that somebody has looked at. */
export function reviewed(attributes = []) {
  return [...attributes.filter(([name]) => name !== "reviewed"), ["reviewed", "yes"]];
}

/**
 * @param {object} parts {panel, stage, store, routes, transport, canvas, toasts, actions, tab}
 * @returns {{open(), take(prompt): boolean, place()}} `take` keeps a prompt that is a box for later; `place` draws
 *   those boxes where the image lies now
 */
export function createBulk({ panel, stage, store, routes, transport, canvas, toasts, actions, tab }) {
  let told = null;
  let timer = null;
  let collecting = false;
  const state = () => store.get();

  // ---- the box in the panel

  const says = h("p", { class: "samref-bulk-says", role: "status" });
  const bar = h("progress", { class: "samref-bulk-bar", "aria-label": "Boxes done", max: 1, value: 0 });
  const note = h("p", { class: "samref-bulk-note" });
  const faults = h("ul", { class: "samref-bulk-faults" });
  const faultsBox = h("details", { hidden: true }, h("summary", {}, "What could not be done"), faults);
  const input = h("input", {
    type: "file",
    accept: ".json,.zip,application/json,application/zip",
    class: "samref-file-input",
    tabindex: "-1",
    "aria-hidden": "true",
    on: {
      change: () => {
        if (input.files[0]) importFile(input.files[0]);
        input.value = "";
      },
    },
  });
  const importButton = button("Import boxes", () => input.click(), "A COCO file, or a zip of YOLO labels");
  const collectButton = button("Collect boxes", () => collect(!collecting), "Draw boxes now, get their masks later");
  const startButton = button("Start", () => act("start"), "Make a mask of each box");
  const pauseButton = button("Pause", () => act("pause"), "What is done is kept");
  const cancelButton = button("Cancel", () => act("cancel"), "Drop the boxes that are not done; masks stay");
  const reviewButton = button("Review", () => review(), "Look at the masks, the lowest score first");
  startButton.classList.add("samref-accept");
  const first = h("div", { class: "samref-bulk-buttons" }, importButton, collectButton, input);
  const second = h("div", { class: "samref-bulk-buttons" }, startButton, pauseButton, cancelButton, reviewButton);
  const closer = button("×", close, "Close");
  closer.setAttribute("aria-label", "Close");
  closer.classList.add("samref-bulk-close");

  // ---- the review

  let queue = []; // {image, id, score}, lowest score first
  let at = 0;
  let reviewing = false;
  let wanted = null; // the object to be shown once its image is here
  let edited = null; // that object as it was before it was edited
  const place_ = h("span", { class: "samref-bulk-place", role: "status" });
  const acceptButton = button("Accept", seen, "Right as it is (A)", "A");
  const walker = h(
    "div",
    { class: "samref-bulk-review", role: "group", "aria-label": "Review", hidden: true },
    h("div", { class: "samref-bulk-buttons" }, place_),
    h(
      "div",
      { class: "samref-bulk-buttons" },
      acceptButton,
      button("Edit", () => edit(), "Edit it again (E)", "E"),
      button("Delete", () => actions.remove(queue[at]?.id), "Delete it (Delete)", "Del"),
    ),
    h(
      "div",
      { class: "samref-bulk-buttons" },
      button("Previous", () => go(at - 1), "Previous object (Shift + N)"),
      button("Next", () => go(at + 1), "Next object (N)", "N"),
      button("End", () => endReview(), "End the review"),
    ),
  );
  acceptButton.classList.add("samref-accept");

  const element = h(
    "section",
    { class: "samref-section samref-bulk", "aria-label": "Masks from boxes", hidden: true },
    h("h3", {}, "Masks from boxes", closer),
    says,
    bar,
    note,
    first,
    second,
    faultsBox,
    walker,
  );
  const css = h("link", { rel: "stylesheet", href: new URL("styles/bulk.css", import.meta.url).href });
  document.head.append(css);
  panel.querySelector(".samref-section").before(element);
  const boxes = document.createElementNS(SVG, "svg");
  boxes.classList.add("samref-boxes");
  boxes.setAttribute("aria-hidden", "true");
  stage.append(boxes);

  function button(text, onClick, title, key = null) {
    return h(
      "button",
      { type: "button", class: "samref-button", title, on: { click: onClick } },
      h("span", {}, text),
      key ? h("kbd", { "aria-hidden": "true" }, key) : null,
    );
  }

  function open() {
    element.hidden = false;
    remember("bulk", "open", "session");
    element.scrollIntoView({ block: "nearest" });
    return look();
  }

  function close() {
    collect(false);
    endReview();
    element.hidden = true;
    remember("bulk", null, "session");
    clearTimeout(timer);
  }

  function show() {
    if (!told) return;
    const { phase } = told;
    const works = phase === "running" || phase === "waiting";
    setText(says, sentenceOf(told));
    bar.hidden = !told.boxes;
    bar.max = told.boxes || 1;
    bar.value = told.boxes_done;
    setText(note, told.note);
    note.hidden = !told.note;
    setText(startButton.firstChild, phase === "paused" && told.boxes_done ? "Resume" : "Start");
    startButton.hidden = works || told.boxes_done >= told.boxes;
    pauseButton.hidden = !works;
    cancelButton.hidden = !works && phase !== "paused";
    collectButton.setAttribute("aria-pressed", String(collecting));
    faultsBox.hidden = told.faults.length === 0;
    faults.replaceChildren(...told.faults.map((text) => h("li", {}, text)));
  }

  async function look() {
    clearTimeout(timer);
    if (element.hidden) return;
    await talk(`samref/bulk?tab=${tab}`);
    const works = told?.phase === "running" || told?.phase === "waiting";
    if (works || state().offline) timer = setTimeout(look, LOOK_MS);
  }

  async function act(what) {
    if (await talk(`samref/bulk?do=${what}&tab=${tab}`, { method: "POST" }, true)) look();
  }

  /** Ask the server; says whether it answered. */
  async function talk(path, options = {}, aloud = false) {
    try {
      told = await routes.json(path, options);
    } catch (error) {
      if (aloud) toasts.error(error.message);
      else if (error.code === "offline") timer = setTimeout(look, 2 * LOOK_MS);
      return false;
    }
    // What the job did is in the lists of images and objects: get them, but never in front of a click.
    if (told.revision > (state().workspace?.revision ?? 0) && !transport.isBusy() && !state().offline)
      transport.send("sync");
    show();
    return true;
  }

  async function importFile(file) {
    try {
      const { message } = await routes.json("samref/import-boxes", { method: "POST", body: file });
      toasts.info(message);
      transport.send("sync");
      look();
    } catch (error) {
      toasts.error(error.message);
    }
  }

  // ---- boxes drawn for later

  function collect(on) {
    if (on === collecting) return;
    collecting = on;
    if (on) {
      actions.chooseTool("box");
      toasts.info("Boxes are kept for later now: draw one around each object, on as many images as you like.");
    }
    show();
  }

  function take(made) {
    const { image, classId } = state();
    if (!collecting || made.type !== "box" || !image) return false;
    const corners = [made.x0, made.y0, made.x1, made.y1];
    transport.send("propose_boxes", { boxes: [corners], class_id: classId }, { image: image.digest });
    setTimeout(look, 300);
    return true;
  }

  function place() {
    const { proposed = [], image } = state();
    if (!image || (proposed.length === 0 && boxes.childElementCount === 0)) return;
    const { left, top } = stage.getBoundingClientRect();
    const corner = (x, y) => {
      const [clientX, clientY] = canvas().inspect.imageToClient(x, y);
      return `${clientX - left},${clientY - top}`;
    };
    while (boxes.childElementCount > proposed.length) boxes.lastChild.remove();
    while (boxes.childElementCount < proposed.length) boxes.append(document.createElementNS(SVG, "polygon"));
    proposed.forEach(([x0, y0, x1, y1, classId], number) => {
      const points = [corner(x0, y0), corner(x1, y0), corner(x1, y1), corner(x0, y1)].join(" ");
      boxes.children[number].setAttribute("points", points);
      const colour = state().workspace?.classes.find((one) => one.id === classId)?.colour;
      boxes.children[number].style.stroke = colour ?? "";
    });
  }

  // ---- the review

  async function review() {
    try {
      const { objects, count } = await routes.json("samref/review");
      if (count === 0) return toasts.info("There is nothing to review: every mask made in bulk was looked at.");
      queue = objects;
    } catch (error) {
      return toasts.error(error.message);
    }
    collect(false);
    setReviewing(true);
    actions.chooseTool("hand");
    go(0);
  }

  function endReview() {
    setReviewing(false);
    wanted = edited = null;
  }

  function setReviewing(on) {
    reviewing = on;
    walker.hidden = !on;
    first.hidden = second.hidden = on;
  }

  function go(number) {
    if (queue.length === 0) {
      endReview();
      toasts.info("All of them were looked at.");
      return look();
    }
    at = Math.min(Math.max(number, 0), queue.length - 1);
    const { image, id, score } = queue[at];
    setText(place_, `${at + 1} of ${queue.length}, score ${score.toFixed(2)}`);
    wanted = id;
    edited = null;
    if (state().image?.digest === image && !state().opening) arrive();
    else actions.openImage(image);
  }

  const objectNow = (id) => state().annotations.list.find((one) => one.id === id);

  /** Show the object if its image is here. */
  function arrive() {
    const object = objectNow(wanted);
    if (!object) return;
    wanted = null;
    actions.select(object.id);
    canvas().zoomTo(object.mask);
  }

  /** It is right: say so, and go to the next. */
  function seen() {
    const item = queue[at];
    const object = item && objectNow(item.id);
    if (!object || isDrawing()) return;
    const attributes = reviewed(object.attributes);
    transport.send("describe", { ids: [item.id], attributes }, { image: item.image });
    leave(item);
  }

  function leave(item) {
    const number = queue.indexOf(item);
    if (number < 0) return;
    queue.splice(number, 1);
    go(number);
  }

  function edit() {
    const object = queue[at] && objectNow(queue[at].id);
    if (!object || isDrawing()) return;
    actions.edit(object.id);
  }

  const isDrawing = () => {
    const { draft } = state();
    return draft.count > 0 || draft.mask !== null || draft.editing !== null;
  };

  function follow(now, before) {
    place();
    if (!reviewing || queue.length === 0) return;
    const item = queue[at];
    const isHere = now.image?.digest === item.image && !now.opening;
    if (!isHere) return;
    if (wanted) {
      if (now.annotations.list.some((one) => one.id === wanted)) setTimeout(() => wanted && arrive());
      else if (now.serverPhase !== "empty" && before.image?.digest !== item.image) setTimeout(() => leave(item));
      return;
    }
    if (now.draft.editing === item.id) edited ??= objectNow(item.id);
    else if (edited) {
      const isChanged = objectNow(item.id) && objectNow(item.id) !== edited;
      edited = null;
      if (isChanged) setTimeout(seen);
      else setTimeout(() => actions.select(item.id));
    } else if (!objectNow(item.id)) setTimeout(() => leave(item)); // it was deleted
  }

  /** Keys of the review, before the page's own. */
  function onKey(event) {
    if (!reviewing || isDrawing() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, dialog") || document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if (key === "n") go(at + (event.shiftKey ? -1 : 1));
    else if (key === "a") seen();
    else if (key === "e") edit();
    else if (key === "escape") endReview();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  store.subscribe(follow);
  globalThis.addEventListener("keydown", onKey, { capture: true });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
  place();
  return { open, take, place };
}
