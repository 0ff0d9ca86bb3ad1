// Verified jobs in the virtual world: some seeds have them, some of those a worker that forges what it hands over; and what must hold of what the checks come to.
import type { CoreConfig, CoreEvent, Effect, JobRecord } from "@qubix/orchestrator/core";
import type { Store } from "@qubix/orchestrator/store";
import type { AccountId, WorkerId } from "@qubix/shared/domain";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { check } from "./counts.ts";
import type { Monitor } from "./monitor.ts";
import { resultOf, treeOf } from "./programs.ts";
import { createRng, mixText } from "./random.ts";
import type { Intent } from "./workload.ts";

/** Apart from the world's, so that jobs and faults of a seed are the same with checks and without. */
const APART = 0xc4ec;
/** No seed with mirror jobs, which have forgers of their own. */
const CHECKS_EVERY = 4;
const CHECKS_AT = 1;
const FORGER_EVERY = 8;
const FORGER_AT = 1;
const UNTOLD_EVERY = 5;
/** Of the three providers the one whose word counts: no forger is his. */
export const REFEREE_AT = 2;
const CHECKED_SHARE = 0.8;
const UNLIKE_SHARE = 0.1;
/** Of these, files are read to tell whether they are the same. */
const TOLERANT_SHARE = 0.4;
/** Some cannot be read. */
const UNREADABLE_EVERY = 7;
/** A majority's runs share the cap. */
const MAJORITY_TIMES = 3n;
/** All jobs of known and unknown workers are checked, and what finds no place is over soon. */
const CONFIG: Partial<CoreConfig> = { checkShare: 1, checkQueueS: 60 };
/** After the last job has ended: three runs, one after the other, each with its queueS and durationMaxS, and what lies between. */
export const CHECKS_MS = 3 * 300_000;

export function hasChecks(seed: number): boolean {
  return seed % CHECKS_EVERY === CHECKS_AT;
}

/** `referees` are known once their accounts are made. */
export function checkConfig(seed: number, referees: readonly AccountId[]): Partial<CoreConfig> {
  return hasChecks(seed) ? { ...CONFIG, checkReferees: referees } : {};
}

export function forgesChecked(seed: number, at: number): boolean {
  return hasChecks(seed) && seed % FORGER_EVERY === CHECKS_AT && at === FORGER_AT;
}

/** Who cannot be told a digest gets no check. */
export function checkedOffer(seed: number, at: number, offer: WorkerOffer): WorkerOffer {
  if (!hasChecks(seed) || at % UNTOLD_EVERY === UNTOLD_EVERY - 1) return offer;
  return { ...offer, features: [...(offer.features ?? []), "image-digest"] };
}

/** Has some jobs verified, of those that can be. */
export function withChecks(seed: number, intents: readonly Intent[]): readonly Intent[] {
  if (!hasChecks(seed)) return intents;
  const rng = createRng(seed ^ APART);
  return intents.map((intent) => {
    const { spec, kind, fork } = intent;
    if (kind === "poor" || spec.failover === "exclusive" || !rng.chance(CHECKED_SHARE)) return intent;
    const mode = rng.pick(["spot-check", "spot-check", "majority", "adaptive"] as const);
    const isUnlike = kind === "plain" && fork === null && rng.chance(UNLIKE_SHARE);
    if (fork === null) intent.program.mirrored = isUnlike ? "unlike" : "alike";
    const { amount, currency } = spec.priceMaxPerHour;
    const priceMaxPerHour = { amount: mode === "spot-check" ? amount : amount * MAJORITY_TIMES, currency };
    const tolerance = rng.chance(TOLERANT_SHARE) ? { tolerance: { relative: 0.5, absolute: 0 } } : {};
    return {
      ...intent,
      spec: { ...spec, priceMaxPerHour, verification: { ...spec.verification, ...tolerance, mode } },
    };
  });
}

/** What the shell finds when it reads two results: other names are other contents here. */
export function comparisonOf({ jobId, runs, trees }: Extract<Effect, { kind: "compare" }>): CoreEvent {
  const [one, other] = trees.map(({ manifestCid }) => manifestCid);
  const isUnreadable = mixText(APART, `${one} ${other}`) % UNREADABLE_EVERY === 0;
  const [a, b] = runs;
  return { kind: "check.compared", jobId, comparison: { a, b, isSame: isUnreadable ? null : one === other } };
}

/** Everything that was begun is decided, and every check has ended. */
export function checksAreOver(monitor: Monitor, store: Store, isEnded: (phase: string) => boolean): boolean {
  for (const job of monitor.jobs.values()) if (job.check !== undefined && !isEnded(job.phase)) return false;
  for (const id of monitor.jobs.keys()) if (store.verification(id)?.decidedAtMs === null) return false;
  return true;
}

export interface Verified {
  readonly monitor: Monitor;
  readonly store: Store;
  readonly intents: readonly Intent[];
  readonly forgers: ReadonlySet<WorkerId>;
}

/** Invariant: nobody is accused but who forged; what two runs agree on is the truth; and each verification is decided. */
export function reckonChecks({ monitor, store, intents, forgers }: Verified): void {
  for (const record of monitor.cases.values()) {
    // Admins accuse anybody here; what a check accuses of has its runs as evidence.
    if (record.kind !== "slash" || !record.evidence.includes("verificationOf")) continue;
    const { workerId, jobId } = record;
    check(forgers.has(workerId), () => `${workerId} is accused for ${jobId}, and forged nothing`);
  }
  for (const job of monitor.jobs.values()) {
    if (job.check !== undefined) reckonCheck(store, job);
    const verification = store.verification(job.id);
    if (verification === undefined) continue;
    const { phase, runs, decidedAtMs } = verification;
    check(decidedAtMs !== null, () => `the verification of ${job.id} is still ${phase}`);
    monitor.counts.verifications += 1;
    const intent = intents[Number(job.spec.command[0])];
    if (intent === undefined) continue;
    const truth = treeOf(intent.program, "outputs", resultOf(intent.program)).manifestCid;
    const isRight = job.outputs?.manifestCid === truth;
    const isUnlike = intent.program.mirrored === "unlike";
    check(phase !== "passed" || isRight, () => `the result of ${job.id} passed its check, and is wrong`);
    check(phase !== "failed" || !isRight, () => `the result of ${job.id} did not pass its check, and is right`);
    check(phase === "inconclusive" || !isUnlike, () => `${job.id} gives something else everywhere, and is ${phase}`);
    const providers = runs.flatMap(({ workers }) => [...new Set(workers.map(({ providerId }) => providerId))]);
    check(new Set(providers).size === providers.length, () => `a provider had part in two runs of ${job.id}`);
  }
}

/** A check is paid by who has to, and leaves nothing behind. */
function reckonCheck(store: Store, job: JobRecord): void {
  const { id, check: of, settlement, checkpoints } = job;
  const own = store.transfers({ jobId: id, limit: 9 });
  const payer = of?.payer;
  const paid = own.flatMap(({ postings }) => postings).filter(({ account }) => account === payer);
  const sum = paid.reduce((total, { amount }) => total + amount, 0n);
  // What a wrong canary was to be paid goes back to who pays it.
  const isBack = own.some(({ kind }) => kind === "resolution");
  check(
    sum === (isBack ? 0n : -(settlement.gross ?? 0n)),
    () => `${id} cost ${settlement.gross}, and ${payer} paid ${-sum}`,
  );
  check(checkpoints.length === 0, () => `${id} has ended and keeps checkpoints`);
}
