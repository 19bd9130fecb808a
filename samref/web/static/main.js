/**
 * Where the page begins: `mount` builds the start page and the conversation with the server, and has the work page
 * (workbench.js) loaded as soon as the start page stands. The wire is described in docs/protocol.md.
 *
 * For tests and measurements the root element carries a read-only hook, `root.samref`:
 *   state()   what the page knows (see state.js)
 *   phase()   one of the words in state.js `PHASES`
 *   stats()   {transport: what went over the wire}
 * and, as soon as the work page is there, what workbench.js says.
 */

import { createAnnouncer } from "./announcer.js";
import { createConnection } from "./connection.js";
import { h } from "./dom.js";
import { createStart } from "./gallery.js";
import { createHeader } from "./header.js";
import { createImageList } from "./image_list.js";
import { takeFiles } from "./intake.js";
import { keepSettings, recall, recallSettings } from "./memory.js";
import { createPageActions } from "./page_actions.js";
import { createRoutes } from "./routes.js";
import { buildShell } from "./shell.js";
import { INITIAL, createStore, phaseOf, shownAhead } from "./state.js";
import { createThumbs } from "./thumbs.js";
import { createToasts } from "./toasts.js";
import { createTransport } from "./transport.js";
import { createUploads } from "./uploads.js";
import { createWire } from "./wire.js";

/** What a person sets once and finds again; more in workbench.js. */
const SETTINGS = { imageSort: "added" };

/** What this page remembers only while it is open; more in workbench.js. */
const PAGE = {
  classId: null,
  selected: null,
  panelOpen: false,
  startShown: true,
  opening: null,
  uploading: 0,
  imageFilter: "all",
  imageSearch: "",
  offline: false,
  answeredFully: true,
};

/** The start page's own images are asked for first; then the work page is fetched although nobody asked for it. */
const SOON_MS = 200;

const AGAIN_MS = 2_000;

const NOT_LOADED =
  "A part of this page could not be loaded: the server does not answer. It is tried again; if it takes long, reload " +
  "the page. Nothing is lost.";

/**
 * Take over the root element; called once a page.
 *
 * @param {object} page {root, base: address of the page, later: names of the work page's modules}
 */
