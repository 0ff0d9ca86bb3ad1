// How much may be on its way at once: half a second of what the line was measured to carry, so that a home uplink's queue stays short.

/** Share of a second's traffic that may be unanswered. */
const SECONDS_IN_FLIGHT = 0.5;
/** Before anything is measured. */
const FIRST_BYTES = 2 * 1024 * 1024;
/** Newer samples weigh this much. */
const SMOOTHING = 0.2;

export interface Window {
  /** Resolves with a function that gives the place back when there is room. A single request always fits into an empty window. */
  enter(bytes: number, signal: AbortSignal): Promise<() => void>;
  /** Present bound in bytes. */
  bound(): number;
}

interface Waiter {
  readonly bytes: number;
  admit(): void;
}

export function createWindow(config: {
  readonly bytesMax: number;
  readonly requestsMax: number;
  nowMs(): number;
}): Window {
  const waiters: Waiter[] = [];
  let bound = Math.min(FIRST_BYTES, config.bytesMax);
  let bytesPerS: number | null = null;
  let inFlight = 0;
  let requests = 0;

  function admitAll(): void {
    for (;;) {
      const first = waiters[0];
      if (first === undefined || requests >= config.requestsMax) return;
      if (inFlight > 0 && inFlight + first.bytes > bound) return;
      waiters.shift();
      first.admit();
    }
  }

  function take(bytes: number): () => void {
    inFlight += bytes;
    requests += 1;
    const withMe = inFlight;
    const begunMs = config.nowMs();
    return () => {
      inFlight -= bytes;
      requests -= 1;
      if (bytes > 0) learn(withMe, config.nowMs() - begunMs);
      admitAll();
    };
  }

  /** Little's law: what was on its way, over the time it took, is the rate. */
  function learn(bytes: number, ms: number): void {
    const sample = bytes / (Math.max(ms, 1) / 1000);
    bytesPerS = bytesPerS === null ? sample : bytesPerS + (sample - bytesPerS) * SMOOTHING;
    bound = Math.min(config.bytesMax, bytesPerS * SECONDS_IN_FLIGHT);
  }

  return {
    enter(bytes, signal) {
      return new Promise((resolve, reject) => {
        const waiter: Waiter = {
          bytes,
          admit() {
            signal.removeEventListener("abort", abort);
            resolve(take(bytes));
          },
        };
        const abort = () => {
          const index = waiters.indexOf(waiter);
          if (index >= 0) waiters.splice(index, 1);
          reject(signal.reason as Error);
        };
        if (signal.aborted) return abort();
        signal.addEventListener("abort", abort, { once: true });
        waiters.push(waiter);
        admitAll();
      });
    },
    bound: () => bound,
  };
}
