/** A click made before its image was open, as on the start page: it is sent as soon as the image is there. */

/**
 * Send a click on the example `name` once it is open; nothing is sent when another image is opened, or none.
 *
 * @param {object} parts {store, send(digest, prompt)}
 */
export function clickWhenOpen({ store, send }, name, x, y) {
  const stop = store.subscribe(({ image, opening }) => {
    if (opening) return;
    stop();
    if (image?.file_name === name) send(image.digest, { type: "click", x, y, positive: true });
  });
}