export function mount({ root, base, later = [] }) {
  const classId = Number(recall("class", "session")) || null;
  const store = createStore({ ...INITIAL, ...PAGE, classId, ...recallSettings(SETTINGS) });
  const shell = buildShell(root);
  const toasts = createToasts(shell.toasts);
  const announcer = createAnnouncer();
  root.append(announcer.element);

  const routes = createRoutes(base, () => connection.keys.current());
  const connection = createConnection({
    store,
    base,
    routes,
    toasts,
    transport: () => transport,
    imagesOf: (state) => imagesOf(state),
    onStage: (seq, stage, meta) => workbench?.expectPaint(seq, stage, meta?.startedAt),
    onBye,
  });
  const wire = createWire(base, {
    onText: (text) => transport.receive(text),
    onLost: (seq) => transport.lose(seq),
  });
  const transport = createTransport({
    post: wire.post,
    context: connection.context,
    onAnswer: connection.onAnswer,
    onSilence: connection.onSilence,
    onLost: connection.onLost,
  });
  const imagesOf = createImageList();
  const thumbs = createThumbs(routes.thumb);
  const uploads = createUploads({
    store,
    routes,
    toasts,
    place: shell.uploads,
    onStored: (stored, batch) => page.onStored(stored, batch),
  });
  const { keys } = connection;
  const shared = { root, store, transport, routes, toasts, imagesOf };
  const page = createPageActions({ ...shared, keys, uploads: () => uploads, work, workNow: () => workbench });
  const updateHeader = createHeader(shell.header, page, toasts);
  const updateStart = createStart(shell.start, page, { base, imagesOf, thumbs, exampleThumb: routes.exampleThumb });

  const isAhead = () => shownAhead(store.get(), transport.unansweredPrompts()) !== null;
  const phase = () => phaseOf(store.get(), { ...store.get(), unanswered: transport.unanswered(), isAhead: isAhead() });
  const startShown = ({ startShown: asked, image, opening }) => asked || (!image && !opening);
  let workbench = null;

  function update() {
    const state = store.get();
    updateHeader(state, phase());
    const focusIsLost = shell.start.contains(document.activeElement);
    updateStart(state, startShown(state));
    const { tools, stage, foot, panel, strip } = shell;
    for (const covered of [tools, stage, foot, panel, strip]) covered.inert = startShown(state);
    root.classList.toggle("samref-choosing", startShown(state));
    if (focusIsLost && !startShown(state)) stage.focus({ preventScroll: true }); // what was pressed is hidden now
    workbench?.update(state);
    wayOut?.update();
    if (isNeeded()) work();
    else if (state.workspace) workSoon();
  }

  // ---- inside another page ------------------------------------------------------------------------------------

  let wayOut = null;
  if (globalThis.top !== globalThis.self) {
    import("./framed.js").then(({ createWayOut }) => {
      wayOut = createWayOut(keys.current);
      shell.header.append(wayOut.element);
      wayOut.update();
    });
  }

  // ---- the work page ----------------------------------------------------------------------------------------

  let loading = null;
  let idle = null;

  /** A promise of the work page, which begins to load when it is first asked for. */
  function work() {
    clearTimeout(idle);
    return (loading ??= load());
  }

  async function load() {
    preload(later);
    const { createWorkbench } = await fetched();
    const parts = { root, base, shell, store, transport, wire, routes, toasts, announcer, imagesOf, thumbs };
    workbench = createWorkbench({ ...parts, page, startShown });
    const { stats, ...inspect } = workbench.inspect;
    root.samref = Object.freeze({ ...hook, ...inspect, stats: () => ({ ...stats(), ...hook.stats() }) });
    update();
    return workbench;
  }

  /** Without the work page nothing can be done with an image, so it is tried again until it comes. */
  async function fetched() {
    for (let said = false; ; ) {
      try {
        return await import("./workbench.js");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // not the network's fault
        if (!said && isNeeded()) toasts.error(NOT_LOADED);
        said ||= isNeeded();
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  const isNeeded = () => Boolean(store.get().image || store.get().opening);

  /** Whoever looks at the start page will open an image: what it shows itself comes first. */
  function workSoon() {
    if (!loading) idle ??= setTimeout(work, SOON_MS);
  }

  function onBye({ reason, message }) {
    const act =
      reason === "version"
        ? h(
            "button",
            { type: "button", class: "samref-button samref-accept", on: { click: () => location.reload() } },
            "Reload",
          )
        : h("button", { type: "button", class: "samref-button samref-accept", on: { click: startAnew } }, "Start anew");
    const dialog = h("dialog", { class: "samref-bye", "aria-label": "The server" }, h("p", {}, message), act);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    function startAnew() {
      dialog.remove();
      connection.startAnew();
    }
    root.append(dialog);
    dialog.showModal();
  }

  const unsubscribe = store.subscribe(({ workspace }) => {
    if (!workspace?.keeping?.saved) return;
    unsubscribe();
    import("./saved.js").then(({ createSaved }) => createSaved({ header: shell.header, store, routes, toasts }));
  });
  const hook = { state: store.get, phase, stats: () => ({ transport: transport.stats() }) };
  root.samref = Object.freeze(hook);
  announcer.follow(store);
  store.subscribe(update);
  keepSettings(store, Object.keys(SETTINGS));
  takeFiles({ root, dropHint: shell.dropHint, onFiles: page.addFiles });

  update();
  connection.begin();
  if (recall("bulk", "session")) work();
}

/** Have modules fetched side by side; one that imports the next would be one round trip after the other. */
function preload(names) {
  const address = (name) => new URL(name, import.meta.url).href;
  document.head.append(...names.map((name) => h("link", { rel: "modulepreload", href: address(name) })));
}
