/** Small images, fetched for those in sight only: what was asked last comes first, what left the sight is not fetched. */

/** Fetched at the same time; the browser has six connections, and clicks come first. */
const AT_ONCE = 2;

/** What is only scrolled past is not fetched. */
const LINGER_MS = 80;

/** Kept in memory, some 10 kB each. */
const MOST = 800;

/** @param {(digest) => Promise<Blob>} fetchThumb */
export function createThumbs(fetchThumb) {
  const kept = new Map(); // digest -> address; the one used last is the last one
  const wanted = new Map(); // digest -> what waits for it; asked last is last
  let running = 0;

  function next() {
    if (running >= AT_ONCE || wanted.size === 0) return;
    const [digest, give] = [...wanted].at(-1);
    wanted.delete(digest);
    running += 1;
    fetchThumb(digest)
      .then((blob) => give(keep(digest, URL.createObjectURL(blob))))
      .catch(() => {}) // the next time it is seen it is tried again
      .finally(() => {
        running -= 1;
        next();
      });
    next();
  }

  function keep(digest, address) {
    kept.set(digest, address);
    if (kept.size > MOST) {
      const [oldest, old] = kept.entries().next().value;
      kept.delete(oldest);
      URL.revokeObjectURL(old);
    }
    return address;
  }

  return {
    /** Put the small image into `element`, now or when it has come; gives what takes the wish back. */
    show(element, digest) {
      const there = kept.get(digest);
      if (there) {
        kept.delete(digest);
        kept.set(digest, there);
        element.src = there;
        return () => {};
      }
      let isWanted = true;
      const timer = setTimeout(() => {
        const before = wanted.get(digest);
        wanted.delete(digest);
        wanted.set(digest, (address) => {
          before?.(address);
          if (isWanted) element.src = address;
        });
        next();
      }, LINGER_MS);
      return () => {
        isWanted = false;
        clearTimeout(timer);
        if (!kept.has(digest)) wanted.delete(digest);
      };
    },
  };
}
