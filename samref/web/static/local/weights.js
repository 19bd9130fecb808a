/** A file of weights in the safetensors form: an eight-byte length, a JSON head, and the numbers. Pure. */

const UNREADABLE = "The model's weights cannot be read.";

/**
 * The weights in `bytes` (a Uint8Array) by name, as onnxruntime takes them: `[{path, data}]`, not copied.
 *
 * @param {(name: string) => boolean} wanted
 */
export function weightsIn(bytes, wanted) {
  const head = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 8) throw new Error(UNREADABLE);
  const length = Number(head.getBigUint64(0, true));
  const start = 8 + length;
  if (start > bytes.byteLength) throw new Error(UNREADABLE);
  let entries;
  try {
    entries = Object.entries(JSON.parse(new TextDecoder().decode(bytes.subarray(8, start))));
  } catch {
    throw new Error(UNREADABLE);
  }
  return entries
    .filter(([name]) => name !== "__metadata__" && wanted(name))
    .map(([path, { dtype, data_offsets: offsets }]) => {
      if (dtype !== "F16" || !(offsets?.[0] >= 0) || !(start + offsets[1] <= bytes.byteLength)) {
        throw new Error(UNREADABLE);
      }
      return { path, data: bytes.subarray(start + offsets[0], start + offsets[1]) };
    });
}
