// The records of a mirror job's second replica and of the comparison. Part of `model.ts`, which hands them on.
import type { AccountId, AttemptId, Epoch, WorkerId } from "@qubix/shared/domain";
import type { TreeRef } from "@qubix/shared/protocol";
import type { CheckpointRecord } from "./model-checkpoints.ts";

/** 0 and 1: what replica 0 and replica 1 compute. 2: the third, by replica 1 from the beginning, after those two differed. */
export type MirrorRun = 0 | 1 | 2;

/** How a run ended: it is compared with the others'. */
export interface MirrorResult {
  readonly run: MirrorRun;
  readonly attemptId: AttemptId;
  readonly workerId: WorkerId;
  readonly providerId: AccountId;
  readonly outputs: TreeRef | null;
  /** {@link TreeContent.sum} of the outputs; null where there are none, or a file has no sum. */
  readonly sum: string | null;
  /** The job's own failure, with no retry left; null where it succeeded. */
  readonly failure: { readonly code: string; readonly exitCode: number | null; readonly message: string } | null;
}

/** The second replica of a mirror job, and the comparison; see `mirror-state.ts`. */
export interface MirrorState {
  /** Of replica 1's newest attempt; 0 before the first. Replica 0's is the job's own. */
  readonly epoch: Epoch | 0;
  /** By replica: whether an attempt of it is active. */
  readonly active: readonly [boolean, boolean];
  readonly results: readonly MirrorResult[];
  /** Later epochs of replica 1 are the third run; null while none was called. */
  readonly thirdAfter: Epoch | null;
  /** Replica 1's committed ones that are kept, oldest first. */
  readonly checkpoints: readonly CheckpointRecord[];
  /** By run: the highest rate (micro-units an hour) that any attempt of it had. */
  readonly rateMax: readonly [bigint, bigint, bigint];
  /** Of the first attempt's GPUs: all others run on the same; null without GPUs. */
  readonly gpuModel: string | null;
  /** How often checkpoints of both replicas could be compared, and were equal or not. */
  readonly compared: { readonly same: number; readonly different: number };
  /** Two runs agreed, and theirs is the job's end. */
  readonly verified: boolean;
}
