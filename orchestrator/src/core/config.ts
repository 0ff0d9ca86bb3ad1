// Every time and bound of the core, with its reason. The shell may override any of them; tests and the simulator use the defaults.
import type { AccountId } from "@qubix/shared/domain";
import type { CanaryResult } from "./canary-records.ts";
import {
  EXCLUSIVE_LEASE_MS,
  EXCLUSIVE_MARGIN_MS,
  IDEMPOTENCY_TTL_MS,
  type JobSpec,
  LOG_BYTES_PER_JOB_MAX,
  REGISTRIES_ALLOWED_DEFAULT,
} from "@qubix/shared/protocol";

/** How long a worker may be silent before it is suspect, and before it is lost. */
export interface SilenceLimits {
  readonly suspectMs: number;
  readonly lostMs: number;
}

/** The fixed limits hold for a worker without a history, and `lostMs` for every one; with a history, and where this is set, its own heartbeats decide between the two. */
export interface SilenceBounds extends SilenceLimits {
  readonly accrual?: {
    readonly suspectMsMin: number;
    readonly suspectMsMax: number;
    /** From suspect to lost. */
    readonly confirmMs: number;
  };
}

/** What workers must prove before the market counts it: cores, memory and GPUs; only GPUs; or nothing. */
export const WORKER_PROOFS = ["required", "gpus", "off"] as const;
export type WorkerProofs = (typeof WORKER_PROOFS)[number];

/** A chain's driver, as the operator set it up. */
export interface ChainSetting {
  readonly driver: string;
  /** Payees of one settlement. */
  readonly payeesMax: number;
  /** The network's fee has an account of its own on the chain; else it stays with the operator's other money. */
  readonly feeApart: boolean;
}

/** A job whose result is known. */
export interface Canary {
  readonly name: string;
  readonly spec: JobSpec;
  readonly expected: CanaryResult;
}

