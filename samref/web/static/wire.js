/** The wire: each request is one POST, its answers come as lines of that POST's response while they are computed. */

/**
 * @param {string} base address of the page
 * @param {object} ends
 * @param {(text: string) => void} ends.onText an answer
 * @param {(seq: number) => void} ends.onLost the connection broke before that request was answered to the end
 * @param {typeof fetch} [fetcher] for tests
 */
export function createWire(base, { onText, onLost }, fetcher = globalThis.fetch.bind(globalThis)) {
  const address = new URL("samref/send", base);
  const tab = randomName();

  async function post(message) {
    const { seq } = message;
    try {
      const response = await fetcher(address, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...message, tab }),
      });
      if (response.ok) await readLines(response.body, onText);
      else onText(await refusalOf(response, message));
    } catch {
      // the network, or the server, is gone
    }
    onLost(seq); // means nothing to who has the last answer already
  }

  return { post, tab };
}

/** Call `onLine` for each line of a stream of bytes, the last one included; an unfinished line is none. */
export async function readLines(stream, onLine) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    lines.filter(Boolean).forEach(onLine);
  }
}

/** What the server (or a proxy before it) said instead of answering, in the form of an answer. */
async function refusalOf(response, { v, seq }) {
  if (response.status === 502 || response.status === 504) throw new Error("the proxy reaches no server");
  const said = await response.json().catch(() => null);
  const error = said?.error ?? { code: "request", message: `The server refused (${response.status}).` };
  return JSON.stringify({ v, seq, kind: "error", final: true, error });
}

/** Tells this page load from all others. */
function randomName() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
