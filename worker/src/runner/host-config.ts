// What a job's container may do (design §4, §10 invariant 8): built from a typed allow-list, never merged with anything a consumer wrote.
// The Engine itself accepts privileged containers and a bind of its own socket: this file is the only gate.
//
// Left at the Engine's defaults on purpose, because naming them could only weaken them: the seccomp filter (the agent refuses to start on an Engine without
// one), the AppArmor profile (`docker-default`, where the kernel has AppArmor), masked and read-only paths of /proc and /sys, the private PID and UTS
// namespaces, and user namespaces where the owner has turned them on. Root inside has no capability, and no-new-privileges makes set-user-id programs plain ones.
import type { ContainerCreateOptions } from "dockerode";
import type { RunSpec } from "@qubix/shared/protocol";
import { containerEnvironment } from "./environment.ts";
import { networkRequest } from "./network/host-network.ts";
import type { SlotFolders } from "./slot-folders.ts";

export const LABEL_WORKER = "qubix.worker";
export const LABEL_SLOT = "qubix.slot";

/** What gVisor calls itself, and its installer registers with the Engine. */
export const SANDBOX_RUNTIME_DEFAULT = "runsc";

/** What the Engine calls worker/bin/qubix-runsc, which jobs with transparent checkpoints run under. */
export const MEMORY_RUNTIME_DEFAULT = "qubix-runsc";

/** Paths inside the container. */
export const CHECKPOINT_DIR = "/qubix/checkpoint";
export const PROGRESS_DIR = "/qubix/progress";
export const PROGRESS_FILE = `${PROGRESS_DIR}/progress`;
export const CONTROL_DIR = "/qubix/control";
export const SECRETS_DIR = "/run/secrets";
export const EPOCH_FILE = `${CONTROL_DIR}/epoch`;
export const REQUEST_FILE = `${CONTROL_DIR}/request`;

/** Enough for a training job with many data loaders (gVisor itself takes some hundred); a fork bomb stops here. */
const PIDS_MAX = 2048;
/** /tmp lies in memory and counts as the container's own; this share of it at most. */
const TMP_SHARE_OF_MEMORY = 0.5;
/** Files in /tmp: one for each page it holds, and not fewer than a small program's. */
const TMP_BYTES_PER_FILE = 4096;
const TMP_FILES_MIN = 1024;
/** What the Engine keeps of the container's output on the worker's disk, per file and files: the follower reads it long before it is turned over. */
const LOG_FILE_SIZE_MAX = "32m";
const LOG_FILES = "2";
/** Data loaders pass tensors by file descriptor; a few thousand are common. Not more than an Engine without rights over limits can give. */
const OPEN_FILES_MAX = 16_384;
/**
 * The kernel's own default, for jobs on GPUs too: what a GPU's driver pins is not counted here, and an Engine without rights over limits could
 * start no container that asks for more.
 */
const LOCKED_BYTES_MAX = 8 * 1024 * 1024;
/** When the machine itself runs out of memory, the kernel takes a job before the agent. */
const OOM_SCORE = 500;
const MIB = 1024 * 1024;
const NANO = 1_000_000_000;

/** What the image itself would add to its container. */
export interface ImageFacts {
  /** Content address: what is created is what was looked at. */
  readonly id: string;
  /** `NAME=value` each. */
  readonly env: readonly string[];
  /** Its VOLUME folders: the Engine would make them writable, without a limit, on the worker's disk. */
  readonly volumes: readonly string[];
  readonly labels: readonly string[];
}

export interface ContainerInput {
  readonly workerId: string;
  readonly slotId: string;
  readonly jobId: string;
  readonly containerName: string;
  readonly run: RunSpec;
  readonly image: ImageFacts;
  readonly folders: SlotFolders;
  /** Seen at {@link SECRETS_DIR}; left out where the job has none. */
  readonly secretsFolder?: string | undefined;
  /** Cores of the machine: the Engine refuses to grant more. */
  readonly hostCpus: number;
  /** The Engine's name for gVisor, which a job with `isolation: sandboxed` runs under. */
  readonly sandboxRuntime: string;
  /** Its name for the runtime that can also restore a sandbox from its memory. */
  readonly memoryRuntime: string;
  /** Resolvers for a job with a network. */
  readonly dns?: readonly string[] | undefined;
}

/** What is asked of the Engine. The types of its API lack one of the settings. */
export interface ContainerRequest extends ContainerCreateOptions {
  readonly name: string;
  readonly HostConfig: NonNullable<ContainerCreateOptions["HostConfig"]> & {
    readonly Mounts: Mount[];
    readonly CgroupnsMode: "private";
  };
}

