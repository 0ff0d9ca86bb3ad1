// What may go wrong, drawn anew for every seed ("swarm options"): how many of the kinds are on is drawn first, then which of them and how often
// each strikes, so that few kinds together are met as well as all of them at once.
import type { CoreConfig } from "@qubix/orchestrator/core";
import type { Rng } from "./random.ts";
import type { Scale } from "./scale.ts";

/** How often each happens over the faulty time. */
export interface FaultCounts {
  readonly agentCrashes: number;
  readonly machineCrashes: number;
  readonly machineWipes: number;
  /** Away until the faults stop. */
  readonly machinesGone: number;
  /** One machine never comes back at all. */
  readonly machinesLost: number;
  readonly cuts: number;
  /** A machine that runs on is away for longer than a lease lasts, perhaps beyond the faulty time. */
  readonly absences: number;
  readonly partitions: number;
  readonly oneWayStalls: number;
  /** One direction is away for long, the other works. */
  readonly oneWayPartitions: number;
  /** Many workers fall silent at once, and are back together. */
  readonly massSilences: number;
  /** A machine is suspended with all that runs: its clock has jumped ahead when it is back. */
  readonly suspends: number;
  /** SIGSTOP: the agent does nothing for a while, its containers run on. */
  readonly agentStops: number;
  /** A worker's journal takes nothing for a while. */
  readonly journalsFull: number;
  /** An agent comes back in another version: other features, without or with the newer optional fields. */
  readonly upgrades: number;
  readonly orchestratorCrashes: number;
  readonly orchestratorStalls: number;
  /** Suspended: a stall for longer than any silence that is borne. */
  readonly orchestratorSuspends: number;
  /** The machine starts anew: the orchestrator's clock goes on from the newest commit, behind the time that passed. */
  readonly orchestratorReboots: number;
  /** The wall clock jumps by up to an hour, either way. */
  readonly wallSteps: number;
  /** For a while each commit takes long… */
  readonly slowDisks: number;
  /** …or is refused. */
  readonly fullDisks: number;
  readonly drains: number;
  /** The owner offers less of the machine, or all of it again. */
  readonly offerChanges: number;
  /** A consumer removes one of the checkpoints that are kept. */
  readonly checkpointRemovals: number;
  /** A job is to move, or a machine to be left: its owner, or an admin, wants it. */
  readonly moves: number;
  /** A worker is away for just so long that it stops its jobs for lack of contact, and is back at that moment. */
  readonly contactLosses: number;
}

/** How probable each is where it can happen. */
export interface FaultRates {
  /** Per new connection: it breaks within a moment. */
  readonly flaps: number;
  /** Per commit: it throws and nothing of it happened. */
  readonly commitFailure: number;
  /** Per commit: it throws although it happened, as when the answer of a database is lost. */
  readonly commitUnclear: number;
  /** Per commit: the process dies in it. Whether it happened is open. */
  readonly tornCommit: number;
  /** Per commit: the process dies between it and its effects, or among them. */
  readonly crashBeforeEffects: number;
  /** Per step of an agent: it dies before the journal is written, or between journal and effects. */
  readonly agentCrashInStep: number;
  /** Per new session: messages of earlier ones arrive again, in any order. */
  readonly repeats: number;
  /** Per piece of work of the runner. */
  readonly runnerFailure: number;
  readonly shipFailure: number;
  /** Per stored checkpoint: it is damaged where it is stored. */
  readonly checkpointDamage: number;
  /** Per restore: it fails as damaged, though only this worker's disk is bad. */
  readonly restoreDamage: number;
}

export interface FaultOptions extends FaultCounts, FaultRates {
  /** One-way delay of a frame: at least, and at most on top of it. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Bounds on one step's work, small in some seeds, so that going on in the next step is met. */
  readonly bounds: Partial<CoreConfig>;
  /** How long workers go on without contact. */
  readonly contactLossS: number;
  /** Whether one provider's worker claims three times the container time it had. */
  readonly liar: boolean;
  /** Workers must prove their hardware, and some cannot. */
  readonly proofs: boolean;
}

const PROOFS_EVERY = 3;
/** Patience that fits into the faulty time. */
const MOVE_TIMES = { moveAnswerMs: 800, moveAnswerMsMax: 800, moveLookMs: 400 };
/** Every so many seeds, whoever waits has a machine kept soon. */
const IMPATIENT_EVERY = 2;
const IMPATIENT = { longWaitMs: 3_000, longWaitLookMs: 1_000 };
/** Times to appeal and to decide that end within a seed, some while it goes on. */
const TRUST_TIMES = { appealWindowMs: 9_000, decisionMs: 14_000, checkRateMinBps: 500 };
/** So many silent workers are many, in fleets as small as these; and a hold that is over before all are back. */
const FEW = 3;
const SHORT_HOLD_MS = 6_000;
/** The share of the kinds that is on, by seed. */
const APPETITES = [0.12, 0.25, 0.5, 0.5, 0.85] as const;

