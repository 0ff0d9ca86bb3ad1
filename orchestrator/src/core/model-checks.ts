// The records of jobs whose results are checked by other runs. Part of `model.ts`, which hands them on.
import type { AccountId, ChunkCid, Currency, JobId, VerificationPhase, WorkerId } from "@qubix/shared/domain";
import type { JobSpec, TreeRef } from "@qubix/shared/protocol";
import type { CanaryResult } from "./canary-records.ts";
import type { CheckpointRecord } from "./model-checkpoints.ts";
import type { LedgerAccount } from "./model-money.ts";

/** Whose work is checked how often follows from it; reputation is another matter. */
export interface CheckHistory {
  /** Results that others came to as well, since the last that they did not. */
  readonly inARow: number;
  /** Results that two others agreed against. */
  readonly wrong: number;
}

/** Of which job it is a check, and what its place must be like. */
export interface CheckOf {
  readonly of: JobId;
  /** Its place among the runs of the verification; 0 is the job's own. */
  readonly run: number;
  /** Where the money comes from and what is left of it goes. */
  readonly payer: LedgerAccount;
  /** Of the checked job's GPUs; null without. */
  readonly gpuModel: string | null;
  /** Two runs differ whose workers nobody knows, and it decides: it comes to a worker whose word counts, or to none. */
  readonly decides: boolean;
  /** Of {@link VerificationRecord}. */
  readonly apart: readonly AccountId[];
  /** It is no run of another job, but one whose result is known: `of` is its own id. */
  readonly canary?: { readonly name: string; readonly expected: CanaryResult };
}

export interface RunWorker {
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
}

/** One computation of the result: run 0 is the job itself, the others are checks. */
export interface CheckedRun {
  readonly jobId: JobId;
  /** The job's checkpoint that it began from; 0 for the beginning. */
  readonly fromSeq: number;
  readonly endedAtMs: number | null;
  /** Of whose work something was accepted; empty until it has ended. */
  readonly workers: readonly RunWorker[];
  /** One container from its beginning to its end. */
  readonly isUndisturbed: boolean;
  readonly result: { readonly outputs: TreeRef | null; readonly sum: string | null } | null;
  /** Why it came to no result. */
  readonly lost: string | null;
}

/** Whether two runs came to the same, read from their files; null where that could not be told. */
export interface Comparison {
  readonly a: number;
  readonly b: number;
  readonly isSame: boolean | null;
}

/** A finished job that is run again to check its result. In memory until it is decided, then in the store only. */
export interface VerificationRecord {
  /** Of the job. */
  readonly id: JobId;
  readonly accountId: AccountId;
  readonly kind: "spot-check" | "majority";
  readonly phase: VerificationPhase;
  readonly message: string | null;
  readonly startedAtMs: number;
  readonly decidedAtMs: number | null;
  readonly currency: Currency;
  /** The job's pay, frozen until it is decided, by where it came from. */
  readonly frozen: readonly FrozenPay[];
  /** Providers of the job's attempts, and the consumer's own account: no check comes to them. */
  readonly apart: readonly AccountId[];
  /** Of run 0 up to the newest. */
  readonly runs: readonly CheckedRun[];
  readonly compared: readonly Comparison[];
  /** How the runs are made: what the job's own record says that they need, and no more. */
  readonly plan: CheckPlan;
}

export interface FrozenPay {
  readonly account: LedgerAccount;
  readonly amount: bigint;
  readonly workerId?: WorkerId;
}

export interface CheckPlan {
  readonly spec: JobSpec;
  readonly inputs: readonly { readonly manifestCid: ChunkCid; readonly to: string }[];
  readonly imageTree: ChunkCid | null;
  readonly imageDigest: string | null;
  readonly gpuModel: string | null;
  /** Micro-units an hour that a run may cost. */
  readonly rateMax: bigint;
  readonly payer: LedgerAccount;
  /** The checkpoint that the whole job began from; null for the beginning. */
  readonly base: CheckpointRecord | null;
  /** False where that is not kept any more: then a run can begin only later. */
  readonly hasBase: boolean;
}
