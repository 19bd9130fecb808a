/** Whether the model can run in this browser, and what a person is told of it: one sentence, and why. Pure. */

const SLOW = new Set(["slow-2g", "2g"]);

/**
 * Why the model is not to be loaded into this browser, as one of the words below; null where it is.
 *
 * @param {object} about {wanted: the person's setting, offered: {model} | null as the workspace says, model: of the
 *   image, connection: navigator.connection where there is one, simd: whether there are vectors}
 */
export function whyNot({ wanted, offered, model, connection, simd }) {
  if (!wanted) return "off";
  if (!offered) return "offered";
  if (model !== offered.model) return "model";
  if (connection?.saveData) return "saver";
  if (SLOW.has(connection?.effectiveType)) return "slow";
  if (!simd) return "simd";
  return null;
}

const WITHOUT = {
  off: () => "The model in this browser is switched off, so every mask comes from the server.",
  offered: () => "This server keeps its model to itself, so every mask comes from the server.",
  model: () => "This image uses a model that does not run in browsers, so its masks come from the server.",
  saver: () => "This browser is set to save data, so the model was not loaded into it and every mask comes from the server.",
  slow: () => "The connection is slow, so the model was not loaded into this browser and every mask comes from the server.",
  simd: () =>
    "This browser cannot run the model because it lacks WebAssembly SIMD, so every mask comes from the server; a newer one can.",
  failed: ({ detail }) => `Every mask comes from the server. ${detail}`,
  image: () => "This image could not be prepared in this browser, so its masks come from the server.",
  broken: () => "The model stopped working in this browser, so every mask comes from the server until the page is reloaded.",
  time: ({ ms }) =>
    `A mask took ${ms} ms in this browser, which is too long to be of use, so every mask comes from the server.`,
  differs: () => "Masks made in this browser were not the server's own, so every mask comes from the server.",
};

const WITH = {
  loading: () => "The model is on its way into this browser; until it is here, every mask comes from the server.",
  preparing: () => "The model in this browser looks at the image; until it is done, every mask comes from the server.",
  ready: ({ ms }) =>
    `The model runs in this browser, too: a click's first mask takes ${ms} ms, and the server's finer one follows.`,
};

/** What a person is told: `status` is {phase, ms} while the model runs here, {reason, detail, ms} where it does not. */
export function sentenceOf({ phase, reason, ...facts }) {
  return reason ? WITHOUT[reason](facts) : WITH[phase](facts);
}
