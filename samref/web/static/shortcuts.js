/**
 * The keyboard, as one table: the key handler looks actions up in it and the help overlay prints it.
 *
 * `keys` are KeyboardEvent.key values in lower case, with "ctrl+" (Control, or Command on a Mac) and "shift+" in
 * front where they count. `held` shortcuts begin when the key goes down and end when it goes up.
 */

export const SHORTCUTS = Object.freeze([
  { group: "Object", keys: ["enter"], action: "accept", text: "Accept the mask (or close the polygon)" },
  { group: "Object", keys: ["ctrl+z"], action: "undo", text: "Undo the last prompt" },
  { group: "Object", keys: ["ctrl+y", "ctrl+shift+z"], action: "redo", text: "Redo" },
  { group: "Object", keys: ["escape"], action: "clear", text: "Drop the unfinished polygon, else the draft" },
  { group: "Object", keys: ["backspace"], action: "dropCorner", text: "Take back the polygon's last corner" },
  { group: "Object", keys: ["delete"], action: "delete", text: "Delete the selected object" },
  { group: "Object", keys: ["e"], action: "edit", text: "Edit the selected object again" },
  {
    group: "Class",
    keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"],
    label: "1 … 9",
    action: "class",
    text: "Choose the class",
  },
  { group: "Tools", keys: ["p"], action: "tool:click", text: "Point: click on the object" },
  { group: "Tools", keys: ["b"], action: "tool:box", text: "Box: drag around the object" },
  { group: "Tools", keys: ["s"], action: "tool:scribble", text: "Scribble: draw along the object" },
  { group: "Tools", keys: ["g"], action: "tool:polygon", text: "Polygon: click the corners, Enter closes" },
  { group: "Tools", keys: ["v"], action: "tool:hand", text: "Hand: drag to move, click an object to select it" },
  { group: "Tools", keys: ["x"], action: "flipSign", text: "Switch between add and remove" },
  { group: "Tools", keys: ["["], action: "brush:down", text: "Thinner scribble" },
  { group: "Tools", keys: ["]"], action: "brush:up", text: "Wider scribble" },
  { group: "View", keys: ["f"], action: "fit", text: "Fit the image" },
  { group: "View", keys: ["+", "="], label: "+", action: "zoom:in", text: "Zoom in" },
  { group: "View", keys: ["-", "_"], label: "−", action: "zoom:out", text: "Zoom out" },
  {
    group: "View",
    keys: ["arrowleft", "arrowright", "arrowup", "arrowdown"],
    label: "Arrows",
    action: "pan",
    text: "Move the image",
  },
  { group: "View", keys: ["o"], action: "outline", text: "Outlines only" },
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
  { group: "Images", keys: ["d"], action: "doneNext", text: "Done: mark the image and open the next one to do" },
  { group: "Images", keys: ["q"], action: "mark:flagged", text: "Flag the image as a question, or take the flag away" },
  { group: "Images", keys: ["ctrl+v"], action: "paste", passive: true, text: "Paste an image" },
  { group: "Help", keys: ["?"], action: "help", text: "Show or hide this list" },
]);

/** Gestures of mouse, pen and fingers, for the help overlay. */
export const GESTURES = Object.freeze([
  { label: "Left click", text: "This belongs to the object" },
  { label: "Right click or Alt + click", text: "This does not belong to it" },
  { label: "Wheel", text: "Zoom at the pointer" },
  { label: "Middle button or Space + drag", text: "Move the image" },
  { label: "One finger", text: "The tool" },
  { label: "Two fingers", text: "Move and zoom" },
  { label: "Pen", text: "The tool; barrel button or eraser removes" },
]);

/** The shortcut a key event stands for, or null. */
export function findShortcut(event) {
  const chord = chordOf(event);
  return (chord && BY_CHORD.get(chord)) || null;
}

/** The held shortcut that ends when this key goes up (whatever Shift and Control do by now), or null. */
export function findReleased(event) {
  const shortcut = BY_CHORD.get(String(event.key).toLowerCase());
  return shortcut?.held ? shortcut : null;
}

/** What the overlay prints for a shortcut: one string per way to press it. */
export function labelsOf(shortcut) {
  if (shortcut.label) return [shortcut.label];
  return shortcut.keys.map((chord) =>
    chord
      .split("+")
      .map((part) => NAMES[part] ?? part.toUpperCase())
      .join(" + "),
  );
}

const NAMES = { ctrl: "Ctrl", shift: "Shift", enter: "Enter", escape: "Esc", delete: "Delete", backspace: "Backspace" };

const BY_CHORD = new Map(SHORTCUTS.flatMap((shortcut) => shortcut.keys.map((chord) => [chord, shortcut])));

function chordOf(event) {
  if (event.isComposing || typeof event.key !== "string") return null;
  const key = event.key.toLowerCase();
  const ctrl = event.ctrlKey || event.metaKey;
  if (event.altKey && !ctrl) return null; // belongs to the browser or types a character
  // Shift is part of the character for "?" and "+"; it counts only beside Control
  return ctrl ? `ctrl+${event.shiftKey ? "shift+" : ""}${key}` : key;
}