export interface CoreConfig {
  /** Holds an attempt that has, or wants, a hot standby: silent loss is noticed within 3 s. */
  readonly silenceHot: SilenceBounds;
  /** Holds any other attempt or standby: noticed within 6 s, three missed heartbeats make it suspect. Later than it could be: going on elsewhere costs more here. */
  readonly silenceBusy: SilenceBounds;
  /** Holds nothing: heartbeats come every 5 s, two may be missed. */
  readonly silenceIdle: SilenceBounds;
  /** Of the time in which we did not listen, at most this much is taken off one silence: an orchestrator that is always late must notice losses too. */
  readonly lagForgivenMsMax: number;
  /** Silences that began within this time of one another belong together… */
  readonly massSilenceWindowMs: number;
  /** …and where at least so many workers… */
  readonly massSilenceWorkersMin: number;
  /** …and more than this share of the fleet, or of one network, are silent without a close, we suspect ourselves: losses and promotions are held. */
  readonly massSilenceShare: number;
  /** Held for no longer than this. */
  readonly massSilenceHoldMs: number;
  /**
   * When most are back, the others have this long after each that comes back. Who lives needs 5 s at most from when its line is there again, and the time of a
   * greeting: what a try that began before has left of its 10 s once TCP asks no more within them (3 s), and the longest pause before the next one (2 s).
   */
  readonly massSilenceReturnMs: number;
  /** After its socket closed, a worker may come back within this time before it is lost: an agent restarts in about a second. */
  readonly closeGraceMs: number;
  /** A whole lease after a start of the orchestrator: workers reconnect with jitter within a few seconds. */
  readonly restartGraceMs: number;
  /** After the last answered heartbeat the worker of an `exclusive` attempt pauses its container within this… */
  readonly exclusiveLeaseMs: number;
  /** …and nobody else starts before this is over as well. */
  readonly exclusiveMarginMs: number;
  /** A deadline that is handled this late says that we were stalled ourselves, not that workers were silent. */
  readonly stallLateMs: number;
  /** Then silence is judged again after this time, when what waited in the sockets has been read. */
  readonly stallGraceMs: number;
  /** From the assignment to the container's start: large images over home links. */
  readonly startTimeoutMs: number;
  /** From the container's end to its outputs being committed: 16 GiB over a slow uplink. */
  readonly outputTimeoutMs: number;
  /** Added to a job's `stopGraceS` until a stop that was not confirmed is enforced by a fence. */
  readonly stopMarginMs: number;
  /** After a standby could not be prepared, the next is tried no sooner; doubles each time. */
  readonly standbyRetryMs: number;
  readonly standbyRetryMsMax: number;
  /** After a promotion the next standby is sought this much later: fetching and unpacking must not slow the start that everybody waits for. */
  readonly standbyAfterPromotionMs: number;
  /** Bounds the standbys one job reserves in its life. */
  readonly standbysPerJobMax: number;
  /** How long a job that is to move has to save: at least, or two of its checkpoint intervals up to the other. */
  readonly moveAnswerMs: number;
  readonly moveAnswerMsMax: number;
  /** A move that waits for a target is looked after this often. */
  readonly moveLookMs: number;
  /** A move that may be given up waits no longer for its target to be ready: large images over home links. */
  readonly movePrepareMsMax: number;
  /** …and tries no more targets. */
  readonly moveTargetsMax: number;
  /** Planned moves use no failovers; this bounds them instead. Beyond it they count as failovers. */
  readonly movesPerJobMax: number;
  /** The newest of the workers on which a job went wrong, chosen last. */
  readonly troubledWorkersMax: number;
  /** A job gets a place under a budget that is nearly used up where that pays for so long at its highest price, or for all of its time if that is shorter. */
  readonly budgetRunS: number;
  /** What a provider earns in so long becomes payable together: memory holds one row for it, not one a job. */
  readonly payPeriodMs: number;
  /** Pay can be disputed for so long after the end of the period in which it was earned; then it is payable. 0: payable at once. */
  readonly disputeWindowMs: number;
  readonly idempotencyTtlMs: number;
  /** A spent or expired enrolment stays known for this time, so that its token gets a telling answer. */
  readonly enrolmentKeptMs: number;
  readonly logBytesPerJobMax: number;
  /** A job that has waited so long for room, or for this share of its `queueS` if that is sooner, has a machine kept for it… */
  readonly longWaitMs: number;
  readonly longWaitShare: number;
  /** …which is looked at this often, until so many machines were gone through in vain: some milliseconds. */
  readonly longWaitLookMs: number;
  readonly longWaitLooksMax: number;
  /** So much of the fleet, and no more machines than that, stand partly empty for jobs that wait; one always may. */
  readonly keptPlacesShare: number;
  readonly keptPlacesMax: number;
  /** Deadlines handled in one step, so that a step stays short. */
  readonly deadlinesPerStepMax: number;
  /** A deadline whose handling threw is tried again after this time, so that the others go on. */
  readonly faultRetryMs: number;
  /** Signatures or standbys without an offer that one dispatch may meet before it yields. */
  readonly dispatchTriesMax: number;
  /** Blocked signatures that one dispatch may judge for machines that gained capacity: about a millisecond. */
  readonly judgementsPerStepMax: number;
  /** Offers looked at beyond the first that fits, in search of one of another provider or without trouble. */
  readonly preferenceScanMax: number;
  readonly workerProofs: WorkerProofs;
  /** Machines under challenges at a time, over the fleet: each challenge ends with an answer of a few MiB that is held and checked. */
  readonly proofsUnderWayMax: number;
  /** From a challenge to its commitment: the hardware does nothing else meanwhile. The shell gives up sooner where less was allowed. */
  readonly proofCommitMsMax: number;
  /** From the commitment to the verdict: a large answer over a home uplink. */
  readonly proofAnswerMsMax: number;
  /** After a failure the next challenge comes no sooner; doubles each time. */
  readonly proofRetryMs: number;
  readonly proofRetryMsMax: number;
  /** The first challenge that ended with its connection is repeated at the next hello; from the second in a row on with this distance, which doubles, because the challenge may be what cuts it. */
  readonly proofCutMs: number;
  readonly proofCutMsMax: number;
  /** Proven hardware is challenged again after a random time with this mean, and at the latest after that one, once it is idle. */
  readonly proofRecheckMs: number;
  readonly proofAgeMsMax: number;
  /** Re-checks take no more than one part in so many of a piece of hardware's time: 0.5%. */
  readonly proofTimeParts: number;
  /** Times in a row that proven hardware may be excused from a re-check by its worker (its owner uses it, say) before it counts as unproven. */
  readonly proofExcusesMax: number;
  /** Share of the jobs with `verification: spot-check` that are run again in the long run; new workers' more often, those with a history less. 0 for none. */
  readonly checkShare: number;
  /** Jobs of the operator's own whose results are known; given to workers after this share of all jobs, in the long run. */
  readonly canaries: readonly Canary[];
  readonly canaryShare: number;
  /** A check waits this long for a place: the job's pay is frozen as long. */
  readonly checkQueueS: number;
  /** Accounts of providers whose word counts without a history, the operator's own machines say: where two runs differ, only who is trusted decides. */
  readonly checkReferees: readonly AccountId[];
  /** A job of `verification: adaptive` that cost at least this (micro-units) is run by a majority where its worker has no history yet. */
  readonly adaptiveWorthMin: bigint;
  /** From a proposed slash to the end of the time in which its provider may appeal; what is asked back of a stake waits as long, so that it is there when something is found. */
  readonly appealWindowMs: number;
  /** An admin has this long to decide a dispute or an appeal; then it falls to the provider. */
  readonly decisionMs: number;
  /** Of checked jobs, the basis points that are run again whole at the least, whatever the history of who ran them: a slash is what cheating gains divided by that. */
  readonly checkRateMinBps: number;
  /** Multiaddresses (with `/p2p/ID`) of relays for pairs that cannot reach each other; told to pairs alone. */
  readonly directRelays: readonly string[];
  /** Currencies whose money lies on a chain, and what the core must know of the driver; any other is the ledger's alone. */
  readonly chains: Readonly<Record<string, ChainSetting>>;
  /** Registries images may come from. */
  readonly registriesAllowed: readonly string[];
}

