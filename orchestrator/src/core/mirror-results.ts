// What the runs of a mirror job came to, compared: two that agree are the job's end, two that differ call a third, and whoever is outvoted is not paid.
import type { EndOutcome, TreeRef } from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { endByIntent, requeue } from "./failover.ts";
import { endJob } from "./job-end.ts";
import { checkpointsOf, hasActiveReplica, mirrorOf, replicaOf, resultText, runOf, sameResult } from "./mirror-state.ts";
import type { AttemptRecord, CheckpointRecord, JobRecord, MirrorResult } from "./model.ts";
import { recordVerdict } from "./reputation.ts";
import { blame } from "./standing.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, effect, emit, emitJob, machineOf, noteIncident, patchJob, put, refOf } from "./tables.ts";

type Failure = NonNullable<MirrorResult["failure"]> & {
  readonly code: Extract<EndOutcome, { kind: "failed" }>["code"];
};
interface Reached {
  readonly outputs?: TreeRef | null;
  readonly sum?: string | null;
  readonly failure?: Failure;
}

/** A run has come to its result. The job goes on until two results agree, or three differ. */
export function acceptResult(state: CoreState, job: JobRecord, ended: AttemptRecord, reached: Reached): void {
  const { outputs = null, sum = null, failure = null } = reached;
  const { workerId, providerId } = ended;
  const run = runOf(job, ended);
  const result: MirrorResult = { run, attemptId: ended.id, workerId, providerId, outputs, sum, failure };
  const mirror = mirrorOf(job);
  assert(!mirror.results.some((other) => other.run === run), `run ${run} of ${job.id} has two results`);
  const results = [...mirror.results, result];
  const noted = patchJob(state, job, { mirror: { ...mirror, results } });
  emitJob(state, noted, "mirror_result", { run, ...refOf(ended), workerId, result: resultText(result) }, ended);
  const agreeing = results.filter((other) => sameResult(other, result));
  const disagreeing = results.find((other) => !sameResult(other, result));
  if (agreeing.length > 1) return agree(state, noted, agreeing, disagreeing ?? null);
  if (results.length > 2) return endWithoutMajority(state, noted);
  if (hasActiveReplica(noted)) return;
  if (noted.intent !== null) return endByIntent(state, noted);
  if (disagreeing !== undefined) return callThird(state, noted, ended);
  requeue(state, noted, undefined, { why: "mirror_awaits_second", workLostMs: 0, from: ended });
}

/** The end of the job is what two runs agree on; the third, where there is one, is refused. */
function agree(
  state: CoreState,
  job: JobRecord,
  agreeing: readonly MirrorResult[],
  outvoted: MirrorResult | null,
): void {
  const [first] = agreeing;
  assert(first !== undefined && !hasActiveReplica(job), `${job.id} agrees while a replica works`);
  const rest = outvoted === null ? job : refuseWork(state, job, outvoted, first);
  const { outputs, failure } = first;
  const verified = patchJob(state, rest, { outputs, mirror: { ...mirrorOf(rest), verified: true } });
  const workerIds = agreeing.map(({ workerId }) => workerId);
  emitJob(state, verified, "mirror_agreed", { result: resultText(first), workerIds });
  for (const workerId of workerIds) {
    recordVerdict(state, { workerId, jobId: job.id, kind: "verified", evidence: { result: resultText(first) } });
  }
  if (failure === null) return endJob(state, verified, { event: "completed", reason: "completed", message: null });
  const message = `${failure.message} Two providers came to the same.`;
  endJob(state, verified, { event: "failed", reason: failure.code, message });
}

/** Nobody knows yet who is wrong: replica 1 computes once more from the beginning, at a third provider. */
function callThird(state: CoreState, job: JobRecord, last: AttemptRecord): void {
  const mirror = mirrorOf(job);
  assert(mirror.epoch !== 0 && mirror.thirdAfter === null, `${job.id} calls a third without a second`);
  reportDisagreement(state, job);
  noteIncident(state, "disagreement", refOf(last));
  // The second's checkpoints may be what is wrong.
  collect(
    state,
    job,
    mirror.checkpoints.map(({ tree }) => tree),
  );
  const third = { ...mirror, thirdAfter: mirror.epoch, checkpoints: [] };
  requeue(state, patchJob(state, job, { mirror: third }), undefined, {
    why: "mirror_disagreed",
    workLostMs: 0,
    from: null,
  });
}

