// Branded identifiers. A brand keeps a job's id from being passed where a worker's is meant; at run time they are plain strings and numbers.

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

export type AccountId = Brand<string, "AccountId">;
export type ApiKeyId = Brand<string, "ApiKeyId">;
export type EnrolmentId = Brand<string, "EnrolmentId">;
export type WorkerId = Brand<string, "WorkerId">;
export type SessionId = Brand<string, "SessionId">;
export type JobId = Brand<string, "JobId">;
/** `JOB/REPLICA/EPOCH`; see {@link attemptId}. */
export type AttemptId = Brand<string, "AttemptId">;
/** `JOB/sN`; see {@link standbyId}. */
export type StandbyId = Brand<string, "StandbyId">;
export type TransferId = Brand<string, "TransferId">;
/** Counts the attempts of one (job, replica), from 1, rising by one each time. */
export type Epoch = Brand<number, "Epoch">;
/** CIDv1 (raw codec, sha2-256, base32) of the bytes it names. */
export type ChunkCid = Brand<string, "ChunkCid">;

/** One execution of a job on one worker. */
export interface AttemptRef {
  readonly jobId: JobId;
  readonly replica: number;
  readonly epoch: Epoch;
}

/** The id of an attempt is derived, so that nothing has to be remembered to find it. */
export function attemptId(ref: AttemptRef): AttemptId {
  return `${ref.jobId}/${ref.replica}/${ref.epoch}` as AttemptId;
}

/** The id of the `n`th standby (from 1) that was reserved for a job. */
export function standbyId(jobId: JobId, n: number): StandbyId {
  return `${jobId}/s${n}` as StandbyId;
}

/** The epoch that follows. */
export function nextEpoch(epoch: Epoch | 0): Epoch {
  return (epoch + 1) as Epoch;
}
