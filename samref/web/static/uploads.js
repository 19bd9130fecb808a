/**
 * Images on their way to the server: a line of them, two at a time, with a place on the page that says how far it is.
 *
 * Nothing is swallowed: each file that was refused, was there already, or shares its name is listed with a sentence. A
 * lost connection is waited for, and a reload tells what had not been uploaded yet.
 */

import { h, iconButton, setAttribute, setText } from "./dom.js";
import { nameIn } from "./image_list.js";
import { recall, remember } from "./memory.js";

const AT_ONCE = 2;
const LOOK_AGAIN_MS = 2_000;
const SHOWN_MS = 6_000;

/** A server that says nothing for so long is looked for again. */
const PATIENCE_MS = 4_000;

/** An upload that the server, which is there, does not get in so many tries is given up. */
const TRIES = 3;

/** Names kept over a reload. */
const NAMES_KEPT = 20;

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** "52 of 60 images opened, 3 were here already, 5 refused." */
export function summaryOf({ total, opened, known, refused, cancelled }) {
  if (total === known) return total === 1 ? "The image was here already." : `All ${total} images were here already.`;
  const left = total - opened - known - refused;
  const parts = [`${opened.toLocaleString("en")} of ${plural(total, "image")} opened`];
  if (known) parts.push(`${known} ${known === 1 ? "was" : "were"} here already`);
  if (refused) parts.push(`${refused} refused`);
  if (cancelled && left) parts.push(`${left} not uploaded, as you asked`);
  return `${parts.join(", ")}.`;
}

/** What is worth saying about an image that came in, or null. `before`: the images there were. */
export function remarkOn(name, stored, before) {
  const short = nameIn(stored.file_name);
  if (stored.outcome === "restored") return `${name} had been removed; it is back with everything it had.`;
  if (stored.outcome === "known") {
    if (name === stored.file_name) return `${name} is here already; it was not added again.`;
    return `${name} is the same image as ${stored.file_name}; it was not added again.`;
  }
  const namesake = before.find(
    (one) => !one.removed && one.digest !== stored.digest && one.file_name === stored.file_name,
  );
  return namesake ? `There are two images called ${short} now; exports tell them apart by a number.` : null;
}

/**
 * @param {object} parts {store, routes, toasts, onStored(stored, batch), place: where the progress is shown}
 *
 * Gives {add(items, others)}: an item is {name, send(signal) → stored, look()?: throws when the file cannot be read};
 * the promise is kept when the last of them is done. `others` are names of files that came with them and are no images.
 */