/** At most so many in a long seed. */
const COUNTS_MAX: { readonly [Kind in keyof FaultCounts]: number } = {
  agentCrashes: 6,
  machineCrashes: 3,
  machineWipes: 2,
  machinesGone: 1,
  machinesLost: 1,
  cuts: 8,
  absences: 3,
  partitions: 6,
  oneWayStalls: 6,
  oneWayPartitions: 3,
  massSilences: 2,
  suspends: 3,
  agentStops: 3,
  journalsFull: 2,
  upgrades: 4,
  orchestratorCrashes: 3,
  orchestratorStalls: 2,
  orchestratorSuspends: 1,
  orchestratorReboots: 1,
  wallSteps: 3,
  slowDisks: 3,
  fullDisks: 2,
  drains: 2,
  offerChanges: 4,
  checkpointRemovals: 8,
  moves: 12,
  contactLosses: 4,
};

const RATES_MAX: { readonly [Kind in keyof FaultRates]: number } = {
  flaps: 0.3,
  commitFailure: 0.01,
  commitUnclear: 0.005,
  tornCommit: 0.005,
  crashBeforeEffects: 0.005,
  agentCrashInStep: 0.01,
  repeats: 0.6,
  runnerFailure: 0.03,
  shipFailure: 0.1,
  checkpointDamage: 0.1,
  restoreDamage: 0.05,
};

const PAY_PERIOD_MS = 20_000;
const DISPUTE_WINDOWS_MS = [5_000, 0, 24 * 3_600_000] as const;

/** Every seed has at least one of these. */
const CERTAIN: readonly (keyof FaultCounts)[] = [
  "agentCrashes",
  "machineCrashes",
  "machineWipes",
  "machinesGone",
  "machinesLost",
  "cuts",
  "absences",
  "partitions",
  "massSilences",
  "suspends",
  "orchestratorCrashes",
  "orchestratorReboots",
];

export function drawFaults(seed: number, rng: Rng, scale: Scale): FaultOptions {
  const appetite = rng.pick(APPETITES);
  const counts = drawEach(COUNTS_MAX, (max) => {
    return rng.chance(appetite) ? rng.int(1, scale.isLong ? max : Math.ceil(max / 2)) : 0;
  });
  const rates = drawEach(RATES_MAX, (max) => (rng.chance(appetite) ? rng.next() * max : 0));
  const faults = {
    ...counts,
    ...rates,
    delayMs: rng.int(0, 20),
    jitterMs: rng.chance(0.3) ? rng.int(50, 400) : rng.int(1, 30),
    bounds: {
      ...(rng.chance(0.5) ? { dispatchTriesMax: 2, deadlinesPerStepMax: 2, preferenceScanMax: 1 } : {}),
      ...MOVE_TIMES,
      ...TRUST_TIMES,
      ...(seed % IMPATIENT_EVERY === 0 ? IMPATIENT : {}),
      // Pay becomes payable at once, while the seed goes on, or after it.
      payPeriodMs: PAY_PERIOD_MS,
      disputeWindowMs: DISPUTE_WINDOWS_MS[seed % DISPUTE_WINDOWS_MS.length] ?? 0,
      ...(rng.chance(0.5) ? { massSilenceWorkersMin: FEW } : {}),
      ...(rng.chance(0.5) ? { massSilenceHoldMs: SHORT_HOLD_MS } : {}),
    },
    contactLossS: rng.pick([2, 6, 3_600, 3_600]),
    liar: rng.chance(0.2),
    proofs: seed % PROOFS_EVERY === 0,
  };
  return CERTAIN.some((kind) => faults[kind] > 0) ? faults : { ...faults, agentCrashes: 1 };
}

function drawEach<Kind extends string>(
  maxima: Readonly<Record<Kind, number>>,
  draw: (max: number) => number,
): Readonly<Record<Kind, number>> {
  const drawn = Object.entries<number>(maxima).map(([kind, max]) => [kind, draw(max)]);
  return Object.fromEntries(drawn) as Readonly<Record<Kind, number>>;
}

/** Every kind, for counting. */
export const FAULT_KINDS: readonly (keyof FaultCounts | keyof FaultRates)[] = [
  ...(Object.keys(COUNTS_MAX) as (keyof FaultCounts)[]),
  ...(Object.keys(RATES_MAX) as (keyof FaultRates)[]),
];
export type FaultKind = (typeof FAULT_KINDS)[number];
