// How large a seed is. Most are short, so that many different mixtures of faults are met in little time; every so many is a long one,
// in which queues grow, fleets are full and what takes its time is met.
import type { Rng } from "./random.ts";

export interface Scale {
  readonly isLong: boolean;
  readonly workers: number;
  readonly jobs: number;
  /** Jobs come from here to there. */
  readonly submitFromMs: number;
  readonly submitUntilMs: number;
  /** Faults happen from here… */
  readonly faultsFromMs: number;
  /** …to here; then everything comes back and the cluster must converge. */
  readonly faultsUntilMs: number;
}

/** Seeds divisible by this are long. */
const LONG_EVERY = 20;
/** What a long seed has at least; the summary shows what was met. */
const LONG = { workersMin: 5, workersMax: 8, jobsMin: 50, jobsMax: 58, submitUntilMs: 24_000, faultsUntilMs: 30_000 };
const SHORT = { workersMin: 3, workersMax: 6, jobsMin: 4, jobsMax: 11, submitUntilMs: 7_000, faultsUntilMs: 12_000 };
const SUBMIT_FROM_MS = 800;
const FAULTS_FROM_MS = 1_000;

/** Draws the size of a seed. */
export function drawScale(seed: number, rng: Rng): Scale {
  const isLong = seed % LONG_EVERY === 0;
  const bounds = isLong ? LONG : SHORT;
  return {
    isLong,
    workers: rng.int(bounds.workersMin, bounds.workersMax),
    jobs: rng.int(bounds.jobsMin, bounds.jobsMax),
    submitFromMs: SUBMIT_FROM_MS,
    submitUntilMs: bounds.submitUntilMs,
    faultsFromMs: FAULTS_FROM_MS,
    faultsUntilMs: bounds.faultsUntilMs,
  };
}
