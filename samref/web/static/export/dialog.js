/** Labels out and in: which images, which format, what it costs, one download; and files of other programs in. */

import { h, iconButton, setText } from "../dom.js";
import { recall, remember } from "../memory.js";
import { CHOICES, FORMATS, choiceSentence, formatOf, outlinesIn, requestOf } from "./formats.js";

const LABEL_FILES = ".json,.zip,.xml,.txt,.png";
const WAIT_MS = 120; // between a choice and the question about it
const KEPT = "export";

/**
 * Build the dialog; gives {element, open(state), isOpen()}.
 *
 * @param {object} parts {routes, importLabels, showBulk, tell(sentence)}
 */
export function createExport({ routes, importLabels, showBulk, tell }) {
  loadStyles();
  let state = null; // of the page, when the dialog was opened
  let choices = { ...CHOICES, ...recallChoices() };
  let preview = null;
  let asked = 0;
  let timer = 0;

  const scopes = ["image", "shown", "all"].map((value) =>
    radio("samref-scope", value, "", () => choose({ scope: value })),
  );
  const formats = FORMATS.map(({ name, title, note }) =>
    radio("samref-format", name, h("span", {}, h("b", {}, title), h("small", {}, note)), () => choose({ format: name })),
  );
  const shape = h("select", { "aria-label": "Masks as", on: { change: () => choose({ shape: shape.value }) } });
  const shapeRow = h("label", { class: "samref-export-row" }, h("span", {}, "Masks as"), shape);
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 0,
    step: 1,
    "aria-label": "Simplify outlines",
    on: { input: () => choose({ tolerance: preview?.curve[Number(slider.value)]?.tolerance ?? 0 }, false) },
  });
  const cost = h("output", { class: "samref-export-cost" });
  const sliderRow = h("label", { class: "samref-export-row" }, h("span", {}, "Simplify outlines"), slider, cost);
  const fillHoles = checkbox("Fill holes, so that every object is a polygon", "fillHoles");
  const border = checkbox("Pixels beside an edge are undecided (255)", "border");
  const images = checkbox("The image files, too (in a zip file)", "images");
  const said = h("div", { class: "samref-export-said", role: "status" });
  const unfinished = h("p", { hidden: true });
  const download = h(
    "button",
    { type: "button", class: "samref-button samref-accept samref-export-download", on: { click: save } },
    "Download",
  );
  const input = h("input", {
    type: "file",
    accept: LABEL_FILES,
    multiple: true,
    class: "samref-file-input",
    tabindex: "-1",
    "aria-hidden": "true",
    on: { change: () => take([...input.files]) },
  });
  const chooseFiles = iconButton("upload", "Choose label files", () => input.click(), { text: "Choose files…" });
  const makeMasks = h(
    "button",
    {
      type: "button",
      class: "samref-button",
      on: {
        click: () => {
          dialog.close();
          showBulk();
        },
      },
    },
    "Masks from boxes",
  );
  const imported = h("div", { class: "samref-export-said", role: "status" });
  const dialog = h(
    "dialog",
    {
      class: "samref-help samref-export",
      "aria-label": "Export and import",
      on: {
        click: (event) => event.target === dialog && dialog.close(),
        keydown: (event) => event.stopPropagation(), // the keys of the page rest meanwhile
        dragover: (event) => event.preventDefault(),
        drop: (event) => {
          event.preventDefault();
          event.stopPropagation();
          take([...event.dataTransfer.files]);
        },
      },
    },
    h(
      "div",
      { class: "samref-help-body" },
      h(
        "header",
        {},
        h("h2", {}, "Export"),
        iconButton("close", "Close", () => dialog.close()),
      ),
      h("fieldset", {}, h("legend", {}, "Images"), h("div", { class: "samref-export-scopes" }, ...scopes.map(element))),
      h("fieldset", {}, h("legend", {}, "Format"), h("div", { class: "samref-export-formats" }, formats.map(element))),
      h(
        "fieldset",
        {},
        h("legend", {}, "Options"),
        shapeRow,
        sliderRow,
        ...[fillHoles, border, images].map((one) => one.element),
      ),
      unfinished,
      h("div", { class: "samref-export-end" }, said, download),
      h("h2", {}, "Import"),
      h(
        "p",
        {},
        "COCO, labelme, Label Studio, CVAT, Pascal VOC, YOLO or PNG masks, for images that are open here. Nothing is " +
          "resized, and what is here already stays as it is.",
      ),
      h(
        "div",
        { class: "samref-export-end" },
        imported,
        chooseFiles,
        input,
      ),
    ),
  );

  function element(one) {
    return one.element;
  }

  function checkbox(text, key) {
    const box = h("input", { type: "checkbox", on: { change: () => choose({ [key]: box.checked }) } });
    return { element: h("label", { class: "samref-check" }, box, h("span", {}, text)), box };
  }

  function choose(changes, asks = true) {
    choices = { ...choices, ...changes };
    if ("format" in changes) choices.shape = formatOf(choices).shapes?.[0]?.[0] ?? null;
    remember(KEPT, JSON.stringify({ ...choices, scope: undefined }));
    update();
    if (asks) ask();
  }

  /** What the chosen export would hold and lose; the newest question wins. */
  function ask() {
    const number = (asked += 1);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      try {
        const found = await routes.previewExport({ ...requestOf(choices, state), tolerance: undefined });
        if (number !== asked) return;
        preview = found;
      } catch (error) {
        if (number !== asked) return;
        preview = { curve: [], sentences: [error.message], images: 0, objects: 0, looked_at: 0 };
      }
      update();
    }, WAIT_MS);
  }

  function update() {
    const format = formatOf(choices);
    const { digest, shown, count } = scopeOf(state);
    const names = {
      image: "This image",
      shown: `Shown in the list (${shown?.length ?? 0})`,
      all: `All images (${count})`,
    };
    for (const one of scopes) {
      setText(one.text, names[one.value]);
      one.input.checked = one.value === choices.scope;
      one.element.hidden = (one.value === "image" && !digest) || (one.value === "shown" && !shown);
    }
    for (const one of formats) one.input.checked = one.value === choices.format;
    const shapes = (format.shapes ?? []).filter(([, , oneImage]) => !oneImage || choices.scope === "image");
    shapeRow.hidden = shapes.length < 2;
    shape.replaceChildren(
      ...shapes.map(([value, text]) => h("option", { value, selected: value === choices.shape }, text)),
    );
    const curve = outlinesIn(choices) ? (preview?.curve ?? []) : [];
    sliderRow.hidden = !outlinesIn(choices);
    slider.max = String(Math.max(0, curve.length - 1));
    slider.disabled = curve.length < 2;
    const place = Math.max(0, curve.findIndex((one) => one.tolerance === choices.tolerance));
    slider.value = String(place);
    setText(cost, choiceSentence(curve, place, preview));
    slider.setAttribute("aria-valuetext", cost.textContent);
    fillHoles.element.hidden = !format.fillsHoles || !outlinesIn(choices);
    border.element.hidden = !format.hasBorder;
    images.element.hidden = format.withoutImages === true || choices.shape?.startsWith("png-") === true;
    fillHoles.box.checked = choices.fillHoles;
    border.box.checked = choices.border;
    images.box.checked = choices.images;
    setText(unfinished, unfinishedIn(state, requestOf(choices, state).images));
    unfinished.hidden = unfinished.textContent === "";
    const lines = preview ? [...headline(preview), ...preview.sentences] : ["Looking at the labels …"];
    said.replaceChildren(...lines.map((line) => h("p", {}, line)));
  }

  function headline({ images: all, looked_at: looked, objects }) {
    if (!all) return [];
    const some = looked < all ? ` in the first ${looked}, which were looked at` : "";
    return [`${plural(all, "image")}, ${plural(objects, "object")}${some}.`];
  }

  async function save() {
    download.disabled = true;
    setText(download, "Preparing …");
    try {
      const { name, bytes, sentences } = await routes.download(requestOf(choices, state));
      said.replaceChildren(...[`Saved ${name} (${sizeOf(bytes)}).`, ...sentences].map((line) => h("p", {}, line)));
    } catch (error) {
      said.replaceChildren(h("p", { class: "samref-export-error" }, error.message));
    } finally {
      download.disabled = false;
      setText(download, "Download");
    }
  }

  async function take(files) {
    input.value = "";
    imported.replaceChildren();
    let found = 0;
    for (const file of files) {
      const { message, failed, boxes } = await importLabels(file, { quiet: true });
      found += boxes.length;
      const line = files.length > 1 ? `${file.name}: ${message}` : message;
      imported.append(h("p", failed ? { class: "samref-export-error" } : {}, line));
    }
    if (found) imported.append(makeMasks);
    if (files.length) ask();
  }

  return {
    element: dialog,
    isOpen: () => dialog.open,
    /** `part` is "import" where the lower half is wanted. */
    open(now, part = "export") {
      state = now;
      preview = null;
      const { digest, shown, count } = scopeOf(state);
      choices.scope = shown ? "shown" : digest && count < 2 ? "image" : "all";
      imported.replaceChildren();
      update();
      if (!dialog.open) dialog.showModal();
      if (part === "import") chooseFiles.focus();
      dialog.scrollTop = part === "import" ? dialog.scrollHeight : 0;
      if (count) ask();
      else tell("There is no image yet: open one first.");
      download.disabled = !count;
    },
  };
}

