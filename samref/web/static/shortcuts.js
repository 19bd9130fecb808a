/**
 * The keyboard, as one table: the key handler looks actions up in it and the help overlay prints it.
 *
 * `keys` are KeyboardEvent.key values in lower case, with "ctrl+" (Control, or Command on a Mac) and "shift+" in
 * front where they count. `held` shortcuts begin when the key goes down and end when it goes up. `fixed` ones keep
 * their keys; for all others a person may choose their own (`useKeys`).
 */

export const SHORTCUTS = Object.freeze([
  { group: "Object", keys: ["enter"], action: "accept", text: "Accept the mask (or close the polygon)" },
  { group: "Object", keys: ["ctrl+z"], action: "undo", text: "Undo, whatever it was" },
  { group: "Object", keys: ["ctrl+y", "ctrl+shift+z"], action: "redo", text: "Redo" },
  { group: "Object", keys: ["escape"], action: "clear", fixed: true, text: "Drop the unfinished polygon, else the draft" },
  { group: "Object", keys: ["backspace"], action: "dropCorner", text: "Take back the polygon's last corner" },
  { group: "Object", keys: ["tab"], action: "candidate", text: "After a lone click: another mask it can mean (part, group)" },
  { group: "Object", keys: ["delete"], action: "delete", text: "Delete the selected objects" },
  { group: "Object", keys: ["e"], action: "edit", text: "Edit the selected object again" },
  { group: "Object", keys: ["n"], action: "object:next", text: "Select the next object" },
  { group: "Object", keys: ["shift+n"], action: "object:previous", text: "Select the object before" },
  { group: "Object", keys: ["z"], action: "zoomToObject", text: "Zoom to the selected object" },
  { group: "Object", keys: ["shift+v"], action: "toggleObject:visible", text: "Hide or show the selected objects" },
  { group: "Object", keys: ["shift+x"], action: "toggleObject:locked", text: "Lock or unlock the selected objects" },
  { group: "Object", keys: ["shift+j"], action: "merge", text: "Merge the selected objects" },
  {
    group: "Class",
    keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"],
    label: "1 … 9",
    action: "class",
    fixed: true,
    text: "Choose the class",
  },
  { group: "Class", keys: ["/"], action: "searchClass", text: "Find a class by typing" },
  { group: "Tools", keys: ["p"], action: "tool:click", text: "Point: click on the object" },
  { group: "Tools", keys: ["b"], action: "tool:box", text: "Box: drag around the object" },
  { group: "Tools", keys: ["s"], action: "tool:scribble", text: "Scribble: draw along the object" },
  { group: "Tools", keys: ["g"], action: "tool:polygon", text: "Polygon: a hint to the model; Enter closes" },
  { group: "Tools", keys: ["d"], action: "tool:brush", text: "Brush: paint exactly these pixels" },
  { group: "Tools", keys: ["shift+d"], action: "tool:eraser", text: "Eraser: take exactly these pixels away" },
  { group: "Tools", keys: ["l"], action: "tool:lasso", text: "Lasso: exactly what is inside; drag, or click corners" },
  { group: "Tools", keys: ["y"], action: "tool:vertices", text: "Corners: pull the outline of the draft or object" },
  { group: "Tools", keys: ["v"], action: "tool:hand", text: "Hand: move the image or a prompt, select an object" },
  { group: "Tools", keys: ["x"], action: "flipSign", text: "Switch between add and remove" },
  { group: "Tools", keys: ["["], action: "brush:down", text: "Thinner brush or scribble" },
  { group: "Tools", keys: ["]"], action: "brush:up", text: "Wider brush or scribble" },
  {
    group: "Tools",
    keys: ["k"],
    action: "cursor",
    text: "Crosshair for the keyboard: arrows (Shift: 10 px), Enter presses, Shift + Enter says no",
  },
  { group: "Clean up", keys: ["t"], action: "tidyMenu", text: "Clean-ups of the mask" },
  { group: "Clean up", keys: ["shift+o"], action: "tidy:fill_holes", text: "Fill holes" },
  { group: "Clean up", keys: ["shift+i"], action: "tidy:drop_islands", text: "Drop islands" },
  { group: "Clean up", keys: ["shift+s"], action: "tidy:smooth", text: "Smooth" },
  { group: "Clean up", keys: ["shift+g"], action: "tidy:grow", text: "Grow" },
  { group: "Clean up", keys: ["shift+k"], action: "tidy:shrink", text: "Shrink" },
  { group: "Clean up", keys: ["shift+u"], action: "tidy:subtract", text: "Subtract the other objects" },
  { group: "View", keys: ["f"], action: "fit", text: "Fit the image" },
  { group: "View", keys: ["+", "="], label: "+", action: "zoom:in", text: "Zoom in" },
  { group: "View", keys: ["-", "_"], label: "−", action: "zoom:out", text: "Zoom out" },
  {
    group: "View",
    keys: ["arrowleft", "arrowright", "arrowup", "arrowdown"],
    label: "Arrows",
    action: "pan",
    fixed: true,
    text: "Move the image",
  },
  { group: "View", keys: ["r"], action: "turn:right", text: "Turn the view to the right" },
  { group: "View", keys: ["shift+r"], action: "turn:left", text: "Turn the view to the left" },
  { group: "View", keys: ["o"], action: "outline", text: "Outlines only" },
  { group: "View", keys: ["i"], action: "instanceColours", text: "A colour for each object" },
  { group: "View", keys: [";"], action: "opacity:down", text: "Fainter masks" },
  { group: "View", keys: ["'"], action: "opacity:up", text: "Stronger masks" },
  { group: "View", keys: ["shift+h"], action: "toggleMasks", text: "Hide all masks, or show them again" },
  { group: "View", keys: ["shift+c"], action: "toggleCoarse", text: "See the coarse mask, or the fine one again" },
  { group: "View", keys: ["shift+p"], action: "hoverMask", text: "The mask under the pointer, before a click" },
  { group: "View", keys: ["shift+l"], action: "crosshair", text: "Lines at the pointer" },
  { group: "View", keys: ["shift+m"], action: "minimap", text: "Overview when zoomed in" },
  { group: "View", keys: ["h"], action: "hide", held: true, text: "Hold: hide all masks" },
  { group: "View", keys: ["c"], action: "coarse", held: true, text: "Hold: see the coarse mask" },
  {
    group: "View",
    keys: [" "],
    label: "Space",
    action: "panning",
    held: true,
    text: "Hold and drag: move the image",
  },
  { group: "Images", keys: ["pagedown", "."], label: "Page Down", action: "image:next", text: "Next image" },
  { group: "Images", keys: ["pageup", ","], label: "Page Up", action: "image:previous", text: "Previous image" },
  { group: "Images", keys: ["a"], action: "doneNext", text: "Done: mark the image and open the next one to do" },
  { group: "Images", keys: ["q"], action: "mark:flagged", text: "Flag the image as a question, or take the flag away" },
  { group: "Images", keys: ["ctrl+v"], action: "paste", passive: true, fixed: true, text: "Paste an image" },
  { group: "Help", keys: ["?"], action: "help", text: "Show or hide this list" },
]);

