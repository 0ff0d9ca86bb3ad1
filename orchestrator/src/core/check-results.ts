// What the runs that check a job came to, compared. One that agrees is enough for the job; against it only two that agree count, and only where they show that the
// program itself gives the same wherever it is resumed: nobody is accused for a program that does not.
import { chargeFor, type JobId, type VerificationEvent, verificationTable, type WorkerId } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import { releasePay, returnPay } from "./check-money.ts";
import { historyOf, isTrusted, isUndisturbed, isWhole, makersOf, samenessOf, workersOf } from "./check-state.ts";
import { callRun, tellOf, wholeOf } from "./checks.ts";
import { MS_PER_S } from "./metering.ts";
import type { CheckedRun, Comparison, JobRecord, RunWorker, VerificationRecord } from "./model.ts";
import { recordVerdict } from "./reputation.ts";
import { accuse } from "./slashes.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, countUp, effect, fire, patchJob, put } from "./tables.ts";

/** Runs beside the job's own that a spot check takes at most. */
const CHECK_RUNS_MAX = 3;

/** A run has ended, whatever became of it. */
export function onCheckEnded(state: CoreState, job: JobRecord): void {
  const { check } = job;
  const verification = check === undefined ? undefined : state.rows.verifications.get(check.of);
  if (check === undefined || verification === undefined) return;
  collectCheckpoints(state, job);
  const attempts = attemptsOf(state, job.id);
  const isReached = job.phase === "succeeded";
  const runs = verification.runs.map((run, at): CheckedRun => {
    if (at !== check.run) return run;
    // What it was to begin from was found damaged, and given up.
    const isWhole = verification.plan.base === null && makersOf(attempts).some(({ fromSeq }) => fromSeq === 0);
    return {
      ...run,
      fromSeq: isWhole ? 0 : run.fromSeq,
      endedAtMs: state.nowMs,
      workers: workersOf(attempts),
      isUndisturbed: isUndisturbed(attempts),
      result: isReached ? { outputs: job.outputs, sum: job.outputsSum ?? null } : null,
      lost: isReached ? null : (job.reason ?? "lost"),
    };
  });
  assert(runs[check.run]?.jobId === job.id, `${job.id} is no run of ${check.of}`);
  decide(state, keep(state, { ...verification, runs }));
}

/** `check.compared`: the shell has read two results. */
export function onCompared(state: CoreState, jobId: JobId, comparison: Comparison): void {
  const verification = state.rows.verifications.get(jobId);
  if (verification === undefined) return;
  const { a, b } = comparison;
  if (samenessOf(verification, a, b) !== "unread") return;
  decide(state, keep(state, { ...verification, compared: [...verification.compared, comparison] }));
}

/** Has all pairs compared that are not yet: again after a start. */
export function askComparisons(state: CoreState, verification: VerificationRecord): void {
  const { id: jobId, accountId, runs, plan } = verification;
  const { tolerance } = plan.spec.verification;
  if (tolerance === undefined || verification.phase !== "comparing") return;
  for (const [a, b] of unreadPairs(verification)) {
    const [one, other] = [runs[a]?.result?.outputs, runs[b]?.result?.outputs];
    if (!one || !other) continue;
    effect(state, { kind: "compare", jobId, accountId, runs: [a, b], trees: [one, other], tolerance });
  }
}

function unreadPairs(verification: VerificationRecord): readonly (readonly [number, number])[] {
  const { runs } = verification;
  return runs.flatMap((_, a) =>
    runs.flatMap((__, b) => (b > a && samenessOf(verification, a, b) === "unread" ? [[a, b] as const] : [])),
  );
}

// ── The decision ──

function decide(state: CoreState, verification: VerificationRecord): void {
  const { runs } = verification;
  if (runs.some(({ endedAtMs }) => endedAtMs === null)) return;
  if (unreadPairs(verification).length > 0) {
    const phase = fire(state, verificationTable, verification.phase, "compare");
    if (phase !== undefined) askComparisons(state, keep(state, { ...verification, phase }));
    return;
  }
  if (verification.kind === "majority") decideMajority(state, verification);
  else decideSpotCheck(state, verification);
}

