// Makes a worker's core with its journal for tests: events in, effects and journal out.
import type { AttemptRef, ChunkCid, Epoch, JobId, SessionId } from "@qubix/shared/domain";
import type { CheckpointRef, RunSpec, TreeRef, WorkerOffer } from "@qubix/shared/protocol";
import { DEFAULT_WORKER_CONFIG } from "./config.ts";
import type { Slot, SlotId, WorkerCoreEvent, WorkerEffect, WorkerMessageBody } from "./model.ts";
import { createWorkerState, type WorkerState } from "./state.ts";
import { step } from "./step.ts";

export const OFFER: WorkerOffer = {
  gpus: [],
  cpus: 4,
  memoryMiB: 4096,
  diskMiB: 10_000,
  region: "unknown",
  pricePerCpuHour: { amount: 100n, currency: "USD" },
  standbyPercent: 25,
  localImages: [],
  draining: false,
};

export const RUN: RunSpec = {
  image: "tiny:local",
  command: [],
  env: {},
  outputs: [],
  inputs: [],
  gpuUuids: [],
  cpus: 1,
  memoryMiB: 64,
  diskMiB: 64,
  shmMiB: 64,
  stopGraceS: 10,
  checkpointIntervalS: 30,
};

export const SESSION = "ses-1" as SessionId;
export const ATTEMPT = attemptOf(1);

export function attemptOf(epoch: number): AttemptRef {
  return { jobId: "job-1" as JobId, replica: 0, epoch: epoch as Epoch };
}

export function treeOf(n: number): TreeRef {
  return { manifestCid: `bafkrei${String(n).padStart(52, "a")}` as ChunkCid, files: 1, bytes: n, bytesMoved: n };
}

export function checkpointOf(seq: number): CheckpointRef {
  return { seq, epoch: 1 as Epoch, tree: treeOf(seq) };
}

/** An entry of a slot's checkpoint folder has reached the store. */
export function shipped(slotId: SlotId, entry: string, ranMs: number, progress: number | null = null) {
  return { kind: "shipped", slotId, entry, tree: treeOf(1), ranMs, progress } as const;
}

export interface Bench {
  readonly state: WorkerState;
  readonly journal: Map<SlotId, Slot>;
  nowMs: number;
  /** Steps and journals; returns the effects. */
  give(event: WorkerCoreEvent): readonly WorkerEffect[];
}

export function createBench(slots: readonly Slot[] = [], nowMs = 0): Bench {
  const state = createWorkerState({ slots, offer: OFFER, config: DEFAULT_WORKER_CONFIG });
  const journal = new Map(slots.map((slot) => [slot.id, slot]));
  return {
    state,
    journal,
    nowMs,
    give(event) {
      const { puts, effects } = step(state, this.nowMs, event);
      for (const { id, slot } of puts) {
        if (slot === null) journal.delete(id);
        else journal.set(id, slot);
      }
      return effects;
    },
  };
}

/** The messages among effects, without heartbeats. */
export function messages(effects: readonly WorkerEffect[]): readonly WorkerMessageBody[] {
  return effects.flatMap((effect) =>
    effect.kind === "send" && effect.message.kind !== "heartbeat" ? [effect.message] : [],
  );
}

export function kinds(effects: readonly WorkerEffect[]): readonly string[] {
  return effects.map((effect) => (effect.kind === "send" ? `send ${effect.message.kind}` : effect.kind));
}
