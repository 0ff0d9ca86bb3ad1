// What a run over many seeds adds up to, and whether it met enough to mean something.
import { chainPayTable, legalRows, payoutTable, STATE_TABLES } from "@qubix/shared/domain";
import { type Counts, createCounts } from "./counts.ts";
import { FAULT_KINDS, type FaultKind } from "./faults.ts";
import type { SeedResult } from "./run.ts";

export interface Totals {
  seeds: number;
  broken: { readonly seed: number; readonly message: string }[];
  readonly counts: Counts;
  readonly fired: Set<string>;
  /** Over all seeds, in order: two runs that print the same did the same. */
  hash: number;
  /** Faults injected, by kind. */
  readonly struck: Record<FaultKind, number>;
  longSeeds: number;
  /** Of the long seeds. */
  jobsMin: number;
  workersMin: number;
  /** Virtual time from the end of the faults to the end of the last job, at most. */
  slowestMs: number;
  slowestSeed: number;
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
  "verifications",
  "canaries",
  "canariesWrong",
  "retries",
  "orchestratorRestarts",
  "agentRestarts",
  "failedCommits",
  "proofs",
  "proofFailures",
  "forks",
  "checkpointsRemoved",
  "checkpointsGivenUp",
  "standbyRefills",
  "stalls",
  "massSilences",
  "holdsOutlasted",
  "egressPaid",
  "egressCuts",
  "placesKept",
  "ratings",
  "disputes",
  "slashes",
] as const satisfies readonly (keyof Counts)[];

/** Chains and payouts are not simulated. */
const TABLES = STATE_TABLES.filter((table) => table !== chainPayTable && table !== payoutTable);

export function createTotals(): Totals {
  return {
    seeds: 0,
    broken: [],
    counts: createCounts(),
    fired: new Set(),
    hash: 0,
    struck: Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Record<FaultKind, number>,
    longSeeds: 0,
    jobsMin: 0,
    workersMin: 0,
    slowestMs: 0,
    slowestSeed: 0,
  };
}

export function add(totals: Totals, result: SeedResult): void {
  totals.seeds += 1;
  if (result.broken !== null) totals.broken.push({ seed: result.seed, message: result.broken });
  for (const key of Object.keys(totals.counts) as (keyof Counts)[]) totals.counts[key] += result.counts[key];
  for (const row of result.fired) totals.fired.add(row);
  totals.hash = (Math.imul(totals.hash, 31) + Number.parseInt(result.hash, 16)) | 0;
  for (const kind of FAULT_KINDS) totals.struck[kind] += result.struck[kind];
  if (result.convergedMs > totals.slowestMs) {
    totals.slowestMs = result.convergedMs;
    totals.slowestSeed = result.seed;
  }
  if (!result.isLong) return;
  totals.longSeeds += 1;
  const isFirst = totals.longSeeds === 1;
  totals.jobsMin = isFirst ? result.counts.jobs : Math.min(totals.jobsMin, result.counts.jobs);
  totals.workersMin = isFirst ? result.workers : Math.min(totals.workersMin, result.workers);
}

export function missingRows(totals: Totals): readonly string[] {
  return TABLES.flatMap(legalRows).filter((row) => !totals.fired.has(row));
}

/** Why the run as a whole says too little; empty when it does not. */
export function shortfalls(totals: Totals): readonly string[] {
  if (totals.seeds < SEEDS_FOR_COVERAGE) return [];
  const never = MUST_HAPPEN.filter((key) => totals.counts[key] === 0).map((key) => `${key} never happened`);
  const unmet = FAULT_KINDS.filter((kind) => totals.struck[kind] === 0).map((kind) => `no fault of kind ${kind}`);
  return [...never, ...unmet, ...missingRows(totals).map((row) => `row never fired: ${row}`)];
}
