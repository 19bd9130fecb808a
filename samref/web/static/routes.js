/** The server's own routes: images in and out, exports, imports. Each carries the workspace's token in a header. */

/** A refused call: `code` and a sentence for the person. */
export class RouteError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * @param {string} base address of the page; all routes are relative to it
 * @param {() => string | null} token the workspace's token
 */
export function createRoutes(base, token) {
  async function call(path, { headers = {}, ...options } = {}) {
    let response;
    try {
      response = await fetch(new URL(path, base), {
        ...options,
        headers: { "X-Samref-Token": token() ?? "", ...headers },
      });
    } catch {
      throw new RouteError("offline", "The server does not answer. Look whether it is running, then try again.");
    }
    if (response.ok) return response;
    const said = await response.json().catch(() => null);
    const message = said?.error?.message ?? `The server refused (${response.status}).`;
    throw new RouteError(response.status === 401 ? "token" : (said?.error?.code ?? "request"), message);
  }

  async function bitmapOf(path) {
    const response = await call(path);
    return createImageBitmap(await response.blob());
  }

  return {
    /** Store an image; gives its line of the list, and `outcome`: "new", "known" or "restored". */
    async upload(file, name, signal) {
      const headers = { "X-Samref-Filename": encodeURIComponent(name) };
      return (await call("samref/images", { method: "POST", headers, body: file, signal })).json();
    },

    /** The images of the folder that the server offers: {paths, left_out}. */
    folder: async () => (await call("samref/folder")).json(),

    /** Store an image of that folder; gives what `upload` gives. */
    async fromFolder(path, signal) {
      const query = new URLSearchParams({ path });
      return (await call(`samref/folder?${query}`, { method: "POST", signal })).json();
    },

    /** The upright image as a bitmap, perhaps smaller than the image itself. */
    photo: (digest) => bitmapOf(`samref/images/${digest}`),

    /** The pixels that the page's own model takes, packed; see local/frame.js. */
    framedPixels: async (digest) => (await call(`samref/images/${digest}?framed=1`)).arrayBuffer(),

    /** A small image, as a blob. */
    thumb: async (digest) => (await call(`samref/images/${digest}?thumb=1`)).blob(),

    exampleThumb: (name) => new URL(`samref/examples/${encodeURIComponent(name)}?thumb=1`, base).href,

    /** Download an export ({format, images, …}, see samref/web/exports.py); gives {name, bytes, sentences}. */
    async download(request) {
      const response = await call("samref/export", { method: "POST", body: JSON.stringify(request) });
      const name = nameIn(response.headers.get("Content-Disposition") ?? "") ?? `samref-${request.format}`;
      const blob = await response.blob();
      save(blob, name);
      const said = decodeURIComponent(response.headers.get("X-Samref-Report") ?? "%5B%5D");
      return { name, bytes: blob.size, sentences: JSON.parse(said) };
    },

    /** What an export would hold and lose: {images, looked_at, objects, sentences, measured, curve}. */
    async previewExport(request) {
      return (await call("samref/export/preview", { method: "POST", body: JSON.stringify(request) })).json();
    },

    /** Import labels; gives {annotations, images, unchanged, message, boxes}. */
    async importLabels(file) {
      const headers = { "X-Samref-Filename": encodeURIComponent(file.name || "labels") };
      return (await call("samref/import", { method: "POST", headers, body: file })).json();
    },

    /** What a route answers, as JSON. */
    async json(path, options = {}) {
      return (await call(path, options)).json();
    },

    /** Whether the server answers at all: "here", "gone" (nobody there), or "silent" for longer than `patienceMs`. */
    async probe(patienceMs) {
      try {
        const url = new URL(import.meta.url);
        url.searchParams.set("alive", String(Date.now()));
        const signal = AbortSignal.timeout(patienceMs);
        return (await fetch(url, { method: "HEAD", cache: "no-store", signal })).status < 500 ? "here" : "gone";
      } catch (error) {
        return error.name === "TimeoutError" ? "silent" : "gone";
      }
    },
  };
}

/** The file name of a download, with letters of any language. */
function nameIn(disposition) {
  const encoded = /filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1];
  return encoded ? decodeURIComponent(encoded) : /filename="?([^";]+)"?/.exec(disposition)?.[1];
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
