/** The start screen, where images come from and all of them are seen. */

import { createList, h, icon, iconButton, setAttribute, setText } from "./dom.js";
import { showHero } from "./hero.js";
import { FILTERS, SORTS, nameIn, stateOf } from "./image_list.js";
import { IMAGE_TYPES, folderFiles, plainFiles } from "./intake.js";
import { FORGETS, uploadsLine } from "./keeping.js";
import { isForgetful } from "./memory.js";
import { createWindowed } from "./windowed.js";

/** Below a tile of the gallery: its name, and what there is to say. */
const LINES = 44;

/** Fill the start screen; gives `update(state, isShown)`. */
export function createStart(container, actions, { base, imagesOf, thumbs, exampleThumb }) {
  const input = fileInput(actions);
  const folderInput = fileInput(actions, { webkitdirectory: true });
  const choose = h(
    "button",
    { type: "button", class: "samref-dropzone", on: { click: () => input.click() } },
    icon("upload"),
    h("strong", {}, "Open images"),
    h(
      "span",
      {},
      "Choose files",
      h("span", { class: "samref-for-keys" }, ", drop files or folders on this page, or paste an image with Ctrl + V"),
    ),
  );
  const chooseFolder = h(
    "button",
    { type: "button", class: "samref-button samref-outlined", on: { click: () => folderInput.click() } },
    icon("folder"),
    h("span", {}, "Open a folder"),
  );
  const offeredName = h("span", {});
  const offered = h(
    "button",
    { type: "button", class: "samref-button samref-outlined", hidden: true, on: { click: actions.openFolder } },
    icon("folder"),
    offeredName,
  );
  let showcase = null;
  const showcaseFile = (name) => new URL(`samref/showcase/${name}`, base).href;
  /** The image of the finished result is loaded anyway: it serves as the tile of its example, too. */
  const thumbOf = (name) => (name === showcase?.example ? showcaseFile(showcase.image) : exampleThumb(name));
  const hard = createExamples("Six that are hard to cut out", actions, thumbOf);
  const others = createExamples("And some more", actions, thumbOf);
  const hero = h("div", { class: "samref-hero" });
  const kept = h("span", {});
  const more = h("button", { type: "button", class: "samref-link", on: { click: actions.showKeeping } }, "Your work …");
  const script = h(
    "button",
    { type: "button", class: "samref-link", on: { click: actions.showScripting } },
    "Use it from a script …",
  );
  const back = iconButton("close", "Back to the image", actions.hideStart, { class: "samref-back" });
  const mine = createMine(container, actions, thumbs);
  const head = h(
    "div",
    { class: "samref-front-head" },
    h("h1", {}, h("span", {}, "Click on it."), " ", h("span", {}, "Get its mask.")),
    h(
      "p",
      { class: "samref-lead" },
      "A rough mask at once, a clean one right after. Correct it with a click, a box or a stroke, press Enter, and " +
        "take the labels out as COCO, YOLO, PNG and more.",
    ),
  );
  container.append(
    h(
      "div",
      { class: "samref-start-body" },
      back,
      h(
        "div",
        { class: "samref-front" },
        head,
        hero,
        h(
          "div",
          { class: "samref-front-intake" },
          h(
            "div",
            { class: "samref-intake" },
            choose,
            h("div", { class: "samref-intake-folders" }, chooseFolder, offered),
          ),
          h("p", { class: "samref-uploads-line" }, kept, more, script),
        ),
      ),
      isForgetful() ? h("p", { class: "samref-keeping-warning" }, FORGETS) : null,
      input,
      folderInput,
      mine.element,
      hard.element,
      others.element,
    ),
  );
  let heroWanted = false;

  /** The finished result: its image and masks come after the text, and nothing is said when they do not come. */
  async function wantHero() {
    if (heroWanted) return;
    heroWanted = true;
    try {
      const files = { masks: showcaseFile("showcase.json"), image: showcaseFile(showcase.image) };
      await showHero({ place: hero, ...files, onClick: actions.clickExample, onOpen: actions.openExample });
    } catch (error) {
      console.warn("The finished result is not shown:", error);
      hero.remove();
    }
  }

  let wasShown = false;
  return (state, isShown) => {
    container.hidden = !isShown;
    back.hidden = !state.image;
    if (!isShown) return void (wasShown = false);
    const { workspace } = state;
    const hasImages = (workspace?.images.length ?? 0) > 0;
    setText(kept, uploadsLine(workspace?.keeping));
    container.classList.toggle("samref-has-images", hasImages);
    head.hidden = hasImages;
    showcase = workspace?.showcase ?? null;
    hero.hidden = hasImages || workspace?.showcase === null;
    if (showcase && !hasImages) wantHero();
    offered.hidden = !workspace?.folder;
    if (workspace?.folder) setText(offeredName, `Open the folder ${workspace.folder}`);
    hard.show((workspace?.examples ?? []).filter((one) => one.hard));
    others.show((workspace?.examples ?? []).filter((one) => !one.hard));
    mine.update(state, imagesOf(state));
    if (!wasShown) mine.reveal(imagesOf(state).open);
    wasShown = true;
  };
}

