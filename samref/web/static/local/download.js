/** The files of the page's model, fetched, counted and compared with their digests. */

const CUT_OFF = "The model for the page did not arrive whole. The server answers instead; reload the page to try again.";
const DAMAGED = "The model for the page arrived damaged. The server answers instead; reload the page to try again.";

/**
 * Fetch what `about` lists: `described` the list itself, `runtime` the address of onnxruntime's module, and the files'
 * bytes by name.
 *
 * @param {string} base address of the page
 * @param {string} about address of the list, below it
 * @param {(share: number) => void} onShare how much of all has arrived, 0..1
 */
export async function fetchFiles(base, about, onShare) {
  const described = await (await answer(new URL(about, base))).json().catch(() => {
    throw new Error(CUT_OFF);
  });
  const { runtime, ...parts } = described.files;
  const total = Object.values(parts).reduce((sum, { size_bytes: bytes }) => sum + bytes, 0);
  let arrived = 0;
  const files = {};
  await Promise.all(
    Object.entries(parts).map(async ([part, file]) => {
      files[part] = await fetchFile(new URL(file.address, base), file, (bytes) => {
        arrived += bytes;
        onShare(arrived / total);
      });
    }),
  );
  return { described, runtime: new URL(runtime.address, base).href, files };
}

/** The bytes of one file, which must be those that the list names. */
export async function fetchFile(address, { size_bytes: size, sha256 }, onBytes = () => {}) {
  const bytes = new Uint8Array(size);
  let at = 0;
  try {
    const reader = (await answer(address)).body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      if (at + value.length > size) throw new Error(DAMAGED);
      bytes.set(value, at);
      at += value.length;
      onBytes(value.length);
    }
  } catch (error) {
    throw error.message === DAMAGED ? error : new Error(CUT_OFF, { cause: error });
  }
  if (at !== size) throw new Error(CUT_OFF);
  if (!(await isRight(bytes, sha256))) throw new Error(DAMAGED);
  return bytes;
}

/** Whether the digest is right; without https a browser computes none, and the length must do. */
async function isRight(bytes, sha256) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return true;
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

async function answer(address) {
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new Error(CUT_OFF, { cause: error });
  }
  if (!response.ok) throw new Error(CUT_OFF);
  return response;
}