/** Gestures of mouse, pen and fingers, for the help overlay. */
export const GESTURES = Object.freeze([
  { label: "Point, without a click", text: "See the mask that a click there begins with" },
  { label: "Left click", text: "This belongs to the object" },
  { label: "Ctrl + click", text: "Select the object there; with Shift one more" },
  { label: "Drag with the Point tool", text: "A box around the object" },
  { label: "Right click or Alt + click", text: "This does not belong to it" },
  { label: "Wheel, or Ctrl + wheel", text: "Zoom at the pointer" },
  { label: "Wheel sideways", text: "Move the image" },
  { label: "Alt + wheel", text: "Size of the brush" },
  { label: "Double click", text: "Close the polygon" },
  { label: "Middle button or Space + drag", text: "Move the image" },
  { label: "One finger", text: "The tool" },
  { label: "Two fingers", text: "Move and zoom" },
  { label: "Pen", text: "The tool; barrel button or eraser removes" },
]);

/** The shortcut a key event stands for, or null. */
export function findShortcut(event) {
  const chord = chordOf(event);
  if (!chord) return null;
  return byChord.get(chord) ?? byChord.get(chord.replace(/^shift\+/, "")) ?? null;
}

/** The held shortcut that ends when this key goes up (whatever Shift and Control do by now), or null. */
export function findReleased(event) {
  const key = String(event.key).toLowerCase();
  return SHORTCUTS.find((one) => one.held && keysOf(one).some((chord) => chord.split("+").pop() === key)) ?? null;
}

