/**
 * How long a person waits: from the moment a prompt is made (a click, when it is lifted) to the dot, the coarse
 * and the refined mask on the screen. `local` is the coarse mask of the model in this browser, `coarse` the server's.
 *
 * Marks and measures are in the browser's own performance timeline as well (`samref:dot`, `samref:local`,
 * `samref:coarse`, `samref:refined`), so that its profiler shows them.
 */

const KEPT = 50;

export function createLatencies() {
  const last = { dot: [], local: [], coarse: [], refined: [] };
  let expected = []; // {stage, startedAt} of what the next paint shows

  function expect(stage, startedAt) {
    if (stage in last && startedAt !== undefined) expected.push({ stage, startedAt });
  }

  return {
    /** A prompt was made at that moment (an event's timeStamp); gives what to hand to `expect` with its answers. */
    begin(timeStamp = performance.now()) {
      performance.mark("samref:prompt", { startTime: timeStamp });
      expect("dot", timeStamp);
      return { startedAt: timeStamp };
    },
    expect,
    /** The canvas was drawn: when the browser has put the frame together, the wait is over. */
    painted() {
      if (expected.length === 0) return;
      const shown = expected;
      expected = [];
      afterFrame(() => {
        const now = performance.now();
        for (const { stage, startedAt } of shown) {
          performance.measure(`samref:${stage}`, { start: startedAt, end: now });
          last[stage].push(now - startedAt);
          if (last[stage].length > KEPT) last[stage].shift();
        }
      });
    },
    /** The last waits in milliseconds, oldest first. */
    last: () => ({ dot: [...last.dot], local: [...last.local], coarse: [...last.coarse], refined: [...last.refined] }),
  };
}

/** A message posted while a frame is made is delivered after that frame was painted. */
export function afterFrame(callback) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    callback();
  };
  port2.postMessage(null);
}
