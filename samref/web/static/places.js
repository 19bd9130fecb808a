/**
 * Where somebody was on each image of this tab: zoom, place, turn, and what was selected. Kept over a reload and over
 * a look at another image; gone with the tab.
 */

import { recall, remember } from "./memory.js";

/** Images kept; the longest unvisited are forgotten. */
const MOST = 200;

/** Panning changes the place sixty times a second; it is written down this much later. */
const WRITE_AFTER_MS = 300;

export function createPlaces() {
  const places = new Map(read()); // digest -> {place, selected}, longest unvisited first
  let writing = null;

  function keep(digest, changes) {
    const next = { ...places.get(digest), ...changes };
    places.delete(digest);
    places.set(digest, next);
    if (places.size > MOST) places.delete(places.keys().next().value);
    writing ??= setTimeout(write, WRITE_AFTER_MS);
  }

  function write() {
    clearTimeout(writing);
    writing = null;
    remember("places", JSON.stringify([...places]), "session");
  }

  /** Keep what is selected, and select it again when its image is opened again. */
  function followSelection(store) {
    const follow = (now, before) => {
      const digest = now.image?.digest;
      if (!digest) return;
      if (digest === before.image?.digest) {
        if (now.selected !== before.selected) keep(digest, { selected: now.selected });
        return;
      }
      const { selected = null } = places.get(digest) ?? {};
      const isThere = now.annotations.list.some((one) => one.id === selected);
      if (isThere && !now.selected) queueMicrotask(() => store.set({ selected })); // after all have heard of the image
    };
    store.subscribe(follow);
    follow(store.get(), {}); // an image may have been opened before this part of the page had come
  }

  globalThis.addEventListener("pagehide", write);

  return { followSelection, keep, placeOn: (digest) => places.get(digest)?.place ?? null };
}

function read() {
  try {
    const kept = JSON.parse(recall("places", "session") ?? "[]");
    return Array.isArray(kept) ? kept.filter((entry) => typeof entry?.[0] === "string" && entry[1]) : [];
  } catch {
    return []; // damaged
  }
}