function decideMajority(state: CoreState, verification: VerificationRecord): void {
  const { runs, plan } = verification;
  const groups = runs.flatMap(({ result }, at) => (result === null ? [] : [agreeingWith(verification, at)]));
  const largest = groups.toSorted((a, b) => b.length - a.length)[0] ?? [];
  if (largest.length * 2 <= plan.spec.verification.replicas) return closeUndecided(state, verification, NO_MAJORITY);
  if (largest.includes(0)) return closePassed(state, verification, largest);
  if (!isProof(verification, largest)) return closeUndecided(state, verification, RESUMED);
  closeFailed(state, verification, largest);
}

function decideSpotCheck(state: CoreState, verification: VerificationRecord): void {
  const { runs, plan } = verification;
  const agreeing = agreeingWith(verification, 0);
  if (agreeing.length > 1) return closePassed(state, verification, agreeing);
  if (runs.some(({ result }, at) => at > 0 && result !== null && samenessOf(verification, 0, at) === "unknown")) {
    return closeUndecided(state, verification, UNREADABLE);
  }
  const against = runs.flatMap(({ result }, at) => (at > 0 && result !== null ? [agreeingWith(verification, at)] : []));
  const pair = against.find((group) => group.length > 1);
  if (pair !== undefined) {
    if (
      !someTrusted(
        state,
        pair.flatMap((at) => runs[at] ?? []),
      )
    )
      return closeUndecided(state, verification, NO_JUDGE);
    if (isProof(verification, pair)) return closeFailed(state, verification, pair);
    return closeUndecided(state, verification, RESUMED);
  }
  if (against.length > 1) return closeUndecided(state, verification, ALL_DIFFER);
  const last = runs.at(-1);
  if (last?.lost === "no_offer") return closeUndecided(state, verification, against.length === 0 ? NO_OFFER : NO_JUDGE);
  if (runs.length > CHECK_RUNS_MAX) return closeUndecided(state, verification, RUNS_LOST);
  if (!plan.hasBase) return closeUndecided(state, verification, against.length === 0 ? RUNS_LOST : NO_BASE);
  callWhole(state, verification);
}

/** Nobody knows yet who is wrong, or the run was lost: the whole job is run once more, elsewhere, as it was run itself. */
function callWhole(state: CoreState, verification: VerificationRecord): void {
  const phase = fire(state, verificationTable, verification.phase, "called");
  assert(phase !== undefined, `${verification.id} is decided and calls another run`);
  const differs = verification.runs.some(({ result }, at) => at > 0 && result !== null);
  // Where the check that differs is by somebody whose word counts, anybody may be the third.
  const decides = differs && !someTrusted(state, verification.runs.slice(1));
  if (differs) tellOf(state, verification, "verification_differs", { runs: evidenceOf(verification) });
  callRun(state, { ...verification, phase }, wholeOf(verification.plan), decides);
}

function agreeingWith(verification: VerificationRecord, at: number): readonly number[] {
  return verification.runs.flatMap((_, other) =>
    other === at || samenessOf(verification, at, other) === "same" ? [other] : [],
  );
}

/**
 * Whether runs that agree against the job show that its result is wrong, and not that the program gives something else when it is resumed: one of them ran the whole,
 * and either another one only a part of it, or the job was never interrupted itself.
 */
function isProof(verification: VerificationRecord, agreeing: readonly number[]): boolean {
  const runs = agreeing.flatMap((at) => verification.runs[at] ?? []);
  const isSomeWhole = runs.some((run) => isWhole(verification, run) && run.isUndisturbed);
  const isSomePart = runs.some((run) => !isWhole(verification, run));
  return isSomeWhole && (isSomePart || verification.runs[0]?.isUndisturbed === true);
}

// ── The end ──