/** Which images have an object that nobody accepted yet, in a sentence; "" where there is none. */
export function unfinishedIn(state, digests = null) {
  const isMeant = (one) => one.draft && !one.removed && (!digests || digests.includes(one.digest));
  const names = (state.workspace?.images ?? []).filter(isMeant).map((one) => one.file_name);
  if (names.length === 0) return "";
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return `Unfinished objects, in no export: ${names.slice(0, 5).join(", ")}${more}.`;
}

/** The images that can be chosen: the open one, those the list shows, and how many there are. */
export function scopeOf(state) {
  const all = (state?.workspace?.images ?? []).filter((one) => !one.removed);
  const digest = (state?.opening ?? state?.image)?.digest ?? null;
  const shown = state?.shownImages ?? []; // digests of those that pass the filter of the list
  return { digest, shown: shown.length && shown.length < all.length ? shown : null, count: all.length };
}

function radio(name, value, content, onChoose) {
  const input = h("input", { type: "radio", name, value, on: { change: onChoose } });
  const text = h("span", {}, content);
  return { element: h("label", { class: "samref-export-choice" }, input, text), input, text, value };
}

function recallChoices() {
  try {
    const kept = JSON.parse(recall(KEPT) ?? "{}");
    const usable = Object.entries(CHOICES).filter(([name, value]) => typeof kept[name] === typeof value);
    const found = Object.fromEntries(usable.map(([name]) => [name, kept[name]]));
    return FORMATS.some(({ name }) => name === found.format) ? { ...found, scope: "all" } : {};
  } catch {
    return {};
  }
}

function loadStyles() {
  document.head.append(h("link", { rel: "stylesheet", href: new URL("./dialog.css", import.meta.url).href }));
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

const sizeOf = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
