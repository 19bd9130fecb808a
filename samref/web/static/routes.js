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

    /** A small image, as a blob. */
    thumb: async (digest) => (await call(`samref/images/${digest}?thumb=1`)).blob(),

    exampleThumb: (name) => new URL(`samref/examples/${encodeURIComponent(name)}?thumb=1`, base).href,

    /** Download an export; `image` is a digest or null for all images. */
    async download(format, image) {
      const query = new URLSearchParams(image ? { format, image } : { format });
      const response = await call(`samref/export?${query}`);
      const named = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
      save(await response.blob(), named?.[1] ?? `samref-${format}`);
    },

    /** Import a COCO file; gives {annotations, images, message}. */
    async importCoco(file) {
      return (await call("samref/import", { method: "POST", body: file })).json();
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

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
