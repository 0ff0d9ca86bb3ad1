// The record of each recovery: from the last sign of life of the attempt that is gone to the first new step of the one that goes on. It travels in the job's
// row, so that a restart of ours in mid-failover loses none of it, and becomes the event `resumed`, which is all that statistics are made of.
import type { RecoveryKind } from "@qubix/shared/protocol";
import type { AttemptRecord, JobRecord, RecoveryRecord } from "./model.ts";
import type { CoreState } from "./state.ts";
import { emitJob, patchJob } from "./tables.ts";

type How = NonNullable<RecoveryRecord["how"]>;

/** What is noted when an attempt is gone. One that was interrupted again before its first new step is one recovery, which began with the first fault. */
export function interrupted(
  state: CoreState,
  job: JobRecord,
  gone: AttemptRecord,
  what: { readonly cause: RecoveryRecord["cause"]; readonly why: string; readonly workLostMs: number },
): RecoveryRecord {
  const open = job.recovery ?? null;
  const placing = { how: null, placedAtMs: null, startedAtMs: null };
  if (open !== null) {
    const { workLostMs, interruptions } = open;
    return {
      ...open,
      ...placing,
      workLostMs: workLostMs + what.workLostMs,
      interruptions: interruptions + 1,
    };
  }
  const machine = state.ix.machines.get(gone.workerId);
  const faultAtMs = Math.min(state.nowMs, machine?.heardMs ?? state.nowMs);
  const detectedAtMs = Math.max(faultAtMs, machine?.suspectAtMs ?? state.nowMs);
  return { ...what, ...placing, faultAtMs, detectedAtMs, fromWorkerId: gone.workerId, interruptions: 1 };
}

/** Another attempt takes over: a standby, a new place, or the old container that came back. */
export function placedAgain<P extends { readonly job: JobRecord }>(state: CoreState, placed: P, how: How): P {
  const { recovery } = placed.job;
  if (recovery === undefined || recovery === null) return placed;
  const next: RecoveryRecord = { ...recovery, how, placedAtMs: state.nowMs, startedAtMs: null };
  return { ...placed, job: patchJob(state, placed.job, { recovery: next }) };
}

/** The old container goes on: none of its work is lost. Where the successor was at work already, going back is a recovery of its own. */
export function undone(state: CoreState, job: JobRecord, lost: AttemptRecord): RecoveryRecord {
  const { nowMs } = state;
  const open = job.recovery ?? null;
  const base: RecoveryRecord = open ?? {
    cause: "failover",
    why: "returned",
    faultAtMs: nowMs,
    detectedAtMs: nowMs,
    fromWorkerId: lost.workerId,
    interruptions: 1,
    how: null,
    placedAtMs: null,
    startedAtMs: null,
    workLostMs: 0,
  };
  return { ...base, how: "undo", placedAtMs: nowMs, startedAtMs: nowMs, workLostMs: 0 };
}

/** The patch of a job whose attempt has just started. */
export function startedAgain(state: CoreState, { recovery }: JobRecord): Partial<JobRecord> {
  if (recovery === undefined || recovery === null || recovery.startedAtMs !== null) return {};
  return { recovery: { ...recovery, startedAtMs: state.nowMs } };
}

/** The current attempt did something that shows: text in the log, progress, a checkpoint, its end. The first time after a recovery that is told. */
export function noteStep(state: CoreState, job: JobRecord, attempt: AttemptRecord): JobRecord {
  const { recovery } = job;
  if (recovery === undefined || recovery === null || recovery.placedAtMs === null) return job;
  const { faultAtMs, detectedAtMs, placedAtMs, fromWorkerId, why, workLostMs, interruptions } = recovery;
  const sinceFault = (atMs: number) => Math.max(0, atMs - faultAtMs);
  const { epoch, workerId } = attempt;
  const data = {
    epoch,
    workerId,
    fromWorkerId,
    kind: kindOf(recovery),
    why,
    recoveryMs: sinceFault(state.nowMs),
    detectedMs: sinceFault(detectedAtMs),
    promotedMs: sinceFault(placedAtMs),
    startedMs: sinceFault(recovery.startedAtMs ?? state.nowMs),
    workLostMs,
    interruptions,
  };
  emitJob(state, job, "resumed", data, attempt);
  return patchJob(state, job, { recovery: null });
}

/** A job's own failure and a planned move are not mixed with what a machine's loss took. */
function kindOf({ cause, how }: RecoveryRecord): RecoveryKind {
  if (how === "undo") return "undo";
  if (cause !== "failover") return cause;
  return how === "hot" ? "hot" : "cold";
}
