// What a run over many seeds adds up to, and whether it met enough to mean something.
import {
  attemptTable,
  jobTable,
  leaseTable,
  moveTable,
  legalRows,
  settlementTable,
  type StateTable,
  standbyTable,
  workerSessionTable,
} from "@qubix/shared/domain";
import { type Counts, createCounts } from "./monitor.ts";
import type { SeedResult } from "./run.ts";

export interface Totals {
  seeds: number;
  broken: { readonly seed: number; readonly message: string }[];
  readonly counts: Counts;
  readonly fired: Set<string>;
  /** Over all seeds, in order: two runs that print the same did the same. */
  hash: number;
  jobsMin: number;
  workersMin: number;
}

/** From so many seeds on, every kind of incident and every legal row of every table must have been met. */
export const SEEDS_FOR_COVERAGE = 2_000;
const MUST_HAPPEN = [
  "promotions",
  "undos",
  "staleRefused",
  "movesWithoutLoss",
  "failovers",
  "disagreements",
  "verified",
  "retries",
  "orchestratorRestarts",
  "agentRestarts",
  "failedCommits",
  "proofs",
  "proofFailures",
] as const satisfies readonly (keyof Counts)[];

const TABLES: readonly StateTable<string, string>[] = [
  jobTable,
  attemptTable,
  leaseTable,
  standbyTable,
  settlementTable,
  workerSessionTable,
  moveTable,
];

export function createTotals(): Totals {
  return {
    seeds: 0,
    broken: [],
    counts: createCounts(),
    fired: new Set(),
    hash: 0,
    jobsMin: Number.POSITIVE_INFINITY,
    workersMin: Number.POSITIVE_INFINITY,
  };
}

export function add(totals: Totals, result: SeedResult): void {
  totals.seeds += 1;
  if (result.broken !== null) totals.broken.push({ seed: result.seed, message: result.broken });
  for (const key of Object.keys(totals.counts) as (keyof Counts)[]) totals.counts[key] += result.counts[key];
  for (const row of result.fired) totals.fired.add(row);
  totals.hash = (Math.imul(totals.hash, 31) + Number.parseInt(result.hash, 16)) | 0;
  totals.jobsMin = Math.min(totals.jobsMin, result.counts.jobs);
  totals.workersMin = Math.min(totals.workersMin, result.workers);
}

export function missingRows(totals: Totals): readonly string[] {
  return TABLES.flatMap(legalRows).filter((row) => !totals.fired.has(row));
}

/** Why the run as a whole says too little; empty when it does not. */
export function shortfalls(totals: Totals): readonly string[] {
  if (totals.seeds < SEEDS_FOR_COVERAGE) return [];
  const never = MUST_HAPPEN.filter((key) => totals.counts[key] === 0).map((key) => `${key} never happened`);
  return [...never, ...missingRows(totals).map((row) => `row never fired: ${row}`)];
}
