/** How many dots of the display an element covers: the size its canvas needs for one canvas pixel on each dot. */

/** {width, height, pixelRatio} as far as they are known at once; `watchDisplaySize` knows them to the dot. */
export function displaySize(element) {
  const { width, height } = element.getBoundingClientRect();
  const pixelRatio = globalThis.devicePixelRatio || 1;
  return { width: dotsOf(width * pixelRatio), height: dotsOf(height * pixelRatio), pixelRatio };
}

/** Call `onChange({width, height, pixelRatio})` now and whenever the element or the display's pixel ratio changes. */
export function watchDisplaySize(element, onChange) {
  const observer = new ResizeObserver(([entry]) => {
    const pixelRatio = globalThis.devicePixelRatio || 1;
    const exact = entry.devicePixelContentBoxSize?.[0];
    onChange({
      width: dotsOf(entry.contentRect.width * pixelRatio, exact?.inlineSize),
      height: dotsOf(entry.contentRect.height * pixelRatio, exact?.blockSize),
      pixelRatio,
    });
  });
  try {
    observer.observe(element, { box: "device-pixel-content-box" });
  } catch {
    observer.observe(element); // browsers without that box: the CSS size, rounded
  }
}

/** The browser's own count where it fits the size on the page (it does not when a pixel ratio is emulated). */
function dotsOf(computed, counted) {
  const usable = counted !== undefined && Math.abs(counted - computed) <= 1;
  return Math.max(1, usable ? counted : Math.round(computed));
}
