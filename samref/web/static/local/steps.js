/**
 * What the model is asked for a draft, and what it has answered.
 *
 * The rule is the server's (samref/inference/session.py): the answer to prompt k is the model's, given all prompts up
 * to k and the memory of prompt `bases[k - 1]`; 0 is the beginning. The server says the bases of what it has recorded;
 * of what waits here they are foreseen: prompts that leave together start from the one before the first of them.
 */

import { textOfPrompt } from "../state.js";

/** Answers kept: the draft that is open and some that one can come back to. */
const KEPT = 48;

/**
 * The draft as it will be when what waits has been recorded, {prompts, bases}; null where more than prompts decides it.
 *
 * @param {object} draft of the state
 * @param {object[]} unsent requests without an answer, oldest first (transport.js)
 * @param {boolean} isFlying whether the first of them has left, so that those behind it leave together after it
 */
export function foreseen(draft, unsent, isFlying) {
  if (draft.bases === null || draft.bases.length !== draft.prompts.length) return null;
  const [prompts, bases] = [[...draft.prompts], [...draft.bases]];
  let basis = prompts.length;
  for (const [i, { verb, args }] of unsent.entries()) {
    if (HARMLESS.has(verb)) continue;
    if (verb !== "prompt") return null;
    for (const prompt of args.prompts) {
      prompts.push(prompt);
      bases.push(basis);
    }
    if (i === 0 && isFlying) basis = prompts.length;
  }
  return { prompts, bases };
}

/** Requests that leave the draft as it is. */
const HARMLESS = new Set(["prefetch", "mark_image", "set_visible", "describe", "order", "reclass"]);

/** The model's answers to the steps of drafts, each computed once. */
export function createAnswers(model) {
  const known = new Map(); // key -> {mask, memory}, the longest unused first

  /** The chain of steps that leads to a draft's newest prompt, the first one first: [{key, prompts}]. */
  function chainOf(digest, { prompts, bases }) {
    const chain = [];
    for (let number = prompts.length; number > 0; number = Math.min(bases[number - 1], number - 1)) chain.unshift(number);
    let key = digest;
    return chain.map((number) => {
      const said = prompts.slice(0, number);
      key = `${key}|${said.map(textOfPrompt).join()}`;
      return { key, prompts: said };
    });
  }

  function look(key) {
    const answer = known.get(key);
    if (!answer) return null;
    known.delete(key);
    known.set(key, answer);
    return answer;
  }

  return {
    /** The answer to the newest prompt of a draft; steps before it that are not known are asked first. */
    async ask(digest, steps) {
      let answer = null;
      for (const { key, prompts } of chainOf(digest, steps)) {
        const previous = answer?.memory ?? null;
        answer = look(key) ?? (await model.coarse({ digest, prompts, previous }));
        known.set(key, answer);
        if (known.size > KEPT) known.delete(known.keys().next().value);
      }
      return answer;
    },
    /** The same if it is known; null where the model would have to be asked. */
    known: (digest, steps) => look(chainOf(digest, steps).at(-1)?.key) ?? null,
    /** How many times the model would have to be asked. */
    missing: (digest, steps) => chainOf(digest, steps).filter(({ key }) => !known.has(key)).length,
    /** What the image's embedding gave is not to be used any more. */
    forget: () => known.clear(),
  };
}
