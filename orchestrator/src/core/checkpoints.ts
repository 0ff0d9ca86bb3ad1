// Checkpoints as their consumer meets them: removed when he asks, and not stored where there is no room for them.
import { jobTable } from "@qubix/shared/domain";
import { assert } from "@qubix/shared/runtime";
import type { CoreEvent } from "./events.ts";
import { checkpointsOf, replicaIn, withCheckpoints } from "./mirror-state.ts";
import type { AttemptRecord, JobRecord } from "./model.ts";
import { loseStandby } from "./standbys.ts";
import type { CoreState } from "./state.ts";
import { effect, emitJob, liveStandby, patchJob, refuse } from "./tables.ts";
import { workLostWithMs } from "./work-at-risk.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

/** Workers that must find a checkpoint damaged until it is. */
const DAMAGE_REPORTS = 2;

/** One that another place would begin from stays: the newest of a job that has not ended. */
export function removeCheckpoint(state: CoreState, event: Event<"checkpoint.remove">): void {
  const { actor, jobId, seq, ended } = event;
  const live = state.rows.jobs.get(jobId);
  assert(
    ended === null || (ended.id === jobId && jobTable.final.includes(ended.phase)),
    `${jobId} was said to have ended`,
  );
  const job = live ?? ended;
  if (job === null || (actor.role !== "admin" && job.accountId !== actor.accountId)) {
    return refuse(state, 404, "job_not_found", `There is no job ${jobId} of yours. Check the id.`);
  }
  const found = job.checkpoints.find((checkpoint) => checkpoint.seq === seq);
  if (found === undefined) {
    const have = job.checkpoints.map((checkpoint) => checkpoint.seq).join(", ");
    return refuse(
      state,
      404,
      "checkpoint_not_found",
      `Job ${jobId} has no checkpoint ${seq}. ${have === "" ? "It has none." : `It has ${have}.`}`,
    );
  }
  if (live !== undefined && found === job.checkpoints.at(-1)) {
    return refuse(
      state,
      409,
      "checkpoint_in_use",
      `Checkpoint ${seq} is the newest of job ${jobId}, which is ${job.phase}: it would begin from it elsewhere. Cancel the job first, or remove an older one.`,
    );
  }
  if (state.rows.verifications.has(job.check?.of ?? jobId)) {
    return refuse(
      state,
      409,
      "checkpoint_in_use",
      `Job ${jobId} is being checked, perhaps from this checkpoint. Remove it when that is decided (qubix jobs show ${jobId}).`,
    );
  }
  const saved = patchJob(state, job, { checkpoints: job.checkpoints.filter((checkpoint) => checkpoint !== found) });
  // Was in the store only, and goes back there.
  if (live === undefined) state.step.ended.push(jobId);
  effect(state, { kind: "collect", accountId: job.accountId, jobId, trees: [found.tree] });
  emitJob(state, saved, "checkpoint_removed", { seq, bytes: found.tree.bytes });
  state.step.reply = { kind: "checkpoint", jobId, seq };
}

/**
 * An attempt ended because it could not restore the newest checkpoint. One worker may be wrong, or its disk; when a second says the same the checkpoint is
 * given up, and the job goes on from its parent. A standby that has it on its disk needs nobody to restore it.
 */
export function noteDamage(state: CoreState, job: JobRecord, by: AttemptRecord): void {
  const { replica } = by;
  const newest = checkpointsOf(job, replica).at(-1);
  if (newest === undefined) return;
  const { seq, tree } = newest;
  const isNoted = job.damage?.seq === seq && (job.damage.replica ?? 0) === replica;
  const reports = (isNoted ? (job.damage?.reports ?? 0) : 0) + 1;
  const standby = liveStandby(state, job);
  const isHeld = standby?.checkpointSeq === seq;
  if (reports < DAMAGE_REPORTS || isHeld) {
    const damage = { seq, reports, ...(replica === 0 ? {} : { replica }) };
    return void patchJob(state, job, { damage });
  }
  const checkpoints = checkpointsOf(job, replica).slice(0, -1);
  const lostMs = workLostWithMs(state, job, replica, newest, checkpoints.at(-1));
  const saved = patchJob(state, job, {
    ...withCheckpoints(job, replica, checkpoints),
    workLostMs: job.workLostMs + lostMs,
  });
  effect(state, { kind: "collect", accountId: job.accountId, jobId: job.id, trees: [tree] });
  emitJob(
    state,
    saved,
    "checkpoint_damaged",
    {
      seq,
      ...replicaIn(job, by),
      parentSeq: checkpoints.at(-1)?.seq ?? 0,
      ranMs: newest.ranMs,
      workLostMs: lostMs,
    },
    by,
  );
  // Its number is given again: what a standby fetched under it must not pass for that one.
  if (standby !== undefined) loseStandby(state, saved, standby, "revoked", "checkpoint_damaged");
}

/** Said once until the next checkpoint is committed: the worker tries again and again. */
export function noteStorageRefused(state: CoreState, event: Event<"storage.refused">): void {
  const job = state.rows.jobs.get(event.jobId);
  const { code, message, workerId } = event;
  if (job === undefined || state.volatile.storageNoted.get(job.id) === code) return;
  state.volatile.storageNoted.set(job.id, code);
  const newestSeq = job.checkpoints.at(-1)?.seq ?? 0;
  const providerId = state.ix.machines.get(workerId)?.worker.providerId;
  const at = providerId === undefined ? undefined : { workerId, providerId };
  emitJob(state, job, "storage_refused", { code, message, newestSeq }, at);
}
