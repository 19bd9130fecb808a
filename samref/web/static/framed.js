/**
 * Inside another page (a Space, an article): a way out into a window of one's own. A browser keeps what it stores
 * inside another page apart from what the page stores by itself, so the way out carries the workspace's key, in the
 * part of the address that is never sent.
 */

import { h, icon } from "./dom.js";
import { linkWith } from "./keeping.js";

const TITLE = "Open in its own window, with all that is here";

/** The link for the header; gives {element, update()}. `key()` is the workspace's. */
export function createWayOut(key) {
  const element = h(
    "a",
    {
      class: "samref-button samref-way-out",
      target: "_blank",
      rel: "noopener",
      title: TITLE,
      "aria-label": TITLE,
      hidden: true,
    },
    icon("outside"),
  );
  return {
    element,
    update() {
      const href = key() ? linkWith(key()) : null;
      element.hidden = href === null;
      if (href && element.href !== href) element.href = href;
    },
  };
}
