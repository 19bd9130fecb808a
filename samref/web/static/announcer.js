/**
 * Tells a screen reader what happened: what a mask did, what was accepted, deleted or undone, what the connection does.
 * One polite region; of news that follow each other quickly those of one kind are said once, the newest.
 */

import { h } from "./dom.js";
import { area } from "./rle.js";
import { findClass } from "./state.js";

/** News of this many milliseconds are said together. */
const GATHER_MS = 500;

/** Gives {element, say(text, kind), follow(store)}. */
export function createAnnouncer() {
  const element = h("div", { class: "samref-announcer", role: "status", "aria-live": "polite" });
  const waiting = new Map(); // kind -> text
  let timer = null;

  function say(text, kind = text) {
    waiting.delete(kind);
    waiting.set(kind, text);
    timer ??= setTimeout(tell, GATHER_MS);
  }

  function tell() {
    timer = null;
    const text = [...waiting.values()].join(" ");
    waiting.clear();
    // the same words again are no change, and no change is not read out
    element.textContent = element.textContent === text ? `${text}\u00a0` : text;
  }

  function follow(store) {
    store.subscribe((now, before) => {
      for (const { text, kind } of newsOf(now, before)) say(text, kind);
    });
  }

  return { element, say, follow };
}

/** What is new for somebody who does not see the page: [{text, kind}]. Pure. */
export function newsOf(now, before) {
  const news = [];
  const tell = (kind, text) => news.push({ kind, text });
  if (now.offline !== before.offline) {
    tell("connection", now.offline ? "Offline. What you do is kept." : "The server is back.");
  }
  if (!now.image) return news;
  if (now.image.digest !== before.image?.digest) {
    const { file_name: name, width, height } = now.image;
    const objects = now.annotations.list.length;
    tell("image", `${name}, ${width} by ${height} pixels, ${objects} object${objects === 1 ? "" : "s"}.`);
  } else if (now.annotations !== before.annotations) {
    for (const text of changesOf(now, before)) tell(text, text);
  }
  const { draft } = now;
  const settled = now.answeredFully && draft.mask && draft.mask.scale === 1;
  const changed = draft.mask !== before.draft.mask || now.answeredFully !== before.answeredFully;
  if (settled && changed && now.annotations === before.annotations) {
    const score = typeof draft.score === "number" ? `, score ${draft.score.toFixed(2)}` : "";
    tell("mask", `Mask: ${shareOf(draft.mask, now.image)} of the image${score}.`);
  } else if (before.draft.mask && !draft.mask && now.annotations === before.annotations) {
    tell("mask", "No mask.");
  }
  return news;
}

/** What happened to the objects of an image. */
function changesOf(now, before) {
  const had = new Set(before.annotations.list.map((one) => one.id));
  const has = new Set(now.annotations.list.map((one) => one.id));
  const come = now.annotations.list.filter((one) => !had.has(one.id));
  const gone = before.annotations.list.filter((one) => !has.has(one.id) && one.id !== now.draft.editing);
  const texts = [];
  const accepted = before.draft.mask && !now.draft.mask;
  const [first] = come.map(({ id }) => nameOf(now, id));
  if (come.length === 1) texts.push(accepted ? `Accepted ${first}.` : `${first} is there again.`);
  else if (come.length) texts.push(`${come.length} objects more, ${has.size} in all.`);
  if (gone.length === 1) texts.push(`${nameOf(before, gone[0].id)} is gone.`);
  else if (gone.length) texts.push(`${gone.length} objects are gone, ${has.size} left.`);
  return texts;
}

/** "cup 3": the object's class and its number among those of that class. */
export function nameOf(state, id) {
  const { list } = state.annotations;
  const object = list.find((one) => one.id === id);
  if (!object) return "the object";
  const ofItsClass = list.filter((one) => one.class_id === object.class_id);
  return `${findClass(state, object.class_id)?.name ?? "object"} ${ofItsClass.indexOf(object) + 1}`;
}

function shareOf(mask, { width, height }) {
  const percent = (area(mask) / (width * height)) * 100;
  return percent < 1 ? "less than 1 %" : `${Math.round(percent)} %`;
}
