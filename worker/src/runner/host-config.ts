// What a job's container may do (design §4, §10 invariant 8): built from a typed allow-list, never merged with anything a consumer wrote.
// The Engine itself accepts privileged containers and a bind of its own socket: this file is the only gate.
import type { ContainerCreateOptions } from "dockerode";
import type { RunSpec } from "@qubix/shared/protocol";
import type { SlotFolders } from "./slot-folders.ts";

export const LABEL_WORKER = "qubix.worker";
export const LABEL_SLOT = "qubix.slot";

/** Paths inside the container. */
export const CHECKPOINT_DIR = "/qubix/checkpoint";
export const PROGRESS_DIR = "/qubix/progress";
export const PROGRESS_FILE = `${PROGRESS_DIR}/progress`;
export const CONTROL_DIR = "/qubix/control";
export const SECRETS_DIR = "/run/secrets";
export const EPOCH_FILE = `${CONTROL_DIR}/epoch`;

/** Enough for a training job with many data loaders; a fork bomb stops here. */
const PIDS_MAX = 2048;
/** /tmp lies in memory and counts as the container's own; this share of it at most. */
const TMP_SHARE_OF_MEMORY = 0.5;
/** What the Engine keeps of the container's output on the worker's disk, per file and files: the follower reads it long before it is turned over. */
const LOG_FILE_SIZE_MAX = "32m";
const LOG_FILES = "2";
const MIB = 1024 * 1024;
const NANO = 1_000_000_000;

export interface ContainerInput {
  readonly workerId: string;
  readonly slotId: string;
  readonly jobId: string;
  readonly containerName: string;
  readonly run: RunSpec;
  readonly folders: SlotFolders;
  /** Seen at {@link SECRETS_DIR}; left out where the job has none. */
  readonly secretsFolder?: string | undefined;
  /** Cores of the machine: the Engine refuses to grant more. */
  readonly hostCpus: number;
}

/** The whole request for one hardened container. Pure. */
export function containerOptions(input: ContainerInput): ContainerCreateOptions & { name: string } {
  const { run } = input;
  const memory = run.memoryMiB * MIB;
  return {
    name: input.containerName,
    Image: run.image,
    ...(run.command.length > 0 ? { Cmd: [...run.command] } : {}),
    Env: environment(input),
    Labels: { [LABEL_WORKER]: input.workerId, [LABEL_SLOT]: input.slotId },
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    OpenStdin: false,
    Tty: false,
    NetworkDisabled: true,
    HostConfig: {
      Privileged: false,
      CapDrop: ["ALL"],
      CapAdd: [],
      SecurityOpt: ["no-new-privileges:true"],
      ReadonlyRootfs: true,
      NetworkMode: "none",
      IpcMode: "private",
      PidsLimit: PIDS_MAX,
      Memory: memory,
      MemorySwap: memory,
      NanoCpus: Math.round(Math.min(run.cpus, input.hostCpus) * NANO),
      ShmSize: run.shmMiB * MIB,
      Tmpfs: { "/tmp": `rw,nosuid,nodev,size=${Math.max(MIB, Math.floor(memory * TMP_SHARE_OF_MEMORY))},mode=1777` },
      LogConfig: { Type: "json-file", Config: { "max-size": LOG_FILE_SIZE_MAX, "max-file": LOG_FILES } },
      Init: true,
      RestartPolicy: { Name: "no" },
      AutoRemove: false,
      Mounts: mounts(input),
      ...(run.gpuUuids.length === 0
        ? {}
        : { DeviceRequests: [{ Driver: "nvidia", DeviceIDs: [...run.gpuUuids], Capabilities: [["gpu"]] }] }),
    },
  };
}

function environment(input: ContainerInput): string[] {
  const own = {
    QUBIX_JOB_ID: input.jobId,
    QUBIX_CHECKPOINT_DIR: CHECKPOINT_DIR,
    QUBIX_CHECKPOINT_INTERVAL_S: String(input.run.checkpointIntervalS),
    QUBIX_PROGRESS_FILE: PROGRESS_FILE,
    QUBIX_EPOCH_FILE: EPOCH_FILE,
  };
  return Object.entries({ ...input.run.env, ...own }).map(([key, value]) => `${key}=${value}`);
}

type Mount = NonNullable<NonNullable<ContainerCreateOptions["HostConfig"]>["Mounts"]>[number];

function mounts({ run, folders, secretsFolder }: ContainerInput): Mount[] {
  return [
    bind(folders.work, "/work", false),
    bind(folders.out, "/out", false),
    bind(folders.checkpoint, CHECKPOINT_DIR, false),
    bind(folders.progress, PROGRESS_DIR, false),
    bind(folders.control, CONTROL_DIR, true),
    ...(secretsFolder === undefined ? [] : [bind(secretsFolder, SECRETS_DIR, true)]),
    ...run.inputs.map((input, index) => bind(folders.input(index), input.to, true)),
  ];
}

function bind(source: string, target: string, readOnly: boolean): Mount {
  return { Type: "bind", Source: source, Target: target, ReadOnly: readOnly, BindOptions: { Propagation: "rprivate" } };
}