function closePassed(state: CoreState, verification: VerificationRecord, agreeing: readonly number[]): void {
  const { runs } = verification;
  releasePay(state, verification);
  const others = agreeing.filter((at) => at > 0).flatMap((at) => runs[at] ?? []);
  const isSomeWhole = others.some((run) => isWhole(verification, run));
  // A part that agrees shows nothing of what came before it: it confirms nobody's result, but that of who ran it.
  const own = isSomeWhole ? (runs[0]?.workers ?? []) : [];
  for (const worker of [...own, ...others.flatMap(({ workers }) => workers)]) noteVerified(state, verification, worker);
  const outvoted = runs.filter(({ result }, at) => result !== null && !agreeing.includes(at));
  const isJudged =
    isSomeWhole &&
    someTrusted(
      state,
      agreeing.flatMap((at) => runs[at] ?? []),
    );
  // A part that came to something else may be the program's doing: only who ran the same as another that agrees with the job is shown to be wrong.
  if (isJudged) {
    for (const run of outvoted)
      if (isWhole(verification, run) && run.isUndisturbed) blameWorkers(state, verification, run);
  }
  const isPart = outvoted.some((run) => !isWhole(verification, run));
  const differing = outvoted.length === 0 ? "" : isPart ? ` ${PART_DIFFERED}` : ` ${WHOLE_DIFFERED}`;
  close(state, verification, "agreed", `Another provider came to the same result.${differing}`);
}

function closeFailed(state: CoreState, verification: VerificationRecord, agreeing: readonly number[]): void {
  const { runs } = verification;
  const [own] = runs;
  assert(own !== undefined && !agreeing.includes(0), `${verification.id} agrees against itself`);
  returnPay(state, verification);
  if (
    someTrusted(
      state,
      agreeing.flatMap((at) => runs[at] ?? []),
    )
  )
    blameWorkers(state, verification, own);
  for (const { workers } of agreeing.flatMap((at) => runs[at] ?? [])) {
    for (const worker of workers) noteVerified(state, verification, worker);
  }
  const right = runs[agreeing[0] ?? 0]?.jobId ?? "";
  close(
    state,
    verification,
    "outvoted",
    `Two other providers agree on another result (see the outputs' sums of ${right}). It was not paid: run the job again.`,
  );
}

function closeUndecided(state: CoreState, verification: VerificationRecord, message: string): void {
  releasePay(state, verification);
  close(state, verification, "undecided", message);
}

const NO_MAJORITY =
  "No majority of the runs came to the same result. A job that is verified has to give the same outputs wherever and whenever it runs: fix seeds, leave out times and host names, sort what comes in any order, or set verification.tolerance.";
const ALL_DIFFER = `Three runs came to three different results. ${NO_MAJORITY.slice(NO_MAJORITY.indexOf("A job"))}`;
const RESUMED =
  "Other runs agree on another result, but the job was interrupted, and it may be the program that gives something else then. Nobody is blamed.";
const UNREADABLE = "The results could not be compared: their files are too large for that, or have no sums.";
const NO_OFFER = "No other provider with the same GPU model and within the price had a place for the check in time.";
const NO_JUDGE =
  "Two runs came to different results, and no third provider whose results were confirmed before had a place to decide in time. Nobody is blamed.";
const RUNS_LOST = "The runs that were to check it came to no result.";
const NO_BASE =
  "A part of it came to something else, and the checkpoint it began from is not kept: nobody can tell who is wrong.";
const WHOLE_DIFFERED = "A run that came to another one was outvoted.";
const PART_DIFFERED = "A run of only a part of it did not: the program may give something else when it is resumed.";

function close(state: CoreState, verification: VerificationRecord, event: VerificationEvent, message: string): void {
  const phase = fire(state, verificationTable, verification.phase, event);
  assert(phase !== undefined, `the verification of ${verification.id} was decided twice`);
  const closed = keep(state, { ...verification, phase, message, decidedAtMs: state.nowMs });
  tellOf(state, closed, TOLD[phase] ?? phase, { message, runs: evidenceOf(closed) });
  countUp(state, COUNTERS[phase as keyof typeof COUNTERS]);
  for (const { jobId, result } of closed.runs.slice(1)) {
    if (result === null || result.outputs === null) continue;
    effect(state, { kind: "collect", accountId: closed.accountId, jobId, trees: [result.outputs] });
  }
  state.step.decided.push(closed.id);
}

