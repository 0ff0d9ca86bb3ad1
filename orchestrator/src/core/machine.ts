// A worker as the core sees it: its row, what is taken of it, and when it was heard. And amounts of what workers have.
import type { AttemptId, SessionId, StandbyId, WorkerId } from "@qubix/shared/domain";
import type { WorkerRecord } from "./model.ts";

/** A worker with what is taken of it, and when it was heard. */
export interface Machine {
  readonly id: WorkerId;
  worker: WorkerRecord;
  /** Active attempts and live standbys. */
  readonly attempts: Set<AttemptId>;
  readonly standbys: Set<StandbyId>;
  /** How many of the attempts belong to hot jobs. */
  hotAttempts: number;
  usedCpuMilli: number;
  usedMemoryMiB: number;
  usedDiskMiB: number;
  readonly usedGpus: Set<string>;
  /** Of the offer, in whole thousandths. */
  cpuMilli: number;
  images: ReadonlySet<string>;
  /** What it offers beyond what every worker can. */
  features: ReadonlySet<string>;
  /** Capacity or willingness grew since blocked jobs were last judged. */
  gained: boolean;
  // Volatile from here on.
  /** Last sign of life. */
  heardMs: number;
  /** Silence is not counted from before this: it had a slower heartbeat, or we had just started. */
  countFromMs: number;
  /** The session whose `hello` was taken; nothing is sent to any other. */
  greeted: SessionId | null;
  /** It is suspect because its socket closed (or we restarted), and is lost at this time. */
  lostAtMs: number | null;
  /** Silence was excused once because we were late ourselves. */
  excused: boolean;
}

export interface Usage {
  gpus: number;
  cpuMilli: number;
  memoryMiB: number;
}
