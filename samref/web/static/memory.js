/** What a browser remembers for us; a browser that refuses (private windows) remembers until the page closes. */

const fallback = new Map();

/** A value kept under `samref.<key>`; `storage` is "local" (all tabs) or "session" (this tab). */
export function recall(key, storage = "local") {
  try {
    return storageOf(storage).getItem(`samref.${key}`);
  } catch {
    return fallback.get(`${storage}.${key}`) ?? null;
  }
}

/** Keep a text, or forget it (null). */
export function remember(key, value, storage = "local") {
  try {
    if (value === null) storageOf(storage).removeItem(`samref.${key}`);
    else storageOf(storage).setItem(`samref.${key}`, value);
  } catch {
    fallback.set(`${storage}.${key}`, value);
  }
}

/** Whether this browser keeps nothing for the page: all is forgotten when it closes. */
export function isForgetful() {
  try {
    const probe = "samref.probe";
    storageOf("local").setItem(probe, "1");
    storageOf("local").removeItem(probe);
    return false;
  } catch {
    return true;
  }
}

/** The person's settings as kept last time, over `defaults`; anything of another type is left at its default. */
export function recallSettings(defaults) {
  const kept = keptSettings();
  const usable = Object.entries(defaults).filter(([name, value]) => typeof kept[name] === typeof value);
  return { ...defaults, ...Object.fromEntries(usable.map(([name]) => [name, kept[name]])) };
}

/** Write the settings of those names down, beside those of other parts of the page, whenever one changes. */
export function keepSettings(store, names) {
  let written = "";
  store.subscribe((state) => {
    const mine = Object.fromEntries(names.map((name) => [name, state[name]]));
    const text = JSON.stringify(mine);
    if (text === written) return;
    written = text;
    remember("settings", JSON.stringify({ ...keptSettings(), ...mine }));
  });
}

function keptSettings() {
  try {
    const kept = JSON.parse(recall("settings") ?? "{}");
    return typeof kept === "object" && kept !== null ? kept : {};
  } catch {
    return {}; // damaged settings are no reason not to start
  }
}

const storageOf = (storage) => (storage === "session" ? globalThis.sessionStorage : globalThis.localStorage);
