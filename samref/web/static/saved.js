/** "Saved up to": how far work is safe from the loss of the server's machine, in the header. Loaded where that is told. */

import { h, setAttribute, setText } from "./dom.js";

/** After something was done it is asked soon, then less often, until all is saved. */
const ASK_MS = [1_000, 2_000, 4_000];

/** While it cannot be saved. */
const TROUBLE_MS = 10_000;

/**
 * What is said of `saved` ({up_to, is_behind, problem, …}, docs/protocol.md): {state, text, title}.
 *
 * @param {(seconds: number) => string} timeOf gives the time of day in words
 */
export function wordsOf({ up_to: upTo, problem }, timeOf) {
  if (upTo === null) {
    const title = "Nothing that is done here survives a restart of the server yet.";
    if (!problem) return { state: "waiting", text: "Not saved yet", title };
    return { state: "trouble", text: "Not saved", title: problem };
  }
  const time = timeOf(upTo);
  if (problem) {
    const title = `What was done after ${time} would not survive a restart of the server. ${problem}`;
    return { state: "trouble", text: `Saved until ${time} only`, title };
  }
  const title = `What was done before ${time} survives even a restart of the server on another machine.`;
  return { state: "saved", text: `Saved up to ${time}`, title };
}

/** How long to wait before it is asked again; null for not at all. */
export function pauseAfter({ is_behind: isBehind, problem }, asked) {
  if (!isBehind) return null;
  return problem ? TROUBLE_MS : ASK_MS[Math.min(asked, ASK_MS.length - 1)];
}

/** The time of day here, to the second. */
const timeHere = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { timeStyle: "medium" });

/**
 * Show it in the header, and ask again while something is not saved and the page is looked at.
 *
 * @param {object} parts {header: element, store, routes, toasts}
 */
export function createSaved({ header, store, routes, toasts }) {
  const label = h("span", { class: "samref-saved" });
  header.querySelector(".samref-times").after(label);
  let asking = null;
  let asked = 0;
  let seen = null; // what the state was when it was last asked
  let state = null;

  function show(saved) {
    const words = wordsOf(saved, timeHere);
    setText(label, words.text);
    setAttribute(label, "title", words.title);
    setAttribute(label, "data-state", words.state);
    if (words.state === "trouble" && state !== "trouble") toasts.info(words.title);
    state = words.state;
    const pause = pauseAfter(saved, asked);
    asking = pause === null ? null : setTimeout(ask, pause);
  }

  async function ask() {
    if (document.visibilityState !== "visible") return void (asking = null); // asked when somebody looks again
    asked += 1;
    try {
      const { saved } = await routes.json("samref/saved");
      if (saved) show(saved);
    } catch {
      asking = setTimeout(ask, TROUBLE_MS); // the page says elsewhere that the server is away
    }
  }

  function askSoon() {
    clearTimeout(asking);
    asked = 0;
    asking = setTimeout(ask, ASK_MS[0]);
  }

  /** Whatever was done shows in one of these. */
  const mark = ({ image, revision, workspace }) => `${image?.digest} ${revision} ${workspace?.revision}`;

  store.subscribe((now) => {
    if (mark(now) === seen) return;
    seen = mark(now);
    askSoon();
  });
  document.addEventListener("visibilitychange", () => asking === null && askSoon());
  seen = mark(store.get());
  show(store.get().workspace.keeping.saved);
  askSoon();
}
