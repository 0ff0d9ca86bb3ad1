// How much work hangs on one machine.
import type { AttemptRecord, CheckpointRecord, JobRecord } from "./model.ts";
import { newestCheckpoint } from "./placing.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf, machineOf } from "./tables.ts";

/**
 * Container time of an attempt since the moment of the newest committed checkpoint, as far as we heard of it: what is lost if it dies now. One that is
 * still being shipped does not count.
 */
export function workAtRiskMs(state: CoreState, job: JobRecord, gone: AttemptRecord): number {
  if (gone.startedAtMs === null) return 0;
  const heardMs = Math.min(state.nowMs, machineOf(state, gone.workerId).heardMs);
  const ranMs = Math.max(state.volatile.live.get(gone.id)?.ranMs ?? 0, heardMs - gone.startedAtMs);
  return Math.max(0, ranMs - savedRanMs(state, job, gone));
}

/** Container time that goes with a checkpoint which is given up for `parent`: since the parent, or since the container began where another made that. */
export function workLostWithMs(
  state: CoreState,
  job: JobRecord,
  replica: number,
  damaged: CheckpointRecord,
  parent: CheckpointRecord | undefined,
): number {
  const maker = attemptsOf(state, job.id).find(
    (attempt) => attempt.replica === replica && attempt.epoch === damaged.epoch,
  );
  return Math.max(0, damaged.ranMs - (maker === undefined ? 0 : ranAtMs(state, job, maker, parent)));
}

/** Container time of `gone`'s container at the newest checkpoint; 0 where another container made it. */
function savedRanMs(state: CoreState, job: JobRecord, gone: AttemptRecord): number {
  return ranAtMs(state, job, gone, newestCheckpoint(job, gone.replica));
}

function ranAtMs(state: CoreState, job: JobRecord, gone: AttemptRecord, newest: CheckpointRecord | undefined): number {
  if (newest === undefined || newest.workerId !== gone.workerId) return 0;
  const older = attemptsOf(state, job.id).filter(({ replica }) => replica === gone.replica);
  for (let attempt: AttemptRecord | undefined = gone; attempt !== undefined; ) {
    if (attempt.epoch === newest.epoch) return newest.ranMs;
    const adoptedEpoch: AttemptRecord["adoptedEpoch"] = attempt.adoptedEpoch;
    attempt = adoptedEpoch === 0 ? undefined : older.find(({ epoch }) => epoch === adoptedEpoch);
  }
  return 0;
}