/** The sums, with who vouched for them: the recorded evidence. */
function reportDisagreement(state: CoreState, job: JobRecord): void {
  const results = mirrorOf(job).results.map((result) => {
    const { run, attemptId, workerId, providerId } = result;
    return { run, attemptId, workerId, providerId, result: resultText(result) };
  });
  emitJob(state, job, "mirror_disagreed", { results });
}

const NO_MAJORITY =
  "Three providers came to three different results, so none is accepted. A mirror job has to give the same outputs, byte for byte, wherever it runs: fix seeds, leave out times and host names, and sort what comes in any order. Or run it without a mirror.";

function endWithoutMajority(state: CoreState, job: JobRecord): void {
  reportDisagreement(state, job);
  endJob(state, job, { event: "failed", reason: "mirror_disagreement", message: NO_MAJORITY });
}

/** The work of the outvoted run is not paid. Which of several workers spoiled it cannot be told: only one who did it alone is named for it. */
function refuseWork(state: CoreState, job: JobRecord, outvoted: MirrorResult, agreed: MirrorResult): JobRecord {
  const own = attemptsOf(state, job.id).filter((attempt) => runOf(job, attempt) === outvoted.run);
  let refusedMs = 0;
  for (const attempt of own) {
    if (attempt.creditedMs === 0) continue;
    refusedMs += attempt.creditedMs;
    put(state, "attempts", attempt.id, { ...attempt, creditedMs: 0, isRefused: true });
  }
  const { run, workerId, providerId } = outvoted;
  const evidence = { result: resultText(outvoted), agreed: resultText(agreed), refusedMs };
  emitJob(state, job, "work_refused", { run, workerId, ...evidence }, { workerId, providerId });
  const contributed = own.filter(({ committed }) => committed).map((attempt) => attempt.workerId);
  if (new Set(contributed).size === 1) {
    emit(state, {
      channel: "workers",
      kind: "worker_disagreed",
      providerId,
      workerId,
      data: { jobId: job.id, ...evidence },
    });
    blame(state, machineOf(state, workerId), "worker_disagreed");
  }
  const kept = patchJob(state, job, { creditedMs: job.creditedMs - refusedMs });
  return replicaOf(run) === 0 ? withChainOfThird(state, kept) : kept;
}

/** The checkpoints of an outvoted first run are worth nothing; the third's take their place. */
function withChainOfThird(state: CoreState, job: JobRecord): JobRecord {
  collect(
    state,
    job,
    job.checkpoints.map(({ tree }) => tree),
  );
  return patchJob(state, job, {
    checkpoints: checkpointsOf(job, 1),
    mirror: { ...mirrorOf(job), checkpoints: [] },
  });
}

/**
 * Beside the other replica's checkpoint of the same progress, cut in the same places. A difference decides nothing: a checkpoint may hold times or addresses that
 * no result depends on, and the progress may have been read a moment later than the files. It is told once, because it is often the first sign.
 */
export function compareCheckpoint(
  state: CoreState,
  job: JobRecord,
  attempt: AttemptRecord,
  { seq, progress, content }: CheckpointRecord,
): JobRecord {
  if (progress === null || content === undefined) return job;
  const others = checkpointsOf(job, 1 - attempt.replica);
  const other = others.findLast((one) => one.progress === progress && one.content?.shape === content.shape);
  if (other === undefined) return job;
  const mirror = mirrorOf(job);
  const isSame = other.content?.sum === content.sum;
  if (!isSame && !(content.isExact && other.content?.isExact === true)) return job;
  const { same, different } = mirror.compared;
  const compared = isSame ? { same: same + 1, different } : { same, different: different + 1 };
  const isFirst = (isSame ? same : different) === 0;
  const noted = patchJob(state, job, { mirror: { ...mirror, compared } });
  const seqs = attempt.replica === 0 ? [seq, other.seq] : [other.seq, seq];
  if (isFirst)
    emitJob(state, noted, isSame ? "mirror_checkpoints_agree" : "mirror_checkpoints_differ", { progress, seqs });
  return noted;
}

function collect(state: CoreState, job: JobRecord, trees: readonly TreeRef[]): void {
  if (trees.length > 0) effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees });
}
