/** "Your work": what is kept, where and how long, and the key that opens it. The dialog is in keeping_dialog.js. */

/** What the server said about keeping, in sentences. */
export function sentencesOf(keeping) {
  const { folder = null, demo_days: days = 0, read_only: readOnly = null } = keeping ?? {};
  const where = folder ? `on this machine, in ${folder}` : "on the server that shows this page";
  return [
    readOnly,
    `Images, labels and the unfinished object are kept ${where}. Each step is on its disk before it is answered.`,
    days > 0
      ? `This is a demo: a workspace that nobody used for ${plural(days, "day")} is removed with all it holds. ` +
        "Export what you want to keep."
      : "Nothing is ever removed by itself.",
  ].filter(Boolean);
}

/** What to say where the browser keeps nothing for the page. */
export const FORGETS =
  "This browser keeps nothing for this page (a private window, or storage is blocked): before you close it, export " +
  "your labels, or copy the key under “Your work”.";

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

/** The key in what somebody pasted: the key itself, or a link that carries it. */
export function keyIn(text) {
  return /^(?:\S*#key=)?([\w-]{20,80})$/.exec(text.trim())?.[1] ?? null;
}

/** The address of this page with the key in its hash, which no server is ever sent. */
export function linkWith(key) {
  const link = new URL(document.baseURI);
  link.hash = `key=${key}`;
  return link.href;
}