/** The keys that are set for a shortcut. */
export function keysOf({ action, keys }) {
  if (custom[action]) return custom[action];
  return keys.filter((chord) => byChord.get(chord)?.action === action); // somebody's own key may have taken one
}

/** What the overlay prints for a shortcut: one string per way to press it. */
export function labelsOf(shortcut) {
  if (shortcut.label && !custom[shortcut.action]) return [shortcut.label];
  return keysOf(shortcut).map(printChord);
}

/** The first way to press an action, as printed; "" where no key is set. */
export function labelOf(action) {
  const shortcut = SHORTCUTS.find((one) => one.action === action);
  return shortcut ? (labelsOf(shortcut)[0] ?? "") : "";
}

export function printChord(chord) {
  return chord
    .split(/\+(?=.)/)
    .map((part) => NAMES[part] ?? part.toUpperCase())
    .join(" + ");
}

const NAMES = {
  ctrl: "Ctrl",
  shift: "Shift",
  enter: "Enter",
  escape: "Esc",
  delete: "Delete",
  backspace: "Backspace", tab: "Tab",
  " ": "Space",
  pagedown: "Page Down",
  pageup: "Page Up",
  "-": "−",
};

// ---- a person's own keys ------------------------------------------------------------------------------------

let custom = {}; // action -> chords
let byChord = tableOf(custom);
const listeners = new Set();

/** Use those keys ({action: [chord, …]}) from now on; what names no changeable shortcut is left out. */
export function useKeys(wanted) {
  custom = {};
  for (const { action, fixed } of SHORTCUTS) {
    const chords = wanted?.[action];
    if (fixed || !Array.isArray(chords)) continue;
    custom[action] = chords.filter((chord) => typeof chord === "string" && chord !== "");
  }
  byChord = tableOf(custom);
  for (const listener of listeners) listener();
}

/** Every action's own keys, as `useKeys` takes them. */
export const customKeys = () => ({ ...custom });

export const onKeysChanged = (listener) => listeners.add(listener);

/** The shortcut that has a chord, or null. */
export const ownerOf = (chord) => byChord.get(chord) ?? null;

function tableOf(own) {
  const table = new Map();
  const enter = (shortcut, chords) => chords.forEach((chord) => !table.has(chord) && table.set(chord, shortcut));
  for (const shortcut of SHORTCUTS) if (shortcut.fixed) enter(shortcut, shortcut.keys);
  for (const shortcut of SHORTCUTS) enter(shortcut, own[shortcut.action] ?? []);
  for (const shortcut of SHORTCUTS) if (!own[shortcut.action]) enter(shortcut, shortcut.keys);
  return table;
}

/** A key event in the form of the table, or null when it is nobody's business here. */
export function chordOf(event) {
  if (event.isComposing || typeof event.key !== "string") return null;
  const key = event.key.toLowerCase();
  const ctrl = event.ctrlKey || event.metaKey;
  if (event.altKey && !ctrl) return null; // belongs to the browser or types a character
  // Shift is part of the character for "?" and "+"; it counts for letters, named keys and beside Control
  const shift = event.shiftKey && (ctrl || key.length > 1 || /\p{L}/u.test(key));
  return `${ctrl ? "ctrl+" : ""}${shift ? "shift+" : ""}${key}`;
}