/** The whole request for one hardened container. Pure. */
export function containerOptions(input: ContainerInput): ContainerRequest {
  const { run, image } = input;
  const memory = run.memoryMiB * MIB;
  const network = networkRequest(run, input.workerId, input.slotId, input.dns);
  return {
    name: input.containerName,
    Image: image.id,
    ...(run.command.length > 0 ? { Cmd: [...run.command] } : {}),
    Env: containerEnvironment(run, ownVariables(input), image.env),
    // Programs beside the Engine act on labels; an image's say nothing here.
    Labels: {
      ...Object.fromEntries(image.labels.map((label) => [label, ""])),
      [LABEL_WORKER]: input.workerId,
      [LABEL_SLOT]: input.slotId,
    },
    // An image's health check would run beside the job, on its time.
    Healthcheck: { Test: ["NONE"] },
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    OpenStdin: false,
    Tty: false,
    NetworkDisabled: network.NetworkDisabled,
    HostConfig: {
      Privileged: false,
      CapDrop: ["ALL"],
      CapAdd: [],
      SecurityOpt: ["no-new-privileges:true"],
      ReadonlyRootfs: true,
      ...network.HostConfig,
      IpcMode: "private",
      CgroupnsMode: "private",
      PidsLimit: PIDS_MAX,
      Memory: memory,
      MemorySwap: memory,
      MemorySwappiness: 0,
      OomScoreAdj: OOM_SCORE,
      NanoCpus: Math.round(Math.min(run.cpus, input.hostCpus) * NANO),
      ShmSize: run.shmMiB * MIB,
      Ulimits: [...ULIMITS],
      Tmpfs: { "/tmp": tmpOptions(memory) },
      LogConfig: { Type: "json-file", Config: { "max-size": LOG_FILE_SIZE_MAX, "max-file": LOG_FILES } },
      Init: true,
      RestartPolicy: { Name: "no" },
      AutoRemove: false,
      Mounts: mounts(input),
      ...(run.isolation === "sandboxed"
        ? { Runtime: run.transparent === true ? input.memoryRuntime : input.sandboxRuntime }
        : {}),
      ...(run.gpuUuids.length === 0
        ? {}
        : { DeviceRequests: [{ Driver: "nvidia", DeviceIDs: [...run.gpuUuids], Capabilities: [["gpu"]] }] }),
    },
  };
}

function ownVariables(input: ContainerInput): Readonly<Record<string, string>> {
  return {
    QUBIX_JOB_ID: input.jobId,
    // A job that is saved from outside has nothing to save.
    ...(input.run.transparent === true
      ? {}
      : {
          QUBIX_CHECKPOINT_DIR: CHECKPOINT_DIR,
          QUBIX_CHECKPOINT_INTERVAL_S: String(input.run.checkpointIntervalS),
        }),
    QUBIX_PROGRESS_FILE: PROGRESS_FILE,
    QUBIX_EPOCH_FILE: EPOCH_FILE,
    QUBIX_REQUEST_FILE: REQUEST_FILE,
  };
}

/** No bound on a user's processes: that count is shared by all containers of the same user id, and `PidsLimit` bounds each by itself. */
const ULIMITS: readonly { readonly Name: string; readonly Soft: number; readonly Hard: number }[] = [
  { Name: "nofile", Soft: OPEN_FILES_MAX, Hard: OPEN_FILES_MAX },
  // A core file would be memory on disk, secrets included.
  { Name: "core", Soft: 0, Hard: 0 },
  { Name: "memlock", Soft: LOCKED_BYTES_MAX, Hard: LOCKED_BYTES_MAX },
];

/** Programs run from /tmp: compilers at run time (Triton, Inductor, Numba) build there what they then load. `noexec` would stop nothing, /work being there. */
function tmpOptions(memoryBytes: number): string {
  const bytes = Math.max(MIB, Math.floor(memoryBytes * TMP_SHARE_OF_MEMORY));
  const files = Math.max(TMP_FILES_MIN, Math.floor(bytes / TMP_BYTES_PER_FILE));
  return `rw,exec,nosuid,nodev,size=${bytes},nr_inodes=${files},mode=1777`;
}

type Mount = NonNullable<NonNullable<ContainerCreateOptions["HostConfig"]>["Mounts"]>[number];

function mounts({ run, folders, image, secretsFolder }: ContainerInput): Mount[] {
  const own = [
    bind(folders.work, "/work", false),
    bind(folders.out, "/out", false),
    ...(run.transparent === true ? [] : [bind(folders.checkpoint, CHECKPOINT_DIR, false)]),
    bind(folders.progress, PROGRESS_DIR, false),
    bind(folders.control, CONTROL_DIR, true),
    ...(secretsFolder === undefined ? [] : [bind(secretsFolder, SECRETS_DIR, true)]),
    ...run.inputs.map((input, index) => bind(folders.input(index), input.to, true)),
  ];
  const taken = new Set([...own.map((mount) => mount.Target), "/tmp"]);
  const volumes = image.volumes.map((target, index) => bind(folders.imageVolume(index), target, false));
  return [...own, ...volumes.filter((mount) => !taken.has(mount.Target))];
}

function bind(source: string, target: string, readOnly: boolean): Mount {
  return { Type: "bind", Source: source, Target: target, ReadOnly: readOnly, BindOptions: { Propagation: "rprivate" } };
}
