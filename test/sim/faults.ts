// What may go wrong, drawn anew for every seed. Each family is on in about half of the seeds, so that every mixture is met.
import type { CoreConfig } from "@qubix/orchestrator/core";
import type { Rng } from "./random.ts";

/** Faults happen from here… */
export const FAULTS_FROM_MS = 1_000;
/** …to here; then everything comes back and the cluster must converge. */
export const FAULTS_UNTIL_MS = 30_000;

export interface FaultOptions {
  /** One-way delay of a frame: at least, and at most on top of it. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** How often each happens over the faulty time. */
  readonly agentCrashes: number;
  readonly machineCrashes: number;
  readonly machineWipes: number;
  readonly machinesGone: number;
  readonly cuts: number;
  readonly partitions: number;
  readonly oneWayStalls: number;
  readonly orchestratorCrashes: number;
  readonly orchestratorStalls: number;
  readonly drains: number;
  /** The owner offers less of the machine, or all of it again. */
  readonly offerChanges: number;
  /** Probability per new connection: it breaks within a moment. */
  readonly flaps: number;
  /** Probability per commit: it throws and nothing of it happened. */
  readonly commitFailure: number;
  /** Probability per commit: the process dies in it. Whether it happened is open. */
  readonly tornCommit: number;
  /** Probability per commit: the process dies between it and its effects, or among them. */
  readonly crashBeforeEffects: number;
  /** Probability per step of an agent: it dies before the journal is written, or between journal and effects. */
  readonly agentCrashInStep: number;
  /** Probability per new session: messages of the last one arrive again. */
  readonly repeats: number;
  /** Probability per piece of work of the runner. */
  readonly runnerFailure: number;
  readonly shipFailure: number;
  /** Bounds on one step's work, small in some seeds, so that going on in the next step is met. */
  readonly bounds: Partial<CoreConfig>;
  /** How long workers go on without contact. */
  readonly contactLossS: number;
  /** Whether one provider's worker claims three times the container time it had. */
  readonly liar: boolean;
  /** A job's owner, or an admin, has it moved. */
  readonly moves: number;
  /** Workers must prove their hardware, and some cannot. */
  readonly proofs: boolean;
}

const PROOFS_EVERY = 3;
const MOVES_EVERY = 2;
const MOVES = 12;
/** Patience that fits into the faulty time. */
const MOVE_TIMES = { moveAnswerMs: 800, moveAnswerMsMax: 800, moveLookMs: 400 };

export function drawFaults(seed: number, rng: Rng): FaultOptions {
  const count = (max: number) => (rng.chance(0.5) ? rng.int(1, max) : 0);
  const share = (max: number) => (rng.chance(0.5) ? rng.next() * max : 0);
  const faults = {
    delayMs: rng.int(0, 20),
    jitterMs: rng.chance(0.3) ? rng.int(50, 400) : rng.int(1, 30),
    agentCrashes: count(6),
    machineCrashes: count(3),
    machineWipes: count(2),
    machinesGone: count(1),
    cuts: count(8),
    partitions: count(6),
    oneWayStalls: count(6),
    orchestratorCrashes: count(3),
    orchestratorStalls: count(2),
    drains: count(2),
    offerChanges: count(4),
    flaps: share(0.3),
    commitFailure: share(0.01),
    tornCommit: share(0.005),
    crashBeforeEffects: share(0.005),
    agentCrashInStep: share(0.01),
    repeats: share(0.5),
    runnerFailure: share(0.03),
    shipFailure: share(0.1),
    bounds: {
      ...(rng.chance(0.5) ? { dispatchTriesMax: 2, deadlinesPerStepMax: 2, preferenceScanMax: 1 } : {}),
      ...MOVE_TIMES,
    },
    contactLossS: rng.pick([2, 6, 3_600]),
    liar: rng.chance(0.2),
    // From numbers of their own: what happens in the seeds without them stays what it was.
    moves: seed % MOVES_EVERY === 0 ? MOVES : 0,
    // Not drawn: what happens in the seeds without proofs stays what it was.
    proofs: seed % PROOFS_EVERY === 0,
  };
  return isHarmless(faults) ? { ...faults, agentCrashes: 1 } : faults;
}

/** Every seed has at least one fault that surely happens. */
function isHarmless(faults: FaultOptions): boolean {
  const { agentCrashes, machineCrashes, machineWipes, machinesGone, cuts, partitions } = faults;
  const { oneWayStalls, orchestratorCrashes } = faults;
  const certain = [agentCrashes, machineCrashes, machineWipes, machinesGone, cuts, partitions, oneWayStalls];
  return [...certain, orchestratorCrashes].every((count) => count === 0);
}