export const DEFAULT_CORE_CONFIG: CoreConfig = {
  silenceHot: {
    suspectMs: 2_000,
    lostMs: 2_800,
    accrual: { suspectMsMin: 1_500, suspectMsMax: 2_300, confirmMs: 600 },
  },
  silenceBusy: {
    suspectMs: 3_500,
    lostMs: 5_500,
    accrual: { suspectMsMin: 2_500, suspectMsMax: 3_800, confirmMs: 1_700 },
  },
  silenceIdle: { suspectMs: 12_000, lostMs: 17_000 },
  lagForgivenMsMax: 30_000,
  massSilenceWindowMs: 2_000,
  massSilenceWorkersMin: 5,
  massSilenceShare: 0.3,
  massSilenceHoldMs: 30_000,
  massSilenceReturnMs: 7_000,
  closeGraceMs: 1_500,
  restartGraceMs: 10_000,
  exclusiveLeaseMs: EXCLUSIVE_LEASE_MS,
  exclusiveMarginMs: EXCLUSIVE_MARGIN_MS,
  stallLateMs: 300,
  stallGraceMs: 250,
  startTimeoutMs: 15 * 60_000,
  outputTimeoutMs: 60 * 60_000,
  stopMarginMs: 30_000,
  standbyRetryMs: 10_000,
  standbyRetryMsMax: 300_000,
  standbyAfterPromotionMs: 2_000,
  standbysPerJobMax: 1_000,
  moveAnswerMs: 30_000,
  moveAnswerMsMax: 600_000,
  moveLookMs: 5_000,
  movePrepareMsMax: 15 * 60_000,
  moveTargetsMax: 3,
  movesPerJobMax: 100,
  troubledWorkersMax: 10,
  budgetRunS: 60,
  payPeriodMs: 3_600_000,
  disputeWindowMs: 24 * 3_600_000,
  idempotencyTtlMs: IDEMPOTENCY_TTL_MS,
  enrolmentKeptMs: 24 * 3_600_000,
  logBytesPerJobMax: LOG_BYTES_PER_JOB_MAX,
  longWaitMs: 120_000,
  longWaitShare: 0.25,
  longWaitLookMs: 5_000,
  longWaitLooksMax: 20_000,
  keptPlacesShare: 0.1,
  keptPlacesMax: 16,
  deadlinesPerStepMax: 256,
  faultRetryMs: 5_000,
  dispatchTriesMax: 256,
  judgementsPerStepMax: 2_048,
  preferenceScanMax: 256,
  workerProofs: "off",
  proofsUnderWayMax: 16,
  proofCommitMsMax: 75_000,
  proofAnswerMsMax: 180_000,
  proofRetryMs: 60_000,
  proofRetryMsMax: 6 * 3_600_000,
  proofCutMs: 5_000,
  proofCutMsMax: 10 * 60_000,
  proofRecheckMs: 24 * 3_600_000,
  proofAgeMsMax: 7 * 24 * 3_600_000,
  proofTimeParts: 200,
  proofExcusesMax: 5,
  checkShare: 0.05,
  canaries: [],
  canaryShare: 0.01,
  checkQueueS: 3_600,
  checkReferees: [],
  adaptiveWorthMin: 1_000_000n,
  appealWindowMs: 7 * 24 * 3_600_000,
  decisionMs: 14 * 24 * 3_600_000,
  // 5% on average, a quarter of that for those who are known best, half of it whole: 0.625%.
  checkRateMinBps: 62,
  directRelays: [],
  chains: {},
  registriesAllowed: REGISTRIES_ALLOWED_DEFAULT,
};
