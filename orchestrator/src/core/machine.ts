// A worker as the core sees it: its row, what is taken of it, and when it was heard. And amounts of what workers have.
import type { AttemptId, JobId, SessionId, StandbyId, WorkerId } from "@qubix/shared/domain";
import type { Beats } from "./accrual.ts";
import type { ProofTargetKey, WorkerRecord } from "./model.ts";

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
  /** Currencies of chains on which its provider has no address. */
  unpayable: ReadonlySet<string>;
  images: ReadonlySet<string>;
  /** What it offers beyond what every worker can. */
  features: ReadonlySet<string>;
  /** Cores and memory count in the market: proven, or need not be. */
  coresListed: boolean;
  /** The GPUs that count in the market; `null`: all. */
  listedGpus: ReadonlySet<string> | null;
  /** The earliest time at which something is to be proven, or proven again; infinite for never. */
  proofDueMs: number;
  /** Capacity or willingness grew since blocked jobs were last judged. */
  gained: boolean;
  // Volatile from here on.
  /** Last sign of life. */
  heardMs: number;
  /** Silence is not counted from before this: it had a slower heartbeat, or we had just started. */
  countFromMs: number;
  /** The time we had not listened by then, since this process started: what is added to it later is no silence of the worker's. */
  heardLagMs: number;
  /** The rhythm of its heartbeats; `null` before the first. */
  beats: Beats | null;
  /** Where its connection comes from, as the gateway told at the last one; `null`: unknown. */
  network: string | null;
  /** Its socket closed: it is not merely silent. */
  cut: boolean;
  /** Nothing is held against it for being away: we suspect, or had restarted, ourselves. */
  blameless: boolean;
  /** Since when it is suspect; `null` while it is not. */
  suspectAtMs: number | null;
  /** The session whose `hello` was taken; nothing is sent to any other. */
  greeted: SessionId | null;
  /** It is suspect because its socket closed (or we restarted), and is lost at this time. */
  lostAtMs: number | null;
  /** Silence was excused once because we were late ourselves. */
  excused: boolean;
  /** Challenges under way, by target: the cores', or those of several GPUs at once. */
  proving: ReadonlyMap<ProofTargetKey, Proving>;
  /** Was asked to prove these and has not committed to an answer, in this session or an earlier one: it takes no new work there. */
  owes: ReadonlySet<ProofTargetKey>;
  /** Challenges in a row that ended with the connection, and until when the next waits for that. */
  proofCuts: number;
  proofNotBeforeMs: number;
  /** The job that waits for room here: no other new one comes. */
  keptFor: JobId | null;
}

export interface Proving {
  readonly challengeId: string;
  readonly target: ProofTargetKey;
  /** What was claimed when it was asked. */
  readonly model: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly fromMs: number;
  /** The answer is fixed: the hardware is free again. */
  readonly committedAtMs: number | null;
}

export interface Usage {
  gpus: number;
  cpuMilli: number;
  memoryMiB: number;
}
