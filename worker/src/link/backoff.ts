// Pauses between tries to connect: short at first, because an orchestrator that restarts is back in seconds and its workers must be too.

/** The first pause at most. */
const FIRST_MS = 200;
/** During the first minute: the bar for being reconciled after a restart of the orchestrator is 10 s. */
const EARLY_MAX_MS = 2_000;
const EARLY_FOR_MS = 60_000;
/** Later: an orchestrator that is away for long is not met by its whole fleet at once, and still has it back within the bar. */
const LATE_MAX_MS = 8_000;

export interface Backoff {
  /** How long to wait before the next try, in milliseconds. */
  next(): number;
  reset(): void;
}

/** `random` gives numbers from 0 to 1; a pause is between half and the whole of its bound. */
export function createBackoff(random: () => number): Backoff {
  let bound = FIRST_MS;
  let waited = 0;
  return {
    next() {
      const ms = Math.round(bound * (0.5 + random() / 2));
      waited += ms;
      bound = Math.min(bound * 2, waited < EARLY_FOR_MS ? EARLY_MAX_MS : LATE_MAX_MS);
      return ms;
    },
    reset() {
      bound = FIRST_MS;
      waited = 0;
    },
  };
}