const TOLD: Readonly<Record<string, string>> = {
  passed: "verified",
  failed: "verification_failed",
  inconclusive: "verification_inconclusive",
};
const COUNTERS = {
  passed: "verificationsPassed",
  failed: "verificationsFailed",
  inconclusive: "verificationsInconclusive",
} as const;

/** What anybody needs to run it again and see: who ran what, where it began, and what came of it. */
function evidenceOf({ runs }: VerificationRecord): readonly Readonly<Record<string, unknown>>[] {
  return runs.map(({ jobId, fromSeq, workers, result, lost }) => ({
    jobId,
    fromSeq,
    workers: workers.map(({ workerId, providerId }) => ({ workerId, providerId })),
    result: result === null ? lost : (result.sum ?? result.outputs?.manifestCid ?? "no outputs"),
  }));
}

// ── Verdicts ──

/** Whether the word of any of them counts: a majority of those whom nobody knows costs a result its pay, and nobody his stake. */
function someTrusted(state: CoreState, runs: readonly CheckedRun[]): boolean {
  return runs.some(({ workers }) =>
    workers.some(({ workerId }) => isTrusted(state.config, state.rows.workers.get(workerId))),
  );
}

function noteVerified(state: CoreState, { id }: VerificationRecord, { workerId }: RunWorker): void {
  const worker = state.rows.workers.get(workerId);
  if (worker === undefined) return;
  const { inARow, wrong } = historyOf(worker);
  put(state, "workers", workerId, { ...worker, checks: { inARow: inARow + 1, wrong } });
  recordVerdict(state, { workerId, jobId: id, kind: "verified", evidence: {} });
}

/** Which of several workers spoiled a run cannot be told: they are all checked more often from now on, and only one who did it alone is accused. */
function blameWorkers(state: CoreState, verification: VerificationRecord, { jobId, workers }: CheckedRun): void {
  const isAlone = workers.length === 1;
  for (const { workerId } of workers) {
    const worker = state.rows.workers.get(workerId);
    if (worker === undefined) continue;
    const { wrong } = historyOf(worker);
    put(state, "workers", workerId, { ...worker, checks: { inARow: 0, wrong: wrong + (isAlone ? 1 : 0) } });
    if (!isAlone) continue;
    const { plan } = verification;
    const { imageDigest, imageTree, gpuModel } = plan;
    const evidence = {
      verificationOf: verification.id,
      runs: evidenceOf(verification),
      imageDigest,
      imageTree,
      gpuModel,
    };
    recordVerdict(state, { workerId, jobId, kind: "wrong", evidence });
    const { currency, accountId: consumerId } = verification;
    const gain = { amount: gainOf(verification, jobId, workerId), currency };
    accuse(state, { kind: "wrong_result", workerId, jobId, evidence, gain, consumerId });
  }
}

/** What the worker was to be paid for the run: of the job, what is frozen; of a check, what all of its time would cost. */
function gainOf({ id, frozen, plan }: VerificationRecord, jobId: JobId, workerId: WorkerId): bigint {
  if (jobId !== id) return chargeFor(plan.rateMax, plan.spec.durationMaxS * MS_PER_S);
  return frozen.reduce((sum, pay) => (pay.workerId === workerId ? sum + pay.amount : sum), 0n);
}

// ── Rows ──

function keep(state: CoreState, verification: VerificationRecord): VerificationRecord {
  put(state, "verifications", verification.id, verification);
  return verification;
}

/** Nobody goes on from a check's own checkpoints; its outputs stay until the results are compared. */
function collectCheckpoints(state: CoreState, job: JobRecord): void {
  const trees = job.checkpoints.map(({ tree }) => tree);
  if (trees.length === 0) return;
  patchJob(state, job, { checkpoints: [] });
  effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees });
}
