// The records of saved state. Part of `model.ts`, which hands them on.
import type { Epoch, JobId, WorkerId } from "@qubix/shared/domain";
import type { TreeRef } from "@qubix/shared/protocol";

export interface CheckpointRecord {
  readonly jobId: JobId;
  readonly seq: number;
  readonly parentSeq: number;
  readonly epoch: Epoch;
  readonly workerId: WorkerId;
  readonly tree: TreeRef;
  /** Container time of its attempt when it was complete on disk. */
  readonly ranMs: number;
  readonly progress: number | null;
  readonly signature: string;
  /** How long it took until all of it was stored, by the worker's word; missing where none was said. */
  readonly shipMs?: number;
  /** Of a mirror job's, to be compared with the other replica's; missing where it could not be told. */
  readonly content?: TreeContent;
  readonly committedAtMs: number;
}

/** What a tree holds, to be compared. SHA-256, hexadecimal. */
export interface TreeContent {
  /** Over paths, sizes and, where a file has no sum of its own, where it was cut: sums of pieces can be compared only where that is equal. */
  readonly shape: string;
  /** Over paths, sizes and sums of all files, or of their pieces. */
  readonly sum: string;
  /** Another sum is another content. Not so where a file has a part of a piece: its sum is that of the whole piece. */
  readonly isExact: boolean;
}

export interface CheckpointName {
  readonly jobId: JobId;
  readonly seq: number;
}
