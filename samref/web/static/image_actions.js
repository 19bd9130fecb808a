/** What a person can do to images as a whole: bring them in, go through them, mark them, take them out. */

import { neighbourOf, nextToDo } from "./image_list.js";

/** Names of the keys' actions that end here. */
export const IMAGE_ACTIONS = new Set(["image", "doneNext", "mark"]);

/**
 * @param {object} parts {store, transport, routes, toasts, uploads: () => uploads, imagesOf(state), openImage(digest),
 *   closeImage(), importLabels(file), openDigest(), isDrawing()}
 */
export function createImageActions(parts) {
  const { store, transport, routes, toasts, uploads, imagesOf, openImage, closeImage, importLabels, openDigest } = parts;
  const state = () => store.get();
  const find = (digest) => state().workspace?.images.find((one) => one.digest === digest);
  const ask = (verb, args) => transport.send(verb, args, { image: null }); // about no image in particular

  // ---- going through them ---------------------------------------------------------------------------------

  function goBy(step) {
    const next = neighbourOf(imagesOf(state()), openDigest(), step);
    if (next) openImage(next.digest);
    else if (openDigest()) toasts.info(step > 0 ? "That was the last image." : "This is the first image.");
  }

  /** Open an image by its place among those shown, from 1. */
  function openNumber(number) {
    const { shown } = imagesOf(state());
    if (!Number.isInteger(number) || number < 1 || number > shown.length)
      return toasts.info(`There are ${shown.length} images here: a number from 1 to ${shown.length} opens one.`);
    openImage(shown[number - 1].digest);
  }

  // ---- marks ----------------------------------------------------------------------------------------------

  function setMark(digest, mark, { leaves = false } = {}) {
    change([digest], (image) => ({ ...image, mark }));
    // The log of the open image grows: who stays on it hears how long it is now.
    transport.send("mark_image", { digests: [digest], mark }, { image: leaves ? null : digest });
  }

  /** Mark the open image, or take the same mark away again. */
  function toggleMark(mark) {
    const image = find(openDigest());
    if (!image) return false;
    if (mark === "done" && image.mark !== "done" && hasOpenDraft()) return sayDraft();
    setMark(image.digest, image.mark === mark ? "" : mark);
  }

  /** Mark the open image as done and open the next one to do. */
  function doneNext() {
    const image = find(openDigest());
    if (!image) return false;
    if (hasOpenDraft()) return sayDraft();
    const next = nextToDo(imagesOf(state()), image.digest);
    if (image.mark !== "done") setMark(image.digest, "done", { leaves: next !== null });
    if (next) openImage(next.digest);
    else toasts.info("Every image is marked now.");
  }

  function hasOpenDraft() {
    const { draft } = state();
    return draft.count > 0 || Boolean(draft.mask) || transport.unansweredPrompts().length > 0;
  }

  const sayDraft = () =>
    toasts.info("An object is unfinished here: accept it with Enter, or drop it with Esc. Then mark the image done.");

  // ---- removing and bringing back -----------------------------------------------------------------------------

  function removeImages(digests) {
    const open = openDigest();
    const isOpen = digests.includes(open);
    const next = isOpen ? nearestBut(digests, open) : null;
    change(digests, (image) => ({ ...image, removed: true }));
    ask("remove_images", { digests });
    const run = () => restoreImages(digests, { open: isOpen ? open : null });
    toasts.info(`${theirName(digests)} removed. ${digests.length === 1 ? "Its" : "Their"} labels are kept.`, {
      action: { label: "Undo", run },
    });
    if (isOpen && next) openImage(next.digest, { startShown: state().startShown });
    else if (isOpen) closeImage();
  }

  function restoreImages(digests, { open = null } = {}) {
    change(digests, (image) => ({ ...image, removed: false }));
    ask("restore_images", { digests });
    if (open) openImage(open, { startShown: state().startShown });
    else toasts.info(`${theirName(digests)} back, with everything ${digests.length === 1 ? "it" : "they"} had.`);
  }

  /** The image to go to when some are taken out: the one after the open one, else the one before. */
  function nearestBut(digests, open) {
    const gone = new Set(digests);
    const { shown, ordered } = imagesOf(state());
    const list = shown.some((one) => one.digest === open) ? shown : ordered;
    const at = list.findIndex((one) => one.digest === open);
    const stays = (one) => !gone.has(one.digest) && !one.removed;
    return list.slice(at + 1).find(stays) ?? list.slice(0, Math.max(at, 0)).findLast(stays) ?? null;
  }

  function theirName(digests) {
    if (digests.length > 1) return `${digests.length} images are`;
    return `${find(digests[0])?.file_name ?? "The image"} is`;
  }

  /** What was asked is shown at once; the server's own list follows, and overrules it where the request was refused. */
  function change(digests, make) {
    const { workspace } = state();
    const asked = new Set(digests);
    const images = workspace.images.map((one) => (asked.has(one.digest) ? make(one) : one));
    store.set({ workspace: { ...workspace, images } });
  }

  // ---- bringing them in -----------------------------------------------------------------------------------

  /** Images, or files of labels, that somebody dropped, pasted or chose: {file, name}, as intake.js gives them. */
  async function addFiles(files, others = []) {
    const labels = files.filter(({ file }) => isLabels(file));
    const images = files.filter(({ file }) => !isLabels(file));
    if (others.length && !files.length) return toasts.info("No image was found in that folder.");
    const items = images.map(({ file, name }) => ({ name, send: sender(file, name), look: () => touch(file) }));
    await uploads().add(items, others);
    for (const { file } of labels) await importLabels(file); // after the images that it may speak of
  }

  function sender(file, name) {
    return (signal) => {
      const limit = state().workspace?.limits?.upload_bytes;
      if (limit && file.size > limit)
        throw new Error(`The file is larger than ${Math.round(limit / 2 ** 20)} MiB. Make it smaller and try again.`);
      return routes.upload(file, name, signal);
    };
  }

  const touch = (file) => file.slice(0, 1).arrayBuffer();

  /** Bring in what the server's own folder holds. */
  async function openFolder() {
    try {
      const { paths, left_out: leftOut } = await routes.folder();
      if (leftOut) toasts.info(leftOut);
      if (paths.length === 0) return toasts.info("There is no image in that folder.");
      await uploads().add(paths.map((path) => ({ name: path, send: (signal) => routes.fromFolder(path, signal) })));
    } catch (error) {
      toasts.error(error.message);
    }
  }

  /** A stored image is in the list at once. The first one is opened where nobody is at work on another. */
  function onStored(stored, batch) {
    const { workspace, startShown } = state();
    const { outcome, ...image } = stored;
    const known = workspace?.images.some((one) => one.digest === image.digest);
    if (workspace) {
      const images = known
        ? workspace.images.map((one) => (one.digest === image.digest ? image : one))
        : [...workspace.images, image];
      store.set({ workspace: { ...workspace, images } });
    }
    const isFree = !openDigest() || (batch.total === 1 && startShown);
    if (batch.first && isFree) openImage(image.digest);
    batch.first = false;
  }

  function perform(name, argument) {
    if (name === "image") return goBy(argument === "next" ? 1 : -1);
    if (name === "doneNext") return doneNext();
    return toggleMark(argument);
  }

  /** The state with what an export asks of images: which are shown, and what is newer here than in the list. */
  function forExport(now) {
    const { ordered, shown } = imagesOf(now);
    const shownImages = shown.filter((one) => !one.removed).map((one) => one.digest);
    return { ...now, shownImages, workspace: now.workspace && { ...now.workspace, images: ordered } };
  }

  return {
    perform,
    onStored,
    forExport,
    actions: {
      addFiles,
      openFolder,
      openNumber,
      goBy,
      doneNext,
      toggleMark,
      removeImages,
      restoreImages,
      showImages: (changes) => store.set(changes),
    },
  };
}

/** Whether a dropped file holds labels; a PNG is taken for an image, and as a mask only by the import. */
const isLabels = (file) => file.type === "application/json" || /\.(json|zip|xml|txt)$/i.test(file.name ?? "");
