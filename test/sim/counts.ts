// What a seed is counted by, and the one place where an invariant that does not hold breaks the run.
import { BrokenInvariant } from "./world.ts";

export interface Counts {
  jobs: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  promotions: number;
  undos: number;
  staleRefused: number;
  /** Planned moves after which the successor began at the very step at which the program had left. */
  movesWithoutLoss: number;
  failovers: number;
  disagreements: number;
  /** Mirror jobs whose end two runs agreed on. */
  verified: number;
  /** Jobs that ended because their budget was used up. */
  budgetEnds: number;
  /** Of jobs that were checked afterwards. */
  verifications: number;
  /** Canaries that were given, and accusations by them. */
  canaries: number;
  canariesWrong: number;
  retries: number;
  orchestratorRestarts: number;
  agentRestarts: number;
  failedCommits: number;
  /** Rows of workers with them, each time one was written. */
  proofs: number;
  proofFailures: number;
  /** Jobs that began from a checkpoint of another one. */
  forks: number;
  checkpointsRemoved: number;
  /** Given up because two workers found them damaged. */
  checkpointsGivenUp: number;
  standbyRefills: number;
  /** Programs that stood still, and were found. */
  stalls: number;
  massSilences: number;
  /** Those that ended while somebody was silent still. */
  holdsOutlasted: number;
  /** Jobs that paid for what they sent, and attempts of which more was told than their worker's line carries. */
  egressPaid: number;
  egressCuts: number;
  /** Machines that were kept for jobs that had waited long. */
  placesKept: number;
  ratings: number;
  disputes: number;
  slashes: number;
  steps: number;
  /** Invariants that were looked at. */
  checks: number;
}

export function createCounts(): Counts {
  return {
    jobs: 0,
    succeeded: 0,
    failed: 0,
    cancelled: 0,
    promotions: 0,
    undos: 0,
    staleRefused: 0,
    movesWithoutLoss: 0,
    failovers: 0,
    disagreements: 0,
    verified: 0,
    budgetEnds: 0,
    verifications: 0,
    canaries: 0,
    canariesWrong: 0,
    retries: 0,
    orchestratorRestarts: 0,
    agentRestarts: 0,
    failedCommits: 0,
    proofs: 0,
    proofFailures: 0,
    forks: 0,
    checkpointsRemoved: 0,
    checkpointsGivenUp: 0,
    standbyRefills: 0,
    stalls: 0,
    massSilences: 0,
    holdsOutlasted: 0,
    egressPaid: 0,
    egressCuts: 0,
    placesKept: 0,
    ratings: 0,
    disputes: 0,
    slashes: 0,
    steps: 0,
    checks: 0,
  };
}

/** Invariants looked at so far in this thread. */
let checks = 0;
export function checksDone(): number {
  return checks;
}

export function check(condition: boolean, message: () => string): asserts condition {
  checks += 1;
  if (!condition) throw new BrokenInvariant(message());
}
