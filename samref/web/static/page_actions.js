/**
 * What a person can do before and beside the work on an image, by name: bring images in and open them, take labels out
 * and in, open the parts of the page that lie over everything. The work itself is in actions.js.
 */

import { h } from "./dom.js";
import { clickWhenOpen } from "./first_click.js";
import { createImageActions } from "./image_actions.js";
import { remember } from "./memory.js";
import { closeImage } from "./state.js";

/**
 * @param {object} parts {root, store, transport, routes, toasts, keys, imagesOf(state), uploads: () => uploads,
 *   work(): a promise of the work page, workNow(): the work page, null as long as it is not there}
 */
export function createPageActions(parts) {
  const { root, store, transport, routes, toasts, keys, imagesOf, uploads, work, workNow } = parts;
  const state = () => store.get();
  const openDigest = () => (state().opening ?? state().image)?.digest;

  const images = createImageActions({
    store,
    transport,
    routes,
    toasts,
    uploads,
    imagesOf,
    openImage,
    closeImage: leaveImage,
    importLabels,
    openDigest,
  });

  // ---- images -----------------------------------------------------------------------------------------------

  function openImage(digest, { startShown = false } = {}) {
    const known = state().workspace?.images.find((one) => one.digest === digest);
    if (!known) return;
    if (openDigest() === digest) return store.set({ startShown });
    store.set({ ...closeImage(state()), opening: known, selected: null, startShown });
    remember("image", digest, "session");
    transport.send("open", {}, { image: digest });
  }

  function leaveImage() {
    store.set({ ...closeImage(state()), opening: null, selected: null, startShown: true });
    remember("image", null, "session");
  }

  function openExample(name) {
    store.set({ ...closeImage(state()), opening: { digest: null }, selected: null, startShown: false });
    transport.send("open_example", { name }, { image: null });
  }

  /** Open an example with a click on it, made where it was shown on the start page. */
  function clickExample(name, x, y) {
    openExample(name);
    const send = (digest, click) => {
      transport.send("prompt", { prompts: [click] }, { image: digest });
      store.set({}); // what the transport holds is part of the image
    };
    clickWhenOpen({ store, send }, name, x, y);
  }

  /** Labels of any format in; gives {message, failed, boxes}. Boxes without a mask are kept for a job in bulk. */
  async function importLabels(file, { quiet = false } = {}) {
    try {
      const found = await routes.importLabels(file);
      const action = found.boxes.length ? { label: "Masks from boxes", run: showBulk } : null;
      if (!quiet) toasts.info(found.message, { action });
      transport.send("sync", {}, { image: openDigest() });
      return found;
    } catch (error) {
      if (!quiet) toasts.error(error.message);
      return { message: error.message, failed: true, boxes: [] };
    }
  }

  // ---- parts whose code comes when they are first asked for -------------------------------------------------------

  function part(name, load) {
    let made = null;
    return async (use) => {
      let there;
      try {
        made ??= load();
        there = await made;
      } catch {
        made = null;
        return toasts.error(`${name} could not be opened: the server does not answer. Try again.`);
      }
      use(there);
    };
  }

  function shown(dialog) {
    root.append(dialog.element);
    return dialog;
  }

  const withExport = part("The export", async () => {
    const { createExport } = await import("./export/dialog.js");
    return shown(createExport({ routes, importLabels, showBulk, tell: toasts.info }));
  });
  const helpNotes = h("div", { class: "samref-help-notes" });
  const withHelp = part("The help", async () => shown((await import("./help.js")).createHelp(helpNotes)));
  const withKeeping = part("“Your work”", async () => {
    const { createKeeping } = await import("./keeping_dialog.js");
    const dialog = shown(createKeeping(keys, toasts));
    store.subscribe(dialog.update);
    return dialog;
  });
  const withScripting = part("The lines for scripts", async () => {
    const { createScripting } = await import("./scripting.js");
    return shown(createScripting({ base: document.baseURI, api: state().workspace?.api === true }));
  });
  const withBulk = part("Masks from boxes", work);

  function showBulk() {
    return withBulk((workbench) => workbench.showBulk());
  }

  return {
    ...images.actions,
    onStored: images.onStored,
    performImage: images.perform,
    openImage,
    openExample,
    clickExample,
    importLabels,
    showBulk,
    showExport: (name) => withExport((dialog) => dialog.open(images.forExport(state()), name)),
    showScripting: () => withScripting((dialog) => dialog.open()),
    showKeeping: () => withKeeping((dialog) => dialog.open(state())),
    help: () => withHelp((dialog) => dialog.toggle()),
    /** Have the help say something below the keys. */
    noteInHelp: (element) => helpNotes.append(element),
    showStart: () => store.set({ startShown: !state().startShown || !state().image }),
    hideStart: () => store.set({ startShown: false }),
    togglePanel: () => store.set({ panelOpen: !state().panelOpen }),
    useModel: (name) => workNow()?.useModel(name),
    openDigest,
  };
}
