/** The page's skeleton: header, tools, stage, panel, strip. Builds elements and says where things go. */

import { h } from "./dom.js";

/** Build everything inside the root around its two canvases; gives the places others fill. */
export function buildShell(root) {
  const photo = root.querySelector(".samref-photo");
  const overlay = root.querySelector(".samref-overlay");
  const brush = h("div", { class: "samref-brush", hidden: true, "aria-hidden": "true" });
  const readout = h("div", { class: "samref-readout", "aria-hidden": "true" });
  const steps = h("div", { class: "samref-steps", role: "group", "aria-label": "Image before and after" });
  const zoom = h("div", { class: "samref-zoom", role: "group", "aria-label": "Zoom" });
  const draftBar = h("div", { class: "samref-draft", role: "group", "aria-label": "Draft", hidden: true });
  photo.setAttribute("aria-hidden", "true");
  overlay.setAttribute("aria-hidden", "true");
  const stage = h(
    "div",
    {
      class: "samref-stage",
      tabindex: "0",
      role: "application",
      "aria-label": "Image: click on an object to mark it. Press question mark for the keyboard.",
    },
    photo,
    overlay,
    brush,
  );
  // A row of its own: nothing that can be pressed lies over the image.
  const foot = h("div", { class: "samref-foot" }, steps, readout, draftBar, zoom);
  const header = h("header", { class: "samref-header" });
  const tools = h("div", {
    class: "samref-tools",
    role: "toolbar",
    "aria-label": "Tools",
    "aria-orientation": "vertical",
  });
  const panel = h("aside", { class: "samref-panel", id: "samref-panel", "aria-label": "Classes, objects and files" });
  const strip = h("nav", { class: "samref-strip", "aria-label": "Images" });
  const start = h("section", { class: "samref-start", "aria-label": "Open an image" });
  const uploads = h("section", { class: "samref-uploads", "aria-label": "Uploads" });
  const toasts = h("div", { class: "samref-toasts", role: "region", "aria-label": "Messages" });
  const dropHint = h(
    "div",
    { class: "samref-drop", "aria-hidden": "true" },
    h("span", {}, "Drop images, or files of labels, to add them"),
  );
  root.setAttribute("tabindex", "-1");
  root.append(header, tools, stage, foot, panel, strip, start, uploads, toasts, dropHint);
  followTheme(root);
  return {
    root,
    photo,
    overlay,
    brush,
    readout,
    zoom,
    draftBar,
    stage,
    foot,
    steps,
    header,
    tools,
    panel,
    strip,
    start,
    uploads,
    toasts,
    dropHint,
  };
}

/** Gradio puts the class `dark` on the body; without Gradio the style sheet asks the system. */
function followTheme(root) {
  if (!document.querySelector("gradio-app, .gradio-container")) return;
  const follow = () => (root.dataset.theme = document.body.classList.contains("dark") ? "dark" : "light");
  new MutationObserver(follow).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  follow();
}
