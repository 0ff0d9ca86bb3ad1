// The record of a job that was just made: nothing of it was placed, run or paid yet.
import { type AccountId, type JobId, jobTable, settlementTable } from "@qubix/shared/domain";
import type { JobSpec } from "@qubix/shared/protocol";
import type { JobRecord } from "./model.ts";
import type { CoreState } from "./state.ts";

export interface NewJob {
  readonly id: JobId;
  readonly accountId: AccountId;
  readonly spec: JobSpec;
  readonly hold: bigint;
}

/** Without inputs, secrets, and a checkpoint to begin from. */
export function newJobRecord({ nowMs }: CoreState, { id, accountId, spec, hold }: NewJob): JobRecord {
  return {
    id,
    accountId,
    spec,
    phase: jobTable.initial,
    intent: null,
    reason: null,
    message: null,
    epoch: 0,
    standbysMade: 0,
    standbyId: null,
    retriesUsed: 0,
    failoversUsed: 0,
    troubledWorkers: [],
    creditedMs: 0,
    workLostMs: 0,
    checkpoints: [],
    checkpointIntervalS: null,
    fromCheckpoint: null,
    outputs: null,
    inputs: [],
    imageTree: null,
    imageDigest: null,
    vaultId: null,
    currency: spec.priceMaxPerHour.currency,
    rateMax: 0n,
    standbyRateMax: 0n,
    settlement: { phase: settlementTable.initial, hold, gross: null, lines: [] },
    createdAtMs: nowMs,
    queuedAtMs: nowMs,
    startedAtMs: null,
    endedAtMs: null,
  };
}
