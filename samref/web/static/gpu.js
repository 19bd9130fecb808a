/**
 * A GPU that Hugging Face lends this visitor for seconds: asks for it when an answer of the server says so (`gpu`), once
 * for each image. Only Gradio's queue knows whom the GPU is lent to, so it is asked there (docs/adr/0019-zero-gpu.md).
 */

/** The page around this one is asked who the visitor is; where it says nothing for so long, nobody is. */
const IDENTITY_MS = 2_000;

const SUPPORTED = "supports-zerogpu-headers";
const HEADERS = "zerogpu-headers";

const UNASKED = "The GPU of Hugging Face could not be asked for. The CPU prepares this image instead.";

/**
 * Have the GPU prepare an image.
 *
 * @param {object} parts {base: address of the page, token: of the workspace, gpu: {image, model, function}}
 * @returns {Promise<{done: boolean, message: string}>} `message` is a sentence for the person, empty where all went well
 */
export async function prepareOnGpu({ base, token, gpu, environment = globalThis }) {
  const session = Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16)).join("");
  try {
    const headers = { "Content-Type": "application/json", ...(await identity(environment)) };
    const data = [token, gpu.image, gpu.model];
    const body = JSON.stringify({ data, fn_index: gpu.function, session_hash: session });
    const joined = await environment.fetch(new URL("gradio_api/queue/join", base), { method: "POST", headers, body });
    if (!joined.ok) return { done: false, message: UNASKED };
    const events = new URL(`gradio_api/queue/data?session_hash=${session}`, base);
    return await ended(await environment.fetch(events, { headers: { Accept: "text/event-stream" } }));
  } catch {
    return { done: false, message: UNASKED };
  }
}

/** What the event came to, from the queue's stream of events. */
async function ended(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { done: false, message: UNASKED };
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const message = line.startsWith("data:") ? JSON.parse(line.slice(5)) : null;
      if (message?.msg !== "process_completed") continue;
      reader.cancel().catch(() => {});
      if (message.success) return message.output.data[0];
      return { done: false, message: message.output?.error ?? UNASKED };
    }
  }
}

/** Headers that say who the visitor is, from Hugging Face's page around this one; none elsewhere. */
async function identity({ window }) {
  const origin = originAround(window.location.hostname);
  if (!origin || window.parent === window) return {};
  if (!window.supports_zerogpu_headers && !(await isSupported(window, origin))) return {};
  const { port1, port2 } = new MessageChannel();
  const said = new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
  window.parent.postMessage(HEADERS, origin, [port2]);
  const headers = await within(IDENTITY_MS, said);
  port1.close();
  return headers && typeof headers === "object" ? headers : {};
}

/** Hugging Face's page answers with the same words. */
async function isSupported(window, origin) {
  let listen;
  const heard = new Promise((resolve) => {
    listen = (event) => event.origin === origin && event.data === SUPPORTED && resolve(true);
    window.addEventListener("message", listen);
  });
  window.parent.postMessage(SUPPORTED, origin);
  const supported = await within(IDENTITY_MS, heard);
  window.removeEventListener("message", listen);
  return supported === true;
}

function originAround(hostname) {
  return hostname.endsWith(".hf.space") ? "https://huggingface.co" : null;
}

function within(milliseconds, promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, milliseconds, null))]);
}
