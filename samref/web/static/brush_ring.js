/** The ring around the pointer that shows how wide a scribble will be. */

const SMALLEST = 3;

/** Put the ring around a pointer event's place on the stage; `diameter` in CSS pixels, null hides it. */
export function placeRing(ring, stage, { clientX, clientY }, diameter) {
  ring.hidden = diameter === null;
  if (ring.hidden) return;
  const side = Math.max(diameter, SMALLEST);
  const corner = stage.getBoundingClientRect();
  ring.style.width = ring.style.height = `${side}px`;
  ring.style.transform = `translate(${clientX - corner.left - side / 2}px, ${clientY - corner.top - side / 2}px)`;
}