/** All images of the workspace, to be searched, filtered and sorted. */
function createMine(scroller, actions, thumbs) {
  const count = h("span", { class: "samref-count", role: "status" });
  const search = h("input", {
    type: "text",
    class: "samref-search",
    "aria-label": "Search images by name",
    placeholder: "Search names",
    autocomplete: "off",
    spellcheck: "false",
    on: { input: () => actions.showImages({ imageSearch: search.value }) },
  });
  const options = Object.entries(FILTERS).map(([value, text]) => [value, text, h("option", { value }, text)]);
  const filter = h(
    "select",
    { "aria-label": "Show", on: { change: () => actions.showImages({ imageFilter: filter.value }) } },
    ...options.map(([, , option]) => option),
  );
  const sort = h(
    "select",
    { "aria-label": "Sort by", on: { change: () => actions.showImages({ imageSort: sort.value }) } },
    ...Object.entries(SORTS).map(([value, text]) => h("option", { value }, text)),
  );
  let shown = [];
  const all = h("button", { type: "button", class: "samref-button samref-outlined", on: { click: onAll } });
  const list = h("ul", { class: "samref-grid-window", "aria-label": "Images" });
  const nothing = h("p", { class: "samref-nothing", hidden: true });
  const element = h(
    "section",
    { hidden: true, "aria-label": "Your images" },
    h(
      "div",
      { class: "samref-images-head" },
      h("h2", {}, "Your images"),
      count,
      search,
      h("label", {}, h("span", {}, "Show"), filter),
      h("label", {}, h("span", {}, "Sort"), sort),
      all,
    ),
    list,
    nothing,
  );
  const windowed = createWindowed({
    scroller,
    list,
    shape: { axis: "y", least: 148, height: (width) => Math.round(width * 0.75) + LINES, gap: 14 },
    keyOf: (one) => one.digest,
    create: () => galleryTile(actions, thumbs),
  });

  function onAll() {
    const digests = shown.map((one) => one.digest);
    if (shown[0].removed) actions.restoreImages(digests);
    else actions.removeImages(digests);
  }

  return {
    element,
    reveal: windowed.reveal,
    update(state, images) {
      const { counts, open } = images;
      shown = images.shown;
      element.hidden = counts.all + counts.removed === 0;
      const isNarrowed = state.imageFilter !== "all" || state.imageSearch.trim() !== "";
      const total = counts.all.toLocaleString("en");
      setText(count, isNarrowed ? `${shown.length.toLocaleString("en")} of ${total}` : total);
      for (const [value, text, option] of options) setText(option, `${text} (${counts[value].toLocaleString("en")})`);
      if (filter.value !== state.imageFilter) filter.value = state.imageFilter;
      if (sort.value !== state.imageSort) sort.value = state.imageSort;
      if (search.value !== state.imageSearch) search.value = state.imageSearch;
      const isRemoved = state.imageFilter === "removed";
      all.hidden = !isNarrowed || shown.length === 0;
      setText(all, `${isRemoved ? "Bring back" : "Remove"} these ${shown.length.toLocaleString("en")}`);
      nothing.hidden = shown.length > 0;
      setText(nothing, isNarrowed ? "No image is like that." : "All images were removed; “Show: Removed” has them.");
      windowed.show(withCurrent(shown, open), open);
    },
  };
}

/** The images with the open one, if it is among them, known as the current one. */
export function withCurrent(images, at) {
  if (at < 0) return images;
  const marked = [...images];
  marked[at] = { ...marked[at], current: true };
  return marked;
}

const WORDS = { todo: "", draft: "unfinished object", done: "done", flagged: "flagged", removed: "removed; click to bring it back" };
const BADGES = { draft: "pencil", done: "check", flagged: "flag", removed: "trash" };