export function createUploads({ store, routes, toasts, onStored, place }) {
  let line = [];
  let running = new Set(); // {item, abort}
  let batch = null;

  const bar = h("progress", { "aria-label": "Images uploaded" });
  const said = h("span", { role: "status" });
  const waits = h("p", { hidden: true }, "The server does not answer. Uploading goes on when it is back.");
  const cancelButton = h("button", { type: "button", class: "samref-button", on: { click: cancel } }, "Cancel");
  const closeButton = iconButton("close", "Close the list of uploads", close);
  const list = h("ul", { class: "samref-upload-remarks", tabindex: "0", "aria-label": "What there is to say", hidden: true });
  const showButton = h("button", {
    type: "button",
    class: "samref-button samref-outlined",
    "aria-expanded": "false",
    on: { click: () => showRemarks(list.hidden) },
  });
  const head = h("div", { class: "samref-upload-head" }, said, bar, showButton, cancelButton, closeButton);
  place.append(head, waits, list);
  place.hidden = true;

  function add(items, others = []) {
    if (items.length === 0) return Promise.resolve();
    if (!batch || batch.ended) begin();
    batch.total += items.length;
    if (others.length === 1) remark(`${others[0]} was left out: it is no image.`, "info", batch);
    if (others.length > 1)
      remark(`${others.length} files were left out: they are no images. One is ${others[0]}.`, "info", batch);
    line.push(...items);
    tell();
    for (let i = running.size; i < AT_ONCE; i++) work();
    return batch.done;
  }

  function begin() {
    batch = { total: 0, opened: 0, known: 0, refused: 0, cancelled: false, ended: false, first: true };
    batch.done = new Promise((resolve) => (batch.resolve = resolve));
    batch.stopped = new Promise((resolve) => (batch.stop = resolve));
    clearTimeout(batch.timer);
    list.replaceChildren();
    showRemarks(false);
  }

  function showRemarks(on) {
    list.hidden = !on;
    setAttribute(showButton, "aria-expanded", String(on));
    nameButton();
  }

  function nameButton() {
    const count = list.children.length;
    showButton.hidden = count === 0;
    setText(showButton, list.hidden ? `Show ${plural(count, "remark")}` : "Hide remarks");
  }

  async function work() {
    const item = line.shift();
    if (!item || batch.ended) return;
    const mine = batch;
    const job = { item, abort: new AbortController() };
    running.add(job);
    await bring(item, job, mine);
    running.delete(job);
    tell();
    if (line.length) return work();
    if (running.size === 0 && !mine.ended) end();
  }

  /** One item to its end: stored, refused, or cancelled. */
  async function bring(item, job, mine) {
    for (let tries = 1; !mine.cancelled; ) {
      try {
        const stored = await item.send(job.abort.signal);
        note(item, stored, mine);
        return;
      } catch (error) {
        if (mine.cancelled) return;
        const isLost = error.code === "offline";
        const again = job.renewed || error.code === "busy" || (isLost && (await isWorthATry(item, mine)));
        if (!again || (isLost && !job.renewed && tries++ >= TRIES)) return refuse(item, error, mine);
        if (job.renewed) job.abort = new AbortController();
        job.renewed = false;
        if (error.code === "busy") await pause(mine);
      }
    }
  }

  /** Wait until the server answers; false when it does and the file is what cannot be read. */
  async function isWorthATry(item, mine) {
    try {
      await item.look?.();
    } catch {
      item.unreadable = true;
      return false;
    }
    const isHere = async () => (await routes.probe(PATIENCE_MS)) === "here";
    while (!mine.cancelled && !(await Promise.race([isHere(), mine.stopped]))) {
      waits.hidden = false;
      await pause(mine);
    }
    waits.hidden = true;
    return true;
  }

  /** Some time, or until the batch is cancelled. */
  function pause(mine) {
    return Promise.race([new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS)), mine.stopped]);
  }

  function note(item, stored, mine) {
    const before = store.get().workspace?.images ?? [];
    mine[stored.outcome === "known" ? "known" : "opened"] += 1;
    const text = remarkOn(item.name, stored, before);
    if (text) remark(text, "info", mine);
    onStored(stored, mine);
  }

  function refuse(item, error, mine) {
    mine.refused += 1;
    const reason = item.unreadable ? "It cannot be read; it may have been moved or changed." : error.message;
    remark(`${item.name}: ${reason}`, "error", mine);
  }

  /** One sentence about a file: below the bar, or as a message when there is only this file. */
  function remark(text, kind, mine) {
    list.append(h("li", { class: `samref-upload-${kind}` }, text));
    mine.last = { text, kind };
  }

  function cancel() {
    batch.cancelled = true;
    batch.stop();
    line = [];
    for (const { abort } of running) abort.abort();
    if (running.size === 0) end();
  }

  function end() {
    const mine = batch;
    mine.ended = true;
    tell();
    const remarks = list.children.length;
    if (remarks > 0 && store.get().startShown) showRemarks(true); // nobody is at work on an image that would move
    if (mine.total === 1) {
      place.hidden = true;
      if (mine.last) toasts[mine.last.kind](mine.last.text);
    } else if (remarks === 0) {
      mine.timer = setTimeout(() => mine === batch && close(), SHOWN_MS);
    }
    mine.resolve();
  }

  function close() {
    place.hidden = true;
  }

  function tell() {
    const { total, opened, known, refused, ended } = batch;
    const done = opened + known + refused;
    bar.max = total;
    bar.value = done;
    bar.hidden = cancelButton.hidden = ended;
    closeButton.hidden = !ended;
    waits.hidden ||= ended;
    if (ended) setText(said, summaryOf(batch));
    else setText(said, `${done} of ${total}${refused ? `, ${refused} refused` : ""}`);
    if (total > 1) place.hidden = false;
    nameButton();
    keep();
    store.set({ uploading: line.length + running.size });
  }

  // ---- over a reload

  function keep() {
    const left = [...[...running].map(({ item }) => item), ...line];
    const names = left.slice(0, NAMES_KEPT).map(({ name }) => name);
    remember("uploads", left.length ? JSON.stringify({ count: left.length, names }) : null, "session");
  }

  function tellOfReload() {
    let kept = null;
    try {
      kept = JSON.parse(recall("uploads", "session") ?? "null");
    } catch {
      // damaged: nothing to tell
    }
    remember("uploads", null, "session");
    if (!kept?.count || !Array.isArray(kept.names)) return;
    const more = kept.count > kept.names.length ? ` and ${kept.count - kept.names.length} more` : "";
    bar.hidden = cancelButton.hidden = true;
    setText(said, `The page was reloaded before ${plural(kept.count, "image")} had been uploaded. Choose them again.`);
    list.replaceChildren(h("li", {}, `${kept.names.join(", ")}${more}`));
    showRemarks(true);
    place.hidden = false;
  }

  globalThis.addEventListener("online", () => {
    for (const job of running) {
      job.renewed = true; // a connection that was cut may hang for minutes
      job.abort.abort();
    }
  });
  globalThis.addEventListener("beforeunload", (event) => running.size + line.length > 0 && event.preventDefault());
  tellOfReload();

  return { add };
}
