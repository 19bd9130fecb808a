/** "Your work": what is kept, where and how long, and the key that opens it. The dialog is in keeping_dialog.js. */

/** What the server said about keeping, in sentences. */
export function sentencesOf(keeping) {
  const { folder = null, demo_days: days = 0, read_only: readOnly = null, saved = null, forgets = false } = keeping ?? {};
  const where = folder ? `on this machine, in ${folder}` : "on the server that shows this page";
  return [
    readOnly,
    `Images, labels and the unfinished object are kept ${where}. Each step is on its disk before it is answered.`,
    ...(saved ? sentencesOfCopies(saved) : []),
    days > 0
      ? `This is a demo: a workspace that nobody used for ${plural(days, "day")} is removed with all it holds. ` +
        "Export what you want to keep."
      : !forgets && "Nothing is ever removed by itself.",
    forgets && "The disk of this server is emptied when it starts anew. Export what you want to keep.",
  ].filter(Boolean);
}

/** The same of copies that outlive the server's machine. */
function sentencesOfCopies({ up_to: upTo, problem, fetched_at: at, is_partial: isPartial }) {
  const sentences = [];
  if (upTo === null && problem) sentences.push(problem);
  else sentences.push("It is copied to a place that outlives this machine; the header says up to when.");
  if (at) sentences.push(`This server began anew with the labels as they were on ${new Date(at * 1000).toLocaleString()}.`);
  if (isPartial) sentences.push("Some of what was copied could not be read then; whoever runs the server sees what.");
  return sentences;
}

/** What happens with images that are brought in, in one line; what hinders keeping comes first. */
export function uploadsLine(keeping) {
  const { folder = null, demo_days: days = 0, read_only: readOnly = null, saved = null, forgets = false } = keeping ?? {};
  const unused = days > 0 ? `${plural(days, "day")} pass without anybody using your workspace` : "";
  const ends = [forgets && "it starts anew", unused].filter(Boolean).join(" or ");
  const until = ends ? `until ${ends}` : "and nothing is removed by itself";
  let kept = `Your images and labels are kept on this server ${until}.`;
  const isCopied = saved && saved.up_to !== null;
  if (isCopied) kept = `Your images and labels are kept on this server and copied to a place that outlives it, ${until}.`;
  else if (saved?.problem) kept += ` ${saved.problem}`;
  else if (folder && !saved) kept = `Your images stay on this machine, in ${folder}.`;
  return readOnly ? `${readOnly} ${kept}` : kept;
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
