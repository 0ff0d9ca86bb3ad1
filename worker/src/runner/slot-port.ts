// What a slot needs of the agent around it, and what it does for it.
import type { AttemptRef, JobId } from "@qubix/shared/domain";
import type { CheckpointRef, RunSpec } from "@qubix/shared/protocol";
import type { Logger } from "@qubix/shared/runtime";
import type { Threads } from "../checkpoint/encode/threads.ts";
import type { ContainerFound, EntryKey, SlotId, WorkerCoreEvent } from "../core/index.ts";
import type { CheckpointPort } from "../direct/chunk-port.ts";
import type { GpuUse } from "../gpu/usage.ts";
import type { Guard } from "../guard/guard.ts";
import type { SlotSecrets } from "../secrets/secret-store.ts";
import type { BootClock } from "./boot-clock.ts";
import type { Containers } from "./containers.ts";
import type { Engine } from "./engine.ts";
import type { Images } from "./images/images.ts";
import type { LogPumpPorts, PumpPosition } from "./log-pump.ts";
import type { JobNetworks } from "./network/job-networks.ts";
import type { ChunkPort } from "./slot-trees.ts";
import type { Volumes } from "./volumes/volumes.ts";

/** Where the answered part of each slot's log is remembered. */
export interface LogPositions {
  load(slotId: SlotId): PumpPosition | undefined;
  save(slotId: SlotId, position: PumpPosition): void;
  forget(slotId: SlotId): void;
}

export interface SlotPorts {
  readonly engine: Engine;
  readonly containers: Containers;
  readonly volumes: Volumes;
  readonly images: Images;
  readonly clock: BootClock;
  readonly logger: Logger;
  readonly sendLog: LogPumpPorts["send"];
  readonly positions: LogPositions;
  readonly secrets: SlotSecrets;
  readonly networks: JobNetworks;
  /** Null where exclusive jobs are not taken. */
  readonly guard: Guard | null;
  chunks(jobId: JobId): ChunkPort;
  /** The same for one tree of a checkpoint, which may take another way, too. `folder`: where what moves may be kept meanwhile. */
  checkpointChunks(jobId: JobId, folder: string): CheckpointPort;
  readonly threads: Threads;
  /** The program that saves a sandbox's memory; undefined where the Engine has none. */
  memoryProgram(): Promise<string | undefined>;
  emit(event: WorkerCoreEvent): void;
  /** What these GPUs do now, where the watch over them knows. */
  gpuUse?(uuids: readonly string[]): GpuUse | undefined;
}

export interface SlotConfig {
  readonly slotsDir: string;
  readonly hostCpus: number;
  /** Resolvers for jobs with a network. */
  readonly dns?: readonly string[] | undefined;
}

export interface SlotRunner {
  /** What the Engine and the folders say, after a restart of the agent. */
  found(): Promise<ContainerFound>;
  prepare(jobId: JobId, run: RunSpec, checkpoint: CheckpointRef | null): Promise<void>;
  restore(jobId: JobId, checkpoint: CheckpointRef): Promise<void>;
  start(attempt: AttemptRef, run: RunSpec): Promise<void>;
  follow(attempt: AttemptRef, run: RunSpec): Promise<void>;
  /** Reads what an ended container still had to say. */
  readRest(attempt: AttemptRef): Promise<void>;
  relabel(attempt: AttemptRef): void;
  /** An exclusive container may run until then. */
  lease(untilMs: number): void;
  stop(graceS: number): Promise<void>;
  /** Asks the job to save, by the request file and a signal; null withdraws the wish. */
  request(number: number | null): Promise<void>;
  ship(jobId: JobId, entry: EntryKey, ranMs: number, progress: number | null): Promise<void>;
  committed(entry: EntryKey): Promise<void>;
  /** A line of the agent's own in the job's log. */
  note(text: string): void;
  collect(jobId: JobId, run: RunSpec): Promise<void>;
  remove(): Promise<void>;
  opened(): void;
  closed(): void;
  flushLogs(): void;
  /** Called every second. */
  measure(withStats: boolean): Promise<void>;
  /** Lets go of everything and leaves the container as it is. */
  detach(): void;
}