/** What there is to say about an image in words: "done, 3 objects". */
export function noteOf(image) {
  const { annotations: count } = image;
  const state = stateOf(image);
  const draft = image.draft && state !== "draft" && state !== "removed" ? WORDS.draft : "";
  return [WORDS[state], draft, count ? `${count} object${count === 1 ? "" : "s"}` : ""].filter(Boolean).join(", ");
}

function galleryTile(actions, thumbs) {
  const tile = tileOf(thumbs, (one) =>
    one.removed ? actions.restoreImages([one.digest]) : actions.openImage(one.digest),
  );
  const remove = iconButton("trash", "Remove", () => actions.removeImages([tile.shown().digest]), {
    class: "samref-tile-remove",
    tabindex: "-1",
  });
  tile.element.append(remove);
  tile.focus.addEventListener("keydown", (event) => {
    if (event.key !== "Delete" || tile.shown().removed) return;
    event.preventDefault();
    actions.removeImages([tile.shown().digest]);
  });
  return {
    ...tile,
    update(one) {
      if (!tile.update(one)) return;
      remove.hidden = one.removed === true;
      setAttribute(remove, "aria-label", `Remove ${one.file_name}`);
    },
  };
}

/** A tile for one image after another; `update(image)` says whether there was anything new. */
export function tileOf(thumbs, onClick) {
  const image = h("img", { alt: "", decoding: "async", draggable: "false" });
  const title = h("span", { class: "samref-tile-title" });
  const note = h("span", { class: "samref-tile-note" });
  const badge = h("span", { class: "samref-tile-badge", "aria-hidden": "true" });
  const number = h("span", { class: "samref-tile-count", "aria-hidden": "true" });
  const on = { click: () => onClick(shown) };
  const button = h("button", { type: "button", class: "samref-tile", on }, image, title, note, badge, number);
  let shown = null;
  let forget = () => {};

  function leave() {
    forget();
    forget = () => {};
    shown = null;
  }

  function update(one) {
    if (one === shown) return false;
    if (one.digest !== shown?.digest) {
      forget();
      image.removeAttribute("src");
      setText(title, nameIn(one.file_name));
      forget = thumbs.show(image, one.digest);
    }
    shown = one;
    const state = stateOf(one);
    const said = noteOf(one);
    setText(note, said);
    if (badge.dataset.state !== state) {
      badge.dataset.state = state;
      badge.replaceChildren(...(BADGES[state] ? [icon(BADGES[state])] : []));
      badge.hidden = !BADGES[state];
    }
    setText(number, one.annotations ? String(one.annotations) : "");
    number.hidden = !one.annotations;
    setAttribute(button, "title", said ? `${one.file_name}: ${said}` : one.file_name);
    setAttribute(button, "aria-current", one.current ? "true" : null);
    return true;
  }

  return { element: h("li", {}, button), focus: button, leave, update, shown: () => shown };
}

/** A section of bundled images; gives {element, show(examples)}. */
function createExamples(title, actions, thumbOf) {
  const list = h("ul", { class: "samref-grid samref-examples" });
  const element = h("section", { hidden: true }, h("h2", {}, title), list);
  const update = createList(
    list,
    (one) => one.name,
    (one) => exampleTile(one, () => actions.openExample(one.name), thumbOf(one.name)),
  );
  return {
    element,
    show(examples) {
      element.hidden = examples.length === 0;
      update(examples);
    },
  };
}

function exampleTile({ title, hard, why }, onClick, address) {
  const image = h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const button = h(
    "button",
    { type: "button", class: "samref-tile", title, on: { click: onClick } },
    image,
    hard && h("span", { class: "samref-tile-hard" }, hard),
    h("span", { class: "samref-tile-title" }, title),
    why && h("span", { class: "samref-tile-why" }, why),
  );
  image.src = address;
  return { element: h("li", {}, button), update() {} };
}

export function fileInput(actions, { webkitdirectory = false } = {}) {
  const input = h("input", {
    type: "file",
    accept: webkitdirectory ? null : IMAGE_TYPES,
    multiple: true,
    webkitdirectory,
    class: "samref-file-input",
    tabindex: "-1",
    "aria-hidden": "true",
    on: {
      change: () => {
        if (webkitdirectory) {
          const { files, others } = folderFiles(input.files);
          actions.addFiles(files, others);
        } else actions.addFiles(plainFiles(input.files));
        input.value = "";
      },
    },
  });
  return input;
}
