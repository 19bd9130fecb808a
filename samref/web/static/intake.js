/** Files by drag-and-drop, paste and choice; folders with all that is in them. */

/** Endings of image files, for folders, which hold other files too. */
const ENDINGS = /\.(png|jpe?g|jpe|jfif|webp|bmp|dib|tiff?|gif|avif|jp2|j2k|p[bgnp]m)$/i;

/** What files are asked for in a dialog. */
export const IMAGE_TYPES = "image/png,image/jpeg,image/webp,image/avif,image/bmp,image/tiff,image/gif,.tif,.tiff,.avif";

/** Whether a file of a folder is an image, by its name; hidden files are none. */
export const isImageName = (name) => ENDINGS.test(name) && !name.startsWith(".");

/**
 * Take files anywhere on the page. `onFiles(files, others)`: a file is {file, name}, its name a path where it came with
 * a folder; `others` are the names of files in folders that are no images.
 */
export function takeFiles({ root, dropHint, onFiles }) {
  let depth = 0; // dragenter and dragleave come for every element under the pointer

  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const show = (on) => dropHint.classList.toggle("samref-shown", on);

  root.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    show(true);
  });
  root.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) show(false);
  });
  root.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  root.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return onFiles(plainFiles(event.dataTransfer.files), []);
    filesOf(entries).then(({ files, others }) => onFiles(files, others));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return; // text goes where it was pasted
    event.preventDefault();
    onFiles(plainFiles(files), []);
  });
}

/** Files that were chosen one by one. */
export const plainFiles = (files) => [...files].map((file) => ({ file, name: file.name || "pasted.png" }));

/** The images among the files of a chosen folder, in order of their paths, and the names of the others. */
export function folderFiles(files) {
  const named = [...files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
  named.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  const [images, others] = [[], []];
  for (const one of named) (isImageName(one.file.name) ? images : others).push(one);
  return { files: images, others: others.map((one) => one.name).filter((name) => !/(^|\/)\./.test(name)) };
}

/** The files behind dropped entries; folders are walked. */
async function filesOf(entries) {
  const found = [];
  const others = [];
  async function walk(entry, isInFolder) {
    if (entry.isDirectory) {
      for (const child of await childrenOf(entry)) await walk(child, true);
    } else if (!isInFolder || isImageName(entry.name)) {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      if (file) found.push({ file, name: isInFolder ? entry.fullPath.slice(1) : file.name });
      else others.push(entry.fullPath.slice(1));
    } else if (!entry.name.startsWith(".")) others.push(entry.fullPath.slice(1));
  }
  for (const entry of entries) await walk(entry, false);
  return { files: found, others };
}

async function childrenOf(folder) {
  const reader = folder.createReader();
  const children = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([]))); // a hundred at most
    if (some.length === 0) break;
    children.push(...some);
  }
  return children.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
}
